"""The four noise corruptions: each channel value of each pixel is disturbed on its own."""

from __future__ import annotations

import numpy as np

from robustseg.corruptions.pixels import quantise, to_unit
from robustseg.corruptions.severity import TABLE, level
from robustseg.datasets.sample import ImageArray

__all__ = ["gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"]


def gaussian_noise(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Add normal noise, as of a sensor in low light (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; one normal a sample is drawn from it.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    std = level(TABLE.gaussian_noise, severity).std
    return quantise(to_unit(image) + rng.normal(scale=std, size=image.shape))


def shot_noise(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Replace intensities by Poisson counts, as of few photons (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; how much is drawn from it depends on the image.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    photons = level(TABLE.shot_noise, severity).photons
    counts = rng.poisson(to_unit(image) * photons)
    return quantise(counts / float(photons))


def impulse_noise(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Set random channel values to 0 or 255, with equal chance: salt and pepper (ImageNet-C).

    Channels are hit one by one, so most hits are coloured.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; two uniforms a sample are drawn from it: all hits, then all colours.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    amount = level(TABLE.impulse_noise, severity).amount
    # The original draws from the two-way distribution [amount, 1 - amount], scaled to sum to one.
    hit = rng.random_sample(image.shape) < amount / (amount + (1 - amount))
    salt = rng.random_sample(image.shape) < 0.5
    noisy = image.copy()
    noisy[hit] = np.where(salt[hit], 255, 0)
    return noisy


def speckle_noise(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Add normal noise in proportion to the intensity (ImageNet-C, extra corruption).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; one normal a sample is drawn from it.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    std = level(TABLE.speckle_noise, severity).std
    unit = to_unit(image)
    return quantise(unit + unit * rng.normal(scale=std, size=image.shape))

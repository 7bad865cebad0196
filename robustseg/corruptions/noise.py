"""The four noise corruptions: each channel value of each pixel is disturbed on its own."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import quantise, quantised
from robustseg.corruptions.poisson import fill_counts
from robustseg.corruptions.severity import TABLE, level
from robustseg.corruptions.twister import (
    Source,
    fill_normals,
    fill_words,
    give_back,
    take_over,
)
from robustseg.datasets.sample import ImageArray

__all__ = ["gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"]

Bytes = npt.NDArray[np.uint8]
U32 = np.uint32
UP = np.uintp

RUN = 4096
"""Samples that are disturbed at a time, so that their noise stays in the cache."""


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
    return _disturb(image, level(TABLE.gaussian_noise, severity).std, 1.0, 0.0, rng)


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
    means = np.arange(256) / 255.0 * photons
    # A count of ``photons`` or more is white.
    tones = np.arange(math.ceil(photons) + 1) / float(photons)
    source = take_over(rng)
    noisy = np.empty_like(image)
    fill_counts(source, image.ravel(), means, quantise(tones), noisy.ravel())
    give_back(source, rng)
    return noisy


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
    threshold = amount / (amount + (1 - amount))
    high, low = divmod(math.ceil(threshold * 2**53), 1 << 26)
    source = take_over(rng)
    noisy = np.empty_like(image)
    _impulses(source, image.ravel(), high, low, noisy.ravel())
    give_back(source, rng)
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
    return _disturb(image, level(TABLE.speckle_noise, severity).std, 0.0, 1.0, rng)


def _disturb(
    image: ImageArray, std: float, constant: float, slope: float, rng: np.random.RandomState
) -> ImageArray:
    """Add normal noise of standard deviation ``std`` times ``constant + slope * intensity``."""
    source = take_over(rng)
    noisy = np.empty_like(image)
    _add_normals(source, image.ravel(), std, constant, slope, noisy.ravel())
    give_back(source, rng)
    return noisy


@compiled
def _add_normals(
    source: Source, image: Bytes, std: float, constant: float, slope: float, out: Bytes
) -> None:
    normals = np.empty(RUN)
    for start in range(0, image.size, RUN):
        stop = min(start + RUN, image.size)
        fill_normals(source, normals[: stop - start])
        for i in range(stop - start):
            k = UP(start + i)
            unit = image[k] / 255.0
            out[k] = quantised(unit + (constant + slope * unit) * (std * normals[UP(i)]))


@compiled
def _impulses(source: Source, image: Bytes, high: int, low: int, out: Bytes) -> None:
    """Compare uniforms as the two integers that make them: high x 2^26 + low < threshold x 2^53."""
    words = np.empty(2 * RUN, np.uint32)
    bound, rest = U32(high), U32(low)
    for start in range(0, image.size, RUN):
        count = min(RUN, image.size - start)
        fill_words(source, words[: 2 * count])
        for i in range(count):
            first, second = words[2 * i] >> U32(5), words[2 * i + 1] >> U32(6)
            hit = (first < bound) | ((first == bound) & (second < rest))
            out[UP(start + i)] = np.uint8(1) if hit else np.uint8(0)
    for start in range(0, image.size, RUN):
        count = min(RUN, image.size - start)
        fill_words(source, words[: 2 * count])
        for i in range(count):
            k = UP(start + i)
            # The uniform is below one half if its first bit is 0. Both outcomes are worked out, as
            # hits are too irregular to be guessed.
            salt = 255 * (1 - (words[2 * i] >> U32(31)))
            hit = out[k]
            out[k] = hit * salt + (1 - hit) * image[k]

"""One entry to all corruptions: by name, severity and random stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robustseg.corruptions import blur, digital, noise, weather
from robustseg.corruptions.severity import check_severity
from robustseg.corruptions.streams import random_stream
from robustseg.datasets.sample import ImageArray
from robustseg.errors import DataError
from robustseg.names import unknown_name

__all__ = ["FUNCTIONS", "CorruptionFunction", "corrupt", "corrupt_frame", "corruption_function"]

CorruptionFunction = Callable[[ImageArray, int, np.random.RandomState], ImageArray]
"""``(image, severity, rng) -> image``: pure, uint8 RGB (H, W, 3) in and out."""

FUNCTIONS: dict[str, CorruptionFunction] = {
    "motion_blur": blur.motion_blur,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "gaussian_blur": blur.gaussian_blur,
    "gaussian_noise": noise.gaussian_noise,
    "impulse_noise": noise.impulse_noise,
    "shot_noise": noise.shot_noise,
    "speckle_noise": noise.speckle_noise,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "saturate": digital.saturate,
    "jpeg_compression": digital.jpeg_compression,
    "snow": weather.snow,
    "spatter": weather.spatter,
    "fog": weather.fog,
    "frost": weather.frost,
}
"""Name to function, in the order of ``CORRUPTIONS``."""

SMALLEST_SIDE = 32
"""Fewest rows and columns of an image; the definition rejects smaller ones."""


def corruption_function(name: str) -> CorruptionFunction:
    """Look a corruption up by its name.

    Args:
        name: Such as ``"motion_blur"``.

    Returns:
        Its function.

    Raises:
        NameLookupError: There is none of this name; the message suggests near ones.
    """
    if name not in FUNCTIONS:
        raise unknown_name(name, list(FUNCTIONS), "corruption")
    return FUNCTIONS[name]


def corrupt(image: ImageArray, name: str, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Corrupt one image.

    Args:
        image: uint8 RGB (H, W, 3), 0-255, H and W at least 32. It is not changed.
        name: One of ``CORRUPTIONS``.
        severity: 1-5.
        rng: Random stream; what is drawn from it depends on the corruption.

    Returns:
        uint8 RGB (H, W, 3), equal for equal arguments and equal states of the stream.

    Raises:
        DataError: The image has another type or shape, or is too small.
        NameLookupError: The corruption is unknown.
        SettingError: The severity is not an integer from 1 to 5.

    Examples:
        >>> grey = np.full((32, 32, 3), 100, np.uint8)
        >>> int(corrupt(grey, "brightness", 5, np.random.RandomState(0)).max())
        227
    """
    function = corruption_function(name)
    check_severity(severity)
    _check_image(image)
    # Sums over the image depend in their last bit on its layout in memory, so there is only one.
    return function(np.ascontiguousarray(image), severity, rng)


def corrupt_frame(
    image: ImageArray, image_id: str, name: str, severity: int, seed: int
) -> ImageArray:
    """Corrupt one image of a data set with the random stream that belongs to it.

    Args:
        image: uint8 RGB (H, W, 3), 0-255, H and W at least 32.
        image_id: Name of the image without suffix, such as ``frankfurt_000000_000294``.
        name: One of ``CORRUPTIONS``.
        severity: 1-5.
        seed: Seed of the corrupted data set.

    Returns:
        uint8 RGB (H, W, 3), equal for equal arguments.

    Raises:
        DataError: The image has another type or shape, or is too small.
        NameLookupError: The corruption is unknown.
        SettingError: The severity is not an integer from 1 to 5.
    """
    return corrupt(image, name, severity, random_stream(seed, image_id, name, severity))


def _check_image(image: object) -> None:
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"corruptions need a numpy array, got {type(image).__name__}: use numpy.asarray"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"corruptions need a uint8 RGB image (H, W, 3), got {image.dtype} {image.shape}: "
            "convert it first"
        )
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise DataError(
            f"corruptions need at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels, "
            f"got {image.shape[0]} x {image.shape[1]}: use a larger image"
        )

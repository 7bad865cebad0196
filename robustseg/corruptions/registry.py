"""One entry to all corruptions: by name, severity and random stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from robustseg.corruptions import blur, digital, noise, weather
from robustseg.corruptions.entries import Entry, find_entry
from robustseg.corruptions.severity import check_severity
from robustseg.corruptions.streams import random_stream
from robustseg.datasets.sample import ImageArray
from robustseg.errors import DataError, PluginError, RobustsegError, SettingError

__all__ = [
    "FUNCTIONS",
    "ChannelOrder",
    "CorruptionFunction",
    "corrupt",
    "corrupt_frame",
    "corrupt_severities",
    "corruption_function",
    "frame_severities",
]

CorruptionFunction = Callable[[ImageArray, int, np.random.RandomState], ImageArray]
"""``(image, severity, rng) -> image``: pure, uint8 RGB (H, W, 3) in and out."""

ChannelOrder = Literal["rgb", "bgr"]
"""The order in which a corruption is given the channels; images stay RGB outside of it."""

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
        name: Such as ``"motion_blur"``; of the sixteen or beyond.

    Returns:
        Its function; one from another package is given a copy of the image, and what it returns
        is checked.

    Raises:
        NameLookupError: There is none of this name; the message suggests near ones.
        PluginError: Another package's corruption cannot be imported.
    """
    return FUNCTIONS[name] if name in FUNCTIONS else _guarded(find_entry(name))


def corrupt(image: ImageArray, name: str, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Corrupt one image.

    Args:
        image: uint8 RGB (H, W, 3), 0-255, H and W at least 32. It is not changed.
        name: Of the sixteen or beyond.
        severity: 1-5.
        rng: Random stream; what is drawn from it depends on the corruption.

    Returns:
        uint8 RGB (H, W, 3), equal for equal arguments and equal states of the stream.

    Raises:
        DataError: The image has another type or shape, or is too small.
        NameLookupError: The corruption is unknown.
        PluginError: A corruption of another package fails.
        SettingError: The severity is not an integer from 1 to 5.

    Examples:
        >>> grey = np.full((32, 32, 3), 100, np.uint8)
        >>> int(corrupt(grey, "brightness", 5, np.random.RandomState(0)).max())
        227
    """
    function = corruption_function(name)
    check_severity(severity)
    return function(_plain(image), severity, rng)


def corrupt_severities(
    image: ImageArray,
    name: str,
    severities: Sequence[int],
    rngs: Sequence[np.random.RandomState],
) -> Iterator[ImageArray]:
    """Corrupt one image at several severities, sharing what they have in common.

    Args:
        image: uint8 RGB (H, W, 3), 0-255, H and W at least 32. It is not changed.
        name: Of the sixteen or beyond.
        severities: Each 1-5.
        rngs: A random stream for each of the severities.

    Yields:
        For each severity the uint8 RGB (H, W, 3) that ``corrupt`` gives for it and its stream.

    Raises:
        DataError: The image has another type or shape, or is too small.
        NameLookupError: The corruption is unknown.
        PluginError: A corruption of another package fails.
        SettingError: A severity is not an integer from 1 to 5, or a stream is missing.
    """
    if len(severities) != len(rngs):
        raise SettingError(f"{len(severities)} severities need as many streams, got {len(rngs)}")
    if name not in digital.SHARING:
        for severity, rng in zip(severities, rngs, strict=True):
            yield corrupt(image, name, severity, rng)
        return
    for severity in severities:
        check_severity(severity)
    yield from digital.shared_severities(_plain(image), name, severities)


def corrupt_frame(
    image: ImageArray,
    image_id: str,
    name: str,
    severity: int,
    seed: int,
    channel_order: ChannelOrder = "rgb",
) -> ImageArray:
    """Corrupt one image of a data set with the random stream that belongs to it.

    Args:
        image: uint8 RGB (H, W, 3), 0-255, H and W at least 32.
        image_id: Name of the image without suffix, such as ``frankfurt_000000_000294``.
        name: Of the sixteen or beyond.
        severity: 1-5.
        seed: Seed of the corrupted data set.
        channel_order: ``bgr`` gives the corruption the channels in reverse, as scripts do that
            read with OpenCV; what comes back is RGB all the same.

    Returns:
        uint8 RGB (H, W, 3), equal for equal arguments.

    Raises:
        DataError: The image has another type or shape, or is too small.
        NameLookupError: The corruption is unknown.
        PluginError: A corruption of another package fails.
        SettingError: The severity is not an integer from 1 to 5.
    """
    return next(frame_severities(image, image_id, name, [severity], seed, channel_order))


def frame_severities(
    image: ImageArray,
    image_id: str,
    name: str,
    severities: Sequence[int],
    seed: int,
    channel_order: ChannelOrder = "rgb",
) -> Iterator[ImageArray]:
    """Corrupt one image of a data set at several severities.

    Args:
        image: uint8 RGB (H, W, 3), 0-255, H and W at least 32.
        image_id: Name of the image without suffix, such as ``frankfurt_000000_000294``.
        name: Of the sixteen or beyond.
        severities: Each 1-5.
        seed: Seed of the corrupted data set.
        channel_order: As in ``corrupt_frame``.

    Yields:
        For each severity the uint8 RGB (H, W, 3) that ``corrupt_frame`` gives for it.

    Raises:
        DataError: The image has another type or shape, or is too small.
        NameLookupError: The corruption is unknown.
        PluginError: A corruption of another package fails.
        SettingError: A severity is not an integer from 1 to 5.
    """
    streams = [random_stream(seed, image_id, name, severity) for severity in severities]
    if channel_order == "rgb":
        yield from corrupt_severities(image, name, severities, streams)
        return
    for corrupted in corrupt_severities(_reversed(_plain(image)), name, severities, streams):
        yield _reversed(corrupted)


def _reversed(image: ImageArray) -> ImageArray:
    """Turn RGB into BGR and back."""
    out = np.empty_like(image)
    for channel in range(3):  # several times as fast as copying a reversed view
        out[..., channel] = image[..., 2 - channel]
    return out


def _guarded(entry: Entry) -> CorruptionFunction:
    """Let nothing that a stranger's function does spoil the image or pass for one."""
    function = entry.load()
    what = f"corruption {entry.name!r} of {entry.source}"

    def run(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
        try:
            made: object = function(image.copy(), int(severity), rng)
        except (RobustsegError, MemoryError):
            raise
        except Exception as error:  # whatever a stranger's function raises
            raise PluginError(
                f"{what} failed at severity {severity} ({type(error).__name__}: {error}): repair it"
            ) from error
        if not isinstance(made, np.ndarray):
            raise PluginError(f"{what} returned {type(made).__name__}: return a numpy array")
        if made.dtype != np.uint8 or made.shape != image.shape:
            raise PluginError(
                f"{what} returned {made.dtype} {made.shape} for an image uint8 {image.shape}: "
                "return uint8 RGB of the same size"
            )
        return np.require(made, requirements=["C", "W"])

    return run


def _plain(image: object) -> ImageArray:
    """Check an image, and lay it out in the one way that the compiled loops are made for."""
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
    return np.require(np.asarray(image), requirements=["C", "W"])

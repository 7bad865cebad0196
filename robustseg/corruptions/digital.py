"""The four digital corruptions: brightness, contrast, saturation and JPEG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.hsv import shift_hsv
from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.pixels import FloatArray, quantise
from robustseg.corruptions.severity import TABLE, level
from robustseg.datasets.sample import ImageArray

__all__ = [
    "SHARING",
    "brightness",
    "contrast",
    "jpeg_compression",
    "saturate",
    "shared_severities",
]

SHARING = ("brightness", "contrast", "saturate")
"""Those that draw nothing and have work in common between the severities of an image."""


def brightness(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Raise V of HSV (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    return shared_severities(image, "brightness", [severity])[0]


def saturate(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Scale S of HSV: paler at severities 1 and 2, more colourful from 3 on (ImageNet-C, extra).

    Grey has hue 0, so the offset of severities 4 and 5 tints it red.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    return shared_severities(image, "saturate", [severity])[0]


def contrast(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Pull each channel towards its mean over the image (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    return shared_severities(image, "contrast", [severity])[0]


def shared_severities(image: ImageArray, name: str, severities: Sequence[int]) -> list[ImageArray]:
    """Apply one of ``SHARING`` at several severities; HSV or means are worked out once.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        name: Of the corruption.
        severities: Each 1-5.

    Returns:
        For each severity uint8 RGB (H, W, 3).

    Raises:
        SettingError: A severity is not an integer from 1 to 5.
    """
    if name == "contrast":
        return _lower_contrast(image, severities)
    change = _brighter if name == "brightness" else _more_colourful
    return shift_hsv(image, [change(severity) for severity in severities])


def _lower_contrast(image: ImageArray, severities: Sequence[int]) -> list[ImageArray]:
    factors = [level(TABLE.contrast, severity).factor for severity in severities]
    means = _channel_sums(image.ravel()) / (image.size // 3)
    tones = np.arange(256)[:, None] / 255.0
    return [_look_up(image, quantise((tones - means) * factor + means)) for factor in factors]


def jpeg_compression(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Encode as JPEG and decode again (ImageNet-C); colour is stored at half resolution.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
        OpenCVUnavailableError: OpenCV cannot be loaded.
    """
    cv2 = load_cv2()
    quality = level(TABLE.jpeg_compression, severity).quality
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # The same library as Pillow's, libjpeg-turbo, and the same bytes with less copying around it.
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: ImageArray = cv2.imdecode(file, cv2.IMREAD_COLOR)
    cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded)
    return decoded


def _look_up(image: ImageArray, table: ImageArray) -> ImageArray:
    """Replace each byte of each channel by that of a table (256, 3)."""
    out = np.empty_like(image)
    _replace_bytes(image.ravel(), table, out.ravel())
    return out


@compiled
def _channel_sums(samples: ImageArray) -> FloatArray:
    """Sum the intensities of the three channels, pixel by pixel, as numpy does.

    The last bits of the sums decide the bytes of flat images.
    """
    units = np.arange(256) / 255.0
    red, green, blue = 0.0, 0.0, 0.0
    for i in range(0, samples.size, 3):
        red += units[samples[i]]
        green += units[samples[i + 1]]
        blue += units[samples[i + 2]]
    return np.array([red, green, blue])


@compiled
def _replace_bytes(samples: ImageArray, table: ImageArray, out: ImageArray) -> None:
    for i in range(0, samples.size, 3):
        out[i] = table[samples[i], 0]
        out[i + 1] = table[samples[i + 1], 1]
        out[i + 2] = table[samples[i + 2], 2]


def _brighter(severity: int) -> tuple[float, float, float]:
    return 1.0, 0.0, level(TABLE.brightness, severity).offset


def _more_colourful(severity: int) -> tuple[float, float, float]:
    return (*level(TABLE.saturate, severity), 0.0)

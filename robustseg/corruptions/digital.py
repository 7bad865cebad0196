"""The four digital corruptions: brightness, contrast, saturation and JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from robustseg.corruptions.pixels import FloatArray, quantise, to_unit
from robustseg.corruptions.severity import TABLE, level
from robustseg.datasets.sample import ImageArray

__all__ = ["brightness", "contrast", "jpeg_compression", "saturate"]

HSV = tuple[FloatArray, FloatArray, FloatArray]


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
    offset = level(TABLE.brightness, severity).offset
    hue, saturation, value = _rgb_to_hsv(to_unit(image))
    return quantise(_hsv_to_rgb(hue, saturation, np.clip(value + offset, 0, 1)))


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
    factor, offset = level(TABLE.saturate, severity)
    hue, saturation, value = _rgb_to_hsv(to_unit(image))
    return quantise(_hsv_to_rgb(hue, np.clip(saturation * factor + offset, 0, 1), value))


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
    factor = level(TABLE.contrast, severity).factor
    unit = to_unit(image)
    means = np.mean(unit, axis=(0, 1), keepdims=True)
    return quantise((unit - means) * factor + means)


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
    """
    file = io.BytesIO()
    Image.fromarray(image).save(
        file, "JPEG", quality=level(TABLE.jpeg_compression, severity).quality
    )
    with Image.open(file) as decoded:
        return np.array(decoded)


def _rgb_to_hsv(unit: FloatArray) -> HSV:
    red, green, blue = unit[..., 0], unit[..., 1], unit[..., 2]
    value = unit.max(axis=-1)
    delta = value - unit.min(axis=-1)
    grey = delta == 0
    divisor = np.where(grey, 1.0, delta)
    # Where two channels share the maximum, the later one decides.
    sextant = np.select(
        [value == blue, value == green],
        [4.0 + (red - green) / divisor, 2.0 + (blue - red) / divisor],
        (green - blue) / divisor,
    )
    hue = np.where(grey, 0.0, (sextant / 6.0) % 1.0)
    saturation = delta / np.where(value == 0, 1.0, value)
    return hue, saturation, value


def _hsv_to_rgb(hue: FloatArray, saturation: FloatArray, value: FloatArray) -> FloatArray:
    sextant = np.floor(hue * 6)
    fraction = hue * 6 - sextant
    low = value * (1 - saturation)
    falling = value * (1 - fraction * saturation)
    rising = value * (1 - (1 - fraction) * saturation)
    sector = sextant.astype(np.uint8) % 6
    return np.stack(
        (
            np.choose(sector, (value, falling, low, low, rising, value)),
            np.choose(sector, (rising, value, value, falling, low, low)),
            np.choose(sector, (low, low, rising, value, value, falling)),
        ),
        axis=-1,
    )

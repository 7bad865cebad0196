"""The three corruptions of ImageNet-C that Cityscapes-C leaves out: zoom, elastic, pixelate.

The first two move things while the labels stay where they are, which is one reason to leave them
out. They are offered under their names, outside of ``all``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from robustseg.corruptions.pixels import FloatArray, quantise
from robustseg.corruptions.severity import EXTRA_TABLE, level
from robustseg.datasets.sample import ImageArray

__all__ = ["elastic_transform", "pixelate", "zoom_blur"]

Float32Array = npt.NDArray[np.float32]


def zoom_blur(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Average the image with enlargements about its middle (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    zoom = level(EXTRA_TABLE.zoom_blur, severity)
    height, width = image.shape[:2]
    unit = (image / 255.0).astype(np.float32)
    total = np.zeros_like(unit)
    factors = np.arange(1, zoom.below, zoom.step)
    for factor in factors:
        layer = _enlarge_middle(unit, float(factor))[:height, :width]
        # Rounding can leave a layer a row or column short; the definition adds it where it reaches.
        total[: layer.shape[0], : layer.shape[1]] += layer
    return quantise((unit + total) / (len(factors) + 1))


def elastic_transform(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Shift every pixel by a smooth random field (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; two times H x W uniforms are drawn from it.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    strength = level(EXTRA_TABLE.elastic_transform, severity).strength
    height, width = image.shape[:2]
    # What the definition draws first it calls dx; both ranges follow from the height.
    across = _smooth_shifts(height, width, strength, rng)
    down = _smooth_shifts(height, width, strength, rng)
    where = np.stack((np.arange(height)[:, None] + down, np.arange(width) + across))
    unit = image.astype(np.float32) / 255
    moved = np.empty_like(unit)
    for channel in range(unit.shape[2]):
        moved[..., channel] = ndimage.map_coordinates(
            unit[..., channel], where, order=1, mode="reflect"
        )
    return quantise(moved)


def pixelate(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Shrink the image by averaging and enlarge it by repeating pixels (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    scale = level(EXTRA_TABLE.pixelate, severity).scale
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (int(width * scale), int(height * scale)), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def _enlarge_middle(unit: Float32Array, zoom: float) -> Float32Array:
    """Enlarge the middle of an image (H, W, C) to its old size or a pixel more or less."""
    height, width = (math.ceil(side / zoom) for side in unit.shape[:2])
    top, left = (unit.shape[0] - height) // 2, (unit.shape[1] - width) // 2
    middle = unit[top : top + height, left : left + width]
    # The definition zooms all channels in one call, which takes twice as long for the same bits.
    planes = [ndimage.zoom(middle[..., c], zoom, order=1) for c in range(middle.shape[2])]
    return np.stack(planes, axis=-1)


def _smooth_shifts(
    height: int, width: int, strength: float, rng: np.random.RandomState
) -> Float32Array:
    """Draw shifts in pixels, smoothed over a hundredth of each side.

    The weights of the Gaussian depend on the size of the image, so they are not frozen but come
    from the processor's ``exp``. What its last bit moves is far below the float32 of the shifts.
    """
    reach = height * 0.005
    shifts: FloatArray = rng.uniform(-reach, reach, size=(height, width))
    sigmas = (height * 0.01, width * 0.01)
    smoothed: FloatArray = ndimage.gaussian_filter(shifts, sigmas, mode="reflect", truncate=3)
    return (smoothed * strength).astype(np.float32)

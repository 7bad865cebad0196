"""The layers of snow: enlarged noise, and how it is laid over the whitened scene."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray, fused, quantised
from robustseg.corruptions.twister import fill_normals, give_back, skip_normals, take_over
from robustseg.datasets.sample import ImageArray

__all__ = ["draw_centre", "enlarge", "lay_over"]

Bytes = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
F32 = np.float32
UP = np.uintp


def draw_centre(
    rng: np.random.RandomState, mean: float, std: float, shape: tuple[int, int], zoom: float
) -> FloatArray:
    """Draw a field of normals, and make that part of it which ``enlarge`` brings to full size.

    Args:
        rng: Random stream; all H x W normals are drawn from it.
        mean: Of the normals.
        std: Their standard deviation.
        shape: H and W.
        zoom: How much the part is to be enlarged.

    Returns:
        float64 (H / zoom, W / zoom), both rounded up, from the middle of the field.
    """
    height, width = (math.ceil(side / zoom) for side in shape)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    field = np.empty((height, shape[1]))
    source = take_over(rng)
    skip_normals(source, top * shape[1])
    fill_normals(source, field.ravel())
    skip_normals(source, (shape[0] - height - top) * shape[1])
    give_back(source, rng)
    return mean + std * field[:, left : left + width]


def enlarge(field: FloatArray, zoom: float, threshold: float) -> FloatArray:
    """Enlarge a field bilinearly; what is below the threshold becomes 0, above 1 becomes 1.

    The corners of the field become those of the result, in the steps of ``scipy.ndimage.zoom``.

    Args:
        field: float64 (H, W).
        zoom: How much larger the result is.
        threshold: Values below it vanish.

    Returns:
        float64 (H x zoom, W x zoom), both rounded, 0-1.
    """
    height, width = (round(side * zoom) for side in field.shape)
    out = np.empty((height, width))
    rows = _places(field.shape[0], height)
    columns = _places(field.shape[1], width)
    _enlarge(np.ascontiguousarray(field), *rows, *columns, threshold, out)
    return out


def _places(length: int, enlarged: int) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """For each place of the result give the place before it, and the weights of it and the next.

    Places beyond the last one, which rounding can bring about, get no weight.
    """
    at = np.arange(enlarged) * ((length - 1) / (enlarged - 1))
    before = np.floor(at)
    near = 1 - (at - before)
    far = 1 - near
    beyond = at > length - 1
    near[beyond] = far[beyond] = 0
    return np.minimum(before.astype(np.int64), length - 1), near, far


@compiled
def _enlarge(
    field: FloatArray,
    row: npt.NDArray[np.int64],
    above: FloatArray,
    below: FloatArray,
    column: npt.NDArray[np.int64],
    left: FloatArray,
    right: FloatArray,
    threshold: float,
    out: FloatArray,
) -> None:
    height, width = field.shape
    upper, lower = np.zeros(width + 1), np.zeros(width + 1)
    for y in range(out.shape[0]):
        first, second = field[row[y]], field[min(row[y] + 1, height - 1)]
        for x in range(width):
            upper[x] = first[x] * above[y]
            lower[x] = second[x] * below[y]
        for x in range(out.shape[1]):
            k = np.uintp(column[x])
            value = upper[k] * left[x] + upper[k + np.uintp(1)] * right[x]
            value = (value + lower[k] * left[x]) + lower[k + np.uintp(1)] * right[x]
            out[y, x] = min(value, 1.0) if value >= threshold else 0.0


def lay_over(image: ImageArray, flakes: FloatArray, keep: float) -> ImageArray:
    """Whiten an image, and add a layer of flakes and the same layer turned half round.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        flakes: float64 (H or more, W or more), 0-1.
        keep: Share of the image that is not whitened.

    Returns:
        uint8 RGB (H, W, 3).
    """
    snowy = np.empty_like(image)
    _lay_over(image, flakes, np.float32(keep), np.float32(1 - keep), snowy)
    return snowy


@compiled
def _whiteness(pixels: Bytes, white: Float32Array) -> None:
    """Give each pixel's three channels the grey that the whitened image does not fall below."""
    for x in range(pixels.size // 3):
        k = UP(3 * x)
        red = F32(pixels[k]) / F32(255)
        green = F32(pixels[k + UP(1)]) / F32(255)
        blue = F32(pixels[k + UP(2)]) / F32(255)
        # Luminance with the steps and roundings of OpenCV on processors that fuse them.
        grey = fused(blue, F32(0.114), fused(red, F32(0.299), green * F32(0.587)))
        value = grey * F32(1.5) + F32(0.5)
        white[k] = value
        white[k + UP(1)] = value
        white[k + UP(2)] = value


@compiled
def _tripled(flakes: FloatArray, start: int, step: int, out: FloatArray) -> None:
    """Round a row of flakes to bytes, and give each of them to three channels."""
    for x in range(out.size // 3):
        flake = np.rint(flakes[start + step * x] * 255.0) / 255.0
        out[UP(3 * x)] = flake
        out[UP(3 * x + 1)] = flake
        out[UP(3 * x + 2)] = flake


@compiled
def _lay_over(
    image: ImageArray, flakes: FloatArray, keep: np.float32, fade: np.float32, out: ImageArray
) -> None:
    height, width, _ = image.shape
    white = np.empty(3 * width, np.float32)
    # The two layers make two depths of flakes, which fall in the same direction.
    near, far = np.empty(3 * width), np.empty(3 * width)
    for y in range(height):
        pixels, target = image[y].reshape(-1), out[y].reshape(-1)
        _whiteness(pixels, white)
        _tripled(flakes[y], 0, 1, near)
        _tripled(flakes[height - 1 - y], width - 1, -1, far)
        for i in range(3 * width):
            k = UP(i)
            unit = F32(pixels[k]) / F32(255)
            whitened = keep * unit + fade * max(unit, white[k])
            target[k] = quantised(whitened + near[k] + far[k])

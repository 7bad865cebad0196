"""Cubic enlargement of a picture, with the same bytes everywhere.

Keys' kernel (IEEE TASSP 29(6), 1981) with a = -0.75, as OpenCV has it. OpenCV's own result changes
by single levels with its version and with the processor's instructions, about once in 100,000
samples; the layers of frost are not to depend on either.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray
from robustseg.datasets.sample import ImageArray

__all__ = ["enlarge_cubic"]

UP = np.uintp


def enlarge_cubic(picture: ImageArray, height: int, width: int) -> ImageArray:
    """Enlarge a picture; its border pixels are repeated.

    Args:
        picture: uint8 (h, w, 3).
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        uint8 (height, width, 3). Sums are taken in double precision, rounded to single precision,
        and then to the nearest byte, halves to the even one.
    """
    out = np.empty((height, width, 3), np.uint8)
    rows = _taps(picture.shape[0], height)
    columns = _taps(picture.shape[1], width)
    _enlarge(picture, *rows, *columns, out.reshape(height, -1))
    return out


def _taps(length: int, enlarged: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """For each place of the result give four places and their weights, (N, 4)."""
    at = (np.arange(enlarged) + 0.5) * (length / enlarged) - 0.5
    before = np.floor(at)
    x = at - before
    first = ((-0.75 * (x + 1) + 3.75) * (x + 1) - 6) * (x + 1) + 3
    second = (1.25 * x - 2.25) * x * x + 1
    third = (1.25 * (1 - x) - 2.25) * (1 - x) * (1 - x) + 1
    weights = np.stack((first, second, third, 1 - first - second - third), axis=1)
    places = before.astype(np.int64)[:, None] + np.arange(-1, 3)
    return places.clip(0, length - 1), weights.astype(np.float32).astype(np.float64)


@compiled
def _enlarge(
    picture: ImageArray,
    row: npt.NDArray[np.int64],
    row_weight: FloatArray,
    column: npt.NDArray[np.int64],
    column_weight: FloatArray,
    out: ImageArray,
) -> None:
    samples = out.shape[1]
    sums = np.empty((picture.shape[0], samples))
    for y in range(picture.shape[0]):
        for x in range(column.shape[0]):
            for c in range(3):
                total = 0.0
                for j in range(4):
                    total += picture[y, column[x, j], c] * column_weight[x, j]
                sums[y, 3 * x + c] = total
    for y in range(out.shape[0]):
        p, q, r, s = row_weight[y]
        a, b, c, d = sums[row[y, 0]], sums[row[y, 1]], sums[row[y, 2]], sums[row[y, 3]]
        for i in range(samples):
            k = UP(i)
            total = ((a[k] * p + b[k] * q) + c[k] * r) + d[k] * s
            nearest = np.int32(np.rint(np.float32(total)))
            out[y, k] = np.uint8(min(max(nearest, np.int32(0)), np.int32(255)))

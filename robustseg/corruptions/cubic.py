"""Cubic enlargement of a picture, in the steps behind the published definition of frost.

The layers of frost were made by OpenCV, which hands cubic enlargement to a library that works in
single precision. Its last bits, and so about one byte in 100,000, change with the version and with
the processor's instructions. Here the order of operations is that of processors with AVX-512, on
every machine: it gives the definition's bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import fused
from robustseg.datasets.sample import ImageArray

__all__ = ["enlarge_cubic"]

Float32Array = npt.NDArray[np.float32]
F32 = np.float32
UP = np.uintp


def enlarge_cubic(picture: ImageArray, height: int, width: int) -> ImageArray:
    """Enlarge a picture by Keys' kernel (IEEE TASSP 29(6), 1981) with a = -0.75.

    Args:
        picture: uint8 (h, w, 3); its border pixels are repeated.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        uint8 (height, width, 3), rounded to the nearest byte, halves to the even one.
    """
    out = np.empty((height, width, 3), np.uint8)
    rows = _taps(picture.shape[0], height)
    columns = _taps(picture.shape[1], width)
    _enlarge(picture, *rows, *columns, out.reshape(height, -1))
    return out


def _taps(length: int, enlarged: int) -> tuple[npt.NDArray[np.int64], Float32Array]:
    """For each place of the result give four places and their weights, (N, 4)."""
    at = (np.arange(enlarged) + 0.5) * (length / enlarged) - 0.5
    before = np.floor(at)
    # One and the fraction are added in single precision, which drops the fraction's last bits.
    one = F32(1)
    x = ((one + (at - before).astype(np.float32)) - one).astype(np.float64)
    y = 1 - x
    weights = (
        -0.75 * x * y * y,
        (1.25 * x - 2.25) * x * x + 1,
        (1.25 * y - 2.25) * y * y + 1,
        -0.75 * y * x * x,
    )
    places = before.astype(np.int64)[:, None] + np.arange(-1, 3)
    return places.clip(0, length - 1), np.stack(weights, axis=1).astype(np.float32)


@compiled
def _enlarge(
    picture: ImageArray,
    row: npt.NDArray[np.int64],
    row_weight: Float32Array,
    column: npt.NDArray[np.int64],
    column_weight: Float32Array,
    out: ImageArray,
) -> None:
    samples = out.shape[1]
    sums = np.empty((picture.shape[0], samples), np.float32)
    for y in range(picture.shape[0]):
        for x in range(column.shape[0]):
            for c in range(3):
                total = F32(picture[y, column[x, 0], c]) * column_weight[x, 0]
                for j in range(1, 4):
                    total = fused(F32(picture[y, column[x, j], c]), column_weight[x, j], total)
                sums[y, 3 * x + c] = total
    for y in range(out.shape[0]):
        p, q, r, s = row_weight[y]
        a, b, c, d = sums[row[y, 0]], sums[row[y, 1]], sums[row[y, 2]], sums[row[y, 3]]
        for i in range(samples):
            k = UP(i)
            nearest = np.rint(fused(a[k], p, b[k] * q) + fused(c[k], r, d[k] * s))
            out[y, k] = np.uint8(np.int32(min(max(nearest, F32(0)), F32(255))))

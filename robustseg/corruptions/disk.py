"""Convolution with the kernels of defocus blur, which take few different values.

Pixels under equal weights are summed as integers first and weighted once. Each of the sums is
exact, so the result is that of the definition although its order is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray
from robustseg.datasets.sample import ImageArray

__all__ = ["Groups", "group_taps", "grouped_sums"]

Sums = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]
UP = np.uintp

SAMPLES = 2048
"""Samples whose sums are taken at a time."""

MOST_EQUAL = 65535 // 255
"""Bytes whose sum fits 16 bits."""

NEGLIGIBLE = 2.0**-60
"""Weights below it cannot move a sum of bytes past a whole number."""


class Groups(NamedTuple):
    """The taps of a kernel that is the same upside down, sorted by weight.

    Attributes:
        radius: R, the largest shift.
        shifts: int64 (T, 2): rows, of which one stands for those above and below alike, and
            columns from the centre.
        ends: int64 (G,): where in ``shifts`` each group ends.
        weights: float64 (G,).
    """

    radius: int
    shifts: Offsets
    ends: Offsets
    weights: FloatArray


def group_taps(kernel: npt.NDArray[np.float32]) -> Groups:
    """Sort the taps of a kernel by their weight.

    Args:
        kernel: float32 (2 R + 1, 2 R + 1), the same upside down; at most 257 taps equal.

    Returns:
        Its groups of equal taps.

    Raises:
        ValueError: The kernel is not the same upside down, or too many taps are equal.
    """
    if not np.array_equal(kernel, kernel[::-1]):
        raise ValueError("kernel is not the same upside down")
    radius = kernel.shape[0] // 2
    lower = kernel[radius:]
    shifts, ends, weights = [], [], []
    for weight in np.unique(lower[lower > NEGLIGIBLE]):
        shifts.append(np.argwhere(lower == weight) - (0, radius))
        weights.append(float(weight))
        ends.append(sum(map(len, shifts)))
    if max(np.unique(kernel[kernel > NEGLIGIBLE], return_counts=True)[1]) > MOST_EQUAL:
        raise ValueError(f"more than {MOST_EQUAL} taps are equal")
    return Groups(radius, np.concatenate(shifts), np.array(ends), np.array(weights))


@compiled
def _fold(padded: ImageArray, middle: int, folded: Sums) -> None:
    """Add each row below the middle one to the row as far above it; the middle stays."""
    flat = padded.reshape(padded.shape[0], -1)
    for i in range(folded.shape[1]):
        folded[0, UP(i)] = flat[middle, UP(i)]
    for r in range(1, folded.shape[0]):
        above, below, out = flat[middle - r], flat[middle + r], folded[r]
        for i in range(out.size):
            out[UP(i)] = np.uint16(above[UP(i)]) + np.uint16(below[UP(i)])


@compiled
def _add_four(total: Sums, count: int, source: Sums, start: Offsets) -> None:
    a, b, c, d = UP(start[0]), UP(start[1]), UP(start[2]), UP(start[3])
    for i in range(count):
        k = UP(i)
        left, right = source[a + k] + source[b + k], source[c + k] + source[d + k]
        total[k] = np.uint16(total[k] + left + right)


@compiled
def _add_one(total: Sums, count: int, source: Sums, start: int) -> None:
    for i in range(count):
        k = UP(i)
        total[k] = np.uint16(total[k] + source[UP(start) + k])


@compiled
def grouped_sums(padded: ImageArray, groups: Groups, out: ImageArray) -> None:
    """Sum weighted pixels around each pixel and cut the sum off to a byte.

    Args:
        padded: uint8 (H + 2 R, W + 2 R, C).
        groups: The kernel.
        out: uint8 (H, W, C), to be filled.
    """
    height, _, channels = out.shape
    row = padded.shape[1] * channels
    steps = groups.shifts[:, 0] * row + (groups.shifts[:, 1] + groups.radius) * channels
    folded = np.empty((groups.radius + 1, row), np.uint16)
    source = folded.reshape(-1)
    sums, total = np.empty(SAMPLES, np.uint16), np.empty(SAMPLES)
    for y in range(height):
        _fold(padded, y + groups.radius, folded)
        target = out[y].reshape(-1)
        for left in range(0, target.size, SAMPLES):
            count = min(SAMPLES, target.size - left)
            places = steps + left
            total[:count] = 0.0
            start = 0
            for g in range(groups.weights.size):
                end = groups.ends[g]
                sums[:count] = 0
                while start + 4 <= end:
                    _add_four(sums, count, source, places[start : start + 4])
                    start += 4
                while start < end:
                    _add_one(sums, count, source, places[start])
                    start += 1
                weight = groups.weights[g]
                for i in range(count):
                    total[UP(i)] += weight * np.int32(sums[UP(i)])
            for i in range(count):
                target[UP(left + i)] = np.uint8(np.int32(min(total[UP(i)], 255.0)))

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

Bytes = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]
UP = np.uintp

SAMPLES = 2048
"""Samples whose sums are taken at a time."""

NEGLIGIBLE = 2.0**-60
"""Weights below it cannot move a sum of bytes past a whole number."""


class Groups(NamedTuple):
    """The taps of a kernel, sorted by weight.

    Attributes:
        shifts: int64 (T, 2): rows and columns from the centre.
        ends: int64 (G,): where in ``shifts`` each group ends.
        weights: float64 (G,).
    """

    shifts: Offsets
    ends: Offsets
    weights: FloatArray


def group_taps(kernel: npt.NDArray[np.float32]) -> Groups:
    """Sort the taps of a kernel by their weight.

    Args:
        kernel: float32 (2 R + 1, 2 R + 1); at most 257 taps may be equal.

    Returns:
        Its groups of equal taps.
    """
    half = kernel.shape[0] // 2
    shifts, ends, weights = [], [], []
    for weight in np.unique(kernel[kernel > NEGLIGIBLE]):
        shifts.append(np.argwhere(kernel == weight) - half)
        weights.append(float(weight))
        ends.append(sum(map(len, shifts)))
    return Groups(np.concatenate(shifts), np.array(ends), np.array(weights))


@compiled
def _add_four(total: Sums, source: Bytes, a: int, b: int, c: int, d: int) -> None:
    for i in range(total.size):
        k = UP(i)
        left = np.uint16(source[UP(a) + k]) + np.uint16(source[UP(b) + k])
        right = np.uint16(source[UP(c) + k]) + np.uint16(source[UP(d) + k])
        total[k] = total[k] + np.uint16(left + right)


@compiled
def _add_one(total: Sums, source: Bytes, a: int) -> None:
    for i in range(total.size):
        k = UP(i)
        total[k] = total[k] + np.uint16(source[UP(a) + k])


@compiled
def grouped_sums(padded: ImageArray, radius: int, groups: Groups, out: ImageArray) -> None:
    """Sum weighted pixels around each pixel and cut the sum off to a byte.

    Args:
        padded: uint8 (H + 2 R, W + 2 R, C).
        radius: R, at least as large as any shift.
        groups: The kernel.
        out: uint8 (H, W, C), to be filled.
    """
    height, width, channels = out.shape
    row = padded.shape[1] * channels
    source = padded.reshape(-1)
    centre = (radius * padded.shape[1] + radius) * channels
    steps = groups.shifts[:, 0] * row + groups.shifts[:, 1] * channels + centre
    target = out.reshape(-1)
    sums = np.empty(SAMPLES, np.uint16)
    total = np.empty(SAMPLES)
    for y in range(height):
        for left in range(0, width * channels, SAMPLES):
            count = min(SAMPLES, width * channels - left)
            at = y * row + left
            total[:] = 0.0
            start = 0
            for g in range(groups.weights.size):
                end = groups.ends[g]
                sums[:] = 0
                part = sums[:count]
                while start + 4 <= end:
                    _add_four(
                        part,
                        source,
                        at + steps[start],
                        at + steps[start + 1],
                        at + steps[start + 2],
                        at + steps[start + 3],
                    )
                    start += 4
                while start < end:
                    _add_one(part, source, at + steps[start])
                    start += 1
                weight = groups.weights[g]
                for i in range(count):
                    total[UP(i)] += weight * np.int32(sums[UP(i)])
            for i in range(count):
                k = UP(y * width * channels + left + i)
                target[k] = np.uint8(np.int32(min(total[UP(i)], 255.0)))

"""A window of a resized image, made without resizing the rest of it.

Pixel ``i`` of ``n`` covers the interval from ``i / n`` to ``(i + 1) / n`` of the side, as in
``torch.nn.functional.interpolate(align_corners=False)``; there is no anti-aliasing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.datasets.sample import ImageArray, LabelArray

__all__ = ["Window", "count_ids", "sample_bilinear", "sample_nearest"]

Indices = npt.NDArray[np.intp]
Weights = npt.NDArray[np.int32]

UP = np.uintp

BITS = 11
"""Weights are whole numbers of 1 / 2**BITS, so that a blend of four bytes fits into 32 bits."""


@dataclass(frozen=True)
class Window:
    """A part of an image after resizing.

    Attributes:
        size: Height and width of the whole image after resizing.
        top: First row of the window in it.
        left: First column.
        height: Rows of the window, at most ``size[0] - top``.
        width: Columns, at most ``size[1] - left``.
        flip: Whether left and right are exchanged, of the window's content alone.
    """

    size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def rows(self) -> Indices:
        """Number the window's rows in the resized image."""
        return np.arange(self.top, self.top + self.height)

    def columns(self) -> Indices:
        """Number the window's columns in the resized image, in the order of their use."""
        columns = np.arange(self.left, self.left + self.width)
        return columns[::-1] if self.flip else columns


def sample_bilinear(image: ImageArray, window: Window, out: ImageArray) -> None:
    """Resize an image bilinearly where a window shows it.

    Args:
        image: uint8 RGB (H, W, 3), contiguous.
        window: What is wanted.
        out: uint8 (h, w, 3) of the window's size, filled; a view into a larger array will do.
    """
    height, width = image.shape[:2]
    rows, row_weights = _neighbours(window.rows(), height, window.size[0])
    columns, column_weights = _neighbours(window.columns(), width, window.size[1])
    _blend(image.reshape(height, -1), rows, row_weights, columns, column_weights, out)


def sample_nearest(label: LabelArray, window: Window, out: LabelArray) -> None:
    """Resize a label to the nearest pixel where a window shows it.

    Args:
        label: uint8 (H, W).
        window: What is wanted.
        out: uint8 (h, w) of the window's size, filled.
    """
    _gather(label, *_nearest(label, window), out)


def count_ids(label: LabelArray, window: Window) -> npt.NDArray[np.int64]:
    """Count the pixels of each id that ``sample_nearest`` would show.

    Args:
        label: uint8 (H, W).
        window: Where to count.

    Returns:
        int64 (256,).
    """
    counts = np.zeros(256, np.int64)
    _count(label, *_nearest(label, window), counts)
    return counts


def _nearest(label: LabelArray, window: Window) -> tuple[Indices, Indices]:
    """Find the row and the column in which the middle of each pixel of the window lies."""
    (height, width), size = label.shape, window.size
    rows = (2 * window.rows() + 1) * height // (2 * size[0])
    return rows, (2 * window.columns() + 1) * width // (2 * size[1])


def _neighbours(places: Indices, source: int, resized: int) -> tuple[Indices, Weights]:
    """Find the pixel before the middle of each place, and the weight of the pixel after it."""
    # whole numbers up to the weight: rounding cannot depend on where a window begins
    middle = ((2 * places + 1) * source - resized).clip(0, (source - 1) * 2 * resized)
    before, rest = np.divmod(middle, 2 * resized)
    return before, np.round(rest * (2**BITS / (2 * resized))).astype(np.int32)


@compiled
def _blend(
    image: npt.NDArray[np.uint8],
    rows: Indices,
    row_weights: Weights,
    columns: Indices,
    column_weights: Weights,
    out: ImageArray,
) -> None:
    last_row, last_column = image.shape[0] - 1, image.shape[1] // 3 - 1
    first = min(columns[0], columns[-1])
    used = 3 * (min(max(columns[0], columns[-1]) + 1, last_column) + 1 - first)
    line = np.empty(used, np.int32)
    one, half = np.int32(1 << BITS), np.int32(1 << (2 * BITS - 1))
    for y in range(rows.size):
        above = image[rows[y], 3 * first :]
        below = image[min(rows[y] + 1, last_row), 3 * first :]
        weight = row_weights[y]
        for k in range(UP(used)):
            line[k] = above[k] * (one - weight) + below[k] * weight
        target = out[y]
        for x in range(columns.size):
            before = 3 * (columns[x] - first)
            after = 3 * (min(columns[x] + 1, last_column) - first)
            share = column_weights[x]
            for channel in range(3):
                blend = line[UP(before + channel)] * (one - share)
                blend += line[UP(after + channel)] * share + half
                target[UP(x), UP(channel)] = np.uint8(blend >> (2 * BITS))


@compiled
def _gather(label: LabelArray, rows: Indices, columns: Indices, out: LabelArray) -> None:
    for y in range(rows.size):
        line = label[rows[y]]
        for x in range(columns.size):
            out[y, x] = line[UP(columns[x])]


@compiled
def _count(
    label: LabelArray, rows: Indices, columns: Indices, counts: npt.NDArray[np.int64]
) -> None:
    for y in range(rows.size):
        line = label[rows[y]]
        for x in range(columns.size):
            counts[UP(line[UP(columns[x])])] += 1

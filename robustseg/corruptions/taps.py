"""Weighted sums of shifted rows, the inner loops of all blurs.

The sums are taken in double precision, in the order in which the taps are given; that order is
part of the definition, since the result is cut off to a byte. An image is worked on in tiles whose
surroundings are copied into a small array, so that every tap is read from the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray, quantised

__all__ = ["line_sums", "pair_sums"]

Offsets = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]
"""(H, W x C), uint8 or float64: the channels of a pixel stand side by side."""

UP = np.uintp

ROWS = 64
"""Height of a tile in rows of the image."""

SAMPLES = 510
"""Width of a tile in samples, whole pixels for 1 and for 3 channels."""


@compiled
def _copy_tile(
    source: Rows, channels: int, top: int, left: int, scale: float, tile: FloatArray
) -> None:
    """Copy a window divided by ``scale``; outside of the source its border pixels are repeated."""
    height = source.shape[0]
    width = source.shape[1] // channels
    pixels = tile.shape[1] // channels
    begin = min(max(-left, 0), pixels)
    end = max(min(width - left, pixels), begin)
    for r in range(tile.shape[0]):
        y = min(max(top + r, 0), height - 1)
        shift = left * channels
        for i in range(begin * channels, end * channels):
            tile[r, UP(i)] = source[y, UP(i + shift)] / scale
        for i in range(begin * channels):
            tile[r, i] = source[y, i % channels] / scale
        for i in range(end * channels, pixels * channels):
            tile[r, i] = source[y, (width - 1) * channels + i % channels] / scale


@compiled
def _add_line(
    total: FloatArray, source: FloatArray, start: Offsets, weight: FloatArray, begin: bool
) -> None:
    """Add eight taps to each sum, one after the other; at the beginning to nothing."""
    a, b, c, d = UP(start[0]), UP(start[1]), UP(start[2]), UP(start[3])
    e, f, g, h = UP(start[4]), UP(start[5]), UP(start[6]), UP(start[7])
    p, q, r, s, t, u, v, w = weight
    for i in range(total.size):
        k = UP(i)
        value = 0.0 if begin else total[k]
        value = (value + p * source[a + k]) + q * source[b + k]
        value = (value + r * source[c + k]) + s * source[d + k]
        value = (value + t * source[e + k]) + u * source[f + k]
        total[k] = (value + v * source[g + k]) + w * source[h + k]


@compiled
def line_sums(
    source: Rows,
    channels: int,
    shifts: npt.NDArray[np.int64],
    weights: FloatArray,
    as_bytes: bool,
    out: Rows,
) -> None:
    """Sum weighted, shifted copies of an image, repeating its border pixels.

    Args:
        source: uint8 or float64 (H, W x C).
        channels: C.
        shifts: int64 (T, 2): rows and columns from the result to each tap.
        weights: float64 (T,).
        as_bytes: Whether sums are cut off to 0-255 and to whole numbers.
        out: uint8 or float64 (H, W x C), to be filled.
    """
    height, width = source.shape[0], source.shape[1]
    taps = (weights.size + 7) // 8 * 8
    # Taps of weight zero fill up the last eight: adding their zeros changes no bit.
    weight = np.zeros(taps)
    weight[: weights.size] = weights
    start = np.zeros(taps, np.int64)
    first_row, first_column = shifts[:, 0].min(), shifts[:, 1].min()
    samples = SAMPLES + (shifts[:, 1].max() - first_column) * channels
    tile = np.empty((ROWS + shifts[:, 0].max() - first_row, samples))
    for j in range(weights.size):
        start[j] = (shifts[j, 0] - first_row) * samples
        start[j] += (shifts[j, 1] - first_column) * channels
    total = np.empty(SAMPLES)
    flat = tile.reshape(-1)
    for top in range(0, height, ROWS):
        for left in range(0, width, SAMPLES):
            _copy_tile(
                source, channels, top + first_row, left // channels + first_column, 1.0, tile
            )
            count = min(SAMPLES, width - left)
            for y in range(top, min(top + ROWS, height)):
                for j in range(0, taps, 8):
                    here = start[j : j + 8] + (y - top) * samples
                    _add_line(total, flat, here, weight[j : j + 8], j == 0)
                if as_bytes:
                    for i in range(count):
                        out[y, UP(left + i)] = np.uint8(np.int32(min(total[UP(i)], 255.0)))
                else:
                    for i in range(count):
                        out[y, UP(left + i)] = total[UP(i)]


@compiled
def _add_pairs(
    total: FloatArray,
    source: FloatArray,
    centre: int,
    reach: Offsets,
    weight: FloatArray,
    middle: float,
    begin: bool,
) -> None:
    """Add four symmetric pairs of taps to each sum, one after the other; at first to the middle."""
    o, a, b = UP(centre), UP(centre - reach[0]), UP(centre - reach[1])
    c, d, e = UP(centre - reach[2]), UP(centre - reach[3]), UP(centre + reach[0])
    f, g, h = UP(centre + reach[1]), UP(centre + reach[2]), UP(centre + reach[3])
    p, q, r, s = weight
    for i in range(total.size):
        k = UP(i)
        value = source[o + k] * middle if begin else total[k]
        value += (source[a + k] + source[e + k]) * p
        value += (source[b + k] + source[f + k]) * q
        value += (source[c + k] + source[g + k]) * r
        total[k] = value + (source[d + k] + source[h + k]) * s


@compiled
def _pair_sum(
    total: FloatArray, source: FloatArray, centre: int, reach: Offsets, weight: FloatArray
) -> None:
    """Sum the centre, then the pairs from the outermost to the innermost."""
    for j in range(1, weight.size, 4):
        four = weight[j : j + 4]
        _add_pairs(total, source, centre, reach[j : j + 4], four, weight[0], j == 1)


@compiled
def pair_sums(
    source: Rows,
    channels: int,
    half: FloatArray,
    scale: float,
    single: bool,
    as_bytes: bool,
    out: Rows,
) -> None:
    """Convolve columns, then rows with a symmetric kernel, repeating the border pixels.

    Args:
        source: uint8 or float64 (H, W x C).
        channels: C.
        half: float64 (R + 1,), the weights from the centre outwards.
        scale: What the source is divided by beforehand.
        single: Whether each of the two results is rounded to single precision.
        as_bytes: Whether results, 0-1, become bytes as ``quantise`` makes them.
        out: uint8 or float64 (H, W x C), to be filled.
    """
    height, width = source.shape[0], source.shape[1]
    radius = half.size - 1
    pairs = (radius + 3) // 4 * 4
    # The missing pairs of four come first, with weight zero at the centre: they change no bit.
    weight = np.zeros(1 + pairs)
    distance = np.zeros(1 + pairs, np.int64)
    weight[0] = half[0]
    for j in range(radius):
        weight[pairs - j] = half[j + 1]
        distance[pairs - j] = j + 1
    tile = np.empty((ROWS + 2 * radius, SAMPLES))
    flat = tile.reshape(-1)
    margin = radius * channels
    once = np.empty((ROWS, width + 2 * margin))
    total = np.empty(2 * SAMPLES)
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        for left in range(0, width, SAMPLES):
            _copy_tile(source, channels, top - radius, left // channels, scale, tile)
            end = margin + min(left + SAMPLES, width)
            for y in range(rows):
                part = once[y, margin + left : end]
                _pair_sum(part, flat, (y + radius) * SAMPLES, distance * SAMPLES, weight)
                if single:
                    _round(part, part)
        for y in range(rows):
            _sum_along(
                once[y], margin, channels, distance, weight, single, as_bytes, total, out[top + y]
            )


@compiled
def _sum_along(
    row: FloatArray,
    margin: int,
    channels: int,
    distance: Offsets,
    weight: FloatArray,
    single: bool,
    as_bytes: bool,
    total: FloatArray,
    out: Rows,
) -> None:
    """Convolve one row, whose first and last ``margin`` samples are yet to be filled."""
    width = out.size
    for i in range(margin):
        row[i] = row[margin + i % channels]
        row[margin + width + i] = row[margin + width - channels + i % channels]
    for left in range(0, width, total.size):
        part = total[: min(total.size, width - left)]
        _pair_sum(part, row, margin + left, distance * channels, weight)
        target = out[left : left + part.size]
        if single:
            _round(part, target)
        elif as_bytes:
            for i in range(part.size):
                target[UP(i)] = quantised(part[UP(i)])
        else:
            target[:] = part


@compiled
def _round(values: FloatArray, out: Rows) -> None:
    """Round to single precision."""
    for i in range(values.size):
        out[UP(i)] = np.float32(values[UP(i)])

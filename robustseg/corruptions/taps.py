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
def _add_line(total: FloatArray, source: FloatArray, start: Offsets, weight: FloatArray) -> None:
    """Add eight taps to each sum, one after the other."""
    a, b, c, d = UP(start[0]), UP(start[1]), UP(start[2]), UP(start[3])
    e, f, g, h = UP(start[4]), UP(start[5]), UP(start[6]), UP(start[7])
    p, q, r, s, t, u, v, w = weight
    for i in range(total.size):
        k = UP(i)
        near = (
            ((total[k] + p * source[a + k]) + q * source[b + k]) + r * source[c + k]
        ) + s * source[d + k]
        total[k] = (
            ((near + t * source[e + k]) + u * source[f + k]) + v * source[g + k]
        ) + w * source[h + k]


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
                total[:] = 0.0
                for j in range(0, taps, 8):
                    _add_line(
                        total, flat, start[j : j + 8] + (y - top) * samples, weight[j : j + 8]
                    )
                if as_bytes:
                    for i in range(count):
                        out[y, UP(left + i)] = np.uint8(np.int32(min(total[UP(i)], 255.0)))
                else:
                    for i in range(count):
                        out[y, UP(left + i)] = total[UP(i)]


@compiled
def _add_pairs(
    total: FloatArray,
    count: int,
    source: FloatArray,
    centre: int,
    reach: Offsets,
    weight: FloatArray,
) -> None:
    """Add four symmetric pairs of taps to each sum, one pair after the other."""
    a, b, c, d = (
        UP(centre - reach[0]),
        UP(centre - reach[1]),
        UP(centre - reach[2]),
        UP(centre - reach[3]),
    )
    e, f, g, h = (
        UP(centre + reach[0]),
        UP(centre + reach[1]),
        UP(centre + reach[2]),
        UP(centre + reach[3]),
    )
    p, q, r, s = weight
    for i in range(count):
        k = UP(i)
        near = (total[k] + (source[a + k] + source[e + k]) * p) + (
            source[b + k] + source[f + k]
        ) * q
        total[k] = (near + (source[c + k] + source[g + k]) * r) + (
            source[d + k] + source[h + k]
        ) * s


@compiled
def _pair_sum(
    total: FloatArray,
    count: int,
    source: FloatArray,
    centre: int,
    reach: Offsets,
    weight: FloatArray,
) -> None:
    """Sum the centre, then the pairs from the outermost to the innermost."""
    for i in range(count):
        total[UP(i)] = source[UP(centre + i)] * weight[0]
    for j in range(1, weight.size, 4):
        _add_pairs(total, count, source, centre, reach[j : j + 4], weight[j : j + 4])


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
            count = min(SAMPLES, width - left)
            for y in range(rows):
                _pair_sum(total, count, flat, (y + radius) * SAMPLES, distance * SAMPLES, weight)
                _round_into(total, count, single, once[y], margin + left)
        for y in range(rows):
            row = once[y]
            for i in range(margin):
                row[i] = row[margin + i % channels]
                row[margin + width + i] = row[margin + width - channels + i % channels]
            for left in range(0, width, 2 * SAMPLES):
                count = min(2 * SAMPLES, width - left)
                _pair_sum(total, count, row, margin + left, distance * channels, weight)
                if as_bytes:
                    for i in range(count):
                        out[top + y, UP(left + i)] = quantised(total[UP(i)])
                else:
                    _round_into(total, count, single, out[top + y], left)


@compiled
def _round_into(total: FloatArray, count: int, single: bool, out: Rows, at: int) -> None:
    if single:
        for i in range(count):
            out[UP(at + i)] = np.float32(total[UP(i)])
    else:
        for i in range(count):
            out[UP(at + i)] = total[UP(i)]

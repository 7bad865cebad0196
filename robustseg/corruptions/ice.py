"""Frost drawn by a procedure: feathery crystals, for users who want no photographs.

It is robustseg's own and not part of any published definition: numbers of ``frost_procedural`` and
of ``frost`` are not comparable.

The layer is drawn on a canvas of one size and stretched to the image, so that a stream gives the
same ice at every resolution, as large against the scene as the photographs are. Only uniform
numbers are drawn, turns are rational, sums are of integers, and the canvas is bytes before it is
stretched: there is no sine, exponential or rounded sum whose last bit differs between machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from robustseg.corruptions.pixels import FloatArray
from robustseg.corruptions.severity import EXTRA_TABLE, level
from robustseg.datasets.sample import ImageArray

__all__ = ["frost_procedural", "ice_layer"]

IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]

CANVAS = 1024
"""Longer side of the canvas; the lengths below are in its pixels."""

SEED_DISTANCE = 36
FEATHERS = 7
"""Feathers that grow from one seed."""

RIME = 12000
"""Loose needles between the feathers of a square canvas, fewer on a smaller one."""

TONES = np.array((0, 78, 122, 150, 170, 186, 199, 209, 218, 225, 232, 238, 243, 247, 251, 255))
"""Brightness by the weight of the strokes that lie over a pixel."""

TINT = ((0, 228), (8, 240), (20, 250))
"""Red, green and blue of the thinnest and of the brightest ice."""

LIGHT = (-0.6, -0.8)
"""Row and column of the direction that the light comes from."""


class Strokes(NamedTuple):
    """Curved lines on the canvas.

    Attributes:
        start: (2, N), row and column.
        along: (2, N), unit vector at the start.
        length: (N,).
        bend: (N,), deviation to one side over the squared distance from the start.
    """

    start: FloatArray
    along: FloatArray
    length: FloatArray
    bend: FloatArray


def frost_procedural(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Lay drawn ice over the image, with the weights of ``frost`` (not part of the definition).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; uniforms are drawn from it, how many depends on the image's shape.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    weights = level(EXTRA_TABLE.frost_procedural, severity)
    # In hundredths the weights are whole, and no sum passes 16 bits.
    image_weight, ice_weight = (round(100 * weight) for weight in weights)
    # numpy 1 would keep the product of bytes and a small number in bytes
    mixed = image.astype(np.uint16) * image_weight
    mixed += ice_layer(image.shape[0], image.shape[1], rng).astype(np.uint16) * ice_weight
    mixed //= 100
    made: ImageArray = np.minimum(mixed, 255).astype(np.uint8)
    return made


def ice_layer(height: int, width: int, rng: np.random.RandomState) -> ImageArray:
    """Draw the ice of a window.

    Args:
        height: Rows.
        width: Columns.
        rng: Random stream.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rows, columns = (max(1, side * CANVAS // max(height, width)) for side in (height, width))
    thickness = _draw_thickness(rows, columns, rng)
    feathers = _draw_feathers(thickness, rng)
    branches = _draw_branches(feathers, 3.4, 0.42, 0.36, rng)
    barbs = _draw_branches(branches, 3.0, 0.45, 0.28, rng)
    rime = _draw_rime(thickness, rng)
    weights = [2 + _glint(feathers), _glint(branches)]
    weights += [np.ones(strokes.length.size) for strokes in (barbs, rime)]
    cover = _cover(rows, columns, [feathers, branches, barbs, rime], weights)
    canvas = _shade(cover, thickness, grain=24 * rng.random_sample((rows, columns)))
    grey = _stretch(canvas, height, width)
    layer = np.empty((height, width, 3), np.uint8)
    for channel, (dark, bright) in enumerate(TINT):
        tint = dark + np.arange(256) * (bright - dark) // 255
        layer[..., channel] = tint.astype(np.uint8)[grey]
    return layer


def _draw_thickness(rows: int, columns: int, rng: np.random.RandomState) -> IntArray:
    """Draw how far the ice has grown, 0-255: in patches, and from the rim inwards."""
    patches = (2 * _draw_clouds(rows, columns, 3, rng) + _draw_clouds(rows, columns, 9, rng)) // 3
    row, column = np.arange(rows)[:, None], np.arange(columns)
    from_rim = np.minimum(np.minimum(row, rows - 1 - row), np.minimum(column, columns - 1 - column))
    rim = np.maximum(0, 110 - from_rim * 1000 // CANVAS)
    thickness: IntArray = np.minimum(patches * 3 // 4 + rim, 255)
    return thickness


def _draw_clouds(rows: int, columns: int, cells: int, rng: np.random.RandomState) -> IntArray:
    coarse = (256 * rng.random_sample((cells, 2 * cells))).astype(np.uint8)
    return _stretch(coarse, rows, columns, smooth=True).astype(np.int64)


def _draw_feathers(thickness: IntArray, rng: np.random.RandomState) -> Strokes:
    """Let fans of feathers grow from seeds on a shaken grid, longer where the ice is thick."""
    rows, columns = thickness.shape
    corner = np.mgrid[:rows:SEED_DISTANCE, :columns:SEED_DISTANCE].reshape(2, -1)
    seeds = corner + SEED_DISTANCE * rng.random_sample(corner.shape)
    count = seeds.shape[1]
    growth = (0.35 + 0.65 * rng.random_sample(count)) * (0.3 + 0.9 * _at(thickness, seeds))
    middle = np.repeat(_draw_directions(count, rng), FEATHERS, axis=1)
    total = FEATHERS * count
    return Strokes(
        np.repeat(seeds, FEATHERS, axis=1),
        _turned(middle, 3 * rng.random_sample(total) - 1.5),
        4 + 74 * np.repeat(growth, FEATHERS) * (0.3 + 0.7 * rng.random_sample(total)),
        0.008 * (rng.random_sample(total) - 0.5),
    )


def _draw_branches(
    stems: Strokes, spacing: float, turn: float, share: float, rng: np.random.RandomState
) -> Strokes:
    """Let straight branches grow from both sides of stems, in the outline of a leaf.

    Args:
        stems: What they grow from.
        spacing: Distance from one to the next on the same side.
        turn: Tangent of half the angle to the stem.
        share: Of the longest in the length of its stem.
        rng: Random stream.
    """
    sides = []
    for side, first in ((-1, 0.35), (1, 0.85)):
        which, distance = _walk(stems, spacing, first * spacing)
        done = distance / stems.length[which]
        outline = np.minimum(1 - done, 0.25 + 2.5 * done)
        length = stems.length[which] * outline * share
        length *= 0.55 + 0.45 * rng.random_sample(length.size)
        long = length >= 1.5
        which, distance, length = which[long], distance[long], length[long]
        along = stems.along[:, which]
        slope = 2 * stems.bend[which] * distance
        heading = along + np.stack((-along[1], along[0])) * slope
        turned = _turned(heading, np.full(length.size, side * turn))
        sides.append((_along(stems, which, distance), turned, length, np.zeros(length.size)))
    return Strokes(*(np.concatenate(parts, axis=-1) for parts in zip(*sides, strict=True)))


def _draw_rime(thickness: IntArray, rng: np.random.RandomState) -> Strokes:
    rows, columns = thickness.shape
    count = RIME * rows * columns // CANVAS**2 * 2
    start = rng.random_sample((2, count)) * np.array([[rows], [columns]])
    along = _draw_directions(count, rng)
    length = 2 + 12 * _at(thickness, start) * rng.random_sample(count)
    return Strokes(start, along, length, np.zeros(count))


def _draw_directions(count: int, rng: np.random.RandomState) -> FloatArray:
    """Draw unit vectors (2, N) of all directions."""
    ahead = np.array([[1.0], [0.0]]) * np.where(rng.random_sample(count) < 0.5, -1, 1)
    return _turned(ahead, 2 * rng.random_sample(count) - 1)


def _turned(vectors: FloatArray, half_tangent: FloatArray) -> FloatArray:
    """Rotate vectors (2, N) by angles given as the tangent of their half, with no sine."""
    square = half_tangent * half_tangent
    cosine, sine = (1 - square) / (1 + square), 2 * half_tangent / (1 + square)
    row, column = vectors
    return np.stack((cosine * row - sine * column, sine * row + cosine * column))


def _at(thickness: IntArray, place: FloatArray) -> FloatArray:
    """Read the thickness, 0-1, at places (2, N); those beyond the canvas take its border's."""
    row, column = (
        np.minimum(axis.astype(np.int64), size - 1)
        for axis, size in zip(place, thickness.shape, strict=True)
    )
    share: FloatArray = thickness[row, column] / 255
    return share


def _walk(strokes: Strokes, spacing: float, first: float) -> tuple[IntArray, FloatArray]:
    """List points on strokes: the number of the stroke, and the distance from its start."""
    count = int(strokes.length.max(initial=0) / spacing) + 1
    steps: FloatArray = first + spacing * np.arange(count, dtype=np.float64)
    which, step = np.nonzero(steps <= strokes.length[:, None])
    distance: FloatArray = steps[step]
    return which.astype(np.int64), distance


def _along(strokes: Strokes, which: IntArray, distance: FloatArray) -> FloatArray:
    """Give the positions (2, P) of points from ``_walk``."""
    row, column = strokes.along[:, which]
    aside = strokes.bend[which] * distance * distance
    places: FloatArray = strokes.start[:, which]
    places[0] += row * distance - column * aside
    places[1] += column * distance + row * aside
    return places


def _glint(strokes: Strokes) -> FloatArray:
    """Weigh strokes by how squarely the light meets them: 1-3."""
    row, column = strokes.along
    weight: FloatArray = 1 + np.rint(2 * np.abs(row * LIGHT[0] + column * LIGHT[1]))
    return weight


def _cover(
    rows: int, columns: int, layers: Sequence[Strokes], weights: Sequence[FloatArray]
) -> IntArray:
    """Sum the weights of the strokes over each pixel."""
    cells, values = [], []
    for strokes, weight in zip(layers, weights, strict=True):
        which, distance = _walk(strokes, 1.0, 0.0)
        row, column = np.rint(_along(strokes, which, distance)).astype(np.int64)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        cells.append(row[inside] * columns + column[inside])
        values.append(weight[which[inside]])
    total = np.bincount(np.concatenate(cells), np.concatenate(values), rows * columns)
    return total.reshape(rows, columns).astype(np.int64)


def _shade(cover: IntArray, thickness: IntArray, grain: FloatArray) -> ByteArray:
    """Light the ice from one corner: uint8 (H, W)."""
    strokes = _box(TONES[np.minimum(cover, len(TONES) - 1)].astype(np.int32), 2)
    halo = _box(_box(strokes, 13), 13)
    relief = np.zeros_like(strokes)
    relief[2:, 2:] = strokes[2:, 2:] - strokes[:-2, :-2]
    # Less of the halo keeps single strokes apart where many crowd together.
    lit = 95 * thickness + 130 * strokes - 60 * halo + 65 * relief
    grey = 88 + lit // 256 + grain.astype(np.int64)
    shaded: ByteArray = np.clip(grey, 0, 255).astype(np.uint8)
    return shaded


def _stretch(values: ByteArray, height: int, width: int, smooth: bool = False) -> ByteArray:
    """Bring an image to a size, by averages down or in between up, in whole numbers.

    Imaging libraries do this too, but not with the same bytes in all of their versions.
    """
    upright = _stretch_rows(values, height, smooth)
    # Both axes are stretched as rows, which lie together in memory.
    sideways = _stretch_rows(np.ascontiguousarray(upright.T), width, smooth)
    return np.ascontiguousarray(sideways.T)


def _stretch_rows(values: ByteArray, length: int, smooth: bool) -> ByteArray:
    """Stretch the first axis.

    Args:
        values: uint8 (H, W).
        length: New H.
        smooth: Whether values level off where they are known, instead of running straight through.
    """
    old = values.shape[0]
    places = np.arange(length)
    if length < old:
        edges = places * old // length
        sums = np.add.reduceat(values, edges, axis=0, dtype=np.int64)
        counts = np.diff(edges, append=old)
        averages: ByteArray = (sums // counts[:, None]).astype(np.uint8)
        return averages
    # Positions count from the middle of the first value, in 256ths, held within the outer middles.
    position = np.clip((2 * places + 1) * old * 128 // length - 128, 0, (old - 1) * 256)
    before, share = position >> 8, position & 255
    if smooth:
        share = share * share * (768 - 2 * share) >> 16
    after = np.minimum(before + 1, old - 1)
    weight = share.astype(np.uint16)[:, None]
    mixed = values[before] * (np.uint16(256) - weight) + values[after] * weight
    between: ByteArray = (mixed >> np.uint16(8)).astype(np.uint8)
    return between


def _box(values: npt.NDArray[np.int32], side: int) -> npt.NDArray[np.int32]:
    """Average over squares; sums of integers are exact, and what they give is cut to integers."""
    rows: npt.NDArray[np.int32] = ndimage.uniform_filter1d(values, side, axis=0)
    both: npt.NDArray[np.int32] = ndimage.uniform_filter1d(rows, side, axis=1)
    return both

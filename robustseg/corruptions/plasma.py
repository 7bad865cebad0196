"""The plasma fractal of fog: diamond-square on a torus (Fournier, Fussell and Carpenter, 1982)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray, quantised
from robustseg.corruptions.twister import Source, fill_uniforms, give_back, take_over
from robustseg.datasets.sample import ImageArray

__all__ = ["plasma_fractal", "veil"]

Words = npt.NDArray[np.uint32]
UP = np.uintp


class Octave(NamedTuple):
    """The last octave of a height map, its four parts (N, N) of a map (2 N, 2 N) side by side.

    Attributes:
        corners: Even rows, even columns.
        tops: Even rows, odd columns.
        lefts: Odd rows, even columns.
        centres: Odd rows, odd columns.
    """

    corners: FloatArray
    tops: FloatArray
    lefts: FloatArray
    centres: FloatArray


def plasma_fractal(size: int, decay: float, rng: np.random.RandomState) -> FloatArray:
    """Grow a random height map on a torus by the diamond-square algorithm.

    Args:
        size: Side of the map in pixels, a power of two, at least 2.
        decay: The disturbance is divided by it from each octave to the next, finer one.
        rng: Random stream; ``size**2 - 1`` uniforms are drawn from it.

    Returns:
        float64 (size, size), 0-1.
    """
    heights = np.empty((size, size))
    _interleave(_grown(size, decay, rng), heights)
    heights -= heights.min()
    heights /= heights.max()
    return heights


def veil(
    image: ImageArray, size: int, amplitude: float, decay: float, rng: np.random.RandomState
) -> ImageArray:
    """Mix in the top left part of a plasma fractal, keeping the brightest value of the image.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        size: Side of the fractal, a power of two, at least H and W.
        amplitude: Of the fractal, where the image is 0-1.
        decay: As in ``plasma_fractal``.
        rng: Random stream; ``size**2 - 1`` uniforms are drawn from it.

    Returns:
        uint8 RGB (H, W, 3).
    """
    octave = _grown(size, decay, rng)
    lowest = min(part.min() for part in octave)
    span = max(part.max() for part in octave) - lowest
    veiled = np.empty_like(image)
    _mix(image, octave, lowest, span, amplitude, image.max() / 255.0, veiled)
    return veiled


def _grown(size: int, decay: float, rng: np.random.RandomState) -> Octave:
    source = take_over(rng)
    corners = np.zeros((1, 1))
    wobble = 100.0
    while True:
        octave = Octave(corners, *(np.empty_like(corners) for _ in range(3)))
        _grow(source, wobble, octave)
        if 2 * len(corners) == size:
            give_back(source, rng)
            return octave
        corners = np.empty((2 * len(corners), 2 * len(corners)))
        _interleave(octave, corners)
        wobble /= decay


@compiled
def _interleave(octave: Octave, heights: FloatArray) -> None:
    size = octave.corners.shape[0]
    for y in range(size):
        for x in range(size):
            heights[2 * y, UP(2 * x)] = octave.corners[y, UP(x)]
            heights[2 * y, UP(2 * x + 1)] = octave.tops[y, UP(x)]
            heights[2 * y + 1, UP(2 * x)] = octave.lefts[y, UP(x)]
            heights[2 * y + 1, UP(2 * x + 1)] = octave.centres[y, UP(x)]


@compiled
def _grow(source: Source, wobble: float, octave: Octave) -> None:
    """Raise the centres of the squares, then the middles of their top, then of their left edges.

    Each is the mean of its four neighbours plus a disturbance; opposite edges of the map meet.
    """
    corners, tops, lefts, centres = octave
    size = corners.shape[0]
    words, noise = np.empty(2 * size, np.uint32), np.empty(size)
    edge = np.empty(size + 1)
    for y in range(size):
        _disturb(source, words, wobble, noise)
        above, below = corners[y], corners[(y + 1) % size]
        for x in range(size):
            edge[x] = above[x] + below[x]
        edge[size] = edge[0]
        for x in range(size):
            centres[y, x] = (edge[x] + edge[x + 1]) / 4 + noise[x]
    for y in range(size):
        _disturb(source, words, wobble, noise)
        above, below = centres[(y - 1) % size], centres[y]
        edge[:size] = corners[y]
        edge[size] = edge[0]
        for x in range(size):
            tops[y, x] = ((below[x] + above[x]) + (edge[x] + edge[x + 1])) / 4 + noise[x]
    for y in range(size):
        _disturb(source, words, wobble, noise)
        above, below = corners[y], corners[(y + 1) % size]
        edge[1:] = centres[y]
        edge[0] = edge[size]
        for x in range(size):
            lefts[y, x] = ((edge[x + 1] + edge[x]) + (above[x] + below[x])) / 4 + noise[x]


@compiled
def _disturb(source: Source, words: Words, wobble: float, out: FloatArray) -> None:
    fill_uniforms(source, words, out)
    for x in range(out.size):
        out[x] = wobble * (2 * wobble * out[x] - wobble)


@compiled
def _mix(
    image: ImageArray,
    octave: Octave,
    lowest: float,
    span: float,
    amplitude: float,
    brightest: float,
    out: ImageArray,
) -> None:
    height, width, _ = image.shape
    fog = np.empty(3 * width + 3)
    whole = brightest + amplitude
    for y in range(height):
        odd = y % 2 == 1
        evens, odds = octave.lefts[y // 2], octave.centres[y // 2]
        if not odd:
            evens, odds = octave.corners[y // 2], octave.tops[y // 2]
        for x in range((width + 1) // 2):
            even = amplitude * ((evens[x] - lowest) / span)
            uneven = amplitude * ((odds[x] - lowest) / span)
            k = UP(6 * x)
            fog[k] = fog[k + UP(1)] = fog[k + UP(2)] = even
            fog[k + UP(3)] = fog[k + UP(4)] = fog[k + UP(5)] = uneven
        pixels, target = image[y].reshape(-1), out[y].reshape(-1)
        for i in range(3 * width):
            k = UP(i)
            target[k] = quantised((pixels[k] / 255.0 + fog[k]) * brightest / whole)

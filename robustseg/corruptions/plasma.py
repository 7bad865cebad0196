"""The plasma fractal of fog: diamond-square on a torus (Fournier, Fussell and Carpenter, 1982)."""

from __future__ import annotations

import numpy as np

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray, quantised
from robustseg.corruptions.twister import Source, fill_uniforms, give_back, take_over
from robustseg.datasets.sample import ImageArray

__all__ = ["plasma_fractal", "veil"]

UP = np.uintp


def plasma_fractal(size: int, decay: float, rng: np.random.RandomState) -> FloatArray:
    """Grow a random height map on a torus by the diamond-square algorithm.

    Args:
        size: Side of the map in pixels, a power of two.
        decay: The disturbance is divided by it from each octave to the next, finer one.
        rng: Random stream; ``size**2 - 1`` uniforms are drawn from it.

    Returns:
        float64 (size, size), 0-1.
    """
    heights = _grown(size, decay, rng)
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
    heights = _grown(size, decay, rng)
    lowest = heights.min()
    brightest = image.max() / 255.0
    veiled = np.empty_like(image)
    _mix(image, heights, lowest, heights.max() - lowest, amplitude, brightest, veiled)
    return veiled


def _grown(size: int, decay: float, rng: np.random.RandomState) -> FloatArray:
    source = take_over(rng)
    heights = np.empty((size, size))
    _grow(source, decay, heights)
    give_back(source, rng)
    return heights


@compiled
def _disturb(
    source: Source,
    words: np.ndarray[tuple[int], np.dtype[np.uint32]],
    wobble: float,
    out: FloatArray,
) -> None:
    fill_uniforms(source, words, out)
    for i in range(out.size):
        out[i] = wobble * (2 * wobble * out[i] - wobble)


@compiled
def _grow(source: Source, decay: float, heights: FloatArray) -> None:
    """At each octave raise the centres of the squares, then their top, then their left edges."""
    size = heights.shape[0]
    heights[0, 0] = 0.0
    words = np.empty(size, np.uint32)
    uniforms = np.empty(size // 2)
    step = size
    wobble = 100.0
    while step >= 2:
        half = step // 2
        n = size // step
        noise = uniforms[:n]
        for y in range(0, size, step):
            _disturb(source, words, wobble, noise)
            above, below, out = heights[y], heights[(y + step) % size], heights[y + half]
            left = above[0] + below[0]
            for j in range(n):
                k = (j + 1) * step if j + 1 < n else 0
                right = above[k] + below[k]
                out[j * step + half] = (left + right) / 4 + noise[j]
                left = right
        for y in range(0, size, step):
            _disturb(source, words, wobble, noise)
            above, out, below = heights[(y - half) % size], heights[y], heights[y + half]
            left = out[0]
            for j in range(n):
                right = out[(j + 1) * step if j + 1 < n else 0]
                k = j * step + half
                out[k] = ((below[k] + above[k]) + (left + right)) / 4 + noise[j]
                left = right
        for y in range(0, size, step):
            _disturb(source, words, wobble, noise)
            above, out, below = heights[y], heights[y + half], heights[(y + step) % size]
            left = out[size - half]
            for j in range(n):
                k = j * step
                right = out[k + half]
                out[k] = ((right + left) + (above[k] + below[k])) / 4 + noise[j]
                left = right
        step = half
        wobble /= decay


@compiled
def _mix(
    image: ImageArray,
    heights: FloatArray,
    lowest: float,
    span: float,
    amplitude: float,
    brightest: float,
    out: ImageArray,
) -> None:
    height, width, channels = image.shape
    pixels, target = image.reshape(height, -1), out.reshape(height, -1)
    for y in range(height):
        for x in range(width):
            fog = amplitude * ((heights[y, x] - lowest) / span)
            for c in range(channels):
                k = UP(x * channels + c)
                foggy = pixels[y, k] / 255.0 + fog
                target[y, k] = quantised(foggy * brightest / (brightest + amplitude))

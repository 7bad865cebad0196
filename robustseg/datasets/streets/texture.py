"""Textures of the built-in street scenes: tileable noise, looked up in metres on a surface.

The noise tiles are constants of the program (drawn once, from a fixed seed): a scene chooses
where in a tile it looks, so that the same scene has the same texture at every resolution.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from robustseg.datasets.streets.camera import FloatArray

__all__ = [
    "TILE",
    "cloud_tile",
    "fade",
    "joints",
    "leaf_tile",
    "look_up",
    "paper_tile",
    "random_table",
]

TILE = 512
"""Side of a noise tile in texels; a power of two, so that wrapping is a mask."""

_SEED = 20230717


def _coloured(slope: float, stream: int) -> FloatArray:
    """Draw tileable noise with amplitude 1 / frequency ** slope, mean 0 and deviation 1."""
    rng = np.random.Generator(np.random.PCG64([_SEED, stream]))
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    fy = np.fft.fftfreq(TILE)[:, None] * TILE
    fx = np.fft.rfftfreq(TILE)[None, :] * TILE
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = 1.0
    tile = np.fft.irfft2(spectrum / frequency**slope, s=(TILE, TILE))
    clipped = np.clip((tile - tile.mean()) / tile.std(), -3, 3).astype(np.float32)
    clipped.flags.writeable = False
    return np.asarray(clipped, np.float32)


@cache
def cloud_tile() -> FloatArray:
    """Smooth noise, float32 (TILE, TILE): clouds, stains, patches."""
    return _coloured(1.7, 1)


@cache
def paper_tile() -> FloatArray:
    """Fine noise with some structure, float32 (TILE, TILE): plaster, asphalt, grass."""
    return _coloured(0.7, 2)


@cache
def leaf_tile() -> FloatArray:
    """Clumpy noise, float32 (TILE, TILE): foliage."""
    return _coloured(1.15, 3)


@cache
def random_table() -> FloatArray:
    """Uniform numbers 0-1, float32 (TILE, TILE): one for each slab, brick or window."""
    rng = np.random.Generator(np.random.PCG64([_SEED, 4]))
    return rng.random((TILE, TILE), dtype=np.float32)


def look_up(
    tile: FloatArray,
    u: npt.NDArray[np.float32],
    v: npt.NDArray[np.float32],
    size: float,
    shift: int = 0,
    smooth: bool = False,
) -> FloatArray:
    """Read a tile at surface coordinates.

    Args:
        tile: float32 (TILE, TILE).
        u: float32 metres; broadcast with ``v``.
        v: float32 metres.
        size: Side of a texel in metres.
        shift: Where in the tile to start, in texels.
        smooth: Interpolate between texels, for those that are larger than a pixel.

    Returns:
        float32, the broadcast shape.
    """
    scale = np.float32(1 / size)
    if smooth:
        return _interpolate(tile, u * scale, v * scale, shift)
    # A power-of-two mask wraps negative numbers as well.
    column = (np.floor(u * scale).astype(np.int32) + shift) & (TILE - 1)
    row = (np.floor(v * scale).astype(np.int32) + 3 * shift) & (TILE - 1)
    return np.asarray(tile.ravel()[row * TILE + column], np.float32)


def _interpolate(
    tile: FloatArray, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], shift: int
) -> FloatArray:
    left, top = np.floor(x), np.floor(y)
    column, row = left.astype(np.int32) + shift, top.astype(np.int32) + 3 * shift
    west, east = column & (TILE - 1), (column + 1) & (TILE - 1)
    north, south = (row & (TILE - 1)) * TILE, ((row + 1) & (TILE - 1)) * TILE
    flat = tile.ravel()
    across, down = x - left, y - top
    upper = flat[north + west]
    upper = upper + (flat[north + east] - upper) * across
    lower = flat[south + west]
    lower = lower + (flat[south + east] - lower) * across
    return np.asarray(upper + (lower - upper) * down, np.float32)


def fade(footprint: npt.NDArray[np.float32], size: float) -> FloatArray:
    """Return how much of a pattern of ``size`` metres survives a pixel's footprint, 0-1."""
    return np.asarray(np.clip(np.float32(1.6) - footprint * np.float32(2 / size), 0, 1), np.float32)


def joints(position: npt.NDArray[np.float32], pitch: float, width: float) -> npt.NDArray[np.bool_]:
    """Return where a repeated joint lies; all in metres."""
    scaled = position * np.float32(1 / pitch)
    result: npt.NDArray[np.bool_] = scaled - np.floor(scaled) < np.float32(width / pitch)
    return result

"""Plants of the built-in street scenes: trees, hedges and the leaves of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustseg.datasets.streets.camera import FloatArray
from robustseg.datasets.streets.paint import Canvas, Points, Shape, disc, limb
from robustseg.datasets.streets.texture import leaf_tile, look_up, paper_tile
from robustseg.datasets.streets.walls import Bools, Shader, Surface

__all__ = ["hedge", "paint_tree"]

_VEGETATION = 21
_BARK = (0.27, 0.22, 0.17)


@dataclass(frozen=True)
class _Stand:
    """Where a tree stands in the picture: pixel of its foot, pixels for a metre, depth."""

    x: float
    y: float
    metre: float
    depth: float


def paint_tree(
    canvas: Canvas, spot: tuple[float, float], height: float, rng: np.random.Generator
) -> None:
    """Paint a tree: its shade, a trunk, and a crown of clumps with gaps that let the sky through.

    Args:
        canvas: Where to paint.
        spot: X and Z of its foot in metres.
        height: Metres.
        rng: Its shape and colour.
    """
    camera = canvas.camera
    x, z = spot
    metre = camera.focal / z
    stand = _Stand(camera.width / 2 + x * metre, camera.horizon + camera.eye * metre, metre, z)
    clumps = _draw_crown(height, rng)
    colour, seed = np.asarray(_foliage(rng), np.float32), int(rng.integers(1 << 20))
    shade = disc(0, 0, 0.32 * height, 0.2 * height)
    ground = np.stack([x + shade[:, 0], np.zeros(len(shade)), z + shade[:, 1]], axis=1)
    canvas.darken(camera.project(ground), 0.3, 0.3 * metre)
    _paint_trunk(canvas, stand, height, seed)
    _paint_crown(canvas, stand, clumps, colour, seed)


def _paint_trunk(canvas: Canvas, stand: _Stand, height: float, seed: int) -> None:
    tall = height * stand.metre
    top = stand.y - 0.5 * tall
    trunk = limb(stand.x, stand.y, stand.x, top, 0.024 * tall, 0.014 * tall)
    red, green, blue = (float(c) for c in canvas.light.shade(np.array([0.0, 0.1, -1.0])))
    canvas.shapes([Shape(trunk, _BARK, _VEGETATION)], stand.depth, seed, (red, green, blue))


def _paint_crown(
    canvas: Canvas, stand: _Stand, clumps: Points, colour: FloatArray, seed: int
) -> None:
    flip = np.array([stand.metre, -stand.metre])
    corners = [clumps[:, :2] - clumps[:, 2:], clumps[:, :2] + clumps[:, 2:]]
    box = canvas.camera.clip(np.array([stand.x, stand.y]) + np.concatenate(corners) * flip)
    if box is None:
        return
    top, bottom, left, right = box
    u = ((np.arange(left, right) + 0.5 - stand.x) / stand.metre).astype(np.float32)[None, :]
    v = ((stand.y - np.arange(top, bottom) - 0.5) / stand.metre).astype(np.float32)[:, None]
    height = float((clumps[:, 1] + clumps[:, 2]).max())
    scale = max(height / 110, 0.05)
    texture = _leaves(u, v, scale, seed, smooth=stand.metre * scale > 3)
    ragged = _density(u, v, clumps) + (texture - 1) * np.float32(0.55)
    cover = np.clip(ragged * 7 + np.float32(0.3), 0, 1)
    high = (v - np.float32(0.3 * height)) * np.float32(1 / (0.7 * height))
    side = u * np.float32(canvas.light.sun[0] / (0.4 * height))
    bright = np.float32(0.62) + np.float32(0.38) * high + np.float32(0.16) * side
    amount = np.asarray(canvas.light.shade(np.array([0.0, 0.7, -0.7])), np.float32)
    patch = (texture * np.clip(bright, 0.35, 1.25))[..., None] * (colour * amount)
    canvas.lay(box, patch, cover, _VEGETATION, stand.depth)


def _density(u: FloatArray, v: FloatArray, clumps: Points) -> FloatArray:
    """Return how deep inside the nearest clump each pixel is; negative outside."""
    density = np.full((v.size, u.size), -9.0, np.float32)
    for x, y, radius in clumps.astype(np.float32):
        away = ((u - x) ** 2 + (v - y) ** 2) * np.float32(1 / radius**2)
        np.maximum(density, 1 - away, out=density)
    return density


def _draw_crown(height: float, rng: np.random.Generator) -> Points:
    """Draw the clumps of a crown: x, y and radius in metres, (n, 3)."""
    count = 7
    angle = np.arange(count) * (2 * np.pi / count) + rng.uniform(0, 1, count)
    wide = height * float(rng.uniform(0.16, 0.26))
    tall = height * float(rng.uniform(0.18, 0.27))
    middle = height - tall - 0.12 * height
    x, y = wide * np.cos(angle), middle + tall * np.sin(angle)
    radius = height * rng.uniform(0.11, 0.19, count)
    blobs = np.stack([x, y, radius], axis=1)
    core = np.array([[0.0, middle, 1.1 * min(wide, tall)]])
    return np.concatenate([core, blobs])


def hedge(rng: np.random.Generator, height: float) -> Shader:
    """Return the shader of a hedge or a row of far trees, with an uneven top."""
    seed = int(rng.integers(1 << 20))
    scale = max(height / 60, 0.03)
    green = np.asarray(_foliage(rng), np.float32)

    def shade(surface: Surface) -> tuple[FloatArray, Bools, Bools]:
        u, v = surface.u, surface.v
        bumps = look_up(leaf_tile(), u, np.zeros_like(u), scale * 1.5, seed)
        ragged = look_up(leaf_tile(), u, v, scale, seed + 1)
        inside = v < np.float32(height * 0.82) + (bumps + ragged) * np.float32(height * 0.05)
        light = _leaves(u, v, scale, seed) * (
            np.float32(0.55) + np.float32(0.45 / height) * np.maximum(v, 0)
        )
        return green * light[..., None], inside, inside

    return shade


def _foliage(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the colour of leaves: dark, bluish to olive, now and then autumnal."""
    kind = float(rng.random())
    strength = float(rng.uniform(0.8, 1.15))
    if kind < 0.12:
        return 0.46 * strength, 0.33 * strength, 0.13 * strength
    blend = float(rng.random())
    return (0.20 + 0.10 * blend) * strength, 0.35 * strength, (0.19 - 0.08 * blend) * strength


def _leaves(
    u: FloatArray, v: FloatArray, scale: float, seed: int, smooth: bool = False
) -> FloatArray:
    """Return the brightness of foliage: clumps, gaps and single leaves, around 1."""
    clump = look_up(leaf_tile(), u, v, scale * 1.6, seed, smooth)
    leaf = look_up(paper_tile(), u, v, scale * 0.6, seed + 2, smooth)
    light = 1 + np.float32(0.26) * clump + np.float32(0.18) * leaf
    if smooth:
        light = light + np.float32(0.16) * look_up(paper_tile(), u, v, scale * 0.17, seed + 5)
    return np.asarray(np.maximum(light, np.float32(0.2)))

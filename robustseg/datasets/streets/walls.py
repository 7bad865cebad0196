"""Upright surfaces of the built-in street scenes: houses, walls, fences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustseg.datasets.streets.camera import FloatArray, WallColumns
from robustseg.datasets.streets.paint import Canvas
from robustseg.datasets.streets.texture import (
    cloud_tile,
    fade,
    joints,
    leaf_tile,
    look_up,
    paper_tile,
    random_table,
)

__all__ = [
    "Bools",
    "House",
    "Shader",
    "Surface",
    "draw_house",
    "fence",
    "house",
    "paint_panel",
    "wall",
]

Spot = tuple[float, float]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Surface:
    """Pixels of an upright surface.

    Attributes:
        u: float32 (1, n), metres along it.
        v: float32 (m, n), metres above the ground.
        foot: float32 (1, n), side of a pixel on the surface in metres.
    """

    u: FloatArray
    v: FloatArray
    foot: FloatArray


Shader = Callable[[Surface], tuple[FloatArray, Bools, Bools]]
"""Gives unlit colour (m, n, 3), which pixels it paints, and which carry its label."""


def paint_panel(
    canvas: Canvas,
    start: Spot,
    end: Spot,
    span: tuple[float, float],
    shader: Shader,
    label: int,
) -> None:
    """Paint an upright surface over the ground line from ``start`` to ``end``.

    Args:
        canvas: Where to paint.
        start: X and Z of one end in metres.
        end: X and Z of the other end.
        span: Lowest and highest point in metres.
        shader: What it looks like.
        label: Its label id.
    """
    camera = canvas.camera
    columns = camera.wall_columns(start, end)
    if columns is None:
        return
    top, bottom = camera.wall_rows(columns.depth, *span)
    if top >= bottom:
        return
    rows = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - camera.horizon)
    v = np.float32(camera.eye) - rows[:, None] * (columns.depth / np.float32(camera.focal))
    surface = Surface(columns.along[None, :], v, _footprint(columns, camera.focal)[None, :])
    colour, painted, marked = shader(surface)
    inside = (v >= span[0]) & (v <= span[1])
    # The upper edge stands against the sky: soften it by the share of the pixel that it covers.
    above = (np.float32(span[1]) - v) * (np.float32(camera.focal) / columns.depth)
    cover = np.clip(above + np.float32(0.5), 0, 1) * (painted & (v >= span[0]))
    colour *= np.asarray(canvas.light.shade(_normal(start, end)), np.float32)
    labels = (inside & marked).astype(np.uint8) * np.uint8(label)
    box = (top, bottom, columns.left, columns.left + columns.along.size)
    canvas.lay(box, colour, cover, labels, columns.depth[None, :])


def _footprint(columns: WallColumns, focal: float) -> FloatArray:
    size = columns.depth / np.float32(focal)
    if columns.along.size > 1:
        size = np.maximum(size, np.abs(np.gradient(columns.along)).astype(np.float32))
    return size


def _normal(start: Spot, end: Spot) -> npt.NDArray[np.float64]:
    dx, dz = end[0] - start[0], end[1] - start[1]
    normal = np.array([dz, 0.0, -dx]) / max(float(np.hypot(dx, dz)), 1e-6)
    # Of the two sides of the wall, the camera at the origin sees the one that faces it.
    facing = normal @ np.array([start[0], 0.0, start[1]])
    result: npt.NDArray[np.float64] = -normal if facing > 0 else normal
    return result


@dataclass(frozen=True)
class House:
    """How a house front looks; metres, colours RGB 0-1."""

    paint: tuple[float, float, float]
    accent: tuple[float, float, float]
    style: str
    shop: bool
    base: float
    storey: float
    storeys: int
    bay: float
    window: tuple[float, float]
    roof: float
    tiles: tuple[float, float, float]
    seed: int

    @property
    def eaves(self) -> float:
        """Height of the front in metres."""
        return self.base + self.storey * self.storeys

    @property
    def height(self) -> float:
        """Height with the roof in metres."""
        return self.eaves + self.roof


_PLASTERS = (
    (0.80, 0.74, 0.60),
    (0.74, 0.70, 0.66),
    (0.70, 0.55, 0.42),
    (0.82, 0.80, 0.74),
    (0.62, 0.56, 0.50),
    (0.66, 0.64, 0.56),
    (0.72, 0.60, 0.55),
    (0.55, 0.52, 0.50),
)
_BRICKS = ((0.52, 0.29, 0.22), (0.46, 0.33, 0.26), (0.58, 0.42, 0.32))
_SIGNS = ((0.62, 0.12, 0.10), (0.12, 0.25, 0.50), (0.14, 0.36, 0.22), (0.75, 0.62, 0.2))


def draw_house(storeys: tuple[int, int], rng: np.random.Generator) -> House:
    """Draw a house front."""
    style = str(rng.choice(["plaster", "brick", "glass"], p=[0.58, 0.28, 0.14]))
    palette = _BRICKS if style == "brick" else _PLASTERS
    paint = np.asarray(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.75, 1.08)
    accent = _SIGNS[int(rng.integers(len(_SIGNS)))]
    shop = bool(rng.random() < 0.45)
    return House(
        paint=(float(paint[0]), float(paint[1]), float(paint[2])),
        accent=accent,
        style=style,
        shop=shop,
        base=float(rng.uniform(3.6, 4.4) if shop else rng.uniform(0.6, 1.2)),
        storey=float(rng.uniform(2.9, 3.5)),
        storeys=int(rng.integers(storeys[0], storeys[1] + 1)),
        bay=float(rng.uniform(1.8, 3.2)),
        window=(float(rng.uniform(0.42, 0.62)), float(rng.uniform(0.5, 0.66))),
        roof=0.0 if style == "glass" else float(rng.choice([0.4, 1.6, 2.4])),
        tiles=(0.42, 0.24, 0.18) if rng.random() < 0.55 else (0.27, 0.27, 0.30),
        seed=int(rng.integers(1 << 20)),
    )


def house(look: House) -> Shader:
    """Return the shader of a house front."""

    def shade(surface: Surface) -> tuple[FloatArray, Bools, Bools]:
        u, v, foot = surface.u, surface.v, surface.foot
        light = _masonry(surface, look)
        colour = np.asarray(look.paint, np.float32) * light[..., None]
        _windows(colour, surface, look)
        if look.shop:
            _shop(colour, surface, look)
        else:
            colour[v < look.base] *= np.float32(0.72)
        ledge = np.abs(v - np.float32(look.eaves - 0.15)) < 0.18
        colour[ledge] *= np.float32(1.18)
        roof = v > look.eaves
        if look.roof:
            row = joints(v, 0.33, 0.07) * fade(foot, 0.3)
            tile = look_up(random_table(), u, v, 0.33, look.seed)
            slope = np.float32(0.85) + np.float32(0.3) * tile - np.float32(0.25) * row
            colour[roof] = np.asarray(look.tiles, np.float32) * slope[roof][:, None]
        everywhere = np.ones(v.shape, np.bool_)
        return colour, everywhere, everywhere

    return shade


def _masonry(surface: Surface, look: House) -> FloatArray:
    u, v, foot = surface.u, surface.v, surface.foot
    light = 1 + np.float32(0.06) * look_up(paper_tile(), u, v, 0.03, look.seed) * fade(foot, 0.1)
    light += np.float32(0.06) * look_up(cloud_tile(), u, v * np.float32(0.5), 0.06, look.seed)
    # Splashes and exhaust darken the foot of every wall.
    light -= np.float32(0.14) * np.exp(-np.maximum(v, 0) * np.float32(1.4))
    if look.style == "brick":
        strength = fade(foot, 0.12)
        course = np.floor(v * np.float32(1 / 0.1)) * np.float32(0.13)
        seam = joints(v, 0.1, 0.016) | joints(u + course, 0.26, 0.016)
        light += np.float32(0.2) * seam * strength
        light += (
            np.float32(0.3)
            * (look_up(random_table(), u + course, v, 0.1, look.seed) - 0.5)
            * strength
        )
    return light


def _windows(colour: FloatArray, surface: Surface, look: House) -> None:
    """Set windows with frames, reflections and curtains into the colour, in place."""
    u, v = surface.u, surface.v
    wide, high = (0.86, 0.8) if look.style == "glass" else look.window
    across = u * np.float32(1 / look.bay)
    up = (v - np.float32(look.base)) * np.float32(1 / look.storey)
    column, row = np.floor(across), np.floor(up)
    x = np.abs(across - column - np.float32(0.5)) * np.float32(2)
    y = np.abs(up - row - np.float32(0.52)) * np.float32(2)
    upper = (v > look.base) & (v < look.eaves - 0.2)
    surround = upper & (x < wide + 0.12) & (y < high + 0.1)
    pane = upper & (x < wide) & (y < high)
    if look.style == "plaster":
        colour[surround] *= np.float32(1.14)
    luck = look_up(random_table(), column, row, 1.0, look.seed)
    sky = np.clip(np.float32(0.2) + (up - row) * np.float32(0.22) + luck * np.float32(0.22), 0, 1)
    glass = sky[..., None] * np.asarray((0.78, 0.92, 1.08), np.float32)
    curtain = (luck > 0.72) & (x > wide * 0.35)
    glass[curtain] = np.asarray((0.60, 0.58, 0.53), np.float32)
    bar = (x < 0.045) | (x > wide - 0.07) | (y > high - 0.07)
    glass[bar] = np.float32(0.72 if luck.flat[0] > 0.4 else 0.3)
    np.copyto(colour, glass, where=pane[..., None])
    sill = upper & (x < wide + 0.06) & (np.abs(up - row - np.float32(0.52 - high / 2)) < 0.025)
    colour[sill] *= np.float32(0.6)


def _shop(colour: FloatArray, surface: Surface, look: House) -> None:
    u, v = surface.u, surface.v
    low = v < look.base
    x = u * np.float32(1 / (1.6 * look.bay))
    inside = np.abs(x - np.floor(x) - np.float32(0.5)) < 0.43
    display = low & inside & (v > 0.5) & (v < look.base - 1.0)
    clutter = look_up(leaf_tile(), u, v, 0.05, look.seed) * np.float32(0.07)
    shade = np.float32(0.24) + np.abs(clutter) + np.float32(0.03) * np.maximum(v, 0)
    np.copyto(
        colour,
        shade[..., None] * np.asarray((1.0, 0.98, 0.92), np.float32),
        where=display[..., None],
    )
    board = low & (v > look.base - 0.85) & (v < look.base - 0.2)
    letters = joints(u, 0.45, 0.28) & (np.abs(v - np.float32(look.base - 0.52)) < 0.16)
    letters = letters & (
        look_up(random_table(), np.floor(u / np.float32(5)), np.zeros_like(u), 1.0, look.seed) > 0.4
    )
    colour[board] = np.asarray(look.accent, np.float32)
    colour[board & letters & (surface.foot < 0.3)] = np.float32(0.85)


def wall(rng: np.random.Generator, height: float) -> Shader:
    """Return the shader of a free-standing wall: concrete panels or rough stone, no windows."""
    seed = int(rng.integers(1 << 20))
    stone = bool(rng.random() < 0.4)
    grey = float(rng.uniform(0.42, 0.62))
    base = np.asarray((1.0, 0.97, 0.9) if stone else (1.0, 1.0, 0.99), np.float32) * np.float32(
        grey
    )
    pitch = 0.45 if stone else 2.5

    def shade(surface: Surface) -> tuple[FloatArray, Bools, Bools]:
        u, v, foot = surface.u, surface.v, surface.foot
        light = 1 + np.float32(0.08) * look_up(paper_tile(), u, v, 0.025, seed) * fade(foot, 0.1)
        # Rain draws its stains downwards.
        light += np.float32(0.10) * look_up(cloud_tile(), u, v * np.float32(0.25), 0.03, seed)
        light -= np.float32(0.2) * np.exp(-np.maximum(v, 0) * np.float32(1.5))
        shifted = u + np.floor(v / np.float32(pitch)) * np.float32(0.37 * stone)
        seam = joints(shifted, pitch, 0.05) | (joints(v, pitch, 0.04) & stone)
        light -= np.float32(0.25) * seam * fade(foot, pitch / 2)
        if stone:
            block = look_up(random_table(), shifted, v, pitch, seed) - np.float32(0.5)
            light += np.float32(0.3) * block * fade(foot, pitch)
        light += np.float32(0.22) * (v > height - 0.16)
        everywhere = np.ones(v.shape, np.bool_)
        return base * light[..., None], everywhere, everywhere

    return shade


def fence(rng: np.random.Generator, height: float) -> Shader:
    """Return the shader of a fence: boards or bars with what is behind showing through."""
    wood = bool(rng.random() < 0.5)
    tones = (
        ((0.46, 0.33, 0.20), (0.60, 0.50, 0.36))
        if wood
        else ((0.20, 0.26, 0.24), (0.72, 0.72, 0.70))
    )
    base = np.asarray(tones[int(rng.integers(2))], np.float32)
    pitch, bar = (0.22, 0.15) if wood else (0.2, 0.075)
    seed = int(rng.integers(1 << 20))

    def shade(surface: Surface) -> tuple[FloatArray, Bools, Bools]:
        u, v = surface.u, surface.v
        upright = joints(u, pitch, bar)
        post = joints(u, 2.4, 0.14)
        rail = (np.abs(v - np.float32(height - 0.18)) < 0.06) | (np.abs(v - np.float32(0.3)) < 0.06)
        # Where bars are finer than a pixel, some pixels keep them: a dither, not a grey veil.
        painted = np.broadcast_to(upright | post, v.shape) | rail
        board = look_up(random_table(), u, np.zeros_like(u), pitch, seed)
        light = (
            np.float32(0.8)
            + np.float32(0.3) * board
            + np.float32(0.07) * look_up(paper_tile(), u, v * np.float32(0.3), 0.02, seed)
        )
        light = light + np.float32(0.15) * rail - np.float32(0.12) * (v < 0.25)
        return base * light[..., None], painted, np.ones(v.shape, np.bool_)

    return shade

"""What stands beside the road in the built-in street scenes: trees, lamps, lights, signs, bins."""

from __future__ import annotations

import numpy as np

from robustseg.datasets.street_paint import Canvas, Colour, Shape, disc, limb
from robustseg.datasets.street_solids import Block, rect
from robustseg.datasets.street_walls import foliage, leaves

__all__ = ["bin_block", "lamp", "paint_tree", "sign", "traffic_light", "trolley_block"]

_STATIC, _DYNAMIC, _POLE, _LIGHT, _SIGN, _VEGETATION = 4, 5, 17, 19, 20, 21
_INK: Colour = (0.1, 0.1, 0.1)
_GREYS: tuple[Colour, ...] = ((0.36, 0.37, 0.38), (0.56, 0.57, 0.57), (0.18, 0.21, 0.20))


def paint_tree(
    canvas: Canvas, spot: tuple[float, float], height: float, rng: np.random.Generator
) -> None:
    """Paint a tree: a trunk, and a crown of clumps with gaps that let the sky through.

    Args:
        canvas: Where to paint.
        spot: X and Z of its foot in metres.
        height: Metres.
        rng: Its shape and colour.
    """
    camera, light = canvas.camera, canvas.light
    x, z = spot
    metre = camera.focal / z
    middle, feet = camera.width / 2 + x * metre, camera.horizon + camera.eye * metre
    blobs = _crown(height, rng)
    colour, seed = np.asarray(foliage(rng), np.float32), int(rng.integers(1 << 20))
    shade = disc(0, 0, 0.32 * height, 0.2 * height)
    ground = np.stack([x + shade[:, 0], np.zeros(16), z + shade[:, 1]], axis=1)
    canvas.darken(camera.project(ground), 0.3, 0.3 * metre)
    bark: Colour = (0.27, 0.22, 0.17)
    trunk = limb(
        middle,
        feet,
        middle,
        feet - 0.5 * height * metre,
        0.024 * height * metre,
        0.014 * height * metre,
    )
    lit = light.shade(np.array([0.0, 0.1, -1.0]))
    canvas.shapes(
        [Shape(trunk, bark, _VEGETATION)], z, seed, (float(lit[0]), float(lit[1]), float(lit[2]))
    )
    reach = np.array([middle, feet]) + np.concatenate(
        [
            (blobs[:, :2] - blobs[:, 2:]) * (metre, -metre),
            (blobs[:, :2] + blobs[:, 2:]) * (metre, -metre),
        ]
    )
    box = camera.clip(reach)
    if box is None:
        return
    top, bottom, left, right = box
    u = ((np.arange(left, right) + 0.5 - middle) / metre).astype(np.float32)[None, :]
    v = ((feet - np.arange(top, bottom) - 0.5) / metre).astype(np.float32)[:, None]
    scale = max(height / 110, 0.05)
    density = np.full((v.size, u.size), -9.0, np.float32)
    for bx, by, radius in blobs.astype(np.float32):
        away = ((u - bx) ** 2 + (v - by) ** 2) * np.float32(1 / radius**2)
        np.maximum(density, 1 - away, out=density)
    texture = leaves(u, v, scale, seed, smooth=metre * scale > 3)
    cover = np.clip((density + (texture - 1) * np.float32(0.55)) * 7 + np.float32(0.3), 0, 1)
    high = (v - np.float32(0.3 * height)) * np.float32(1 / (0.7 * height))
    side = u * np.float32(light.sun[0] / (0.4 * height))
    bright = np.float32(0.62) + np.float32(0.38) * high + np.float32(0.16) * side
    amount = np.asarray(light.shade(np.array([0.0, 0.7, -0.7])), np.float32)
    patch = (texture * np.clip(bright, 0.35, 1.25))[..., None] * (colour * amount)
    canvas.lay(box, patch, cover, _VEGETATION, z)


def _crown(
    height: float, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
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


def lamp(rng: np.random.Generator, inward: float) -> list[Shape]:
    """Draw a street lamp whose arm reaches over the road; ``inward`` is -1 or 1."""
    grey = _GREYS[int(rng.integers(3))]
    high = float(rng.uniform(5.5, 8.0))
    arm = inward * float(rng.uniform(0.8, 1.8))
    return [
        Shape(limb(0, 0, 0, high, 0.11, 0.07), grey, _POLE),
        Shape(limb(0, 0, 0, 0.9, 0.15, 0.14), _dim(grey), _POLE),
        Shape(limb(0, high, arm, high + 0.35, 0.06, 0.05), grey, _POLE),
        Shape(
            limb(arm - 0.3, high + 0.33, arm + 0.3, high + 0.38, 0.1, 0.06), (0.7, 0.7, 0.66), _POLE
        ),
    ]


def traffic_light(rng: np.random.Generator) -> list[Shape]:
    """Draw a traffic light on its pole."""
    grey = _GREYS[int(rng.integers(3))]
    base = float(rng.uniform(2.3, 2.9))
    on = int(rng.integers(3))
    lamps: list[Colour] = [(0.10, 0.75, 0.45), (0.95, 0.65, 0.08), (0.98, 0.12, 0.08)]
    shapes = [
        Shape(limb(0, 0, 0, base + 0.1, 0.095, 0.085), grey, _POLE),
        Shape(limb(0, base, 0, base + 1.1, 0.24, 0.24), (0.06, 0.07, 0.07), _LIGHT),
    ]
    for index, colour in enumerate(lamps):
        lit = index == on
        tone = colour if lit else _dim(_dim(_dim(_dim(_dim(colour)))))
        shapes.append(
            Shape(disc(0, base + 0.22 + 0.33 * index, 0.125, 0.125, 12), tone, _LIGHT, lit)
        )
    if rng.random() < 0.4:
        shapes.append(
            Shape(limb(0.24, base + 0.2, 0.24, base + 0.9, 0.1, 0.1), (0.06, 0.07, 0.07), _LIGHT)
        )
    return shapes


def sign(rng: np.random.Generator) -> list[Shape]:
    """Draw one or two traffic signs on a pole: round, triangular, square or a direction board."""
    grey = _GREYS[int(rng.integers(2))]
    high = float(rng.uniform(2.3, 3.0))
    shapes = [Shape(limb(0, 0, 0, high + 0.5, 0.065, 0.06), grey, _POLE)]
    shapes += _plate(high, rng)
    if rng.random() < 0.4:
        shapes += _plate(high - 0.85, rng)
    return shapes


def _plate(y: float, rng: np.random.Generator) -> list[Shape]:
    white: Colour = (0.86, 0.86, 0.84)
    red: Colour = (0.72, 0.06, 0.07)
    blue: Colour = (0.07, 0.22, 0.58)
    yellow: Colour = (0.88, 0.72, 0.08)
    r = float(rng.uniform(0.36, 0.46))
    kind = int(rng.integers(5))
    if kind == 0:
        parts = [
            (disc(0, y, r, r), red),
            (disc(0, y, r * 0.72, r * 0.72), white),
            (limb(-0.12, y, 0.12, y, 0.08, 0.08), _dim(_INK)),
        ]
    elif kind == 1:
        big = np.array([(-r, y - 0.8 * r), (r, y - 0.8 * r), (0, y + r)])
        parts = [(big, red), (big * (0.62, 0.62) + (0, 0.35 * y), white)]
    elif kind == 2:
        parts = [
            (disc(0, y, r, r), blue),
            (limb(0, y - 0.2, 0, y + 0.1, 0.06, 0.06), white),
            (np.array([(-0.2, y + 0.05), (0.2, y + 0.05), (0, y + 0.28)]), white),
        ]
    elif kind == 3:
        square = np.array([(0, y - r), (r, y), (0, y + r), (-r, y)])
        parts = [(square, white), ((square - (0, y)) * 0.78 + (0, y), yellow)]
    else:
        board = np.array([(-0.75, y - 0.3), (0.75, y - 0.3), (0.75, y + 0.3), (-0.75, y + 0.3)])
        ink = blue if rng.random() < 0.5 else yellow
        parts = [
            (board, white),
            ((board - (0, y)) * (0.95, 0.88) + (0, y), ink),
            (limb(-0.5, y, 0.4, y, 0.05, 0.05), white if ink is blue else _INK),
        ]
    return [Shape(points, colour, _SIGN) for points, colour in parts]




def bin_block(rng: np.random.Generator) -> list[Block]:
    """Build a bin or cabinet, which Cityscapes labels *static*."""
    colour = ((0.20, 0.28, 0.22), (0.42, 0.43, 0.42), (0.50, 0.34, 0.12))[int(rng.integers(3))]
    half, high = float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.9, 1.4))
    lid = [rect(0.0, 0.82, 1.0, 0.88, _dim(colour)), rect(0.2, 0.3, 0.8, 0.6, _dim(colour))]
    shape = (half, -half, half)
    return [Block(0.0, high, shape, shape, colour, _STATIC, {"rear": lid, "side": lid})]


def trolley_block(rng: np.random.Generator) -> list[Block]:
    """Build a loaded cart, which Cityscapes labels *dynamic*."""
    half = float(rng.uniform(0.35, 0.5))
    deck, load = (half, -0.6, 0.6), (half * 0.9, -0.5, 0.4)
    box: Colour = (0.56, 0.44, 0.28)
    tape = [rect(0.45, 0.0, 0.55, 1.0, (0.68, 0.58, 0.40))]
    return [
        Block(0.05, 0.3, deck, deck, (0.2, 0.2, 0.22), _DYNAMIC),
        Block(
            0.3,
            float(rng.uniform(0.8, 1.2)),
            load,
            load,
            box,
            _DYNAMIC,
            {"rear": tape, "side": tape},
        ),
    ]


def _dim(colour: Colour) -> Colour:
    return colour[0] * 0.72, colour[1] * 0.72, colour[2] * 0.72

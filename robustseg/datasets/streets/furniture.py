"""What stands beside the road in the built-in street scenes: lamps, lights, signs, bins."""

from __future__ import annotations

import numpy as np

from robustseg.datasets.streets.paint import Colour, Shape, disc, limb
from robustseg.datasets.streets.solids import Block, rect

__all__ = ["bin_block", "lamp", "sign", "traffic_light", "trolley_block"]

_STATIC, _DYNAMIC, _POLE, _LIGHT, _SIGN = 4, 5, 17, 19, 20
_INK: Colour = (0.1, 0.1, 0.1)
_GREYS: tuple[Colour, ...] = ((0.36, 0.37, 0.38), (0.56, 0.57, 0.57), (0.18, 0.21, 0.20))


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

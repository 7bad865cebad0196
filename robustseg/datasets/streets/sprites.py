"""Flat figures of the built-in street scenes: people, riders, bicycles, motorcycles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustseg.datasets.streets.paint import Canvas, Colour, Points, Shape, disc, limb, ring

__all__ = [
    "bicycle",
    "cyclist",
    "cyclist_behind",
    "motorcycle",
    "motorcyclist",
    "motorcyclist_behind",
    "paint_sprite",
    "person",
]

_PERSON, _RIDER, _MOTORCYCLE, _BICYCLE = 24, 25, 32, 33
_BLACK: Colour = (0.07, 0.07, 0.08)
_STEEL: Colour = (0.50, 0.51, 0.53)
_SKINS: tuple[Colour, ...] = ((0.80, 0.60, 0.48), (0.62, 0.43, 0.32), (0.38, 0.25, 0.18))
_CLOTHES: tuple[Colour, ...] = (
    (0.12, 0.13, 0.17),
    (0.20, 0.22, 0.30),
    (0.55, 0.12, 0.13),
    (0.70, 0.68, 0.63),
    (0.18, 0.30, 0.46),
    (0.40, 0.36, 0.26),
    (0.72, 0.55, 0.15),
    (0.30, 0.12, 0.26),
    (0.16, 0.30, 0.20),
)


_TROUSERS: tuple[Colour, ...] = (
    (0.10, 0.11, 0.14),
    (0.17, 0.21, 0.32),
    (0.24, 0.30, 0.42),
    (0.30, 0.29, 0.28),
    (0.46, 0.40, 0.30),
)
_BIKES: tuple[Colour, ...] = (
    (0.6, 0.08, 0.08),
    (0.12, 0.12, 0.14),
    (0.1, 0.2, 0.5),
    (0.65, 0.65, 0.62),
)
_HELMETS: tuple[Colour, ...] = ((0.75, 0.75, 0.73), (0.1, 0.1, 0.1), (0.6, 0.1, 0.1))


_BARS = (
    (-0.53, 0.34, -0.02, 0.3),
    (-0.02, 0.3, 0.4, 0.74),
    (-0.18, 0.78, 0.4, 0.78),
    (-0.02, 0.3, -0.2, 0.88),
    (-0.53, 0.34, -0.18, 0.78),
    (0.53, 0.34, 0.38, 0.98),
)
"""Tubes of a bicycle's frame: from x, y to x, y in metres."""


def paint_sprite(
    canvas: Canvas, shapes: Sequence[Shape], spot: tuple[float, float], turn: float, seed: int
) -> None:
    """Paint a flat figure that stands on the ground and faces the camera.

    Args:
        canvas: Where to paint.
        shapes: In metres: x to the right of the feet, y up.
        spot: X and Z of its feet in metres.
        turn: Factor on its width, as seen when it is turned away; negative mirrors it.
        seed: Where its texture starts.
    """
    camera = canvas.camera
    x, z = spot
    metre = camera.focal / z
    foot = np.array([camera.width / 2 + x * metre, camera.horizon + camera.eye * metre])
    scale = np.array([turn * metre, -metre])
    widths = np.concatenate([s.points[:, 0] for s in shapes])
    half = max(float(np.abs(widths).max()) * abs(turn), 0.25)
    flat = disc(0, 0, half, 0.28)
    ground = np.stack([x + flat[:, 0], np.zeros(len(flat)), z + flat[:, 1]], axis=1)
    canvas.darken(camera.project(ground), 0.5, 0.06 * metre)
    lit = canvas.light.shade(np.array([0.0, 0.35, -0.94]))
    placed = [Shape(foot + s.points * scale, s.colour, s.label, s.glows, s.alpha) for s in shapes]
    canvas.shapes(placed, z, seed, (float(lit[0]), float(lit[1]), float(lit[2])))


def person(rng: np.random.Generator) -> list[Shape]:
    """Draw a pedestrian, standing or walking."""
    tall = float(rng.uniform(1.58, 1.9) if rng.random() < 0.88 else rng.uniform(1.1, 1.4))
    stride = float(rng.uniform(0.05, 0.3))
    broad = float(rng.uniform(0.2, 0.27))
    coat, trousers = _pick(_CLOTHES, rng), _pick(_TROUSERS, rng)
    skin, hair = _pick(_SKINS, rng), _pick(((0.10, 0.08, 0.07), (0.36, 0.25, 0.14)), rng)
    swing = stride * float(rng.choice([-0.8, 0.8]))
    long_coat = rng.random() < 0.3
    shapes = [
        *_limbs(0.0, 0.5 * tall, -stride, 0.06, 0.1, 0.07, trousers),
        *_limbs(0.0, 0.5 * tall, stride * 0.9, 0.06, 0.1, 0.07, _dim(trousers)),
        _part(
            limb(-broad, 0.78 * tall, -broad - swing * 0.6, 0.45 * tall, 0.06, 0.045), _dim(coat)
        ),
        _part(_torso(tall, broad, 0.40 if long_coat else 0.47), coat),
        _part(limb(broad, 0.78 * tall, broad + swing * 0.6, 0.45 * tall, 0.06, 0.045), _dim(coat)),
        _part(disc(0, 0.92 * tall, 0.105, 0.075 * tall), skin),
        _part(_cap(tall), hair),
    ]
    if rng.random() < 0.35:
        shapes.append(
            _part(limb(broad, 0.7 * tall, broad, 0.5 * tall, 0.1, 0.13), _pick(_CLOTHES, rng))
        )
    return shapes


def bicycle(rng: np.random.Generator) -> list[Shape]:
    """Draw a bicycle from the side; its wheels are labelled as discs, as annotators do."""
    frame = _pick(((0.55, 0.1, 0.1), (0.1, 0.25, 0.5), (0.12, 0.12, 0.13), (0.62, 0.62, 0.6)), rng)
    shapes: list[Shape] = []
    for x in (-0.53, 0.53):
        shapes.append(Shape(disc(x, 0.34, 0.35, 0.35), None, _BICYCLE))
        shapes.append(Shape(disc(x, 0.34, 0.33, 0.33), (0.3, 0.3, 0.31), None, alpha=0.35))
        shapes.append(Shape(ring(x, 0.34, 0.355, 0.355, 0.84), _BLACK, _BICYCLE))
        shapes.append(Shape(disc(x, 0.34, 0.05, 0.05, 8), _STEEL, _BICYCLE))
    shapes.append(
        Shape(np.array([(-0.53, 0.34), (0.0, 0.3), (0.42, 0.78), (-0.18, 0.76)]), None, _BICYCLE)
    )
    shapes += [Shape(limb(*bar, 0.028, 0.028), frame, _BICYCLE) for bar in _BARS]
    shapes.append(Shape(limb(-0.32, 0.92, -0.06, 0.92, 0.04, 0.03), _BLACK, _BICYCLE))
    shapes.append(Shape(limb(0.3, 1.0, 0.46, 1.02, 0.025, 0.025), _BLACK, _BICYCLE))
    return shapes


def cyclist(rng: np.random.Generator) -> list[Shape]:
    """Draw someone riding a bicycle."""
    coat, trousers = _pick(_CLOTHES, rng), _pick(_TROUSERS, rng)
    knee = float(rng.uniform(0.1, 0.28))
    body = [
        *_leg((-0.2, 0.98), (knee, 0.62), (-0.03, 0.2), _dim(trousers)),
        *_leg((-0.2, 0.98), (0.3 - knee, 0.66), (0.05, 0.34), trousers),
        *_rider_top(coat, _pick(_SKINS, rng), 0.98, 0.36, rng),
    ]
    return [*bicycle(rng), *body]


def motorcycle(rng: np.random.Generator) -> list[Shape]:
    """Draw a motorcycle or scooter from the side."""
    paint = _pick(_BIKES, rng)
    shapes: list[Shape] = []
    for x in (-0.68, 0.68):
        shapes.append(Shape(disc(x, 0.32, 0.33, 0.33), _BLACK, _MOTORCYCLE))
        shapes.append(Shape(disc(x, 0.32, 0.19, 0.19), _STEEL, _MOTORCYCLE))
    engine = np.array([(-0.45, 0.22), (0.32, 0.22), (0.42, 0.62), (-0.35, 0.66)])
    shapes.append(Shape(engine, (0.22, 0.22, 0.23), _MOTORCYCLE))
    tank = np.array([(-0.1, 0.62), (0.42, 0.6), (0.52, 0.92), (0.1, 0.95)])
    fairing = np.array([(0.35, 0.5), (0.68, 0.66), (0.62, 1.1), (0.42, 1.14)])
    tail = np.array([(-0.95, 0.72), (-0.1, 0.6), (0.0, 0.82), (-0.9, 0.9)])
    shapes += [Shape(p, paint, _MOTORCYCLE) for p in (tail, tank, fairing)]
    shapes.append(Shape(limb(-0.75, 0.9, 0.0, 0.86, 0.06, 0.06), _BLACK, _MOTORCYCLE))
    shapes.append(Shape(limb(0.68, 0.32, 0.45, 1.05, 0.045, 0.045), _STEEL, _MOTORCYCLE))
    shapes.append(Shape(limb(0.3, 1.1, 0.5, 1.12, 0.03, 0.03), _BLACK, _MOTORCYCLE))
    shapes.append(Shape(limb(-0.95, 0.28, -0.1, 0.26, 0.06, 0.05), _STEEL, _MOTORCYCLE))
    shapes.append(Shape(disc(-0.96, 0.8, 0.05, 0.06, 8), (0.6, 0.05, 0.05), _MOTORCYCLE))
    return shapes


def motorcyclist(rng: np.random.Generator) -> list[Shape]:
    """Draw someone riding a motorcycle, with helmet."""
    coat = _pick(_CLOTHES, rng)
    body = [
        *_leg((-0.25, 0.95), (0.2, 0.72), (0.0, 0.3), _dim(coat)),
        *_rider_top(coat, _pick(_HELMETS, rng), 0.92, 0.3, rng),
    ]
    return [*motorcycle(rng), *body]


def cyclist_behind(rng: np.random.Generator) -> list[Shape]:
    """Draw someone on a bicycle who rides along the street."""
    wheel = [
        Shape(disc(0, 0.35, 0.09, 0.36), _BLACK, _BICYCLE),
        Shape(disc(0, 0.35, 0.03, 0.28), _STEEL, _BICYCLE),
        Shape(limb(0, 0.6, 0, 0.95, 0.04, 0.07), _BLACK, _BICYCLE),
        Shape(limb(-0.3, 1.05, 0.3, 1.05, 0.03, 0.03), _STEEL, _BICYCLE),
        Shape(disc(0, 0.72, 0.05, 0.05, 8), (0.6, 0.05, 0.05), _BICYCLE),
    ]
    return [*wheel, *_rider_back(rng, _pick(_TROUSERS, rng), _pick(_SKINS, rng), 0.92)]


def motorcyclist_behind(rng: np.random.Generator) -> list[Shape]:
    """Draw someone on a motorcycle who rides along the street."""
    paint = _pick(_BIKES, rng)
    machine = [
        Shape(disc(0, 0.33, 0.13, 0.33), _BLACK, _MOTORCYCLE),
        Shape(limb(0, 0.4, 0, 0.8, 0.2, 0.26), paint, _MOTORCYCLE),
        Shape(limb(-0.1, 0.72, 0.1, 0.72, 0.06, 0.06), (0.65, 0.06, 0.06), _MOTORCYCLE),
        Shape(limb(-0.08, 0.52, 0.08, 0.52, 0.06, 0.06), (0.7, 0.7, 0.66), _MOTORCYCLE),
        Shape(limb(-0.42, 1.1, 0.42, 1.1, 0.03, 0.03), _BLACK, _MOTORCYCLE),
        Shape(disc(-0.44, 1.17, 0.07, 0.05, 8), _STEEL, _MOTORCYCLE),
        Shape(disc(0.44, 1.17, 0.07, 0.05, 8), _STEEL, _MOTORCYCLE),
    ]
    return [*machine, *_rider_back(rng, _pick(_TROUSERS, rng), _pick(_HELMETS, rng), 0.86)]


def _rider_back(
    rng: np.random.Generator, trousers: Colour, head: Colour, seat: float
) -> list[Shape]:
    coat = _pick(_CLOTHES, rng)
    low, high = float(rng.uniform(0.18, 0.3)), float(rng.uniform(0.4, 0.5))
    torso = np.array(
        [
            (-0.18, seat),
            (0.18, seat),
            (0.25, seat + 0.44),
            (0.1, seat + 0.56),
            (-0.1, seat + 0.56),
            (-0.25, seat + 0.44),
        ]
    )
    return [
        *_leg((-0.12, seat), (-0.2, high + 0.1), (-0.15, low), trousers),
        *_leg((0.12, seat), (0.2, high), (0.15, low + 0.12), _dim(trousers)),
        Shape(limb(-0.23, seat + 0.45, -0.34, seat + 0.12, 0.06, 0.045), _dim(coat), _RIDER),
        Shape(limb(0.23, seat + 0.45, 0.34, seat + 0.12, 0.06, 0.045), _dim(coat), _RIDER),
        Shape(torso, coat, _RIDER),
        Shape(disc(0, seat + 0.69, 0.12, 0.145), head, _RIDER),
    ]


def _rider_top(
    coat: Colour, head: Colour, seat: float, lean: float, rng: np.random.Generator
) -> list[Shape]:
    shoulder = (lean - 0.2, seat + 0.52)
    size = float(rng.uniform(0.12, 0.145))
    back = np.array(
        [
            (-0.36, seat),
            (-0.06, seat - 0.04),
            (shoulder[0] + 0.14, shoulder[1] - 0.06),
            (shoulder[0], shoulder[1] + 0.06),
            (shoulder[0] - 0.2, shoulder[1] - 0.02),
        ]
    )
    return [
        Shape(back, coat, _RIDER),
        Shape(limb(shoulder[0], shoulder[1] - 0.04, 0.4, 1.06, 0.065, 0.045), _dim(coat), _RIDER),
        Shape(disc(shoulder[0] + 0.08, shoulder[1] + 0.2, size, size * 1.15), head, _RIDER),
    ]


def _leg(
    hip: tuple[float, float], knee: tuple[float, float], foot: tuple[float, float], colour: Colour
) -> list[Shape]:
    return [
        Shape(limb(*hip, *knee, 0.1, 0.075), colour, _RIDER),
        Shape(limb(*knee, *foot, 0.075, 0.05), colour, _RIDER),
        Shape(limb(foot[0] - 0.06, foot[1], foot[0] + 0.14, foot[1], 0.04, 0.03), _BLACK, _RIDER),
    ]


def _limbs(
    x0: float, y0: float, x1: float, y1: float, w0: float, w1: float, colour: Colour
) -> list[Shape]:
    return [
        _part(limb(x0 + 0.4 * x1, y0, x1, y1, w0, w1), colour),
        _part(limb(x1 - 0.04, 0.035, x1 + 0.14, 0.035, 0.04, 0.03), _BLACK),
    ]


def _torso(tall: float, broad: float, hem: float) -> Points:
    return np.array(
        [
            (-broad * 0.85, hem * tall),
            (broad * 0.85, hem * tall),
            (broad * 1.05, 0.78 * tall),
            (broad * 0.5, 0.84 * tall),
            (-broad * 0.5, 0.84 * tall),
            (-broad * 1.05, 0.78 * tall),
        ]
    )


def _cap(tall: float) -> Points:
    whole = disc(0, 0.935 * tall, 0.115, 0.07 * tall)
    return np.maximum(whole, (-np.inf, 0.925 * tall))


def _part(points: Points, colour: Colour) -> Shape:
    return Shape(points, colour, _PERSON)


def _dim(colour: Colour) -> Colour:
    return colour[0] * 0.78, colour[1] * 0.78, colour[2] * 0.78


def _pick(colours: Sequence[Colour], rng: np.random.Generator) -> Colour:
    red, green, blue = np.asarray(colours[int(rng.integers(len(colours)))]) * rng.uniform(
        0.85, 1.15
    )
    return float(red), float(green), float(blue)

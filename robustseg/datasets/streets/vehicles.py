"""Vehicles of the built-in street scenes, built from blocks: cars, vans, trucks, buses, trams."""

from __future__ import annotations

import numpy as np

from robustseg.datasets.streets.paint import Colour
from robustseg.datasets.streets.solids import Block, Patch, rect, wheel

__all__ = ["bus", "car", "tram", "truck"]

_CAR, _TRUCK, _BUS, _TRAIN = 26, 27, 28, 31
_GLASS: Colour = (0.12, 0.15, 0.18)
_SHINE: Colour = (0.23, 0.27, 0.31)
"""Glass that mirrors the sky."""
_DARK: Colour = (0.07, 0.07, 0.08)
_RED: Colour = (0.62, 0.05, 0.05)
_LAMP: Colour = (0.92, 0.91, 0.82)
_PLATE: Colour = (0.78, 0.78, 0.74)
_PAINTS: tuple[Colour, ...] = (
    (0.78, 0.78, 0.78),
    (0.55, 0.56, 0.58),
    (0.30, 0.31, 0.33),
    (0.10, 0.10, 0.12),
    (0.50, 0.08, 0.08),
    (0.10, 0.17, 0.38),
    (0.16, 0.28, 0.22),
    (0.62, 0.56, 0.44),
    (0.70, 0.60, 0.15),
)


def car(rng: np.random.Generator) -> list[Block]:
    """Build a hatchback, saloon, estate or van."""
    kind = str(rng.choice(["hatch", "saloon", "estate", "van"], p=[0.35, 0.3, 0.2, 0.15]))
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    half = float(rng.uniform(0.84, 0.92))
    length = {"hatch": 4.0, "saloon": 4.6, "estate": 4.6, "van": 4.9}[kind]
    top = {"hatch": 1.48, "saloon": 1.42, "estate": 1.5, "van": 1.95}[kind]
    waist = 1.05 if kind == "van" else 0.86
    rear, front = -length / 2, length / 2
    tail = {"hatch": 0.25, "saloon": 0.95, "estate": 0.15, "van": 0.05}[kind]
    bonnet = 0.9 if kind == "van" else 1.25
    sides = wheel(0.19, 0.33, length, 0.24, waist) + wheel(0.81, 0.33, length, 0.24, waist)
    sides += [rect(0.0, 0.9, 1.0, 1.0, _mix(paint, (1.0, 1.0, 1.0), 0.25))]
    sides += [rect(0.02, 0.5, 0.98, 0.53, _mix(paint, _DARK, 0.45))]
    sides += [rect(0.45, 0.68, 0.49, 0.73, _DARK), rect(0.66, 0.68, 0.70, 0.73, _DARK)]
    body = Block(
        0.24,
        waist,
        (half, rear + 0.06, front - 0.05),
        (half * 0.97, rear + 0.04, front - 0.22),
        paint,
        _CAR,
        {"rear": _tail(paint), "front": _nose(paint), "side": sides},
    )
    pane = [rect(0.05, 0.12, 0.95, 0.88, _GLASS), rect(0.05, 0.62, 0.95, 0.88, _SHINE)]
    doors = [
        rect(0.08, 0.1, 0.48, 0.86, _GLASS),
        rect(0.52, 0.1, 0.9, 0.86, _GLASS),
        rect(0.1, 0.55, 0.47, 0.86, _SHINE),
        rect(0.53, 0.55, 0.87, 0.86, _SHINE),
    ]
    if kind == "van" and rng.random() < 0.6:
        doors = [rect(0.66, 0.1, 0.92, 0.8, _GLASS)]
    cabin = Block(
        waist,
        top,
        (half * 0.94, rear + tail, front - bonnet),
        (half * 0.78, rear + tail + (0.3 if kind != "van" else 0.08), front - bonnet - 0.75),
        paint,
        _CAR,
        {"rear": pane, "front": pane, "side": doors},
    )
    return [_under(half, rear, front, _CAR), body, cabin]


def truck(rng: np.random.Generator) -> list[Block]:
    """Build a lorry: chassis, cab and a tall box."""
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    boxes: tuple[Colour, ...] = ((0.80, 0.79, 0.76), (0.62, 0.60, 0.52), (0.55, 0.42, 0.2), paint)
    cargo = boxes[int(rng.integers(len(boxes)))]
    length, half = float(rng.uniform(7.0, 9.5)), 1.22
    rear, front = -length / 2, length / 2
    high = float(rng.uniform(3.1, 3.8))
    split = front - 2.0
    logo = _PAINTS[int(rng.integers(len(_PAINTS)))]
    return [
        _under(half, rear, front, _TRUCK),
        _chassis(half * 0.95, rear, front - 0.1),
        _cab(half, split, front, paint),
        _cargo_box((half, rear, split - 0.15), high, cargo, logo),
    ]


def _chassis(half: float, rear: float, front: float) -> Block:
    wheels = [p for at in (0.18, 0.3, 0.86) for p in wheel(at, 0.48, front - rear, 0.35, 1.05)]
    plate = rect(0.38, 0.1, 0.62, 0.5, _PLATE)
    tail = [rect(0.02, 0.1, 0.16, 0.6, _RED), rect(0.84, 0.1, 0.98, 0.6, _RED), plate]
    nose = [rect(0.03, 0.2, 0.18, 0.6, _LAMP, True), rect(0.82, 0.2, 0.97, 0.6, _LAMP, True), plate]
    plan, patches = (half, rear, front), {"rear": tail, "front": nose, "side": wheels}
    return Block(0.35, 1.05, plan, plan, (0.13, 0.13, 0.14), _TRUCK, patches)


def _cab(half: float, rear: float, front: float, paint: Colour) -> Block:
    screen = [rect(0.08, 0.5, 0.92, 0.9, _GLASS), rect(0.2, 0.1, 0.8, 0.35, _DARK)]
    screen.append(rect(0.1, 0.72, 0.9, 0.88, _SHINE))
    foot, roof = (half * 0.97, rear, front), (half * 0.95, rear, front - 0.25)
    patches = {"front": screen, "side": [rect(0.3, 0.5, 0.9, 0.86, _GLASS)]}
    return Block(0.8, 2.75, foot, roof, paint, _TRUCK, patches, beside=True)


def _cargo_box(
    plan: tuple[float, float, float], high: float, colour: Colour, logo: Colour
) -> Block:
    seam = _mix(colour, _DARK, 0.4)
    doors = [rect(a, 0.03, a + 0.02, 0.97, seam) for a in (0.3, 0.49, 0.68)]
    doors.append(rect(0.0, 0.0, 1.0, 0.04, _DARK))
    rib = _mix(colour, _DARK, 0.25)
    side = [rect(a, 0.02, a + 0.012, 0.98, rib) for a in np.arange(0.1, 1, 0.1)]
    side.append(rect(0.2, 0.35, 0.75, 0.65, logo))
    patches = {"rear": doors, "side": side}
    return Block(1.05, high, plan, plan, colour, _TRUCK, patches, beside=True)


def bus(rng: np.random.Generator) -> list[Block]:
    """Build a city bus: one long body with a band of windows."""
    colours: tuple[Colour, ...] = (
        (0.72, 0.58, 0.14),
        (0.16, 0.34, 0.58),
        (0.75, 0.75, 0.72),
        (0.55, 0.12, 0.14),
    )
    paint = colours[int(rng.integers(len(colours)))]
    length, half, high = float(rng.uniform(9.5, 12.0)), 1.27, 3.05
    rear, front = -length / 2, length / 2
    side = wheel(0.22, 0.48, length, 0.3, high) + wheel(0.78, 0.48, length, 0.3, high)
    side += [rect(0.02, 0.42, 0.98, 0.84, _GLASS), rect(0.02, 0.66, 0.98, 0.84, _SHINE)]
    side += [rect(a, 0.42, a + 0.012, 0.84, _DARK) for a in np.arange(0.12, 0.98, 0.12)]
    side += [
        rect(0.85, 0.04, 0.95, 0.84, (0.17, 0.2, 0.22)),
        rect(0.45, 0.04, 0.56, 0.84, (0.17, 0.2, 0.22)),
    ]
    back = [
        rect(0.1, 0.52, 0.9, 0.85, _GLASS),
        rect(0.15, 0.12, 0.85, 0.42, _mix(paint, _DARK, 0.4)),
    ]
    back += [rect(0.02, 0.15, 0.1, 0.45, _RED), rect(0.9, 0.15, 0.98, 0.45, _RED)]
    back += [rect(0.4, 0.04, 0.6, 0.1, _PLATE)]
    face = [rect(0.05, 0.32, 0.95, 0.82, _GLASS), rect(0.1, 0.6, 0.9, 0.8, _SHINE)]
    face += [rect(0.2, 0.86, 0.8, 0.96, _DARK), rect(0.3, 0.88, 0.7, 0.94, (0.85, 0.6, 0.15), True)]
    face += [rect(0.04, 0.1, 0.2, 0.18, _LAMP, True), rect(0.8, 0.1, 0.96, 0.18, _LAMP, True)]
    body = Block(
        0.3,
        high,
        (half, rear, front),
        (half * 0.97, rear + 0.05, front - 0.12),
        paint,
        _BUS,
        {"rear": back, "front": face, "side": side},
    )
    return [_under(half, rear, front, _BUS), body]


def tram(rng: np.random.Generator) -> list[Block]:
    """Build a tram: long, smooth, low on its rails, with a dark band of glass."""
    colours: tuple[Colour, ...] = ((0.66, 0.10, 0.10), (0.70, 0.70, 0.64), (0.20, 0.42, 0.30))
    paint = colours[int(rng.integers(len(colours)))]
    half, high = 1.2, 3.35
    length = float(rng.uniform(16.0, 22.0))
    rear, front = -length / 2, length / 2
    stripe: Colour = (0.84, 0.82, 0.74) if paint[0] > 2 * paint[2] else (0.6, 0.12, 0.12)
    side = [rect(0.0, 0.36, 1.0, 0.80, _GLASS), rect(0.0, 0.62, 1.0, 0.8, _SHINE)]
    side += [rect(0.0, 0.26, 1.0, 0.33, stripe), rect(0.0, 0.85, 1.0, 0.93, stripe)]
    side += [rect(a, 0.02, a + 0.05, 0.8, (0.18, 0.2, 0.22)) for a in (0.1, 0.3, 0.65, 0.85)]
    side += [rect(a, 0.0, a + 0.012, 1.0, _DARK) for a in (0.33, 0.66)]
    end = [rect(0.1, 0.34, 0.9, 0.8, _GLASS), rect(0.15, 0.6, 0.85, 0.78, _SHINE)]
    end += [rect(0.0, 0.24, 1.0, 0.31, stripe), rect(0.25, 0.84, 0.75, 0.95, _DARK)]
    end += [rect(0.36, 0.86, 0.64, 0.93, (0.9, 0.65, 0.2), True)]
    back = [*end, rect(0.08, 0.1, 0.2, 0.2, _RED), rect(0.8, 0.1, 0.92, 0.2, _RED)]
    end += [rect(0.1, 0.1, 0.22, 0.2, _LAMP, True), rect(0.78, 0.1, 0.9, 0.2, _LAMP, True)]
    body = Block(
        0.22,
        high,
        (half, rear + 0.1, front - 0.1),
        (half * 0.9, rear + 0.6, front - 0.6),
        paint,
        _TRAIN,
        {"rear": back, "front": end, "side": side},
    )
    # Painted before the body: seen from the road, the roof's edge hides the foot of it.
    box = (0.6, -3.0, 3.0)
    gear = Block(high, high + 0.8, box, (0.5, -2.0, 2.0), (0.35, 0.35, 0.36), _TRAIN)
    return [_under(half, rear + 0.3, front - 0.3, _TRAIN), gear, body]


def _under(half: float, rear: float, front: float, label: int) -> Block:
    """Build the dark space between body and road, with the tyres' ends in it."""
    low = (half * 0.92, rear + 0.2, front - 0.2)
    tyres: list[Patch] = [
        rect(0.02, 0.0, 0.16, 1.0, (0.08,) * 3),
        rect(0.84, 0.0, 0.98, 1.0, (0.08,) * 3),
    ]
    return Block(0.02, 0.34, low, low, (0.045, 0.045, 0.05), label, {"rear": tyres, "front": tyres})


def _tail(paint: Colour) -> list[Patch]:
    return [
        rect(0.0, 0.0, 1.0, 0.24, _mix(paint, _DARK, 0.55)),
        rect(0.01, 0.52, 0.2, 0.8, _RED),
        rect(0.8, 0.52, 0.99, 0.8, _RED),
        rect(0.36, 0.3, 0.64, 0.46, _PLATE),
        rect(0.0, 0.93, 1.0, 1.0, _mix(paint, (1.0, 1.0, 1.0), 0.2)),
    ]


def _nose(paint: Colour) -> list[Patch]:
    return [
        rect(0.0, 0.0, 1.0, 0.2, _mix(paint, _DARK, 0.5)),
        rect(0.24, 0.3, 0.76, 0.62, _DARK),
        rect(0.03, 0.5, 0.22, 0.74, _LAMP, True),
        rect(0.78, 0.5, 0.97, 0.74, _LAMP, True),
        rect(0.37, 0.12, 0.63, 0.26, _PLATE),
    ]


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (x + (y - x) * share for x, y in zip(a, b, strict=True))
    return red, green, blue

"""Where vehicles, people, trees and poles stand in a built-in street scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustseg.datasets.streets.layout import Plan

__all__ = ["Thing", "place_things"]

_LENGTHS = {
    "car": 4.6,
    "truck": 8.5,
    "bus": 11.0,
    "tram": 19.0,
    "cyclist": 1.8,
    "motorcyclist": 2.1,
}
_RARE = {"truck": 0.62, "bus": 0.6, "cyclist": 0.55, "motorcyclist": 0.5}
_FARTHEST = 75.0


@dataclass(frozen=True)
class Thing:
    """Something on or beside the street.

    Attributes:
        kind: What it is, such as ``car`` or ``lamp``.
        s: Lateral position from the street's axis in metres.
        z: Depth in metres.
        turn: Direction against the street's, radians.
        seed: Seeds its looks.
    """

    kind: str
    s: float
    z: float
    turn: float
    seed: int


class _Placer:
    """Collects things and gives each its own seed."""

    def __init__(self, plan: Plan, rng: np.random.Generator) -> None:
        self.plan = plan
        self.rng = rng
        self.things: list[Thing] = []

    def add(self, kind: str, s: float, z: float, turn: float = 0.0) -> None:
        seed = int(self.rng.integers(1 << 30))
        closing = self.plan.closing
        if closing is None or z < closing - 1:
            self.things.append(Thing(kind, s, z, turn, seed))

    def in_view(self, s: float, nearest: float = 6.5, spread: float = 3.0) -> float:
        """Draw a depth at which the lateral position ``s`` is inside the picture."""
        least = max(nearest, abs(s - self.plan.eye_at) / 0.40)
        return least * float(np.exp(self.rng.uniform(0, np.log(spread))))

    def walk(self, sign: int) -> float:
        """Draw a lateral position on a sidewalk."""
        near, far = self.plan.side(sign).walk
        return sign * float(self.rng.uniform(near + 0.4, max(min(far, near + 4) - 0.3, near + 0.5)))

    def side(self) -> int:
        return 1 if self.rng.random() < 0.55 else -1


def place_things(plan: Plan, rng: np.random.Generator) -> list[Thing]:
    """Draw everything that drives, walks or stands along a street.

    Args:
        plan: The street.
        rng: Where things are; each thing's looks come from its own seed.

    Returns:
        The things, in no particular order.
    """
    placer = _Placer(plan, rng)
    _traffic(placer)
    for sign in (-1, 1):
        _parked(placer, sign)
        _trees(placer, sign)
        _poles(placer, sign)
    _crossing_cars(placer)
    _people(placer)
    _two_wheelers(placer)
    _clutter(placer)
    return placer.things


def _traffic(placer: _Placer) -> None:
    """Fill the lanes from near to far; rare vehicles come first, where they are seen well."""
    rng, plan = placer.rng, placer.plan
    wanted = [kind for kind, chance in _RARE.items() if rng.random() < chance]
    rng.shuffle(wanted)
    for at, oncoming in sorted(plan.lanes, key=lambda _: float(rng.random())):
        near = float(rng.uniform(8.0, 13.0) if oncoming else rng.uniform(11.0, 17.0))
        near = max(near, (abs(at - plan.eye_at) - 1.0) / 0.42)
        on_rails = any(abs(at - r) < 0.3 for r in plan.rails)
        if on_rails and rng.random() < 0.62:
            near = _drive(placer, "tram", at, near + 2, oncoming)
        while near < _FARTHEST:
            kind = wanted.pop() if wanted and rng.random() < 0.7 else "car"
            near = _drive(placer, kind, at, near, oncoming)


def _drive(placer: _Placer, kind: str, at: float, near: float, oncoming: bool) -> float:
    rng = placer.rng
    length = _LENGTHS[kind]
    s = at + float(rng.normal(0, 0.12))
    if kind in ("cyclist", "motorcyclist"):
        s = at + (-0.8 if oncoming else 0.8) * float(rng.uniform(0.2, 1.2))
    placer.add(kind, s, near + length / 2, np.pi if oncoming else 0.0)
    return near + length + float(rng.uniform(4.0, 16.0))


def _parked(placer: _Placer, sign: int) -> None:
    rng, plan = placer.rng, placer.plan
    if not any(name == "bay" for _, name in plan.side(sign).strips):
        return
    at = sign * (plan.side(sign).kerb - 1.05)
    near = float(rng.uniform(5.5, 9.0)) + abs(at - plan.eye_at)
    while near < 60:
        blocked = plan.crossing and plan.crossing[0] - 6 < near < plan.crossing[1] + 5
        taken = rng.random() < plan.layout.parked
        kind = "truck" if rng.random() < 0.06 else "car"
        length = _LENGTHS[kind]
        if taken and not blocked:
            turn = 0.0 if rng.random() < (0.85 if sign > 0 else 0.3) else np.pi
            placer.add(kind, at, near + length / 2, turn + float(rng.normal(0, 0.02)))
        near += length + float(rng.uniform(0.8, 2.0))


def _trees(placer: _Placer, sign: int) -> None:
    rng, plan = placer.rng, placer.plan
    if rng.random() < 0.2:
        return
    side = plan.side(sign)
    inner = rng.random() < 0.5
    at = sign * (side.walk[0] + 0.1 if inner else side.walk[1] + 0.3)
    near = max(8.0, abs(at - plan.eye_at) / 0.5) + float(rng.uniform(0, 8))
    gap = float(rng.uniform(*plan.layout.trees))
    while near < 90:
        if not (plan.crossing and plan.crossing[0] - 2 < near < plan.crossing[1] + 2):
            placer.add("tree", at + float(rng.normal(0, 0.2)), near)
        near += gap * float(rng.uniform(0.8, 1.2))
    if plan.median and sign > 0:
        for z in np.arange(14, 80, gap):
            placer.add("tree", 0.0, float(z))


def _poles(placer: _Placer, sign: int) -> None:
    rng, plan = placer.rng, placer.plan
    at = sign * (plan.side(sign).walk[0] + 0.35)
    near = placer.in_view(at, 8.0, 1.8)
    gap = float(rng.uniform(14, 24))
    while near < 80:
        placer.add("lamp", at, near, float(-sign))
        near += gap
    # One after the other along the kerb: each hides less of the next than at random depths.
    depth = placer.in_view(at, 7.0, 1.5)
    kinds = ["sign", "traffic_light", "sign"]
    rng.shuffle(kinds)
    for kind in kinds:
        place = at + sign * float(rng.uniform(-0.3, 0.5))
        if rng.random() < (0.72 if kind == "sign" else 0.85):
            placer.add(kind, place, depth)
        depth *= float(rng.uniform(1.35, 1.8))


def _crossing_cars(placer: _Placer) -> None:
    """Let cars come out of the cross street, so that they show their sides."""
    rng, plan = placer.rng, placer.plan
    if not plan.crossing:
        return
    middle = 0.5 * (plan.crossing[0] + plan.crossing[1])
    for sign in (-1, 1):
        if rng.random() < 0.6:
            s = sign * float(rng.uniform(plan.right.kerb + 1, plan.right.kerb + 8))
            placer.add("car", s, middle + sign * 1.6, float(rng.choice([-0.5, 0.5])) * np.pi)


def _people(placer: _Placer) -> None:
    rng, plan = placer.rng, placer.plan
    for _ in range(int(rng.integers(plan.layout.people[0], plan.layout.people[1] + 1))):
        s = placer.walk(placer.side())
        z = placer.in_view(s, 7.0, 3.2)
        for k in range(1 + int(rng.random() < 0.35)):
            placer.add("person", s + 0.6 * k, z + 0.2 * k, float(rng.choice([-1.0, 1.0])))
    crossing = 0.9 if plan.crossing else 0.35
    if rng.random() < crossing:
        z = plan.crossing[0] - 2.0 if plan.crossing else float(rng.uniform(12, 28))
        for _ in range(int(rng.integers(1, 4))):
            s = float(rng.uniform(-plan.left.kerb, plan.right.kerb))
            placer.add("person", s, z + float(rng.normal(0, 0.6)), float(rng.choice([-1.0, 1.0])))


def _two_wheelers(placer: _Placer) -> None:
    """Park bicycles and motorcycles at the kerb, and let someone ride across."""
    rng = placer.rng
    for kind, chance in (("bicycle", 0.75), ("bicycle", 0.4), ("motorcycle", 0.6)):
        if rng.random() < chance:
            sign = placer.side()
            s = sign * (placer.plan.side(sign).walk[0] + float(rng.uniform(0.3, 0.9)))
            z = placer.in_view(s, 7.0, 2.0)
            for k in range(1 + int(rng.integers(0, 3))):
                placer.add(kind, s + 0.15 * k, z + 0.75 * k, float(rng.choice([-1.0, 1.0])))
    for kind, chance in (("cyclist", 0.55), ("motorcyclist", 0.35)):
        if rng.random() < chance:
            s = float(rng.uniform(-placer.plan.left.kerb, placer.plan.right.kerb))
            placer.add(kind, s, float(rng.uniform(10, 22)), float(rng.choice([0.5, -0.5]) * np.pi))


def _clutter(placer: _Placer) -> None:
    rng = placer.rng
    for kind, chance in (("bin", 0.7), ("bin", 0.4), ("trolley", 0.35)):
        if rng.random() < chance:
            s = placer.walk(placer.side())
            placer.add(kind, s, placer.in_view(s, 8.0, 2.5), float(rng.normal(0, 0.3)))

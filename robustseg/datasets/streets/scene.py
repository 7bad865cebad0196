"""A whole street: what stands where, sorted by depth and painted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robustseg.datasets.streets import furniture as furniture
from robustseg.datasets.streets import sprites as sprites
from robustseg.datasets.streets import vehicles as vehicles
from robustseg.datasets.streets.camera import FloatArray
from robustseg.datasets.streets.ground import paint_ground
from robustseg.datasets.streets.layout import Plan, Section
from robustseg.datasets.streets.light import paint_sky
from robustseg.datasets.streets.paint import Canvas, Shape
from robustseg.datasets.streets.plants import hedge, paint_tree
from robustseg.datasets.streets.solids import Pose, paint_blocks
from robustseg.datasets.streets.things import Thing, place_things
from robustseg.datasets.streets.walls import (
    House,
    draw_house,
    fence,
    house,
    paint_panel,
    wall,
)

__all__ = ["paint_street"]

_BUILDING, _WALL, _FENCE, _VEGETATION, _SKY = 11, 12, 13, 21, 23


@dataclass(frozen=True)
class _Job:
    depth: float
    paint: Callable[[], None]


def paint_street(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint sky, ground, borders and everything on the street, with labels.

    Args:
        canvas: Where to paint; its size does not change what is drawn from ``rng``.
        plan: The street.
        rng: The sky, the skyline and the things; every thing then has its own stream.
    """
    paint_sky(canvas.rgb, canvas.camera, canvas.light, rng)
    canvas.labels[:] = _SKY
    _skyline(canvas, plan, rng)
    paint_ground(canvas, plan, _house_shadow(canvas, plan))
    things = place_things(plan, rng)
    jobs = [_section_job(canvas, plan, section) for section in plan.sections]
    jobs += [_thing_job(canvas, plan, thing) for thing in things]
    jobs += _across(canvas, plan, rng)
    for job in sorted(jobs, key=lambda j: -j.depth):
        job.paint()


def _skyline(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Close the view with far houses and trees."""
    edge = -260.0
    while edge < 260:
        width = float(rng.uniform(14, 40))
        depth = float(rng.uniform(170, 230))
        green = rng.random() < 0.5
        seed = int(rng.integers(1 << 30))
        own = np.random.default_rng(seed)
        start, end = (edge, depth), (edge + width * 1.1, depth)
        if green:
            high = float(own.uniform(6, 14))
            paint_panel(canvas, start, end, (-0.5, high), hedge(own, high), _VEGETATION)
        else:
            look = draw_house((3, 6), own)
            paint_panel(canvas, start, end, (-0.5, look.height), house(look), _BUILDING)
        edge += width


def _house_shadow(canvas: Canvas, plan: Plan) -> Callable[[FloatArray], FloatArray]:
    sun = canvas.light.sun
    side = -1 if sun[0] < 0 else 1
    front = plan.side(side).front * side
    slant = abs(sun[0]) / max(sun[1], 0.15)
    spans = [
        (s.near, s.far, _house_of(plan, s).height if s.kind == "building" else 2.0)
        for s in plan.sections
        if s.side == side
    ]

    def edge(depth: FloatArray) -> FloatArray:
        height = np.full(depth.shape, 1.0, np.float32)
        for near, far, high in spans:
            height[(depth >= near) & (depth < far)] = high
        return np.float32(front) - side * height * np.float32(slant)

    return edge


def _house_of(plan: Plan, section: Section) -> House:
    return draw_house(plan.layout.storeys, np.random.default_rng(section.seed))


def _section_job(canvas: Canvas, plan: Plan, section: Section) -> _Job:
    painters = {"building": _buildings, "open": _greenery}
    painter = painters.get(section.kind, _bounded)

    def paint() -> None:
        painter(canvas, plan, section)

    return _Job(section.far, paint)


def _line(
    plan: Plan, section: Section, off: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ground line of a section at a distance from the street's axis."""
    near, far = section.near, section.far
    at = section.side * off
    return (plan.axis(near) + at, near), (plan.axis(far) + at, far)


def _buildings(canvas: Canvas, plan: Plan, section: Section) -> None:
    _front(canvas, plan, section, plan.side(section.side).front)


def _front(canvas: Canvas, plan: Plan, section: Section, off: float) -> None:
    look = _house_of(plan, section)
    start, end = _line(plan, section, off)
    gable = (start[0] + section.side * 11.0, start[1])
    span = (-0.5, look.height)
    paint_panel(canvas, start, gable, span, house(look), _BUILDING)
    paint_panel(canvas, start, end, span, house(look), _BUILDING)


def _greenery(canvas: Canvas, plan: Plan, section: Section) -> None:
    """Paint trees some way off, beyond open ground."""
    rng = np.random.default_rng(section.seed)
    side = plan.side(section.side)
    if rng.random() < 0.5:
        start, end = _line(plan, section, side.bound + float(rng.uniform(8, 16)))
        high = float(rng.uniform(4, 9))
        paint_panel(canvas, start, end, (-0.5, high), hedge(rng, high), _VEGETATION)
    for _ in range(2):
        z = float(rng.uniform(section.near, section.far))
        x = plan.axis(z) + section.side * (side.bound + float(rng.uniform(1.5, 7)))
        paint_tree(canvas, (x, z), float(rng.uniform(4, 8)), rng)


def _bounded(canvas: Canvas, plan: Plan, section: Section) -> None:
    """Paint a wall, fence or hedge with what is behind it."""
    rng = np.random.default_rng(section.seed + 1)
    side = plan.side(section.side)
    behind = float(rng.random())
    if behind < 0.45:
        _front(canvas, plan, section, side.bound + float(rng.uniform(4, 9)))
    elif behind < 0.85:
        _greenery(canvas, plan, section)
    start, end = _line(plan, section, side.bound)
    if section.kind == "wall":
        high = float(rng.uniform(1.7, 3.2))
        paint_panel(canvas, start, end, (-0.1, high), wall(rng, high), _WALL)
    elif section.kind == "fence":
        high = float(rng.uniform(1.2, 2.1))
        paint_panel(canvas, start, end, (-0.1, high), fence(rng, high), _FENCE)
    else:
        high = float(rng.uniform(1.2, 3.0))
        paint_panel(canvas, start, end, (-0.1, high * 1.2), hedge(rng, high), _VEGETATION)


def _across(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> list[_Job]:
    """Return what stands across the street: a closing front, a bridge."""
    jobs: list[_Job] = []
    seed = int(rng.integers(1 << 30))
    if plan.closing:
        closing = plan.closing
        jobs.append(_Job(closing + 20, lambda: _closing(canvas, plan, closing, seed)))
    if plan.deck:
        deck = plan.deck
        jobs.append(_Job(deck + 9, lambda: _deck(canvas, plan, deck, seed)))
    return jobs


def _closing(canvas: Canvas, plan: Plan, depth: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edge = -70.0
    while edge < 70:
        width = float(rng.uniform(10, 18))
        look = draw_house((2, 4), rng)
        start, end = (edge, depth), (edge + width, depth)
        paint_panel(canvas, start, end, (-0.5, look.height), house(look), _BUILDING)
        edge += width


def _deck(canvas: Canvas, plan: Plan, depth: float, seed: int) -> None:
    """Paint a bridge: dark underside, abutments, and the girder in front."""
    rng = np.random.default_rng(seed)
    low = float(rng.uniform(4.6, 5.4))
    thick = float(rng.uniform(1.2, 1.9))
    middle = plan.axis(depth)
    left, right = middle - plan.left.bound - 0.5, middle + plan.right.bound + 0.5
    far = depth + 9.0
    under = np.array([(left, low, depth), (right, low, depth), (right, low, far), (left, low, far)])
    dark = (0.16, 0.16, 0.16)
    shape = Shape(canvas.camera.project(under), dark, _BUILDING)
    canvas.shapes([shape], depth, seed, (1.0, 1.0, 1.0))
    for edge, outward in ((left, -60.0), (right, 60.0)):
        paint_panel(canvas, (edge, depth), (edge, far), (-0.1, low), wall(rng, low), _WALL)
        paint_panel(
            canvas, (edge, depth), (edge + outward, depth), (-0.1, low), wall(rng, low), _WALL
        )
    girder = wall(rng, low + thick)
    span = (low, low + thick)
    paint_panel(canvas, (left - 70, depth), (right + 70, depth), span, girder, _BUILDING)
    rail = fence(rng, low + thick + 1.1)
    span = (low + thick, low + thick + 1.1)
    paint_panel(canvas, (left - 70, depth), (right + 70, depth), span, rail, _FENCE)


def _thing_job(canvas: Canvas, plan: Plan, thing: Thing) -> _Job:
    def paint() -> None:
        rng = np.random.default_rng(thing.seed)
        x = plan.axis(thing.z) + thing.s
        if thing.kind == "tree":
            paint_tree(canvas, (x, thing.z), float(rng.uniform(4.5, 9.0)), rng)
        elif thing.kind in _SOLIDS:
            heading = plan.heading(thing.z) + thing.turn
            blocks = _SOLIDS[thing.kind](rng)
            paint_blocks(canvas, blocks, Pose(x, thing.z, heading), thing.seed)
        else:
            _paint_flat(canvas, thing, x, rng)

    return _Job(thing.z, paint)


def _paint_flat(canvas: Canvas, thing: Thing, x: float, rng: np.random.Generator) -> None:
    turn = 1.0
    if thing.kind == "lamp":
        shapes = furniture.lamp(rng, thing.turn)
    elif thing.kind in _RIDERS:
        # Along the street a rider shows the back or the front, across it the side.
        side = round(float(np.sin(thing.turn)))
        draw, behind = _RIDERS[thing.kind]
        shapes, turn = (draw(rng), float(side)) if side else (behind(rng), 1.0)
    else:
        shapes = _FLAT[thing.kind](rng)
    if thing.kind in ("person", "bicycle", "motorcycle"):
        turn = thing.turn * float(rng.uniform(0.7, 1.0))
    sprites.paint_sprite(canvas, shapes, (x, thing.z), turn, thing.seed)


_Draw = Callable[[np.random.Generator], list[Shape]]
_SOLIDS = {
    "car": vehicles.car,
    "truck": vehicles.truck,
    "bus": vehicles.bus,
    "tram": vehicles.tram,
    "bin": furniture.bin_block,
    "trolley": furniture.trolley_block,
}
_FLAT: dict[str, _Draw] = {
    "sign": furniture.sign,
    "traffic_light": furniture.traffic_light,
    "person": sprites.person,
    "bicycle": sprites.bicycle,
    "motorcycle": sprites.motorcycle,
}
_RIDERS: dict[str, tuple[_Draw, _Draw]] = {
    "cyclist": (sprites.cyclist, sprites.cyclist_behind),
    "motorcyclist": (sprites.motorcyclist, sprites.motorcyclist_behind),
}

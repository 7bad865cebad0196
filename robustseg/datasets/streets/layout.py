"""Layouts of the built-in street scenes: which streets there are, and a plan drawn from one.

A plan is metres only: strips of ground along the street, wall sections beside it, and things that
stand or drive on it. Nothing here depends on the size of the picture. Some layouts are for
training only and the others for validation only:

========================  ==========================================================
train                     straight, left_bend, crossroads, boulevard, tram_street,
                          open_road, plaza, suburb
val                       right_bend, t_junction, underpass, promenade, market_street
========================  ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustseg.errors import NameLookupError
from robustseg.names import unknown_name

__all__ = ["LAYOUTS", "Layout", "Mark", "Plan", "Section", "SidePlan", "draw_plan", "layouts_of"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """A kind of street. Ranges are in metres unless said otherwise.

    Attributes:
        name: Its name.
        split: ``train`` or ``val``.
        bend: Curvature in 1/m, positive to the right.
        lanes: Lanes in each direction.
        walk: Width of a sidewalk.
        inner_verge: Chance of a grass strip between kerb and sidewalk.
        outer_verge: Chance of a grass strip beyond the sidewalk.
        fronts: Weights of building, wall, fence, hedge and open along the street.
        storeys: Storeys of its buildings.
        trees: Mean distance between street trees.
        people: Pedestrians.
        parked: Chance that a parking bay is taken.
        tram: Chance of rails in the street.
        median: Width of a grass strip between the directions.
        crossing: Depth of a cross street, if there is one.
        closing: Depth of a house front that closes the street, if there is one.
        deck: Depth of a bridge across the street, if there is one.
        open_left: The left side is an open place of this depth, if it is.
    """

    name: str
    split: str
    bend: Range = (-0.0006, 0.0006)
    lanes: tuple[int, int] = (1, 1)
    walk: Range = (2.2, 3.6)
    inner_verge: float = 0.45
    outer_verge: float = 0.6
    fronts: tuple[float, float, float, float, float] = (5.0, 2.0, 2.0, 1.0, 0.4)
    storeys: tuple[int, int] = (2, 5)
    trees: Range = (9.0, 18.0)
    people: tuple[int, int] = (4, 8)
    parked: float = 0.55
    tram: float = 0.4
    median: Range = (0.0, 0.0)
    crossing: Range | None = None
    closing: Range | None = None
    deck: Range | None = None
    open_left: Range | None = None


_ALL = (
    Layout("straight", "train"),
    Layout("left_bend", "train", bend=(-0.006, -0.0025), parked=0.45),
    Layout("crossroads", "train", crossing=(19.0, 28.0), people=(5, 9)),
    Layout("boulevard", "train", lanes=(2, 2), median=(2.0, 4.0), walk=(3.0, 5.0), storeys=(4, 6)),
    Layout("tram_street", "train", tram=1.0, walk=(2.5, 4.0), storeys=(3, 5)),
    Layout(
        "open_road",
        "train",
        bend=(-0.002, 0.002),
        fronts=(1.0, 1.5, 2.0, 2.0, 2.0),
        inner_verge=0.7,
        outer_verge=0.95,
        walk=(1.5, 2.4),
        trees=(7.0, 14.0),
        people=(3, 5),
        parked=0.2,
    ),
    Layout("plaza", "train", open_left=(14.0, 24.0), people=(6, 10), outer_verge=0.4),
    Layout(
        "suburb",
        "train",
        fronts=(1.5, 2.0, 3.0, 2.0, 0.5),
        storeys=(1, 3),
        outer_verge=0.8,
        trees=(7.0, 12.0),
    ),
    Layout("right_bend", "val", bend=(0.0025, 0.006), parked=0.45),
    Layout("t_junction", "val", closing=(40.0, 60.0)),
    Layout("underpass", "val", deck=(24.0, 38.0), fronts=(3.0, 3.0, 2.0, 1.0, 0.4)),
    Layout("promenade", "val", open_left=(9.0, 13.0), trees=(6.0, 10.0), outer_verge=0.9),
    Layout("market_street", "val", walk=(3.5, 5.0), people=(7, 11), tram=0.4, outer_verge=0.4),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}
"""Layout name to layout."""

_FRONTS = ("building", "wall", "fence", "hedge", "open")
_REACH = 130.0


@dataclass(frozen=True)
class Mark:
    """A painted line along the street: centre, width, period and dash length in metres."""

    at: float
    width: float
    period: float = 1.0
    dash: float = 1.0


@dataclass(frozen=True)
class Section:
    """A piece of one side of the street, from depth ``near`` to ``far``."""

    side: int
    near: float
    far: float
    kind: str
    seed: int


@dataclass(frozen=True)
class SidePlan:
    """Distances from the street's axis on one side, in metres, all positive.

    Attributes:
        kerb: Where the road ends.
        walk: Where the sidewalk begins and ends.
        bound: Where walls, fences and hedges stand.
        front: Where houses stand.
        strips: Outer edge and material, from the axis outward.
    """

    kerb: float
    walk: Range
    bound: float
    front: float
    strips: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Plan:
    """A street in metres. Lateral positions count from the street's axis, positive to the right.

    Attributes:
        layout: What it was drawn from.
        eye_at: Lateral position of the camera.
        bend: Curvature, 1/m.
        lane: Width of a lane.
        lanes: Centre of each lane, and whether its traffic comes towards the camera.
        median: Half the width of the strip between the directions.
        left: The left side.
        right: The right side.
        marks: Painted lines along the street.
        rails: Lateral positions of the tracks' centres.
        crossing: Depths between which another street crosses, if one does.
        closing: Depth of the front that closes the street, if one does.
        deck: Depth of the bridge, if there is one.
        sections: What borders the street.
        seed: Seeds everything that is painted on the ground.
    """

    layout: Layout
    eye_at: float
    bend: float
    lane: float
    lanes: tuple[tuple[float, bool], ...]
    median: float
    left: SidePlan
    right: SidePlan
    marks: tuple[Mark, ...]
    rails: tuple[float, ...]
    crossing: Range | None
    closing: float | None
    deck: float | None
    sections: tuple[Section, ...]
    seed: int

    def axis(self, depth: float) -> float:
        """Return X of the street's axis at a depth."""
        return 0.5 * self.bend * depth * depth - self.eye_at

    def heading(self, depth: float) -> float:
        """Return the street's direction at a depth, radians to the right of straight ahead."""
        return float(np.arctan(self.bend * depth))

    def side(self, sign: int) -> SidePlan:
        """Return the side left (-1) or right (1)."""
        return self.left if sign < 0 else self.right


def layouts_of(split: str) -> list[Layout]:
    """Return the layouts of ``train`` or ``val``.

    Raises:
        NameLookupError: No layout belongs to ``split``.
    """
    found = [layout for layout in _ALL if layout.split == split]
    if not found:
        raise _unknown_split(split)
    return found


def _unknown_split(split: str) -> NameLookupError:
    """Make the error for a split that has no streets."""
    return unknown_name(split, ["train", "val"], "split of the built-in streets")


def draw_plan(layout: Layout, rng: np.random.Generator) -> Plan:
    """Draw the widths, borders and markings of a street."""
    lane = float(rng.uniform(2.9, 3.4))
    count = int(rng.integers(layout.lanes[0], layout.lanes[1] + 1))
    median = 0.5 * float(rng.uniform(*layout.median))
    road = median + lane * count
    left, right = (_draw_side(layout, road, rng, sign) for sign in (-1, 1))
    tram = rng.random() < layout.tram
    rails = (-(median + 0.5 * lane), median + 0.5 * lane) if tram else ()
    crossing = _crossing(layout, rng)
    closing = float(rng.uniform(*layout.closing)) if layout.closing else None
    if closing:
        crossing = (closing - float(rng.uniform(8, 11)), closing - 3.0)
    return Plan(
        layout=layout,
        eye_at=median + lane * (count - 1) + 0.5 * lane + float(rng.normal(0, 0.3)),
        bend=float(rng.uniform(*layout.bend)),
        lane=lane,
        lanes=tuple(
            (sign * (median + lane * (k + 0.5)), sign < 0) for sign in (-1, 1) for k in range(count)
        ),
        median=median,
        left=left,
        right=right,
        marks=_marks(median, lane, count, rng),
        rails=rails,
        crossing=crossing,
        closing=closing,
        deck=float(rng.uniform(*layout.deck)) if layout.deck else None,
        sections=tuple(s for sign in (-1, 1) for s in _sections(layout, sign, crossing, rng)),
        seed=int(rng.integers(1 << 30)),
    )


def _draw_side(layout: Layout, road: float, rng: np.random.Generator, sign: int) -> SidePlan:
    strips: list[tuple[float, str]] = []
    parking = rng.random() < 0.6
    kerb = road + (2.1 if parking else 0.0)
    strips.append((road, "road"))
    if parking:
        strips.append((kerb, "bay"))
    strips.append((kerb + 0.22, "kerb"))
    edge = kerb + 0.22
    if rng.random() < layout.inner_verge:
        edge += float(rng.uniform(1.2, 2.4))
        strips.append((edge, "grass"))
    begin, edge = edge, edge + float(rng.uniform(*layout.walk))
    if sign < 0 and layout.open_left:
        edge += float(rng.uniform(*layout.open_left)) * 0.5
    strips.append((edge, "walk"))
    end = edge
    if rng.random() < layout.outer_verge:
        edge += float(rng.uniform(2.0, 4.5))
        strips.append((edge, "grass"))
    bound = edge + 0.1
    front = bound + float(rng.uniform(0.2, 1.0))
    if sign < 0 and layout.open_left:
        front += float(rng.uniform(*layout.open_left)) * 0.5
    strips.append((np.inf, "grass" if rng.random() < 0.7 else "walk"))
    return SidePlan(kerb, (begin, end), bound, front, tuple(strips))


def _crossing(layout: Layout, rng: np.random.Generator) -> Range | None:
    if not layout.crossing:
        return None
    near = float(rng.uniform(*layout.crossing))
    return near, near + float(rng.uniform(7, 11))


def _marks(median: float, lane: float, count: int, rng: np.random.Generator) -> tuple[Mark, ...]:
    period, dash = float(rng.uniform(6, 12)), float(rng.uniform(2.5, 5))
    marks: list[Mark] = []
    if median == 0 and rng.random() < 0.85:
        solid = rng.random() < 0.25
        marks.append(Mark(0.0, 0.16, period, period if solid else dash))
    for sign in (-1, 1):
        marks += [Mark(sign * (median + lane * k), 0.15, period, dash) for k in range(1, count)]
        if rng.random() < 0.6:
            marks.append(Mark(sign * (median + lane * count - 0.15), 0.13))
        if median:
            marks.append(Mark(sign * (median + 0.2), 0.13))
    return tuple(marks)


def _sections(
    layout: Layout, sign: int, crossing: Range | None, rng: np.random.Generator
) -> list[Section]:
    weights = np.asarray(layout.fronts) / sum(layout.fronts)
    sections: list[Section] = []
    near = float(rng.uniform(2.0, 8.0))
    while near < _REACH:
        far = near + float(rng.uniform(8.0, 17.0))
        kind = str(rng.choice(_FRONTS, p=weights))
        # The first sections in view are large: give the rarer borders their place there.
        if 10 < near < 24 and rng.random() < 0.45:
            kind = "wall" if rng.random() < 0.5 else "fence"
        seed = int(rng.integers(1 << 30))
        blocked = crossing and near < crossing[1] + 2 and far > crossing[0] - 2
        if not blocked:
            sections.append(Section(sign, near, far, kind, seed))
        near = far if rng.random() < 0.85 else far + float(rng.uniform(1.0, 5.0))
    return sections

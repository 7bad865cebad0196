"""The ground of the built-in street scenes: road, markings, kerbs, sidewalks, grass, shadows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustseg.datasets.streets.camera import FloatArray
from robustseg.datasets.streets.layout import Plan
from robustseg.datasets.streets.paint import Canvas
from robustseg.datasets.streets.texture import (
    cloud_tile,
    fade,
    joints,
    look_up,
    paper_tile,
    random_table,
)

__all__ = ["paint_ground"]

_ROAD, _SIDEWALK, _TERRAIN = 7, 8, 22
_MATERIALS = ("road", "bay", "kerb", "walk", "grass")
_LABELS = (_ROAD, _ROAD, _SIDEWALK, _SIDEWALK, _TERRAIN)
_FARTHEST = 400.0
_SMOOTH_FROM = 900.0


@dataclass(frozen=True)
class _Points:
    """Pixels of one material: lateral and forward position, footprint, in metres."""

    s: FloatArray
    z: FloatArray
    foot: FloatArray
    seed: int
    smooth: bool


def paint_ground(canvas: Canvas, plan: Plan, shadow: Callable[[FloatArray], FloatArray]) -> None:
    """Paint everything below the horizon.

    Args:
        canvas: Where to paint.
        plan: The street.
        shadow: Gives, for depths in metres, the lateral position where the shadow of the houses
            ends; the side towards the sun lies in shadow.
    """
    camera, light = canvas.camera, canvas.light
    first, depth = camera.ground_rows()
    if first >= camera.height:
        return
    depth = np.minimum(depth, np.float32(_FARTHEST))
    axis = np.float32(0.5 * plan.bend) * np.minimum(depth, 150) ** 2 - np.float32(plan.eye_at)
    s = camera.slopes()[None, :] * depth[:, None] - axis[:, None]
    material = _materials(plan, s, depth)
    foot = np.maximum(depth**2 / np.float32(camera.focal * camera.eye), 0)
    rows = np.broadcast_to(depth[:, None], s.shape)
    feet = np.broadcast_to(foot[:, None], s.shape)
    lit = np.asarray(light.shade(np.array([0.0, 1.0, 0.0])), np.float32)
    colour = np.empty((*s.shape, 3), np.float32)
    rng = np.random.default_rng(plan.seed)
    # In a large picture the texels next to the car are larger than its pixels.
    smooth = camera.focal > _SMOOTH_FROM
    for index, name in enumerate(_MATERIALS):
        shader = _SHADERS[name]
        base, seed = _tone(name, rng), int(rng.integers(1 << 20))
        chosen = np.nonzero(material == index)
        if chosen[0].size:
            points = _Points(s[chosen], rows[chosen], feet[chosen], seed, smooth)
            colour[chosen] = shader(points, base, plan)
    colour *= lit * _shadow_factor(s, depth, light.sun, light.sunlight, shadow)[..., None]
    box = (first, camera.height, 0, camera.width)
    labels = np.asarray(_LABELS, np.uint8)[material]
    canvas.lay(box, colour, np.ones(s.shape, np.bool_), labels, depth[:, None])


def _materials(plan: Plan, s: FloatArray, depth: FloatArray) -> npt.NDArray[np.uint8]:
    edges: list[float] = []
    kinds: list[str] = []
    for edge, kind in reversed(plan.left.strips):
        kinds.append(kind)
        edges.append(-edge)
    middle = "grass" if plan.median else "road"
    edges = [*edges[1:], -plan.median, plan.median]
    kinds = [*kinds, middle]
    for edge, kind in plan.right.strips:
        kinds.append(kind)
        edges.append(edge)
    # A table of 5 cm steps is several times faster than a search for every pixel.
    grid = np.arange(-40, 40, 0.05)
    codes = np.array([_MATERIALS.index(k) for k in kinds], np.uint8)
    table = codes[np.searchsorted(np.asarray(edges[:-1]), grid)]
    steps = np.clip((s + np.float32(40)) * np.float32(20), 0, len(table) - 1).astype(np.int32)
    material: npt.NDArray[np.uint8] = table[steps]
    if plan.crossing:
        crossed = (depth > plan.crossing[0]) & (depth < plan.crossing[1])
        material[crossed] = 0
    if plan.closing and plan.crossing:
        material[depth >= plan.crossing[1]] = _MATERIALS.index("walk")
    return material


def _shadow_factor(
    s: FloatArray,
    depth: FloatArray,
    sun: tuple[float, float, float],
    sunlight: tuple[float, float, float],
    shadow: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    strength = np.float32(0.55 * min(sum(sunlight) / 2.0, 1.0))
    edge = shadow(depth)[:, None]
    inside = (edge - s) if sun[0] < 0 else (s - edge)
    share = np.clip(inside / np.float32(0.25) + np.float32(0.5), 0, 1)
    return np.asarray(1 - strength * share, np.float32)


def _asphalt(points: _Points, base: FloatArray, plan: Plan) -> FloatArray:
    light = _rough(points, 0.13, 0.07)
    wheel = np.abs(np.abs(points.s / np.float32(plan.lane) % 1 - np.float32(0.5)) - 0.24)
    light -= np.float32(0.07) * np.clip(1 - wheel * np.float32(9), 0, 1)
    crack = look_up(cloud_tile(), points.s, points.z, 0.02, points.seed + 40, points.smooth)
    light -= np.float32(0.22) * (np.abs(crack) < 0.012) * fade(points.foot, 0.2)
    colour = base * light[:, None]
    worn = look_up(paper_tile(), points.s, points.z, 0.04, points.seed, points.smooth)
    paint = np.float32(0.80) + np.float32(0.05) * worn
    marked = _marked(points, plan) & (worn > -1.4)
    colour[marked] = paint[marked, None]
    for centre in plan.rails:
        offset = np.abs(np.abs(points.s - np.float32(centre)) - np.float32(0.72))
        colour[offset < 0.11] *= np.float32(0.62)
        colour[offset < 0.04] = np.float32(0.62)
    return colour


def _marked(points: _Points, plan: Plan) -> npt.NDArray[np.bool_]:
    marked = np.zeros(points.s.shape, np.bool_)
    for mark in plan.marks:
        line = np.abs(points.s - np.float32(mark.at)) < np.float32(mark.width / 2)
        if mark.dash < mark.period:
            line &= joints(points.z, mark.period, mark.dash)
        marked |= line
    if plan.crossing:
        near, far = plan.crossing
        on_road = (points.s > -plan.left.kerb) & (points.s < plan.right.kerb)
        inside = (points.z > near - 0.2) & (points.z < far + 0.2)
        marked &= ~inside
        zebra = (points.z > near - 3.6) & (points.z < near - 0.6) & joints(points.s, 1.0, 0.5)
        stop = (points.z > near - 5.0) & (points.z < near - 4.5) & (points.s > plan.median)
        marked = np.where(
            points.z > near - 5.2, (zebra | stop) & on_road | (marked & (points.z > far)), marked
        )
    return marked


def _slabs(points: _Points, base: FloatArray, plan: Plan) -> FloatArray:
    pitch = (0.5, 0.8, 1.2)[points.seed % 3]
    light = _rough(points, 0.07, 0.06)
    stone = look_up(random_table(), points.s, points.z, pitch, points.seed) - np.float32(0.5)
    light += np.float32(0.22) * stone * fade(points.foot, pitch)
    gap = joints(points.s, pitch, 0.035) | joints(points.z, pitch, 0.035)
    light -= np.float32(0.22) * gap * fade(points.foot, pitch / 2)
    return base * light[:, None]


def _setts(points: _Points, base: FloatArray, plan: Plan) -> FloatArray:
    """Shade the small dark stones of parking bays, which are road, not sidewalk."""
    light = _rough(points, 0.08, 0.07)
    row = np.floor(points.z * np.float32(1 / 0.16))
    shifted = points.s + row * np.float32(0.07)
    stone = look_up(random_table(), shifted, points.z, 0.16, points.seed) - np.float32(0.5)
    strength = fade(points.foot, 0.25)
    light += np.float32(0.3) * stone * strength
    gap = joints(shifted, 0.16, 0.025) | joints(points.z, 0.16, 0.025)
    light -= np.float32(0.3) * gap * strength
    colour = base * light[:, None]
    edge = np.maximum(
        -points.s - np.float32(plan.left.kerb), points.s - np.float32(plan.right.kerb)
    )
    colour[(edge > -2.12) & (edge < -1.98)] = np.float32(0.62)
    return colour


def _kerb(points: _Points, base: FloatArray, plan: Plan) -> FloatArray:
    light = _rough(points, 0.05, 0.05)
    light -= np.float32(0.3) * joints(points.z, 1.0, 0.04) * fade(points.foot, 0.6)
    colour = base * light[:, None]
    edge = np.where(points.s < 0, -points.s - plan.left.kerb, points.s - plan.right.kerb)
    # The step down to the gutter is in shadow.
    colour[edge < 0.07] *= np.float32(0.6)
    return colour


def _grass(points: _Points, base: FloatArray, plan: Plan) -> FloatArray:
    blades = look_up(
        paper_tile(), points.s, points.z * np.float32(0.4), 0.015, points.seed, points.smooth
    )
    clumps = look_up(paper_tile(), points.s, points.z, 0.12, points.seed + 9, points.smooth)
    patch = look_up(cloud_tile(), points.s, points.z, 0.06, points.seed + 5, points.smooth)
    light = 1 + np.float32(0.16) * blades * fade(points.foot, 0.08)
    light += np.float32(0.10) * clumps * fade(points.foot, 0.5) + np.float32(0.05) * patch
    dry = np.clip(np.float32(0.35) + np.float32(0.35) * patch, 0, 1)[:, None]
    soil = np.asarray((0.52, 0.45, 0.30), np.float32)
    colour: FloatArray = (base + (soil - base) * dry * np.float32(0.7)) * light[:, None]
    return colour


def _rough(points: _Points, fine: float, coarse: float) -> FloatArray:
    """Return brightness around 1 with grain of centimetres and stains of metres."""
    grain = look_up(paper_tile(), points.s, points.z, 0.012, points.seed, points.smooth)
    rough = look_up(paper_tile(), points.s, points.z, 0.07, points.seed + 3, points.smooth)
    stain = look_up(
        cloud_tile(), points.s, points.z * np.float32(0.5), 0.05, points.seed + 11, points.smooth
    )
    light = 1 + np.float32(fine) * grain * fade(points.foot, 0.06)
    light += np.float32(0.6 * fine) * rough * fade(points.foot, 0.3)
    if points.smooth:
        grit = look_up(paper_tile(), points.s, points.z, 0.003, points.seed + 17)
        light += np.float32(0.8 * fine) * grit * fade(points.foot, 0.03)
    return light + np.float32(coarse) * stain


def _tone(name: str, rng: np.random.Generator) -> FloatArray:
    """Draw the colour of a material."""
    grey, warm = float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1))
    base, spread, tint = _TONES[name]
    colour = np.asarray(base) * (1 + spread * grey) + tint * warm * np.array([1.0, 0.2, -1.0])
    return colour.astype(np.float32)


_TONES: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "road": ((0.37, 0.37, 0.385), 0.16, 0.012),
    "bay": ((0.33, 0.33, 0.34), 0.14, 0.015),
    "kerb": ((0.66, 0.65, 0.62), 0.1, 0.02),
    "walk": ((0.56, 0.53, 0.50), 0.14, 0.04),
    "grass": ((0.42, 0.50, 0.22), 0.15, 0.05),
}
_SHADERS: dict[str, Callable[[_Points, FloatArray, Plan], FloatArray]] = {
    "road": _asphalt,
    "bay": _setts,
    "kerb": _kerb,
    "walk": _slabs,
    "grass": _grass,
}

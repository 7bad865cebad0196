"""Solid things of the built-in street scenes: blocks in three dimensions, painted face by face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from robustseg.datasets.streets.paint import Canvas, Colour, Points, Shape, disc

__all__ = ["Block", "Patch", "Pose", "paint_blocks", "rect", "wheel"]


@dataclass(frozen=True)
class Pose:
    """Where a thing stands: X and Z of its middle in metres, heading in radians (0: away)."""

    x: float
    z: float
    heading: float


@dataclass(frozen=True)
class Patch:
    """Paint on a face: points in the face's own coordinates (0-1 across, 0-1 up)."""

    points: Points
    colour: Colour
    glows: bool = False


def rect(a0: float, b0: float, a1: float, b1: float, colour: Colour, glows: bool = False) -> Patch:
    """Return a rectangle on a face."""
    return Patch(np.array([(a0, b0), (a1, b0), (a1, b1), (a0, b1)]), colour, glows)


@dataclass(frozen=True)
class Block:
    """A truncated pyramid standing upright; metres in the thing's own frame.

    Attributes:
        low: Height of its bottom.
        high: Height of its top.
        bottom: Half width, rear end and front end of the bottom.
        top: Half width, rear end and front end of the top.
        colour: RGB 0-1.
        label: Label id.
        patches: Paint on its faces: ``rear``, ``front``, ``side``, ``top``.
        beside: It stands beside another such block, so that the farther is painted first.
    """

    low: float
    high: float
    bottom: tuple[float, float, float]
    top: tuple[float, float, float]
    colour: Colour
    label: int
    patches: Mapping[str, Sequence[Patch]] = field(default_factory=dict)
    beside: bool = False

    def faces(self) -> list[tuple[str, Points]]:
        """Return name and corners (4, 3) of the faces, from bottom left as seen from outside."""
        (w0, a0, b0), (w1, a1, b1) = self.bottom, self.top
        y0, y1 = self.low, self.high
        rear = [(-w0, y0, a0), (w0, y0, a0), (w1, y1, a1), (-w1, y1, a1)]
        front = [(w0, y0, b0), (-w0, y0, b0), (-w1, y1, b1), (w1, y1, b1)]
        right = [(w0, y0, a0), (w0, y0, b0), (w1, y1, b1), (w1, y1, a1)]
        # Patches of a side count from the rear on both sides, so the left one is mirrored.
        left = [(-w0, y0, a0), (-w0, y0, b0), (-w1, y1, b1), (-w1, y1, a1)]
        top = [(-w1, y1, a1), (w1, y1, a1), (w1, y1, b1), (-w1, y1, b1)]
        named = [("rear", rear), ("front", front), ("side", right), ("left", left), ("top", top)]
        return [(name, np.array(corners)) for name, corners in named]


def paint_blocks(canvas: Canvas, blocks: Sequence[Block], pose: Pose, seed: int) -> None:
    """Paint blocks as one thing, first to last, with a shadow under it.

    Args:
        canvas: Where to paint.
        blocks: Those nearer to the ground first, then those that stand beside one another.
        pose: Where the thing stands.
        seed: Where its texture starts.
    """
    _ground_shadow(canvas, blocks, pose)
    shapes: list[Shape] = []
    for block in sorted(blocks, key=lambda b: _order(b, pose)):
        for name, corners in block.faces():
            shapes += _face(canvas, block, name, _place(corners, pose))
    if shapes:
        canvas.shapes(shapes, max(pose.z, 2.0), seed, (1.0, 1.0, 1.0))


def _order(block: Block, pose: Pose) -> float:
    """Return a number that sorts blocks side by side from far to near, after all others."""
    if not block.beside:
        return -np.inf
    middle = 0.5 * (block.bottom[1] + block.bottom[2])
    return -float(np.cos(pose.heading)) * middle


def _face(canvas: Canvas, block: Block, name: str, corners: Points) -> list[Shape]:
    normal = -np.cross(corners[1] - corners[0], corners[3] - corners[0])
    if name == "left":
        normal = -normal
    length = float(np.linalg.norm(normal))
    middle = corners.mean(axis=0)
    if length < 1e-9 or normal @ (middle - (0, canvas.camera.eye, 0)) >= 0:
        return []
    lit = canvas.light.shade(normal / length)
    key = "side" if name == "left" else name
    faces = [Shape(canvas.camera.project(corners), _times(block.colour, lit), block.label)]
    for patch in block.patches.get(key, ()):
        points = canvas.camera.project(_on_face(corners, patch.points))
        colour = patch.colour if patch.glows else _times(patch.colour, lit)
        faces.append(Shape(points, colour, block.label))
    return faces


def _on_face(corners: Points, points: Points) -> Points:
    a, b = points[:, :1], points[:, 1:]
    lower = corners[0] + a * (corners[1] - corners[0])
    upper = corners[3] + a * (corners[2] - corners[3])
    result: npt.NDArray[np.float64] = lower + b * (upper - lower)
    return result


def _place(points: Points, pose: Pose) -> Points:
    cos, sin = np.cos(pose.heading), np.sin(pose.heading)
    x = pose.x + points[:, 0] * cos + points[:, 2] * sin
    z = pose.z - points[:, 0] * sin + points[:, 2] * cos
    return np.stack([x, points[:, 1], z], axis=1)


def _ground_shadow(canvas: Canvas, blocks: Sequence[Block], pose: Pose) -> None:
    """Darken the ground under the thing, and where it keeps off the sun."""
    wide = max(b.bottom[0] for b in blocks) + 0.1
    rear, front = min(b.bottom[1] for b in blocks), max(b.bottom[2] for b in blocks)
    high = max(b.high for b in blocks)
    ground = np.array([(-wide, 0, rear), (wide, 0, rear), (wide, 0, front), (-wide, 0, front)])
    corners = _place(ground, pose)
    metre = canvas.camera.focal / max(pose.z, 2.0)
    light = canvas.light
    direct = min(sum(light.sunlight) / 2, 1.0)
    if direct > 0.15:
        sun = light.sun
        reach = min(high / max(sun[1], 0.2), 4.0)
        offset = np.array([-sun[0], 0.0, -sun[2]]) * reach
        # The hull of foot and shifted top, good enough as the box around both.
        cast = _hull(np.concatenate([corners, corners + offset])[:, [0, 2]])
        flat = np.insert(cast, 1, 0.0, axis=1)
        canvas.darken(canvas.camera.project(flat), 0.5 * direct, 0.05 * metre)
    canvas.darken(canvas.camera.project(corners), 0.62, 0.12 * metre)


def _hull(points: Points) -> Points:
    """Return the convex hull in order, by walking round the angles and dropping dents."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    chains: list[list[tuple[float, float]]] = []
    for sequence in (ordered, ordered[::-1]):
        chain: list[tuple[float, float]] = []
        for point in sequence:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains.append(chain[:-1])
    return np.array(chains[0] + chains[1])


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _times(colour: Colour, lit: npt.NDArray[np.float64]) -> Colour:
    return colour[0] * float(lit[0]), colour[1] * float(lit[1]), colour[2] * float(lit[2])


def wheel(at: float, radius: float, length: float, low: float, high: float) -> list[Patch]:
    """Return a wheel on a side face of ``length`` metres between two heights; ``at`` is 0-1."""
    tall = high - low
    centre = (radius - low) / tall
    arch = disc(at, centre, 1.18 * radius / length, 1.18 * radius / tall)
    tyre = disc(at, centre, radius / length, radius / tall)
    rim = disc(at, centre, 0.58 * radius / length, 0.58 * radius / tall, 10)
    hub = disc(at, centre, 0.2 * radius / length, 0.2 * radius / tall, 8)
    grey = 0.45
    return [
        Patch(arch, (0.05, 0.05, 0.05)),
        Patch(tyre, (0.09, 0.09, 0.09)),
        Patch(rim, (grey, grey, grey)),
        Patch(hub, (0.2, 0.2, 0.2)),
    ]

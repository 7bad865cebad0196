"""The pinhole camera of the built-in street scenes: projection, ground rays and wall rays.

World axes in metres, seen from the car: X to the right, Y up from the ground, Z forward. The
camera looks along Z, so that all points of a pixel row share the depth of the ground below them
and all points of a pixel column of an upright wall share their depth. Painting rests on that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "Camera", "FloatArray", "WallColumns"]

FloatArray = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""top, bottom, left, right in pixels, ends excluded."""

_NEAREST = 0.8
"""Nothing nearer than this (metres) is projected; it would be behind the windscreen."""


@dataclass(frozen=True)
class WallColumns:
    """Where the pixel columns meet an upright wall.

    Attributes:
        left: First pixel column that meets it.
        along: float32 (n,), metres along the wall from its first end, one for each column.
        depth: float32 (n,), depth in metres.
    """

    left: int
    along: FloatArray
    depth: FloatArray


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera; sizes in painted pixels.

    Attributes:
        height: Rows.
        width: Columns.
        focal: Focal length in pixels.
        horizon: Row of the horizon.
        eye: Height of the camera above the ground in metres.
    """

    height: int
    width: int
    focal: float
    horizon: float
    eye: float

    def slopes(self) -> FloatArray:
        """Return X / Z of every pixel column, float32 (width,)."""
        columns = np.arange(self.width, dtype=np.float32) + np.float32(0.5 - self.width / 2)
        return columns / np.float32(self.focal)

    def project(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Project world points.

        Args:
            points: float64 (N, 3), metres.

        Returns:
            float64 (N, 2), pixel x and y.
        """
        scale = self.focal / np.maximum(points[:, 2], _NEAREST)
        x = self.width / 2 + points[:, 0] * scale
        y = self.horizon + (self.eye - points[:, 1]) * scale
        return np.stack([x, y], axis=1)

    def ground_rows(self) -> tuple[int, FloatArray]:
        """Return the first row below the horizon and the ground's depth for each row from there.

        Returns:
            The row, and float32 (height - row,) metres.
        """
        first = min(max(int(np.ceil(self.horizon)), 0), self.height)
        below = np.arange(first, self.height, dtype=np.float32) + np.float32(0.5 - self.horizon)
        return first, np.float32(self.focal * self.eye) / np.maximum(below, np.float32(0.2))

    def wall_columns(
        self, start: tuple[float, float], end: tuple[float, float]
    ) -> WallColumns | None:
        """Meet the upright wall over the ground line from ``start`` to ``end`` (X, Z in metres).

        Returns:
            The columns that see it, or None where none does.
        """
        slopes = self.slopes()
        dx, dz = end[0] - start[0], end[1] - start[1]
        across = dx - slopes * np.float32(dz)
        across = np.where(np.abs(across) < 1e-6, np.float32(1e-6), across)
        share = (slopes * np.float32(start[1]) - np.float32(start[0])) / across
        depth = np.float32(start[1]) + share * np.float32(dz)
        seen = np.flatnonzero((share >= 0) & (share <= 1) & (depth > _NEAREST))
        if not seen.size:
            return None
        # The meeting of a line and a fan of rays is one run of columns.
        run = slice(int(seen[0]), int(seen[-1]) + 1)
        length = np.float32(np.hypot(dx, dz))
        return WallColumns(run.start, share[run] * length, np.maximum(depth[run], _NEAREST))

    def wall_rows(self, depth: FloatArray, low: float, high: float) -> tuple[int, int]:
        """Return the rows (first, end) that a wall from ``low`` to ``high`` metres spans."""
        near = self.focal / float(depth.min())
        far = self.focal / float(depth.max())
        tops = [self.horizon + (self.eye - high) * s for s in (near, far)]
        feet = [self.horizon + (self.eye - low) * s for s in (near, far)]
        first = min(max(int(np.floor(min(tops))), 0), self.height)
        return first, min(max(int(np.ceil(max(feet))), first), self.height)

    def clip(self, pixels: npt.NDArray[np.float64], margin: float = 0.0) -> Box | None:
        """Return the box of pixels around points, or None if it is outside the picture."""
        low, high = pixels.min(axis=0) - margin, pixels.max(axis=0) + margin
        left, top = max(int(np.floor(low[0])), 0), max(int(np.floor(low[1])), 0)
        right = min(int(np.ceil(high[0])) + 1, self.width)
        bottom = min(int(np.ceil(high[1])) + 1, self.height)
        return (top, bottom, left, right) if top < bottom and left < right else None

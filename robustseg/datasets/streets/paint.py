"""The canvas of the built-in street scenes: picture and labels, painted from far to near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from robustseg.datasets.streets.camera import Box, Camera, FloatArray
from robustseg.datasets.streets.light import Light
from robustseg.datasets.streets.texture import TILE, paper_tile

__all__ = ["Canvas", "Shape", "disc", "limb", "ring"]

Colour = tuple[float, float, float]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """A filled polygon.

    Attributes:
        points: float64 (N, 2), in the coordinates that the painter expects.
        colour: RGB 0-1, or None to set the label without paint.
        label: Cityscapes label id, or None to paint without a label.
        glows: The colour is light, not a surface under the scene's light.
        alpha: Cover, 0-1.
    """

    points: Points
    colour: Colour | None
    label: int | None
    glows: bool = False
    alpha: float = 1.0


def disc(x: float, y: float, rx: float, ry: float, corners: int = 24) -> Points:
    """Return an ellipse as polygon, float64 (corners, 2)."""
    angle = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def ring(x: float, y: float, rx: float, ry: float, share: float) -> Points:
    """Return an elliptic ring as one polygon; its hole has ``share`` of the radii."""
    outer, inner = disc(x, y, rx, ry, 28), disc(x, y, rx * share, ry * share, 28)
    return np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])


def limb(x0: float, y0: float, x1: float, y1: float, w0: float, w1: float) -> Points:
    """Return a tapered bar from one point to another as polygon, float64 (4, 2)."""
    along = np.array([x1 - x0, y1 - y0])
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    start, end = np.array([x0, y0]), np.array([x1, y1])
    return np.stack(
        [start + across * w0, end + across * w1, end - across * w1, start - across * w0]
    )


class Canvas:
    """A picture and its labels, both at the painted size.

    Attributes:
        camera: The view.
        light: The weather.
        rgb: float32 (H, W, 3), light reaching the lens, about 0-1.
        labels: uint8 (H, W), Cityscapes label ids.
        refine: Times finer than the picture that polygons are painted, for soft edges.
    """

    def __init__(self, camera: Camera, light: Light, refine: int = 1) -> None:
        self.refine = refine
        self.camera = camera
        self.light = light
        self.rgb: FloatArray = np.zeros((camera.height, camera.width, 3), np.float32)
        self.labels: npt.NDArray[np.uint8] = np.zeros((camera.height, camera.width), np.uint8)
        self._haze = np.asarray(light.haze, np.float32)

    def lay(
        self,
        box: Box,
        colour: FloatArray,
        cover: npt.NDArray[np.float32] | npt.NDArray[np.bool_],
        label: int | npt.NDArray[np.uint8],
        depth: FloatArray | float,
    ) -> None:
        """Lay a patch over the picture, seen through haze.

        Args:
            box: Where it goes.
            colour: float32 (h, w, 3), lit.
            cover: (h, w), bool or float32 0-1.
            label: Label id where the cover exceeds a half, or uint8 (h, w) with 0 = keep.
            depth: Metres; broadcast to (h, w).
        """
        top, bottom, left, right = box
        clear = self.light.clear(depth)[..., None]
        target = self.rgb[top:bottom, left:right]
        seen = colour * clear + self._haze * (1 - clear)
        if cover.dtype == np.bool_:
            np.copyto(target, seen, where=cover[..., None])
            hard = cover
        else:
            target += (seen - target) * cover[..., None]
            hard = cover > np.float32(0.5)
        labels = self.labels[top:bottom, left:right]
        if isinstance(label, int):
            labels[hard] = label
        else:
            np.copyto(labels, label, where=label > 0)

    def shapes(self, shapes: Sequence[Shape], depth: float, seed: int, lit: Colour) -> None:
        """Paint polygons in pixel coordinates, first to last, as one thing at one depth.

        Args:
            shapes: In pixel coordinates.
            depth: Metres; sets the haze.
            seed: Where the surface's texture starts.
            lit: Light on those that do not glow.
        """
        box = self.camera.clip(np.concatenate([s.points for s in shapes]))
        if box is None:
            return
        top, bottom, left, right = box
        size = (right - left, bottom - top)
        finer = self.refine
        paint = Image.new("RGBA", (size[0] * finer, size[1] * finer))
        mask = Image.new("L", size)
        brush, marker = ImageDraw.Draw(paint), ImageDraw.Draw(mask)
        for shape in shapes:
            corners = (shape.points - (left, top)).ravel()
            if shape.colour is not None:
                brush.polygon((corners * finer).tolist(), fill=_ink(shape, lit))
            if shape.label is not None:
                marker.polygon(corners.tolist(), fill=shape.label)
        if finer > 1:
            paint = paint.reduce(finer)
        ink = np.asarray(paint, np.float32) * np.float32(1 / 255)
        colour = ink[..., :3] * self._surface(box, depth, seed)[..., None]
        self.lay(box, colour * np.float32(1.25), ink[..., 3], np.asarray(mask), depth)

    def darken(self, pixels: Points, strength: float, softness: float) -> None:
        """Let a soft shadow fall on what is painted so far.

        Args:
            pixels: float64 (N, 2), outline in pixels.
            strength: Share of light taken, 0-1.
            softness: Standard deviation of the edge in pixels.
        """
        box = self.camera.clip(pixels, margin=2 * softness)
        if box is None:
            return
        top, bottom, left, right = box
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon((pixels - (left, top)).ravel().tolist(), fill=255)
        shade = np.asarray(mask, np.float32) * np.float32(strength / 255)
        shade = ndimage.uniform_filter(shade, 2 * round(softness) + 1)
        self.rgb[top:bottom, left:right] *= 1 - shade[..., None]

    def _surface(self, box: Box, depth: float, seed: int) -> FloatArray:
        """Return the brightness of a painted thing: texture, and darker towards the ground."""
        top, bottom, left, right = box
        metre = self.camera.focal / max(depth, 1.0)
        rows = np.arange(top, bottom, dtype=np.float32)
        columns = np.arange(left, right, dtype=np.float32)
        texel = np.float32(1 / max(metre * 0.03, 1.0))
        row = ((rows * texel).astype(np.int32) + (seed & (TILE - 1))) & (TILE - 1)
        column = ((columns * texel).astype(np.int32) + (7 * seed & (TILE - 1))) & (TILE - 1)
        grain = paper_tile()[row[:, None], column[None, :]] * np.float32(0.032)
        feet = self.camera.horizon + self.camera.eye * metre
        height = np.clip((feet - rows) / np.float32(metre), 0, 3)
        ramp = np.float32(0.86) + np.float32(0.1) * height
        side = np.linspace(-1, 1, len(columns), dtype=np.float32) * np.float32(
            0.1 * self.light.sun[0]
        )
        result: FloatArray = (np.minimum(ramp, 1.08)[:, None] + side[None, :]) * (1 + grain)
        return result


def _ink(shape: Shape, lit: Colour) -> tuple[int, int, int, int]:
    colour = shape.colour or (0.0, 0.0, 0.0)
    light = (1.0, 1.0, 1.0) if shape.glows else lit
    # Paint is kept at 0.8 of its light so that lit white fits into a byte.
    red, green, blue = (
        min(max(round(c * f * 255 * 0.8), 0), 255) for c, f in zip(colour, light, strict=True)
    )
    return red, green, blue, round(255 * shape.alpha)

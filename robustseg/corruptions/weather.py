"""The four weather corruptions: snow, spatter, fog and frost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.blur import smooth, streak
from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.flakes import draw_centre, enlarge, lay_over
from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.pixels import FloatArray, quantised
from robustseg.corruptions.plasma import veil
from robustseg.corruptions.severity import TABLE, Spatter, level
from robustseg.corruptions.textures import FROST_DIGESTS, frost_layer
from robustseg.corruptions.twister import draw_normals
from robustseg.datasets.sample import ImageArray

__all__ = ["fog", "frost", "snow", "spatter"]

Float32Array = npt.NDArray[np.float32]

F32 = np.float32

WATER = np.array((175 / 255, 238 / 255, 238 / 255), np.float32)
"""Pale turquoise, RGB 0-1."""

MUD = np.array((63 / 255, 42 / 255, 20 / 255))
"""Dark brown, RGB 0-1."""


def snow(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Whiten the scene and draw streaks of flakes over it (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; H x W normals, then one uniform, the angle of fall, are drawn from it.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    fall = level(TABLE.snow, severity)
    noise = draw_centre(rng, fall.mean, fall.std, image.shape[:2], fall.zoom)
    flakes = enlarge(noise, fall.zoom, fall.threshold)
    flakes = streak(flakes, fall.radius, fall.sigma, angle=rng.uniform(-135, -45))
    return lay_over(image, flakes, fall.keep)


def spatter(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Put drops on the lens: water at severities 1-3, mud at 4 and 5 (ImageNet-C, extra).

    A small image on which no drop of water falls turns black, as in the definition.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; H x W normals are drawn from it.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
        OpenCVUnavailableError: OpenCV cannot be loaded.
    """
    drops = level(TABLE.spatter, severity)
    height, width = image.shape[:2]
    normals = draw_normals(rng, height * width).reshape(height, width)
    liquid = smooth(drops.mean + drops.std * normals, drops.sigma)
    spattered = np.empty_like(image)
    if drops.mud:
        covered = (liquid > drops.threshold).astype(np.float64)
        _cover(image, smooth(covered, drops.strength, single=True), MUD, spattered)
    else:
        _wet(image, _opacity(liquid, drops), WATER, spattered)
    return spattered


def fog(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Mix in a plasma fractal, keeping the brightest value of the image (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; S x S - 1 uniforms are drawn from it, where S is the next power of two
            of the longer side.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    amplitude, decay = level(TABLE.fog, severity)
    size = _next_power_of_two(max(image.shape[:2]))
    return veil(image, size, amplitude, decay, rng)


def frost(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Lay a random crop of a photograph of frost over the image (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; three integers are drawn from it: picture, row and column of the crop.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
        DataError: The photographs are missing or not those of the definition.
        RobustsegError: This processor enlarges them to other bytes.
    """
    height, width = image.shape[:2]
    image_weight, frost_weight = level(TABLE.frost, severity)
    names = tuple(FROST_DIGESTS)
    layer = frost_layer(names[_draw_below(len(names), rng)], height, width)
    top = _draw_below(layer.shape[0] - height, rng)
    left = _draw_below(layer.shape[1] - width, rng)
    frosted = np.empty_like(image)
    _mix(image, layer, top, left, image_weight, frost_weight, frosted)
    return frosted


@compiled
def _mix(
    image: ImageArray,
    layer: ImageArray,
    top: int,
    left: int,
    image_weight: float,
    layer_weight: float,
    out: ImageArray,
) -> None:
    height, samples = image.shape[0], image.shape[1] * 3
    start = np.uintp(left * 3)
    for y in range(height):
        pixels, frost = image[y].reshape(-1), layer[top + y].reshape(-1)
        target = out[y].reshape(-1)
        for i in range(samples):
            k = np.uintp(i)
            mixed = image_weight * pixels[k] + layer_weight * frost[start + k]
            target[k] = np.uint8(np.int32(min(mixed, 255.0)))


def _next_power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()


def _draw_below(bound: int, rng: np.random.RandomState) -> int:
    # The width is stated because numpy's default differs between platforms.
    return int(rng.randint(0, bound, dtype=np.int64))


def _opacity(liquid: FloatArray, drops: Spatter) -> Float32Array:
    depth = _depth(liquid, drops.threshold)
    opacity: Float32Array = depth * _rim_relief(depth)
    peak = opacity.max()
    if peak == 0:
        # Not one drop, which only small images meet: the definition divides by zero and ends black.
        opacity[:] = -2
        return opacity
    opacity /= peak
    opacity *= np.float32(drops.strength)
    return opacity


@compiled
def _depth(liquid: FloatArray, threshold: float) -> npt.NDArray[np.uint8]:
    depth = np.empty(liquid.shape, np.uint8)
    for y in range(liquid.shape[0]):
        for x in range(liquid.shape[1]):
            value = liquid[y, x] if liquid[y, x] >= threshold else 0.0
            depth[y, x] = np.uint8(np.int32(value * 255.0))
    return depth


@compiled
def _wet(image: ImageArray, opacity: Float32Array, colour: Float32Array, out: ImageArray) -> None:
    height, width = opacity.shape
    one, nought = F32(1), F32(0)
    for y in range(height):
        for x in range(width):
            for c in range(3):
                value = F32(image[y, x, c]) / F32(255) + opacity[y, x] * colour[c]
                out[y, x, c] = np.uint8(np.int32(min(max(value, nought), one) * F32(255)))


@compiled
def _cover(image: ImageArray, opacity: FloatArray, colour: FloatArray, out: ImageArray) -> None:
    height, width = opacity.shape
    for y in range(height):
        for x in range(width):
            part = opacity[y, x] if opacity[y, x] >= F32(0.8) else 0.0
            rest = F32(1) - F32(part)
            for c in range(3):
                unit = F32(image[y, x, c]) / F32(255)
                out[y, x, c] = quantised(unit * rest + colour[c] * part)


def _rim_relief(depth: npt.NDArray[np.uint8]) -> Float32Array:
    """Light the drops of a uint8 (H, W) layer from one corner, by the distance to their rims."""
    cv2 = load_cv2()
    distance = cv2.distanceTransform(255 - cv2.Canny(depth, 50, 150), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, emboss)
    relief: Float32Array = cv2.blur(lit, (3, 3)).astype(np.float32)
    return relief

"""The four weather corruptions: snow, spatter, fog and frost."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from robustseg.corruptions.blur import smooth, streak
from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.pixels import FloatArray, quantise, to_unit
from robustseg.corruptions.severity import TABLE, Spatter, level
from robustseg.corruptions.textures import FROST_DIGESTS, frost_picture
from robustseg.datasets.sample import ImageArray

__all__ = ["fog", "frost", "plasma_fractal", "snow", "spatter"]

Float32Array = npt.NDArray[np.float32]

WATER = (175 / 255, 238 / 255, 238 / 255)
"""Pale turquoise, RGB 0-1."""

MUD = (63 / 255, 42 / 255, 20 / 255)
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
        OpenCVUnavailableError: OpenCV cannot be loaded.
    """
    height, width = image.shape[:2]
    fall = level(TABLE.snow, severity)
    flakes = _zoom_centre(rng.normal(fall.mean, fall.std, size=(height, width)), fall.zoom)
    flakes[flakes < fall.threshold] = 0
    flakes = np.clip(flakes, 0, 1)
    flakes = streak(flakes, fall.radius, fall.sigma, angle=rng.uniform(-135, -45))
    layer = to_unit(np.round(flakes * 255).astype(np.uint8))[:height, :width, None]
    # The layer and its half turn make two depths of flakes, which fall in the same direction.
    return quantise(_whiten(image, fall.keep) + layer + layer[::-1, ::-1])


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
    liquid = smooth(rng.normal(drops.mean, drops.std, size=image.shape[:2]), drops.sigma)
    liquid[liquid < drops.threshold] = 0
    return _cover_with_mud(image, liquid, drops) if drops.mud else _wet(image, liquid, drops)


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
    height, width = image.shape[:2]
    amplitude, decay = level(TABLE.fog, severity)
    plasma = plasma_fractal(_next_power_of_two(max(height, width)), decay, rng)
    unit = to_unit(image)
    brightest = unit.max()
    foggy = unit + amplitude * plasma[:height, :width, None]
    return quantise(foggy * brightest / (brightest + amplitude))


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
        OpenCVUnavailableError: OpenCV cannot be loaded.
    """
    height, width = image.shape[:2]
    image_weight, frost_weight = level(TABLE.frost, severity)
    names = tuple(FROST_DIGESTS)
    layer = _frost_layer(names[_draw_below(len(names), rng)], height, width)
    top = _draw_below(layer.shape[0] - height, rng)
    left = _draw_below(layer.shape[1] - width, rng)
    crop = layer[top : top + height, left : left + width]
    mixed = image_weight * image + frost_weight * crop
    return np.clip(mixed, 0, 255).astype(np.uint8)


def plasma_fractal(size: int, decay: float, rng: np.random.RandomState) -> FloatArray:
    """Grow a random height map on a torus by the diamond-square algorithm.

    Args:
        size: Side of the map in pixels, a power of two.
        decay: The disturbance is divided by it from each octave to the next, finer one.
        rng: Random stream; ``size**2 - 1`` uniforms are drawn from it.

    Returns:
        float64 (size, size), 0-1.
    """
    heights = np.zeros((size, size))
    step, wobble = size, 100.0

    def disturbed_mean(sums: FloatArray) -> FloatArray:
        return sums / 4 + wobble * rng.uniform(-wobble, wobble, sums.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        left_edges = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = disturbed_mean(
            left_edges + np.roll(left_edges, -1, axis=1)
        )
        centres = heights[half::step, half::step]
        vertical = centres + np.roll(centres, 1, axis=0)
        horizontal = corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = disturbed_mean(vertical + horizontal)
        horizontal = centres + np.roll(centres, 1, axis=1)
        vertical = corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = disturbed_mean(horizontal + vertical)
        step, wobble = half, wobble / decay
    heights -= heights.min()
    heights /= heights.max()
    return heights


def _next_power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()


def _draw_below(bound: int, rng: np.random.RandomState) -> int:
    # The width is stated because numpy's default differs between platforms.
    return int(rng.randint(0, bound, dtype=np.int64))


def _zoom_centre(layer: FloatArray, zoom: float) -> FloatArray:
    """Enlarge the middle of a layer (H, W) to its old size or a few pixels more."""
    height, width = (math.ceil(side / zoom) for side in layer.shape)
    top, left = (layer.shape[0] - height) // 2, (layer.shape[1] - width) // 2
    enlarged: FloatArray = ndimage.zoom(
        layer[top : top + height, left : left + width], zoom, order=1
    )
    return enlarged


def _whiten(image: ImageArray, keep: float) -> Float32Array:
    unit = image.astype(np.float32) / 255
    grey: Float32Array = load_cv2().cvtColor(unit, load_cv2().COLOR_RGB2GRAY)
    whitened: Float32Array = keep * unit + (1 - keep) * np.maximum(
        unit, grey[..., None] * 1.5 + 0.5
    )
    return whitened


def _wet(image: ImageArray, liquid: FloatArray, drops: Spatter) -> ImageArray:
    depth = (liquid * 255).astype(np.uint8)
    opacity: Float32Array = depth * _rim_relief(depth)
    peak = opacity.max()
    if peak == 0:
        # Not one drop, which only small images meet: the definition divides by zero and ends black.
        return np.zeros_like(image)
    opacity /= peak
    opacity *= drops.strength
    unit = image.astype(np.float32) / 255
    return quantise(unit + opacity[..., None] * np.array(WATER, np.float32))


def _rim_relief(depth: npt.NDArray[np.uint8]) -> Float32Array:
    """Light the drops of a uint8 (H, W) layer from one corner, by the distance to their rims."""
    cv2 = load_cv2()
    distance = cv2.distanceTransform(255 - cv2.Canny(depth, 50, 150), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, emboss)
    relief: Float32Array = cv2.blur(lit, (3, 3)).astype(np.float32)
    return relief


def _cover_with_mud(image: ImageArray, liquid: FloatArray, drops: Spatter) -> ImageArray:
    opacity = smooth((liquid > drops.threshold).astype(np.float32), drops.strength)
    opacity[opacity < 0.8] = 0
    unit = image.astype(np.float32) / 255
    unit *= 1 - opacity[..., None]
    return quantise(unit + np.array(MUD) * opacity[..., None])


@functools.lru_cache(maxsize=len(FROST_DIGESTS))
def _frost_layer(name: str, height: int, width: int) -> ImageArray:
    """Enlarge a photograph to cover (height, width) with a tenth to spare; read-only."""
    picture = frost_picture(name)
    scale = 1.1 * max(1.0, height / picture.shape[0], width / picture.shape[1])
    size = (math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale))
    cv2 = load_cv2()
    layer: ImageArray = cv2.resize(picture, dsize=size, interpolation=cv2.INTER_CUBIC)
    layer.flags.writeable = False
    return layer

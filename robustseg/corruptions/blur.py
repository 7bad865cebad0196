"""The four blurs."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from robustseg.corruptions.kernels import gaussian_weights, half_gaussian_weights
from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.pixels import FloatArray, quantise, to_unit
from robustseg.corruptions.severity import TABLE, level
from robustseg.datasets.sample import ImageArray

__all__ = ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "smooth", "streak"]

Floats = TypeVar("Floats", bound=npt.NDArray[np.floating[Any]])

Float32Array = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


def gaussian_blur(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Blur with a Gaussian (ImageNet-C, extra corruption).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    return quantise(smooth(to_unit(image), level(TABLE.gaussian_blur, severity).sigma))


def glass_blur(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Blur, shuffle pixels with near neighbours, blur again: frosted glass (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; two integers are drawn for each pass and pixel inside the border.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    glass = level(TABLE.glass_blur, severity)
    pixels = quantise(smooth(to_unit(image), glass.sigma))
    for _ in range(glass.passes):
        pixels = _shuffle(pixels, glass.reach, rng)
    return quantise(smooth(to_unit(pixels), glass.sigma))


def defocus_blur(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Blur with a disk, as a lens out of focus does (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; unused.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    defocus = level(TABLE.defocus_blur, severity)
    kernel = _disk(defocus.radius, defocus.edge_sigma)
    blurred: FloatArray = load_cv2().filter2D(to_unit(image), -1, kernel)
    return quantise(blurred)


def motion_blur(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    """Blur along a line within 45 degrees of the horizontal, as a moving camera does (ImageNet-C).

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        severity: 1-5.
        rng: Random stream; one uniform, the angle, is drawn from it.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SettingError: The severity is not an integer from 1 to 5.
    """
    motion = level(TABLE.motion_blur, severity)
    blurred = streak(image, motion.radius, motion.sigma, angle=rng.uniform(-45, 45))
    return np.clip(blurred, 0, 255).astype(np.uint8)


def smooth(values: Floats, sigma: float) -> Floats:
    """Convolve columns, then rows with a Gaussian cut at four sigma; borders are repeated.

    Args:
        values: float (H, W) or (H, W, C).
        sigma: Standard deviation in pixels, one of the definition's.

    Returns:
        The same shape and type, which is also the precision between the two axes.
    """
    weights = gaussian_weights(sigma)
    once: Floats = np.empty_like(values)
    twice: Floats = np.empty_like(values)
    ndimage.correlate1d(values, weights, axis=0, output=once, mode="nearest")
    ndimage.correlate1d(once, weights, axis=1, output=twice, mode="nearest")
    return twice


def streak(
    values: npt.NDArray[Any],
    radius: int,
    sigma: float,
    angle: float,
) -> FloatArray:
    """Average the pixels along a line that starts at each pixel; borders are repeated.

    Args:
        values: (H, W) or (H, W, C), any real type.
        radius: The line has ``2 radius + 1`` pixels.
        sigma: The weight falls along the line as a Gaussian of this many pixels.
        angle: Direction of the line in degrees: 0 runs right, 90 down.

    Returns:
        float64 of the same shape and scale.
    """
    height, width = values.shape[:2]
    margin = 2 * radius
    edges = [(margin, margin), (margin, margin)] + [(0, 0)] * (values.ndim - 2)
    padded = np.pad(values, edges, mode="edge")
    total = np.zeros(values.shape)
    weights = half_gaussian_weights(radius, sigma)
    for weight, (dy, dx) in zip(weights, _line(2 * radius + 1, angle), strict=True):
        # The definition stops where the line leaves the image for good; the result is then dimmer.
        if abs(dy) >= height or abs(dx) >= width:
            break
        top, left = margin + dy, margin + dx
        total += weight * padded[top : top + height, left : left + width]
    return total


def _line(length: int, angle: float) -> list[tuple[int, int]]:
    along_y = length * math.sin(math.radians(angle))
    along_x = length * math.cos(math.radians(angle))
    norm = math.hypot(along_y, along_x)
    return [
        (math.ceil(i * along_y / norm - 0.5), math.ceil(i * along_x / norm - 0.5))
        for i in range(length)
    ]


def _disk(radius: int, edge_sigma: float) -> Float32Array:
    half = max(radius, 8)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    disk /= np.sum(disk)
    # Mirrored borders count the rim twice where the disk touches them, so the weights of radius 8
    # and 10 sum to more than one: severities 4 and 5 brighten the image by a percent.
    return _soften(disk, edge_sigma, reach=1 if radius <= 8 else 2)


def _soften(disk: Float32Array, sigma: float, reach: int) -> Float32Array:
    """Blur with a Gaussian in the float32 steps of OpenCV 4 on x86-64, borders mirrored.

    OpenCV itself rounds differently from version to version and from processor to processor.
    """
    bell = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(reach + 1)]
    weights = (np.array(bell) / (bell[0] + 2 * sum(bell[1:]))).astype(np.float32)
    centre, *pairs = _mirror_pairs(disk, reach, axis=1)
    outer = zip(pairs[1:], weights[2:], strict=True)
    rows = _fused_sum([(pairs[0], weights[1]), (centre, weights[0]), *outer])
    centre, *pairs = _mirror_pairs(rows, reach, axis=0)
    return _fused_sum([(centre, weights[0]), *zip(pairs, weights[1:], strict=True)])


def _mirror_pairs(values: Float32Array, reach: int, axis: int) -> list[Float32Array]:
    """Return the values, then for each distance the sum of both neighbours along an axis."""
    padding = [(reach, reach) if a == axis else (0, 0) for a in range(2)]
    padded = np.moveaxis(np.pad(values, padding, mode="reflect"), axis, 0)
    length = values.shape[axis]
    shifted = [padded[reach + i : reach + i + length] for i in range(-reach, reach + 1)]
    sums = [shifted[reach - i] + shifted[reach + i] for i in range(1, reach + 1)]
    return [np.moveaxis(part, 0, axis) for part in (shifted[reach], *sums)]


def _fused_sum(terms: list[tuple[Float32Array, np.float32]]) -> Float32Array:
    """Sum values times weights in float32, each product added before it is rounded."""
    values, weight = terms[0]
    total = values * weight
    for values, weight in terms[1:]:
        total = (values.astype(np.float64) * float(weight) + total).astype(np.float32)
    return total


def _shuffle(pixels: ImageArray, reach: int, rng: np.random.RandomState) -> ImageArray:
    """Let every pixel inside the border take the value of a random near pixel, last pixel first.

    The definition means to swap two pixels but only copies one over the other. A copy of a pixel
    that was overwritten earlier in the same pass takes the new value, which makes the pass serial;
    following these chains from each pixel to the old value at their end gives the same result.

    Args:
        pixels: uint8 RGB (H, W, 3).
        reach: Shifts are drawn from ``-reach .. reach - 1`` on both axes.
        rng: Random stream.

    Returns:
        uint8 RGB (H, W, 3).
    """
    height, width, channels = pixels.shape
    source = _shuffle_sources(height, width, reach, rng)
    shuffled: ImageArray = pixels.reshape(-1, channels)[_chain_ends(source)]
    return shuffled.reshape(pixels.shape)


def _shuffle_sources(height: int, width: int, reach: int, rng: np.random.RandomState) -> IndexArray:
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    shifts = rng.randint(-reach, reach, size=(rows.size, columns.size, 2), dtype=np.int64)
    source = np.arange(height * width, dtype=np.int64).reshape(height, width)
    target_rows = rows[:, None] + shifts[..., 1]
    target_columns = columns + shifts[..., 0]
    source[rows[:, None], columns] = target_rows * width + target_columns
    return source.ravel()


def _chain_ends(source: IndexArray) -> IndexArray:
    # A source further on in raster order was overwritten before, by its own source. Pixels of the
    # border are their own source and so end every chain.
    ends = source.copy()
    open_ = np.flatnonzero(ends > np.arange(ends.size))
    while open_.size:
        last = ends[open_]
        following = source[last]
        ends[open_] = following
        open_ = open_[following > last]
    return ends

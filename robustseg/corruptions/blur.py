"""The four blurs."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.disk import Groups, group_taps, grouped_sums
from robustseg.corruptions.kernels import gaussian_weights, half_gaussian_weights
from robustseg.corruptions.pixels import FloatArray
from robustseg.corruptions.severity import TABLE, level
from robustseg.corruptions.taps import line_sums, pair_sums
from robustseg.corruptions.twister import Source, fill_words, give_back, take_over
from robustseg.datasets.sample import ImageArray

__all__ = ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "smooth", "streak"]

Float32Array = npt.NDArray[np.float32]
UP = np.uintp


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
    return _smooth_bytes(image, level(TABLE.gaussian_blur, severity).sigma)


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
    pixels = _smooth_bytes(image, glass.sigma)
    source = take_over(rng)
    for _ in range(glass.passes):
        _shuffle(source, glass.reach, pixels)
    give_back(source, rng)
    return _smooth_bytes(pixels, glass.sigma)


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
    groups = _disk_groups(defocus.radius, defocus.edge_sigma)
    edge = (groups.radius, groups.radius)
    blurred = np.empty_like(image)
    grouped_sums(np.pad(image, (edge, edge, (0, 0)), mode="reflect"), groups, blurred)
    return blurred


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
    shifts, weights = _half_line(motion.radius, motion.sigma, rng.uniform(-45, 45), image.shape)
    blurred = np.empty_like(image)
    line_sums(_rows(image), 3, shifts, weights, True, _rows(blurred))
    return blurred


def smooth(layer: FloatArray, sigma: float, single: bool = False) -> FloatArray:
    """Convolve columns, then rows with a Gaussian cut at four sigma; borders are repeated.

    Args:
        layer: float64 (H, W).
        sigma: Standard deviation in pixels, one of the definition's.
        single: Whether each of the two results is rounded to single precision.

    Returns:
        float64 (H, W).
    """
    smoothed = np.empty_like(layer)
    pair_sums(layer, 1, _half_gaussian(sigma), 1.0, single, False, smoothed)
    return smoothed


def streak(layer: FloatArray, radius: int, sigma: float, angle: float) -> FloatArray:
    """Average the pixels along a line that starts at each pixel; borders are repeated.

    Args:
        layer: float64 (H, W).
        radius: The line has ``2 radius + 1`` pixels.
        sigma: The weight falls along the line as a Gaussian of this many pixels.
        angle: Direction of the line in degrees: 0 runs right, 90 down.

    Returns:
        float64 (H, W).
    """
    shifts, weights = _half_line(radius, sigma, angle, layer.shape)
    drawn = np.empty_like(layer)
    line_sums(layer, 1, shifts, weights, False, drawn)
    return drawn


def _smooth_bytes(image: ImageArray, sigma: float) -> ImageArray:
    smoothed = np.empty_like(image)
    pair_sums(_rows(image), 3, _half_gaussian(sigma), 255.0, False, True, _rows(smoothed))
    return smoothed


def _rows(image: ImageArray) -> ImageArray:
    return image.reshape(image.shape[0], -1)


def _half_gaussian(sigma: float) -> FloatArray:
    whole = gaussian_weights(sigma)
    return whole[whole.size // 2 :].copy()


def _half_line(
    radius: int, sigma: float, angle: float, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Give the shifts (T, 2) and weights (T,) of a line of pixels."""
    shifts = np.array(_line(2 * radius + 1, angle), np.int64)
    outside = np.flatnonzero((np.abs(shifts) >= shape[:2]).any(axis=1))
    # The definition stops where the line leaves the image for good; the result is then dimmer.
    reach = int(outside[0]) if outside.size else len(shifts)
    return shifts[:reach], half_gaussian_weights(radius, sigma)[:reach].copy()


@functools.cache
def _disk_groups(radius: int, edge_sigma: float) -> Groups:
    return group_taps(_disk(radius, edge_sigma))


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


@compiled
def _shuffle(source: Source, reach: int, pixels: ImageArray) -> None:
    """Let every pixel inside the border take the value of a random near pixel, last pixel first.

    Args:
        source: Random stream; a column and a row are drawn for each pixel.
        reach: Shifts are drawn from ``-reach .. reach - 1`` on both axes.
        pixels: uint8 RGB (H, W, 3), to be changed.
    """
    height, width, _ = pixels.shape
    shifts = np.empty(2 * (width - 2 * reach), np.int64)
    words = np.empty(shifts.size, np.uint32)
    for y in range(height - reach, reach, -1):
        _fill_shifts(source, reach, words, shifts)
        _copy_row(pixels, y, reach, shifts)


@compiled
def _copy_row(pixels: ImageArray, y: int, reach: int, shifts: npt.NDArray[np.int64]) -> None:
    """Copy a pixel over each pixel of a row, from right to left.

    The definition means to swap the two but only copies one over the other. A copy of a pixel that
    was overwritten earlier in the same pass takes the new value.
    """
    width = pixels.shape[1]
    flat = pixels.reshape(-1)
    for i in range(shifts.size // 2):
        x = width - reach - i
        here = UP(3 * (y * width + x))
        there = UP(3 * ((y + shifts[2 * i + 1]) * width + x + shifts[2 * i]))
        flat[here] = flat[there]
        flat[here + UP(1)] = flat[there + UP(1)]
        flat[here + UP(2)] = flat[there + UP(2)]


@compiled
def _fill_shifts(
    source: Source,
    reach: int,
    words: npt.NDArray[np.uint32],
    shifts: npt.NDArray[np.int64],
) -> None:
    """Draw integers from ``-reach .. reach - 1`` as ``RandomState.randint`` does.

    The lowest bits of a word are taken and drawn anew while they are too large.
    """
    largest = 2 * reach - 1
    mask = 1
    while mask < largest:
        mask = 2 * mask + 1
    done = 0
    while done < shifts.size:
        count = shifts.size - done
        fill_words(source, words[:count])
        for i in range(count):
            drawn = int(words[i]) & mask
            shifts[done] = drawn - reach
            done += 1 if drawn <= largest else 0

"""Tiled sums against plain ones in the same order, and against scipy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from robustseg.corruptions.taps import ROWS, SAMPLES, line_sums, pair_sums

Array = npt.NDArray[np.float64]

# Smaller than a tile, and just beyond one on either axis.
SIZES = [(33, 35), (ROWS, SAMPLES // 3), (ROWS + 1, SAMPLES // 3 + 1), (2 * ROWS + 3, 350)]


def picture(height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    image = np.random.RandomState(height).randint(0, 256, (height, width, channels))
    image[: height // 2, : width // 2] = 255  # flat areas show the last bit
    return image.astype(np.uint8)


def shifted(image: Array, dy: int, dx: int) -> Array:
    y = np.clip(np.arange(image.shape[0]) + dy, 0, image.shape[0] - 1)
    x = np.clip(np.arange(image.shape[1]) + dx, 0, image.shape[1] - 1)
    return image[y][:, x]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("taps", [1, 7, 8, 21])
def test_line_is_the_sum_in_the_order_given(size: tuple[int, int], taps: int) -> None:
    rng = np.random.RandomState(taps)
    image = picture(*size, 3)
    shifts = rng.randint(-20, 21, (taps, 2))
    weights = rng.rand(taps)
    weights /= weights.sum()
    expected = np.zeros(image.shape)
    for (dy, dx), weight in zip(shifts, weights, strict=True):
        expected += weight * shifted(image.astype(float), dy, dx)
    found = np.empty((size[0], 3 * size[1]))
    rows = image.reshape(size[0], -1)
    line_sums(rows, 3, shifts, weights, False, found)
    np.testing.assert_array_equal(found.reshape(image.shape), expected)
    as_bytes = np.empty_like(rows)
    line_sums(rows, 3, shifts, 1.01 * weights, True, as_bytes)
    line_sums(rows, 3, shifts, 1.01 * weights, False, found)
    np.testing.assert_array_equal(as_bytes, np.clip(found, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [1, 3, 4, 6, 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_are_scipys_to_the_bit(size: tuple[int, int], radius: int, channels: int) -> None:
    half = np.random.RandomState(radius).rand(radius + 1)
    half /= 2 * half.sum() - half[0]
    whole = np.concatenate((half[:0:-1], half))
    image = picture(*size, channels)
    expected = image / 255.0
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, whole, axis=axis, mode="nearest")
    rows = image.reshape(size[0], -1)
    found = np.empty(rows.shape)
    pair_sums(rows, channels, half, 255.0, False, False, found)
    np.testing.assert_array_equal(found, expected.reshape(rows.shape))
    as_bytes = np.empty_like(rows)
    pair_sums(rows, channels, half, 255.0, False, True, as_bytes)
    np.testing.assert_array_equal(as_bytes, (np.clip(found, 0, 1) * 255).astype(np.uint8))


def test_single_precision_is_kept_between_the_axes() -> None:
    layer = np.random.RandomState(0).rand(70, 90).astype(np.float32)
    half = np.array([0.4, 0.2, 0.1])
    expected = layer
    for axis in (0, 1):
        once = np.empty_like(layer)
        whole = [0.1, 0.2, 0.4, 0.2, 0.1]
        ndimage.correlate1d(expected, whole, axis=axis, output=once, mode="nearest")
        expected = once
    found = np.empty((70, 90))
    pair_sums(layer.astype(np.float64), 1, half, 1.0, True, False, found)
    np.testing.assert_array_equal(found.astype(np.float32), expected)

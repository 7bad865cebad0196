from __future__ import annotations

import math

import numpy as np
import pytest

from robustseg.corruptions import blur
from robustseg.corruptions.kernels import (
    GAUSSIANS,
    HALF_GAUSSIANS,
    gaussian_weights,
    half_gaussian_weights,
)
from robustseg.corruptions.severity import TABLE
from robustseg.corruptions.twister import give_back, take_over
from robustseg.datasets.sample import ImageArray


class Shifts:
    """Shifts of glass blur for one pass, zero unless set."""

    def __init__(self, height: int, width: int, reach: int) -> None:
        self.reach = reach
        # Drawn from the last row and column down to reach + 1.
        self.rows = list(range(height - reach, reach, -1))
        self.columns = list(range(width - reach, reach, -1))
        self.shifts = np.zeros((len(self.rows), len(self.columns), 2), np.int64)

    def set(self, y: int, x: int, dy: int, dx: int) -> None:
        self.shifts[self.rows.index(y), self.columns.index(x)] = (dx, dy)

    def applied(self, pixels: ImageArray) -> ImageArray:
        shuffled = pixels.copy()
        for y, shifts in zip(self.rows, self.shifts, strict=True):
            blur._copy_row(shuffled, y, self.reach, shifts.ravel())
        return shuffled


def shuffle(pixels: ImageArray, reach: int, rng: np.random.RandomState) -> ImageArray:
    shuffled = pixels.copy()
    source = take_over(rng)
    blur._shuffle(source, reach, shuffled)
    give_back(source, rng)
    return shuffled


def numbered(height: int, width: int) -> ImageArray:
    values = np.arange(height * width, dtype=np.uint8).reshape(height, width, 1)
    return np.concatenate([values, values + 1, values + 2], axis=-1)


def test_glass_blur_copies_and_does_not_swap() -> None:
    pixels = numbered(8, 9)
    shifts = Shifts(8, 9, reach=2)
    shifts.set(4, 4, dy=-1, dx=-2)
    shuffled = shifts.applied(pixels)
    assert np.array_equal(shuffled[4, 4], pixels[3, 2])
    assert np.array_equal(shuffled[3, 2], pixels[3, 2])
    changed = np.argwhere((shuffled != pixels).any(axis=-1))
    assert changed.tolist() == [[4, 4]]


def test_glass_blur_copies_what_was_copied_before() -> None:
    pixels = numbered(8, 9)
    shifts = Shifts(8, 9, reach=2)
    shifts.set(5, 5, dy=-2, dx=-2)
    shifts.set(5, 4, dy=0, dx=1)
    shifts.set(4, 4, dy=1, dx=0)
    shuffled = shifts.applied(pixels)
    # (5, 5) is done first, then (5, 4) takes its new value, then (4, 4) that of (5, 4).
    for y, x in ((5, 5), (5, 4), (4, 4)):
        assert np.array_equal(shuffled[y, x], pixels[3, 3])


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_shuffle_equals_the_loop_over_pixels(reach: int) -> None:
    height, width = 33, 41
    expected = np.random.RandomState(1).randint(0, 256, (height, width, 3)).astype(np.uint8)
    drawn, stream = np.random.RandomState(2), np.random.RandomState(2)
    shuffled = shuffle(expected, reach, drawn)
    for y in range(height - reach, reach, -1):
        for x in range(width - reach, reach, -1):
            dx, dy = stream.randint(-reach, reach, size=2)
            expected[y, x] = expected[y + dy, x + dx]
    assert np.array_equal(shuffled, expected)
    assert drawn.random_sample() == stream.random_sample()


def test_glass_blur_leaves_the_border_in_place() -> None:
    pixels = np.random.RandomState(3).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    shuffled = shuffle(pixels, 4, np.random.RandomState(4))
    assert np.array_equal(shuffled[:5], pixels[:5])
    assert np.array_equal(shuffled[:, :5], pixels[:, :5])
    assert np.array_equal(shuffled[37:], pixels[37:])
    assert np.array_equal(shuffled[:, 37:], pixels[:, 37:])


def test_streak_to_the_right_is_the_weighted_sum_of_what_lies_there() -> None:
    row = np.random.RandomState(0).rand(1, 60)
    bell = np.exp(-(np.arange(21) ** 2) / 18)
    padded = np.concatenate([row[0], np.full(20, row[0, -1])])
    expected = [np.dot(padded[x : x + 21], bell / bell.sum()) for x in range(60)]
    image = np.repeat(row, 32, axis=0)
    assert blur.streak(image, 10, 3, angle=0)[7] == pytest.approx(expected)


def test_streak_at_ninety_degrees_looks_down() -> None:
    image = np.zeros((50, 50))
    image[30, 20] = 1
    trace = blur.streak(image, 10, 3, angle=90)
    rows, columns = np.nonzero(trace)
    assert set(columns) == {20}
    assert rows.tolist() == list(range(10, 31))


def test_streak_of_a_constant_is_the_constant() -> None:
    assert blur.streak(np.full((40, 41), 7.0), 20, 15, angle=-33) == pytest.approx(7)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_disk_is_a_disk(severity: int) -> None:
    radius, edge_sigma = TABLE.defocus_blur[severity - 1]
    disk = blur._disk(radius, edge_sigma).astype(float)
    half = disk.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    distance = np.hypot(y, x)
    inner = disk[distance < radius - 3]
    area = (distance <= radius).sum()
    assert inner == pytest.approx(1 / area, rel=1e-5)
    assert not disk[distance > radius + 4].any()
    # The published sums; the last two exceed one by the mirrored rim.
    assert disk.sum() == pytest.approx([1, 1, 1, 1.01298, 1.01079][severity - 1], abs=1e-5)


def test_defocus_spreads_a_point_over_the_disk() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[32, 32] = 255
    y, x = np.nonzero(blur.defocus_blur(image, 3, np.random.RandomState(0))[..., 0])
    assert [int(np.ptp(y)), int(np.ptp(x))] == [12, 12]
    assert (np.hypot(y - 32, x - 32) <= 7).all()


@pytest.mark.parametrize("sigma", list(GAUSSIANS))
def test_gaussian_weights_follow_the_formula(sigma: float) -> None:
    reach = int(4 * sigma + 0.5)
    bell = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)]
    weights = gaussian_weights(sigma)
    assert weights == pytest.approx([value / sum(bell) for value in bell], rel=1e-14)
    assert np.array_equal(weights, weights[::-1])


@pytest.mark.parametrize(("radius", "sigma"), list(HALF_GAUSSIANS))
def test_half_gaussian_weights_follow_the_formula(radius: int, sigma: float) -> None:
    bell = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    expected = [value / sum(bell) for value in bell]
    assert half_gaussian_weights(radius, sigma) == pytest.approx(expected, rel=1e-14)


def test_no_weights_are_missing_and_none_is_spare() -> None:
    mud = {spatter.strength for spatter in TABLE.spatter if spatter.mud}
    sigmas = {float(row.sigma) for row in TABLE.gaussian_blur + TABLE.glass_blur + TABLE.spatter}
    assert set(GAUSSIANS) == sigmas | mud
    assert set(HALF_GAUSSIANS) == {
        (row.radius, row.sigma) for row in TABLE.motion_blur + TABLE.snow
    }


def test_weights_cannot_be_overwritten() -> None:
    with pytest.raises(ValueError, match="read-only"):
        gaussian_weights(1)[0] = 0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from robustseg.engine.augment import (
    PADDING,
    distort,
    random_crop,
    random_example,
    random_resize,
)
from robustseg.engine.recipes import Recipe, load_recipe

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("segformer", ["crop=[64, 80]"])


def picture(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Rows and columns in red and green; the class is that of the 10 x 10 block."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 77)], axis=2).astype(np.uint8)
    label = ((y // 10 * 5 + x // 10) % 19).astype(np.uint8)
    return image, label


def stream(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


@pytest.mark.parametrize("size", [(100, 200), (64, 80), (30, 20), (200, 40)])
def test_shapes_and_types(recipe: Recipe, size: tuple[int, int]) -> None:
    image, label = picture(*size)
    for seed in range(4):
        x, ids = random_example(image, label, recipe, stream(seed))
        assert x.shape == (64, 80, 3)
        assert ids.shape == (64, 80)
        assert x.dtype == ids.dtype == np.uint8
        assert x.flags.c_contiguous
        assert ids.flags.c_contiguous


def test_example_is_a_function_of_its_stream(recipe: Recipe) -> None:
    image, label = picture(100, 200)
    kept = image.copy(), label.copy()
    made = [random_example(image, label, recipe, stream(seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert not np.array_equal(made[0][0], made[2][0])
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(label, kept[1])


def test_global_stream_is_left_alone(recipe: Recipe) -> None:
    image, label = picture(100, 200)
    before = np.random.get_state()[1]  # type: ignore[index]
    random_example(image, label, recipe, stream())
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]


def test_label_and_image_move_together_without_resizing(recipe: Recipe) -> None:
    image, label = picture(120, 200)
    plain = replace(recipe, scale=(1.0, 1.0), photometric=False)
    mirrored = set()
    for seed in range(12):
        x, ids = random_example(image, label, plain, stream(seed))
        rows, columns = x[..., 0].astype(int), x[..., 1].astype(int)
        np.testing.assert_array_equal(ids, label[rows, columns])
        step = np.unique(np.diff(columns, axis=1))
        assert step.tolist() in ([1], [-1])
        assert np.unique(np.diff(rows, axis=0)).tolist() == [1]
        mirrored.add(int(step[0]))
    assert mirrored == {1, -1}


def test_no_flip_without_the_switch(recipe: Recipe) -> None:
    image, label = picture(120, 200)
    plain = replace(recipe, scale=(1.0, 1.0), photometric=False, flip=False)
    for seed in range(8):
        x, _ = random_example(image, label, plain, stream(seed))
        assert (np.diff(x[..., 1].astype(int), axis=1) == 1).all()


@pytest.mark.parametrize("factor", [0.5, 0.73, 1.0, 1.37, 2.0])
def test_resizing_moves_label_and_image_alike(factor: float) -> None:
    image, label = picture(100, 200)
    x, ids = random_resize(image, label, (factor, factor), stream())
    assert ids.shape == x.shape[:2] == (round(100 * factor), round(200 * factor))
    # the colours of a pixel say where in the picture its middle lies
    y_in = (np.arange(ids.shape[0]) + 0.5) * 100 / ids.shape[0] - 0.5
    x_in = (np.arange(ids.shape[1]) + 0.5) * 200 / ids.shape[1] - 0.5
    assert np.abs(x[..., 0] - y_in.clip(0, 99)[:, None]).max() <= 1.0
    assert np.abs(x[..., 1] - x_in.clip(0, 199)[None]).max() <= 1.0
    assert (x[..., 2] == 77).all()
    # blocks of one class, away from their edges
    inside = (np.abs(y_in % 10 - 4.5) < 3.5)[:, None] & (np.abs(x_in % 10 - 4.5) < 3.5)[None]
    expected = label[np.round(y_in).astype(int).clip(0, 99)][:, np.round(x_in).astype(int) % 200]
    np.testing.assert_array_equal(ids[inside], expected[inside])
    assert inside.mean() > 0.2


def test_factors_fill_their_range() -> None:
    image, label = picture(20, 100)
    widths = [random_resize(image, label, (0.5, 2.0), stream(s))[1].shape[1] for s in range(60)]
    assert min(widths) >= 50
    assert max(widths) <= 200
    assert min(widths) < 65
    assert max(widths) > 185


def test_padding_is_ignored_and_grey() -> None:
    image, label = picture(30, 50)
    x, ids = random_crop(image, label, (64, 80), 0.75, stream())
    np.testing.assert_array_equal(ids[:30, :50], label)
    np.testing.assert_array_equal(x[:30, :50], image)
    outside = np.ones((64, 80), bool)
    outside[:30, :50] = False
    assert (ids[outside] == 255).all()
    assert (x[outside] == PADDING).all()


def test_crops_reach_every_edge() -> None:
    image, label = picture(70, 90)
    corners = {
        tuple(random_crop(image, label, (64, 80), 1.0, stream(seed))[0][0, 0, :2].tolist())
        for seed in range(300)
    }
    assert {y for y, _ in corners} == set(range(7))
    assert {x for _, x in corners} == set(range(11))


def test_no_class_fills_more_than_its_share_where_possible() -> None:
    image, label = picture(64, 400)
    label[:] = 3
    label[:, 300:] = np.arange(100) // 5 % 19
    label[:, 396:] = 255
    draws = [random_crop(image, label, (64, 64), 0.75, stream(seed))[1] for seed in range(200)]
    kept = 0
    for ids in draws:
        counts = np.bincount(ids[ids != 255], minlength=19)
        kept += int(counts.max() < 0.75 * counts.sum())
    # one place in four is good: ten tries miss with probability 0.06, one with 0.75
    assert kept >= 170
    at_once = [random_crop(image, label, (64, 64), 1.0, stream(seed))[1] for seed in range(200)]
    assert sum(len(np.unique(ids)) == 1 for ids in at_once) > 60


def test_last_crop_is_taken_where_no_crop_is_varied() -> None:
    image, label = picture(100, 120)
    label[:] = 5
    _, ids = random_crop(image, label, (64, 64), 0.75, stream())
    assert (ids == 5).all()


class Scripted(np.random.RandomState):
    """Answers ``randint(2)`` from a list and other draws with their ``share`` of the range."""

    def __init__(self, coins: list[int], share: float = 0.5) -> None:
        super().__init__(0)
        self.coins = coins
        self.share = share

    def randint(self, low: int, high: int | None = None) -> int:  # type: ignore[override]
        if high is None:
            return self.coins.pop(0)
        return low + int(self.share * (high - 1 - low))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:  # type: ignore[override]
        return low + self.share * (high - low)


def noise(seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("contrast_first", [0, 1])
def test_nothing_drawn_changes_nothing(contrast_first: int) -> None:
    image = noise()
    found = distort(image, Scripted([0, contrast_first, 0, 0, 0]))
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize(("share", "shift"), [(0.0, -32), (0.5, 0), (1.0, 32)])
def test_brightness_shifts_within_its_bounds(share: float, shift: int) -> None:
    image = noise()
    found = distort(image, Scripted([1, 0, 0, 0, 0], share))
    np.testing.assert_array_equal(found, np.clip(image.astype(int) + shift, 0, 255))


@pytest.mark.parametrize("contrast_first", [0, 1])
@pytest.mark.parametrize(("share", "factor"), [(0.0, 0.5), (1.0, 1.5)])
def test_contrast_scales_within_its_bounds(
    share: float, factor: float, contrast_first: int
) -> None:
    image = noise()
    found = distort(image, Scripted([0, contrast_first, 1, 0, 0], share))
    np.testing.assert_array_equal(found, np.clip(image * factor, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("share", "factor"), [(0.0, 0.5), (1.0, 1.5)])
def test_saturation_scales_the_spread_of_colours(share: float, factor: float) -> None:
    image = np.random.default_rng(1).integers(100, 150, (40, 50, 3), dtype=np.uint8)
    found = distort(image, Scripted([0, 0, 0, 1, 0], share)).astype(int)
    spread = image.max(2).astype(int) - image.min(2)
    assert np.abs(found.max(2) - image.max(2)).max() <= 2  # the value is kept
    assert np.abs((found.max(2) - found.min(2)) - factor * spread).max() <= 4


def test_no_hue_turn_goes_through_the_colour_wheel_and_back() -> None:
    # a saturation factor of one plus a hue of zero would be skipped; 1.0001 goes the whole way
    image = noise(2)
    found = distort(image, Scripted([0, 0, 0, 1, 0], 0.5001)).astype(int)
    assert np.abs(found - image).max() <= 6
    assert np.abs(found - image).mean() < 1.5


def test_hue_turns_by_36_degrees_at_most() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    forth = distort(red, Scripted([0, 0, 0, 0, 1], 1.0))[0, 0].astype(int)  # 17 steps: 34 degrees
    back = distort(red, Scripted([0, 0, 0, 0, 1], 0.0))[0, 0].astype(int)  # -18 steps: -36
    # red turned by 60 degrees would be yellow, by -60 magenta
    np.testing.assert_allclose(forth, [200, 200 * 34 / 60, 0], atol=4)
    np.testing.assert_allclose(back, [200, 0, 200 * 36 / 60], atol=4)


def test_hue_turns_grey_into_itself() -> None:
    grey = np.full((8, 8, 3), 120, np.uint8)
    np.testing.assert_array_equal(distort(grey, Scripted([0, 0, 0, 0, 1], 1.0)), grey)


def test_each_distortion_comes_half_the_time() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    unchanged = sum(bool((distort(image, stream(s)) == 100).all()) for s in range(400))
    # grey is changed by brightness and contrast alone, a quarter of the draws by neither
    assert 70 < unchanged < 135

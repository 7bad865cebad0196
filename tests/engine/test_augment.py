from __future__ import annotations

import colorsys
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustseg.engine.augment import (
    PADDING,
    Distortion,
    distort,
    draw_distortion,
    draw_factor,
    draw_window,
    fill_example,
)
from robustseg.engine.recipes import Recipe, load_recipe
from robustseg.engine.resampling import Window, count_ids, sample_bilinear, sample_nearest

Pixels = npt.NDArray[np.uint8]

RECIPE = load_recipe("segformer", ["crop=[64, 80]"])
PLAIN = replace(RECIPE, scale=(1.0, 1.0), photometric=False)


def picture(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Rows and columns in red and green; the class is that of the 10 x 10 block."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 77)], axis=2).astype(np.uint8)
    label = ((y // 10 * 5 + x // 10) % 19).astype(np.uint8)
    return image, label


def stream(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def example(image: Pixels, label: Pixels, recipe: Recipe, seed: int) -> tuple[Pixels, Pixels]:
    pixels, ids = np.empty((*recipe.crop, 3), np.uint8), np.empty(recipe.crop, np.uint8)
    fill_example(image, label, recipe, stream(seed), pixels, ids)
    return pixels, ids


def shown(image: Pixels, label: Pixels, window: Window) -> tuple[Pixels, Pixels]:
    pixels = np.empty((window.height, window.width, 3), np.uint8)
    ids = np.empty((window.height, window.width), np.uint8)
    sample_bilinear(image, window, pixels)
    sample_nearest(label, window, ids)
    return pixels, ids


def noise(height: int = 40, width: int = 50, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, Window]:
    """Sizes of an image, and a window of it resized."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    size = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    top, left = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    rows, columns = draw(st.integers(1, size[0] - top)), draw(st.integers(1, size[1] - left))
    return height, width, Window(size, top, left, rows, columns, draw(st.booleans()))


@given(windows())
@settings(max_examples=60, deadline=None)
def test_window_equals_resizing_the_whole_and_cropping(case: tuple[int, int, Window]) -> None:
    height, width, window = case
    image, label = noise(height, width), noise(height, width, 1)[..., 0].copy()
    whole, whole_ids = shown(image, label, Window(window.size, 0, 0, *window.size))
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)
    step = -1 if window.flip else 1
    found, ids = shown(image, label, window)
    np.testing.assert_array_equal(found, whole[rows, columns][:, ::step])
    np.testing.assert_array_equal(ids, whole_ids[rows, columns][:, ::step])
    np.testing.assert_array_equal(count_ids(label, window), np.bincount(ids.ravel(), minlength=256))


@given(windows())
@settings(max_examples=60, deadline=None)
def test_whole_equals_resizing_in_double_precision(case: tuple[int, int, Window]) -> None:
    height, width, window = case
    image, label = noise(height, width), noise(height, width, 1)[..., 0].copy()
    found, ids = shown(image, label, Window(window.size, 0, 0, *window.size))
    x = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    bilinear = torch.nn.functional.interpolate(x, window.size, mode="bilinear")[0].permute(1, 2, 0)
    assert np.abs(found - bilinear.numpy()).max() <= 0.5 + 255 * 2 / 4096
    x = torch.from_numpy(label)[None, None].double()
    nearest = torch.nn.functional.interpolate(x, window.size, mode="nearest-exact")[0, 0].numpy()
    exact = [
        (2 * np.arange(n) + 1) * m % (2 * n) for n, m in zip(window.size, label.shape, strict=True)
    ]
    sure = (exact[0] > 0)[:, None] & (exact[1] > 0)  # torch rounds where a middle meets an edge
    np.testing.assert_array_equal(ids[sure], nearest[sure])


@pytest.mark.parametrize("factor", [0.5, 0.73, 1.37, 2.0])
def test_resizing_is_within_one_level_of_opencv(factor: float) -> None:
    image: Pixels = cv2.GaussianBlur(noise(100, 160), (0, 0), 2).astype(np.uint8)
    size = int(100 * factor), int(160 * factor)
    found, _ = shown(image, image[..., 0], Window(size, 0, 0, *size))
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_no_resizing_is_the_image() -> None:
    image = noise(100, 60)
    found, ids = shown(image, image[..., 0], Window((100, 60), 0, 0, 100, 60))
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(ids, image[..., 0])


@pytest.mark.parametrize("size", [(100, 200), (64, 80), (30, 20), (200, 40)])
@pytest.mark.parametrize("flip", [True, False])
def test_padding_is_ignored_grey_and_at_the_end(size: tuple[int, int], flip: bool) -> None:
    image, label = picture(*size)
    for seed in range(6):
        pixels, ids = example(image, label, replace(RECIPE, flip=flip), seed)
        window = draw_window(label, replace(RECIPE, flip=flip), stream(seed))
        outside = np.ones((64, 80), bool)
        outside[: window.height, : window.width] = False
        assert (ids[outside] == 255).all()
        assert (pixels[outside] == PADDING).all()
        assert (ids[~outside] < 19).all()


@given(st.integers(0, 2**32 - 1), st.integers(20, 120), st.integers(20, 120))
@settings(max_examples=40, deadline=None)
def test_ids_come_from_the_source(seed: int, height: int, width: int) -> None:
    image, label = picture(height, width)
    _, ids = example(image, label, RECIPE, seed)
    assert set(np.unique(ids)) <= {*np.unique(label).tolist(), 255}


def test_example_is_a_function_of_its_stream() -> None:
    image, label = picture(100, 200)
    kept = image.copy(), label.copy()
    before = np.random.get_state()[1]  # type: ignore[index]
    made = [example(image, label, RECIPE, seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert not np.array_equal(made[0][0], made[2][0])
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(label, kept[1])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]


def test_label_and_image_move_and_flip_together() -> None:
    image, label = picture(120, 200)
    mirrored = set()
    for seed in range(12):
        x, ids = example(image, label, PLAIN, seed)
        rows, columns = x[..., 0].astype(int), x[..., 1].astype(int)
        np.testing.assert_array_equal(ids, label[rows, columns])
        step = np.unique(np.diff(columns, axis=1))
        assert step.tolist() in ([1], [-1])
        assert np.unique(np.diff(rows, axis=0)).tolist() == [1]
        mirrored.add(int(step[0]))
    assert mirrored == {1, -1}


def test_no_flip_without_the_switch() -> None:
    _, label = picture(120, 200)
    still = replace(PLAIN, flip=False)
    assert not any(draw_window(label, still, stream(seed)).flip for seed in range(20))


def test_factors_fill_their_range() -> None:
    factors = [draw_factor((0.5, 2.0), 0.0, stream(seed)) for seed in range(100)]
    assert 0.5 <= min(factors) < 0.6
    assert 1.9 < max(factors) <= 2.0


@pytest.mark.parametrize(
    ("scale", "step", "grid"),
    [
        ((0.5, 2.0), 0.25, [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]),
        ((0.1, 0.4), 0.1, [0.1, 0.2, 0.3, 0.4]),
        ((1.0, 1.9), 0.5, [1.0, 1.5]),
        ((1.0, 1.0), 0.5, [1.0]),
    ],
)
def test_factors_come_from_the_grid(
    scale: tuple[float, float], step: float, grid: list[float]
) -> None:
    factors = {round(draw_factor(scale, step, stream(seed)), 9) for seed in range(150)}
    assert sorted(factors) == grid


def test_crops_reach_every_edge() -> None:
    _, label = picture(70, 90)
    free = replace(PLAIN, cat_max_ratio=1.0)
    found = [draw_window(label, free, stream(seed)) for seed in range(300)]
    assert {window.top for window in found} == set(range(7))
    assert {window.left for window in found} == set(range(11))


def test_no_class_fills_more_than_its_share_where_possible() -> None:
    label = np.full((64, 400), 3, np.uint8)
    label[:, 300:] = np.arange(100) // 5 % 19
    label[:, 396:] = 255
    square = replace(PLAIN, crop=(64, 64))

    def good(recipe: Recipe) -> int:
        kept = 0
        for seed in range(200):
            window = draw_window(label, recipe, stream(seed))
            ids = label[:, window.left : window.left + 64]
            counts = np.bincount(ids[ids != 255], minlength=19)
            kept += int(counts.max() < 0.75 * counts.sum())
        return kept

    # one place in four is good: eleven tries miss with probability 0.05, one with 0.75
    assert good(square) >= 170
    assert good(replace(square, cat_max_ratio=1.0)) < 80


def test_last_crop_is_taken_where_no_crop_is_varied() -> None:
    image, _ = picture(100, 120)
    _, ids = example(image, np.full((100, 120), 5, np.uint8), PLAIN, 0)
    assert (ids == 5).all()


def scaled(values: Pixels, factor: float, offset: float = 0.0) -> Pixels:
    changed = values.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return np.asarray(np.trunc(np.clip(changed, 0, 255)), np.uint8)


def converted(image: Pixels, code: int) -> Pixels:
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def slow(image: Pixels, d: Distortion) -> Pixels:
    """Each step on floats, then bytes, in the order of the definition."""
    if d.brightness is not None:
        image = scaled(image, 1, d.brightness)
    if d.contrast_first and d.contrast is not None:
        image = scaled(image, d.contrast)
    if d.saturation is not None:
        hsv = converted(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = scaled(hsv[..., 1], d.saturation)
        image = converted(hsv, cv2.COLOR_HSV2RGB)
    if d.hue is not None:
        hsv = converted(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + d.hue) % 180
        image = converted(hsv, cv2.COLOR_HSV2RGB)
    if not d.contrast_first and d.contrast is not None:
        image = scaled(image, d.contrast)
    return image


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_tables_equal_the_steps_one_by_one(seed: int) -> None:
    distortion = draw_distortion(stream(seed))
    frame = noise(44, 55, seed % 7)
    kept = frame.copy()
    distort(frame[:40, :50], distortion)  # a view with gaps between its rows
    np.testing.assert_array_equal(frame[:40, :50], slow(kept[:40, :50].copy(), distortion))
    np.testing.assert_array_equal(frame[40:], kept[40:])
    np.testing.assert_array_equal(frame[:, 50:], kept[:, 50:])


def distorted(image: Pixels, distortion: Distortion) -> npt.NDArray[np.int_]:
    copy = image.copy()
    distort(copy, distortion)
    return copy.astype(int)


def test_nothing_drawn_changes_nothing() -> None:
    for first in (False, True):
        np.testing.assert_array_equal(distorted(noise(), Distortion(contrast_first=first)), noise())


def test_saturation_scales_the_spread_of_colours() -> None:
    image = np.random.default_rng(1).integers(100, 150, (40, 50, 3), dtype=np.uint8)
    spread = image.max(2).astype(int) - image.min(2)
    for factor in (0.5, 1.5):
        found = distorted(image, Distortion(saturation=factor))
        assert np.abs(found.max(2) - image.max(2)).max() <= 2  # the value is kept
        assert np.abs((found.max(2) - found.min(2)) - factor * spread).max() <= 4


@pytest.mark.parametrize("hue", [-18, -1, 5, 17])
def test_hue_turns_by_two_degrees_a_step(hue: int) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    expected = np.array(colorsys.hsv_to_rgb(hue * 2 / 360 % 1, 1, 200 / 255)) * 255
    np.testing.assert_allclose(distorted(red, Distortion(hue=hue))[0, 0], expected, atol=1)
    grey = np.full((8, 8, 3), 120, np.uint8)
    np.testing.assert_array_equal(distorted(grey, Distortion(hue=hue)), grey)


def test_draws_fill_their_ranges_half_the_time() -> None:
    drawn = [draw_distortion(stream(seed)) for seed in range(2000)]
    for name, least, most in (
        ("brightness", -32, 32),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
        ("hue", -18, 17),
    ):
        values = [v for d in drawn if (v := getattr(d, name)) is not None]
        assert 900 < len(values) < 1100
        edge = (most - least) * 0.03
        assert least <= min(values) < least + edge
        assert most - edge < max(values) <= most
    assert 900 < sum(d.contrast_first for d in drawn) < 1100

from __future__ import annotations

import numpy as np
import pytest

from robustseg.corruptions import textures, weather
from robustseg.datasets.sample import ImageArray

GREY = np.full((64, 96, 3), 90, np.uint8)


def test_snow_whitens_and_never_darkens(blocks: ImageArray) -> None:
    for severity in (1, 3, 5):
        snowy = weather.snow(blocks, severity, np.random.RandomState(severity)).astype(int)
        assert (snowy - blocks).min() >= -1
        assert (snowy - blocks).mean() > 15


def test_snow_falls_downwards() -> None:
    black = np.zeros((128, 128, 3), np.uint8)
    snowy = weather.snow(black, 3, np.random.RandomState(1)).astype(float)[..., 0]
    along = np.abs(np.diff(snowy, axis=0)).mean()
    across = np.abs(np.diff(snowy, axis=1)).mean()
    assert along < 0.8 * across


def test_water_is_turquoise_and_mud_is_brown() -> None:
    water = weather.spatter(GREY, 1, np.random.RandomState(0)).astype(int) - GREY
    assert water.min() >= -1
    wettest = np.unravel_index(water.sum(axis=-1).argmax(), water.shape[:2])
    red, green, blue = water[wettest]
    assert 0 < red < green == blue
    mud = weather.spatter(GREY, 5, np.random.RandomState(0))
    changed = np.abs(mud.astype(int) - GREY).max(axis=-1) > 20
    assert 0.02 < changed.mean() < 0.9
    assert mud.reshape(-1, 3)[changed.ravel()].min(axis=0).tolist() == [63, 42, 20]


@pytest.mark.parametrize(("length", "power"), [(32, 32), (33, 64), (2048, 2048), (2049, 4096)])
def test_next_power_of_two(length: int, power: int) -> None:
    assert weather._next_power_of_two(length) == power


def test_fog_keeps_black_images_black_and_stays_below_the_brightest_value() -> None:
    assert not weather.fog(np.zeros_like(GREY), 5, np.random.RandomState(0)).any()
    assert weather.fog(GREY, 5, np.random.RandomState(0)).max() <= 255
    # (v + a p) M / (M + a) with p in 0-1 lies between v M / (M + a) and M for v = M.
    unit = 90 / 255
    foggy = weather.fog(GREY, 1, np.random.RandomState(0))
    assert foggy.max() <= 90
    assert foggy.min() >= int(unit * unit / (unit + 1.5) * 255)


def test_frost_draws_each_picture_but_the_sixth(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    frost_layer = textures.frost_layer

    def record(name: str, height: int, width: int) -> ImageArray:
        drawn.append(name)
        return frost_layer(name, height, width)

    monkeypatch.setattr(weather, "frost_layer", record)
    for seed in range(60):
        weather.frost(GREY, 1, np.random.RandomState(seed))
    assert set(drawn) == {"frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"}


@pytest.mark.parametrize(("height", "width"), [(64, 96), (600, 901), (1024, 700), (33, 2048)])
def test_frost_layer_covers_the_image(height: int, width: int) -> None:
    layer = textures.frost_layer("frost4.jpg", height, width)
    assert layer.shape[0] > height
    assert layer.shape[1] > width
    assert layer.shape[1] / layer.shape[0] == pytest.approx(527 / 350, rel=0.01)


def test_frost_is_the_weighted_sum_with_a_crop() -> None:
    stream = np.random.RandomState(11)
    index = int(stream.randint(5))
    names = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
    layer = textures.frost_layer(names[index], 64, 96).astype(float)
    top, left = stream.randint(layer.shape[0] - 64), stream.randint(layer.shape[1] - 96)
    crop = layer[top : top + 64, left : left + 96]
    expected = np.minimum(0.7 * 90 + 0.7 * crop, 255)
    frosty = weather.frost(GREY, 3, np.random.RandomState(11))
    assert np.abs(frosty - expected).max() < 1

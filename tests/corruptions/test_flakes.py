from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from robustseg.corruptions.flakes import draw_centre, enlarge, lay_over
from robustseg.corruptions.opencv import load_cv2


@pytest.mark.parametrize("zoom", [2.0, 2.5, 3.0, 4.0, 4.5])
@pytest.mark.parametrize("shape", [(11, 16), (29, 23), (228, 456)])
def test_enlarging_is_scipys_to_the_bit(shape: tuple[int, int], zoom: float) -> None:
    field = np.random.RandomState(3).normal(0.5, 0.4, shape)
    expected = ndimage.zoom(field, zoom, order=1)
    expected[expected < 0.3] = 0
    np.testing.assert_array_equal(enlarge(field, zoom, 0.3), np.clip(expected, 0, 1))


@pytest.mark.parametrize("shape", [(64, 96), (33, 47)])
@pytest.mark.parametrize("zoom", [2.0, 4.5])
def test_centre_is_cut_from_the_whole_field(shape: tuple[int, int], zoom: float) -> None:
    mine, numpys = np.random.RandomState(4), np.random.RandomState(4)
    found = draw_centre(mine, 0.2, 0.3, shape, zoom)
    field = numpys.normal(0.2, 0.3, shape)
    height, width = (math.ceil(side / zoom) for side in shape)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    wanted = field[top : top + height, left : left + width]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-15)
    assert mine.random_sample() == numpys.random_sample()


def test_layers_by_numpy_and_opencv() -> None:
    image = np.random.RandomState(5).randint(0, 256, (40, 57, 3)).astype(np.uint8)
    flakes = np.random.RandomState(6).rand(41, 59)
    unit = image.astype(np.float32) / 255
    grey = load_cv2().cvtColor(unit, load_cv2().COLOR_RGB2GRAY)[..., None]
    white = 0.7 * unit + (1 - 0.7) * np.maximum(unit, grey * 1.5 + 0.5)
    layer = np.round(flakes[:40, :57, None] * 255) / 255.0
    wanted = np.clip(white + layer + layer[::-1, ::-1], 0, 1) * 255
    found = lay_over(image, flakes, 0.7)
    assert np.abs(found.astype(int) - wanted.astype(np.uint8)).max() <= 1
    assert (found != wanted.astype(np.uint8)).mean() < 0.001

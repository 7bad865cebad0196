from __future__ import annotations

import colorsys

import numpy as np
import pytest

from robustseg.corruptions.digital import brightness, contrast, jpeg_compression, saturate
from robustseg.datasets.sample import ImageArray

STREAM = np.random.RandomState(0)


def palette() -> ImageArray:
    image = np.random.RandomState(6).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    # Ties between channels, and greys, take the special ways through HSV.
    image[0, :, 1] = image[0, :, 0]
    image[1, :, 2] = image[1, :, 1]
    image[2, :, 2] = image[2, :, 0]
    image[3] = np.arange(32)[:, None] * 8
    return image


def by_colorsys(image: ImageArray, offset: float, gain: float, shift: float) -> ImageArray:
    out = np.empty(image.shape)
    for index in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[index] / 255))
        saturation = min(max(saturation * gain + shift, 0), 1)
        out[index] = colorsys.hsv_to_rgb(hue, saturation, min(value + offset, 1))
    return (out * 255).astype(np.uint8)


@pytest.mark.parametrize(("severity", "offset"), [(1, 0.1), (5, 0.5)])
def test_brightness_adds_to_the_value(severity: int, offset: float) -> None:
    expected = by_colorsys(palette(), offset, 1, 0).astype(int)
    assert np.abs(brightness(palette(), severity, STREAM) - expected).max() <= 1


@pytest.mark.parametrize(
    ("severity", "gain", "shift"), [(1, 0.3, 0), (2, 0.1, 0), (3, 2, 0), (4, 5, 0.1), (5, 20, 0.2)]
)
def test_saturate_scales_the_saturation(severity: int, gain: float, shift: float) -> None:
    expected = by_colorsys(palette(), 0, gain, shift).astype(int)
    assert np.abs(saturate(palette(), severity, STREAM) - expected).max() <= 1


def test_saturate_tints_grey_red_from_severity_4_on() -> None:
    grey = np.full((32, 32, 3), 200, np.uint8)
    assert len(np.unique(saturate(grey, 3, STREAM))) == 1
    assert saturate(grey, 5, STREAM)[0, 0].tolist() == [200, 160, 160]


def test_contrast_keeps_the_mean_of_each_channel(blocks: ImageArray) -> None:
    flat = contrast(blocks, 3, STREAM).astype(float)
    means = blocks.mean(axis=(0, 1))
    assert flat.mean(axis=(0, 1)) == pytest.approx(means - 0.5, abs=0.2)
    assert flat.std(axis=(0, 1)) == pytest.approx(0.2 * blocks.std(axis=(0, 1)), rel=0.02)


def test_jpeg_shrinks_what_a_png_would_store(blocks: ImageArray) -> None:
    coarse = jpeg_compression(blocks, 5, STREAM)
    assert 3 < np.abs(coarse.astype(int) - blocks).mean() < 40
    # Two pictures that differ only in detail below the quantiser decode to the same bytes.
    flat = np.full((32, 32, 3), 100, np.uint8)
    dotted = flat.copy()
    dotted[::2, ::2] += 2
    dotted[1::2, 1::2] += 2
    first, second = (jpeg_compression(i, 5, STREAM) for i in (flat, dotted))
    assert len(np.unique(second)) == len(np.unique(first)) == 1

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from robustseg.corruptions import SEVERITIES, corrupt
from robustseg.corruptions.ice import _stretch, ice_layer
from robustseg.corruptions.severity import TABLE
from robustseg.corruptions.textures import FROST_DIGESTS, frost_picture
from robustseg.datasets.sample import ImageArray

# The first 16 digits of the SHA-256 of the layers of streams 0, 1 and 2 one after the other.
GOLDEN = {
    (32, 32): "85b9c57e06679841",
    (33, 47): "b5d8adc6da9276f3",
    (128, 256): "4e583363daed5f4a",
    (200, 60): "322697869703239d",
}


def brightness(layer: ImageArray) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = layer.mean(axis=-1)
    return mean


@pytest.mark.parametrize("size", list(GOLDEN))
def test_bytes_are_the_same_on_every_machine(size: tuple[int, int]) -> None:
    layers = [ice_layer(*size, np.random.RandomState(seed)) for seed in range(3)]
    assert all(layer.shape == (*size, 3) for layer in layers)
    assert (
        hashlib.sha256(b"".join(layer.tobytes() for layer in layers)).hexdigest()[:16]
        == (GOLDEN[size])
    )


@pytest.mark.parametrize("severity", SEVERITIES)
def test_mixes_with_the_weights_of_frost(severity: int, blocks: ImageArray) -> None:
    made = corrupt(blocks, "frost_procedural", severity, np.random.RandomState(3))
    layer = ice_layer(blocks.shape[0], blocks.shape[1], np.random.RandomState(3))
    image_weight, ice_weight = TABLE.frost[severity - 1]
    # to a thousandth, since 0.7 * 10 is less than 7 in binary fractions
    mixed = image_weight * blocks.astype(np.float64) + ice_weight * layer + 1e-3
    np.testing.assert_array_equal(made, np.clip(mixed, 0, 255).astype(np.uint8))


def test_a_stream_gives_the_same_ice_at_every_resolution() -> None:
    small, large = (ice_layer(k * 64, k * 128, np.random.RandomState(5)) for k in (2, 8))
    shrunk = np.asarray(Image.fromarray(large).resize((256, 128), Image.Resampling.BOX))
    same = np.corrcoef(brightness(small).ravel(), brightness(shrunk).ravel())[0, 1]
    other = brightness(ice_layer(128, 256, np.random.RandomState(6)))
    assert same > 0.9
    assert abs(np.corrcoef(brightness(small).ravel(), other.ravel())[0, 1]) < 0.5


def test_as_bright_and_as_textured_as_the_photographs() -> None:
    layers = [brightness(ice_layer(512, 1024, np.random.RandomState(s))) for s in range(4)]
    photographs = [brightness(frost_picture(name)) for name in FROST_DIGESTS]
    for measure in (np.mean, np.std):
        known = [float(measure(photograph)) for photograph in photographs]
        for layer in layers:
            assert min(known) <= float(measure(layer)) <= max(known)


def test_stretching() -> None:
    values = np.random.RandomState(0).randint(0, 256, (12, 20)).astype(np.uint8)
    np.testing.assert_array_equal(_stretch(values, 12, 20), values)
    halves = values.reshape(6, 2, 20).sum(axis=1) // 2
    np.testing.assert_array_equal(_stretch(values, 6, 20), halves)
    # three times as large: the middle of each block keeps its value
    np.testing.assert_array_equal(_stretch(values, 36, 60)[1::3, 1::3], values)
    for height, width in ((5, 7), (12, 41), (100, 100), (1, 300)):
        for smooth in (False, True):
            stretched = _stretch(np.full_like(values, 77), height, width, smooth)
            np.testing.assert_array_equal(stretched, np.full((height, width), 77, np.uint8))
    ramp = _stretch(np.array([[0, 200]], np.uint8), 1, 400)[0].astype(int)
    assert (np.diff(ramp) >= 0).all()
    assert np.diff(ramp).max() <= 2
    level = _stretch(np.array([[0, 200]], np.uint8), 1, 400, smooth=True)[0].astype(int)
    assert level[110] < ramp[110]
    assert level[290] > ramp[290]


@pytest.mark.parametrize("size", [(32, 4000), (4000, 32)])
def test_a_strip_is_drawn_too(size: tuple[int, int]) -> None:
    layer = ice_layer(*size, np.random.RandomState(0))
    assert layer.shape == (*size, 3)
    assert layer.std() > 10


def test_pure_function(blocks: ImageArray) -> None:
    before = blocks.copy()
    np.random.seed(1)
    made = corrupt(blocks, "frost_procedural", 2, np.random.RandomState(1))
    np.random.seed(2)
    again = corrupt(blocks, "frost_procedural", 2, np.random.RandomState(1))
    np.testing.assert_array_equal(made, again)
    np.testing.assert_array_equal(blocks, before)

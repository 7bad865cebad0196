from __future__ import annotations

import hashlib

import numpy as np
import pytest

from robustseg.corruptions import textures
from robustseg.corruptions.cubic import enlarge_cubic
from robustseg.corruptions.opencv import load_cv2
from robustseg.errors import RobustsegError


def keys(t: float) -> float:
    """Keys' kernel with a = -0.75, as published."""
    t = abs(t)
    if t < 1:
        return 1.25 * t**3 - 2.25 * t**2 + 1
    return -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def matrix(length: int, enlarged: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    weights = np.zeros((enlarged, length))
    for i in range(enlarged):
        at = (i + 0.5) * length / enlarged - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            weights[i, min(max(j, 0), length - 1)] += keys(at - j)
    return weights


@pytest.mark.parametrize(("height", "width"), [(31, 37), (40, 41), (75, 123)])
def test_is_the_nearest_byte_to_the_formula(height: int, width: int) -> None:
    picture = np.random.RandomState(height).randint(0, 256, (30, 37, 3)).astype(np.uint8)
    exact = np.einsum("ij,jkc,lk->ilc", matrix(30, height), picture, matrix(37, width))
    found = enlarge_cubic(picture, height, width)
    assert np.abs(found - exact.clip(0, 255)).max() < 0.5 + 1e-4


def test_is_opencvs_but_for_single_levels() -> None:
    picture = np.random.RandomState(1).randint(0, 256, (90, 120, 3)).astype(np.uint8)
    cv2 = load_cv2()
    theirs = cv2.resize(picture, (400, 300), interpolation=cv2.INTER_CUBIC)
    distance = np.abs(enlarge_cubic(picture, 300, 400).astype(int) - theirs)
    # OpenCV rounds the weights to 2^-11 where it does not use its optimised library.
    assert distance.max() <= 1
    assert (distance > 0).mean() < 0.1


def test_layers_of_full_size_are_those_of_the_definition() -> None:
    for (name, height, width), digest in textures.LAYER_DIGESTS.items():
        layer = textures.frost_layer(name, height, width)
        assert hashlib.sha256(layer.tobytes()).hexdigest() == digest
    assert len(textures.LAYER_DIGESTS) == 1 + len(textures.FROST_DIGESTS)


def test_a_processor_that_makes_other_layers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(picture: object, height: int, width: int) -> object:
        return np.zeros((height, width, 3), np.uint8)

    textures._enlarged.cache_clear()
    monkeypatch.setattr(textures, "enlarge_cubic", off_by_one)
    for height, width in ((1024, 2048), (64, 96)):  # the second is known by a sample
        with pytest.raises(RobustsegError, match=r"layer of frost\d.png .* on this machine"):
            textures.frost_layer("frost1.png", height, width)
    monkeypatch.undo()
    textures._enlarged.cache_clear()

from __future__ import annotations

import numpy as np
import pytest

from robustseg.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise

GREY = np.full((200, 200, 3), 128, np.uint8)


def test_gaussian_noise_has_its_standard_deviation() -> None:
    noisy = gaussian_noise(GREY, 1, np.random.RandomState(0)).astype(float)
    assert noisy.std() == pytest.approx(0.08 * 255, rel=0.02)
    # Truncation, not rounding: half a level darker on average.
    assert noisy.mean() == pytest.approx(127.5, abs=0.2)


def test_speckle_noise_scales_with_the_intensity() -> None:
    rng = np.random.RandomState(0)
    dark, bright = (
        speckle_noise(np.full((200, 200, 3), value, np.uint8), 1, rng).std() for value in (40, 160)
    )
    assert bright / dark == pytest.approx(4, rel=0.03)
    assert not speckle_noise(np.zeros_like(GREY), 5, rng).any()


def test_shot_noise_gives_multiples_of_one_photon() -> None:
    noisy = shot_noise(GREY, 5, np.random.RandomState(0))
    assert set(np.unique(noisy)) == {0, 85, 170, 255}
    # Poisson of mean 3 * 128 / 255: the share of zeros is exp(-mean).
    assert (noisy == 0).mean() == pytest.approx(np.exp(-3 * 128 / 255), abs=0.005)


def test_impulse_noise_hits_single_channels_with_salt_and_pepper() -> None:
    noisy = impulse_noise(GREY, 5, np.random.RandomState(0))
    assert (noisy != 128).mean() == pytest.approx(0.27, abs=0.005)
    assert (noisy == 255).mean() == pytest.approx(0.135, abs=0.004)
    assert set(np.unique(noisy)) == {0, 128, 255}
    hits = (noisy != 128).sum(axis=-1)
    assert (hits == 1).mean() == pytest.approx(3 * 0.27 * 0.73**2, abs=0.01)

"""Poisson counts against numpy's own on the same stream."""

from __future__ import annotations

import numpy as np
import pytest

from robustseg.corruptions.poisson import MOST, fill_counts
from robustseg.corruptions.twister import give_back, take_over

EACH = np.arange(MOST, dtype=np.uint8)


@pytest.mark.parametrize("photons", [60, 25, 12, 5, 3])
def test_counts_are_numpys_for_every_byte(photons: int) -> None:
    # Runs of each byte and a mixture: both methods, zero, and the border between them at 10.
    rng = np.random.RandomState(photons)
    image = np.concatenate([np.arange(256).repeat(60), rng.randint(0, 256, 60000)])
    image = image.astype(np.uint8)
    mine, numpys = np.random.RandomState(9), np.random.RandomState(9)
    counts = np.empty_like(image)
    source = take_over(mine)
    fill_counts(source, image, np.arange(256) / 255.0 * photons, EACH, counts)
    give_back(source, mine)
    np.testing.assert_array_equal(counts, numpys.poisson(image / 255.0 * photons))
    assert mine.random_sample() == numpys.random_sample()


def test_counts_are_numpys_where_rejection_meets_its_rarest_cases() -> None:
    # About one uniform in 10,000 proposes a count far out in the tail.
    image = np.full(400_000, 150, np.uint8)
    mine, numpys = np.random.RandomState(3), np.random.RandomState(3)
    counts = np.empty_like(image)
    fill_counts(take_over(mine), image, np.arange(256) / 255.0 * 60, EACH, counts)
    np.testing.assert_array_equal(counts, numpys.poisson(image / 255.0 * 60))


def test_large_counts_share_the_last_tone() -> None:
    image = np.full(1000, 255, np.uint8)
    tones = np.array([7, 8, 9], np.uint8)
    out = np.empty_like(image)
    source = take_over(np.random.RandomState(1))
    fill_counts(source, image, np.arange(256) / 255.0 * 5, tones, out)
    counts = np.random.RandomState(1).poisson(np.full(1000, 5.0))
    np.testing.assert_array_equal(out, tones[np.minimum(counts, 2)])


def test_no_light_draws_nothing() -> None:
    mine = np.random.RandomState(2)
    source = take_over(mine)
    out = np.empty(50, np.uint8)
    fill_counts(source, np.zeros(50, np.uint8), np.arange(256) / 255.0, EACH, out)
    give_back(source, mine)
    assert not out.any()
    assert mine.random_sample() == np.random.RandomState(2).random_sample()

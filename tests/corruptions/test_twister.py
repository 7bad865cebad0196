"""The stream in bulk against numpy's own, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustseg.corruptions.twister import (
    LENGTH,
    draw_normals,
    fill_normals,
    fill_uniforms,
    fill_words,
    give_back,
    skip_normals,
    skip_words,
    take_over,
)
from robustseg.errors import SettingError

SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.lists(st.integers(0, 3 * LENGTH), min_size=1, max_size=5)


def same_position(mine: np.random.RandomState, numpys: np.random.RandomState) -> bool:
    return bool(mine.random_sample() == numpys.random_sample())


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, counts=COUNTS)
def test_words_are_numpys_across_the_ends_of_the_state(seed: int, counts: list[int]) -> None:
    mine, numpys = np.random.RandomState(seed), np.random.RandomState(seed)
    source = take_over(mine)
    for count in counts:
        words = np.empty(count, np.uint32)
        fill_words(source, words)
        np.testing.assert_array_equal(words, numpys.randint(0, 2**32, count, dtype=np.uint32))
    give_back(source, mine)
    assert same_position(mine, numpys)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, counts=COUNTS)
def test_uniforms_are_numpys_to_the_bit(seed: int, counts: list[int]) -> None:
    mine, numpys = np.random.RandomState(seed), np.random.RandomState(seed)
    source = take_over(mine)
    words = np.empty(2 * max(counts), np.uint32)
    for count in counts:
        uniforms = np.empty(count)
        fill_uniforms(source, words, uniforms)
        np.testing.assert_array_equal(uniforms, numpys.random_sample(count))
    give_back(source, mine)
    assert same_position(mine, numpys)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, counts=COUNTS)
def test_normals_are_numpys_but_for_the_last_bits(seed: int, counts: list[int]) -> None:
    # Odd counts leave the second of a pair, which the next call gives first, here as in numpy.
    mine, numpys = np.random.RandomState(seed), np.random.RandomState(seed)
    for count in counts:
        wanted = numpys.normal(size=count)
        np.testing.assert_allclose(draw_normals(mine, count), wanted, rtol=4e-16 * 4, atol=0)
    assert same_position(mine, numpys)


def test_a_million_normals_stay_within_four_units_in_the_last_place() -> None:
    mine = draw_normals(np.random.RandomState(5), 1 << 20)
    numpys = np.random.RandomState(5).normal(size=1 << 20)
    assert (np.abs(mine - numpys) <= 4 * np.spacing(np.abs(numpys))).all()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, counts=COUNTS)
def test_skipping_spends_what_drawing_spends(seed: int, counts: list[int]) -> None:
    mine, numpys = np.random.RandomState(seed), np.random.RandomState(seed)
    source = take_over(mine)
    for count in counts:
        skip_normals(source, count)
        numpys.normal(size=count)
        skip_words(source, count)
        numpys.randint(0, 2**32, count, dtype=np.uint32)
    rest = np.empty(3)
    fill_normals(source, rest)
    np.testing.assert_allclose(rest, numpys.normal(size=3), rtol=2e-15)


def test_other_generators_are_refused() -> None:
    with pytest.raises(SettingError, match="MT19937, got PCG64: use"):
        take_over(np.random.RandomState(np.random.PCG64(1)))

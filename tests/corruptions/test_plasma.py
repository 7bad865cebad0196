from __future__ import annotations

import numpy as np
import pytest

from robustseg.corruptions.plasma import plasma_fractal


def test_plasma_fills_the_unit_interval_and_closes_on_itself() -> None:
    plasma = plasma_fractal(256, 2.0, np.random.RandomState(3))
    assert plasma.shape == (256, 256)
    assert (plasma.min(), plasma.max()) == (0, 1)
    inside = np.abs(np.diff(plasma, axis=0)).mean()
    seam = np.abs(plasma[0] - plasma[-1]).mean()
    assert seam < 1.5 * inside


def test_plasma_draws_one_number_for_each_point_but_one() -> None:
    stream, other = np.random.RandomState(8), np.random.RandomState(8)
    plasma_fractal(64, 1.5, stream)
    other.random_sample(64 * 64 - 1)
    assert stream.random_sample() == other.random_sample()


def test_plasma_of_two_points_by_hand() -> None:
    # m[0, 0] = 0; then the centre from four corners, the top edge, the left edge.
    draws = np.random.RandomState(5).uniform(-100, 100, 3)
    centre = 100 * draws[0]
    top = 2 * centre / 4 + 100 * draws[1]
    left = 2 * centre / 4 + 100 * draws[2]
    by_hand = np.array([[0, top], [left, centre]])
    by_hand = (by_hand - by_hand.min()) / np.ptp(by_hand)
    assert plasma_fractal(2, 2.0, np.random.RandomState(5)) == pytest.approx(by_hand)

from __future__ import annotations

import numpy as np
import pytest

from robustseg.corruptions.disk import SAMPLES, group_taps, grouped_sums

Kernel = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def kernel_of_few_values(radius: int, seed: int) -> Kernel:
    values = [0.0, 0.001, 0.004, 0.0125, 1e-30]
    lower = np.random.RandomState(seed).choice(values, (radius + 1, 2 * radius + 1))
    return np.concatenate((lower[:0:-1], lower)).astype(np.float32)


def test_groups_hold_every_tap_once() -> None:
    kernel = kernel_of_few_values(3, 1)
    groups = group_taps(kernel)
    rebuilt = np.zeros_like(kernel)
    start = 0
    for end, weight in zip(groups.ends, groups.weights, strict=True):
        for dy, dx in groups.shifts[start:end]:
            assert rebuilt[3 + dy, 3 + dx] == 0
            rebuilt[3 + dy, 3 + dx] = rebuilt[3 - dy, 3 + dx] = weight
        start = end
    np.testing.assert_array_equal(rebuilt, np.where(kernel > 1e-20, kernel, 0))


def test_a_kernel_that_is_another_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="upside down"):
        group_taps(np.arange(9, dtype=np.float32).reshape(3, 3))


def test_more_equal_taps_than_fit_a_sum_are_refused() -> None:
    group_taps(np.full((15, 17), 0.5, np.float32))
    with pytest.raises(ValueError, match="more than 257 taps"):
        group_taps(np.full((17, 17), 0.5, np.float32))


@pytest.mark.parametrize("width", [40, SAMPLES // 3, SAMPLES // 3 + 5])
@pytest.mark.parametrize("radius", [1, 3, 8])
def test_sums_are_those_of_a_slow_loop(width: int, radius: int) -> None:
    image = np.random.RandomState(width).randint(0, 256, (36, width, 3)).astype(np.uint8)
    image[:, :20] = 255
    kernel = kernel_of_few_values(radius, radius)
    edges = ((radius, radius), (radius, radius), (0, 0))
    padded = np.pad(image, edges, mode="reflect")
    expected = np.zeros(image.shape)
    for dy, dx in np.ndindex(kernel.shape):
        part = padded[dy : dy + 36, dx : dx + width].astype(float)
        expected += float(kernel[dy, dx]) * part
    found = np.empty_like(image)
    grouped_sums(padded, group_taps(kernel), found)
    # Away from whole numbers the order of the sum does not matter.
    clear = np.abs(expected - np.rint(expected)) > 1e-9
    assert clear.mean() > 0.9
    wanted = np.minimum(expected, 255).astype(np.uint8)
    np.testing.assert_array_equal(found[clear], wanted[clear])

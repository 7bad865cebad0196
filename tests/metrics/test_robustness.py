from __future__ import annotations

import pytest

from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.metrics.robustness import (
    AVERAGINGS,
    Averaging,
    Column,
    corruption_column,
    mean_of_columns,
    retention,
)

NOISE = {"gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"}
# Typed in from Table 5 of arXiv 2105.15203, in its order: blur, noise, digital, weather.
TABLE_5 = {
    "DLv3+ (R50)": (
        76.6,
        "58.5 56.6 47.2 57.7 6.5 7.2 10.0 31.1 58.2 54.7 41.3 27.4 12.0 42.0 55.9 22.8",
        36.81875,
    ),
    "DLv3+ (R101)": (
        77.1,
        "59.1 56.3 47.7 57.3 13.2 13.9 16.3 36.9 59.2 54.5 41.5 37.4 11.9 47.8 55.1 22.7",
        39.425,
    ),
    "DLv3+ (X65)": (
        78.4,
        "63.9 59.1 52.8 59.2 15.0 10.6 19.8 42.4 65.9 59.1 46.1 31.4 19.3 50.7 63.6 23.8",
        42.66875,
    ),
    "SegFormer-B5": (
        82.4,
        "69.1 68.6 64.1 69.8 57.8 63.4 52.3 72.8 81.0 77.7 80.1 58.8 40.7 68.4 78.5 49.9",
        65.8125,
    ),
}


def needed_by(corruption: str, averaging: Averaging) -> tuple[int, ...]:
    return (1, 2, 3) if averaging == "paper" and corruption in NOISE else (1, 2, 3, 4, 5)


@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_column_is_the_mean_of_the_severities_that_count(
    corruption: str, averaging: Averaging
) -> None:
    values = {1: 0.8, 2: 0.65, 3: 0.5, 4: 0.2, 5: 0.05}
    miou = {(corruption, s): v for s, v in values.items()}
    other = next(c for c in CORRUPTIONS if c != corruption)
    miou |= {("clean", 0): 0.9, (other, 1): 0.01}
    mean = {3: 0.65, 5: 0.44}[len(needed_by(corruption, averaging))]
    column = corruption_column(miou, corruption, averaging)
    assert column.value == pytest.approx(mean, rel=1e-14)
    assert column.missing == ()


@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("absent", [{1}, {3}, {4}, {5}, {4, 5}, {2, 4}, {1, 2, 3, 4, 5}])
def test_missing_severities_are_told_apart_from_those_not_needed(
    corruption: str, averaging: Averaging, absent: set[int]
) -> None:
    miou = {(corruption, s): 0.5 for s in range(1, 6) if s not in absent}
    column = corruption_column(miou, corruption, averaging)
    missing = tuple(s for s in needed_by(corruption, averaging) if s in absent)
    assert column == Column(None if missing else 0.5, missing)


def test_a_value_of_zero_is_a_value() -> None:
    miou = {("fog", s): 0.0 for s in range(1, 6)}
    assert corruption_column(miou, "fog", "all") == Column(0.0)


@pytest.mark.parametrize("method", TABLE_5)
def test_means_and_retention_of_published_rows(method: str) -> None:
    clean, numbers, mean = TABLE_5[method]
    values = [float(number) / 100 for number in numbers.split()]
    miou = {(c, s): v for c, v in zip(CORRUPTIONS, values, strict=True) for s in range(1, 6)}
    for averaging in AVERAGINGS:
        columns = {c: corruption_column(miou, c, averaging) for c in CORRUPTIONS}
        found = mean_of_columns(columns)
        assert found is not None
        assert 100 * found == pytest.approx(mean, abs=1e-11)
        kept = retention(found, clean / 100)
        assert kept == pytest.approx(mean / clean, rel=1e-13)


def test_mean_weighs_columns_equally_whatever_their_number_of_severities() -> None:
    columns = {c: Column(1.0 if c in NOISE else 0.0) for c in CORRUPTIONS}
    assert mean_of_columns(columns) == 0.25


@pytest.mark.parametrize("lost", CORRUPTIONS)
def test_no_mean_unless_all_sixteen_have_a_value(lost: str) -> None:
    columns = {c: Column(0.5) for c in CORRUPTIONS}
    assert mean_of_columns({**columns, lost: Column(None, (3,))}) is None
    assert mean_of_columns({c: v for c, v in columns.items() if c != lost}) is None


def test_clean_does_not_enter_the_mean() -> None:
    columns = {c: Column(0.5) for c in CORRUPTIONS}
    assert mean_of_columns({"clean": Column(1.0), **columns}) == 0.5


@pytest.mark.parametrize(
    ("mean", "clean", "kept"),
    [(0.3, 0.6, 0.5), (0.0, 0.6, 0.0), (0.6, 0.3, 2.0), (0.3, 0.0, None), (None, 0.6, None),
     (0.3, None, None), (None, None, None)],
)  # fmt: skip
def test_retention(mean: float | None, clean: float | None, kept: float | None) -> None:
    assert retention(mean, clean) == kept

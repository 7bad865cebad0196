"""From the mIoU of cells to the columns of Table 5: averaging over severities and corruptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from robustseg.corruptions.severity import CORRUPTIONS, GROUPS, SEVERITIES

__all__ = ["AVERAGINGS", "Averaging", "Column", "corruption_column", "mean_of_columns", "retention"]

Averaging = Literal["paper", "all"]
AVERAGINGS: tuple[Averaging, ...] = ("paper", "all")

PAPER_NOISE_SEVERITIES = (1, 2, 3)
"""SegFormer, appendix D: 'we test 3 severities for 4 kinds of Noise and 5 severities for the rest'
following Kamann and Rother."""


@dataclass(frozen=True)
class Column:
    """One number of a row of Table 5.

    Attributes:
        value: Mean mIoU over the severities that the averaging needs, 0-1; None if any is missing.
        missing: The severities that are missing.
    """

    value: float | None
    missing: tuple[int, ...] = ()


def severities_needed(corruption: str, averaging: Averaging) -> tuple[int, ...]:
    """Say which severities enter a corruption's mean: 1-3 for noise under ``paper``, else 1-5."""
    if averaging == "paper" and corruption in GROUPS["noise"]:
        return PAPER_NOISE_SEVERITIES
    return SEVERITIES


def corruption_column(
    miou: Mapping[tuple[str, int], float], corruption: str, averaging: Averaging
) -> Column:
    """Average one corruption over its severities.

    Args:
        miou: (corruption, severity) to mIoU, 0-1.
        corruption: Of the sixteen or beyond; those beyond need all five severities.
        averaging: ``paper`` or ``all``.

    Returns:
        The mean of the severities' mIoU; without value if a severity that is needed is missing.
    """
    needed = severities_needed(corruption, averaging)
    missing = tuple(s for s in needed if (corruption, s) not in miou)
    if missing:
        return Column(None, missing)
    return Column(sum(miou[corruption, s] for s in needed) / len(needed))


def mean_of_columns(columns: Mapping[str, Column]) -> float | None:
    """Average the sixteen columns with equal weight; None unless all of them have a value."""
    values = [columns[c].value for c in CORRUPTIONS if c in columns]
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if len(present) == len(CORRUPTIONS) else None


def retention(mean: float | None, clean: float | None) -> float | None:
    """Divide the corrupted mean by clean mIoU (STL, arXiv 2401.03844, section 4.1)."""
    return mean / clean if mean is not None and clean else None

"""The numbers of SegFormer's Table 5 as published (arXiv 2105.15203)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources

__all__ = ["PublishedRow", "published_rows"]


@dataclass(frozen=True)
class PublishedRow:
    """One row of Table 5.

    Attributes:
        method: As printed.
        clean: mIoU in percent.
        columns: Corruption to mIoU in percent, exactly as printed.
    """

    method: str
    clean: Decimal
    columns: dict[str, Decimal]


def published_rows() -> list[PublishedRow]:
    """Read the thirteen rows in the printed order.

    The SegFormer row is the paper's own; the others it reports from Kamann and Rother
    (arXiv 1908.05005).
    """
    source = resources.files(__package__).joinpath("data/segformer_table5.csv")
    rows = []
    for entry in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        method, clean = entry.pop("method"), Decimal(entry.pop("clean"))
        rows.append(PublishedRow(method, clean, {k: Decimal(v) for k, v in entry.items()}))
    return rows

"""Table 5 as one object, whatever it is rendered to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal

from robustseg.corruptions.severity import CORRUPTIONS, EXTRA, GROUPS
from robustseg.metrics.robustness import (
    Averaging,
    Column,
    corruption_column,
    mean_of_columns,
    retention,
)
from robustseg.models.zoo import MODELS
from robustseg.reports.advice import evaluate_command
from robustseg.reports.published import published_rows
from robustseg.results import CLEAN, CellResult

__all__ = [
    "COLUMNS",
    "HEADINGS",
    "SHORT",
    "Block",
    "Number",
    "Row",
    "Table",
    "beyond_the_sixteen",
    "build_table",
    "rows_of",
    "title_of",
]

SHORT = {
    "motion_blur": "Motion",
    "defocus_blur": "Defoc",
    "glass_blur": "Glass",
    "gaussian_blur": "Gauss",
    "gaussian_noise": "Gauss",
    "impulse_noise": "Impul",
    "shot_noise": "Shot",
    "speckle_noise": "Speck",
    "brightness": "Bright",
    "contrast": "Contr",
    "saturate": "Satur",
    "jpeg_compression": "JPEG",
    "snow": "Snow",
    "spatter": "Spatt",
    "fog": "Fog",
    "frost": "Frost",
}
"""Column heads as the paper prints them."""

COLUMNS = ("clean", *CORRUPTIONS, "mean", "retention")
"""Keys of a row's numbers, in printed order."""

HEADINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("clean",)),
    *((group.capitalize(), members) for group, members in GROUPS.items()),
    ("All 16", ("mean", "retention")),
)
"""Group heads over the columns that belong to them."""

CAPTIONS: dict[Averaging, str] = {
    "paper": "severities 1-3 averaged for noise, 1-5 for the other twelve ('paper' averaging)",
    "all": "severities 1-5 averaged for all sixteen ('all' averaging)",
}


def title_of(corruption: str) -> str:
    """Write a corruption's name for people: ``Motion blur``."""
    return "JPEG" if corruption == "jpeg_compression" else corruption.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Number:
    """One entry of the table.

    Attributes:
        value: In percent; None where results are missing.
        missing: Severities that are missing, for a note.
        rank: 1 and 2 for best and second of the block, 0 otherwise.
    """

    value: Decimal | None
    missing: tuple[int, ...] = ()
    rank: int = 0

    def text(self, digits: int = 1) -> str:
        """Write the number rounded half up, or a dash."""
        if self.value is None:
            return "-"
        step = Decimal(1).scaleb(-digits)
        return str(self.value.quantize(step, rounding=ROUND_HALF_UP))


@dataclass(frozen=True)
class Row:
    """One method: its label and a number for each column of its table.

    Attributes:
        label: The method, for people.
        name: The network, or empty for a published row.
        numbers: Column to number.
        command: Evaluates the network further; empty for a published row.
    """

    label: str
    name: str
    numbers: dict[str, Number]
    command: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that may be compared with each other, and what they have in common."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """The whole table: measured blocks first, the published block last.

    Attributes:
        caption: What the numbers are.
        averaging: Over severities.
        blocks: Rows with a number for each of ``COLUMNS``.
        notes: What is missing.
        beyond_columns: Further corruptions that were measured; they enter no mean.
        beyond: Blocks whose rows have a number for each of these, clean first.
    """

    caption: str
    averaging: Averaging
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = field(default=())
    beyond_columns: tuple[str, ...] = ()
    beyond: tuple[Block, ...] = ()


def build_table(results: Iterable[CellResult], averaging: Averaging = "paper") -> Table:
    """Build Table 5 from stored results, with the published rows in a block of their own.

    Corruptions beyond the sixteen go into blocks of their own, averaged over five severities.
    Results of different protocols are never in one block. The best, and from three rows on the
    second, are marked in each column of a measured block.

    Args:
        results: Of any protocols and models.
        averaging: Over severities.
    """
    grouped: dict[str, list[CellResult]] = {}
    for result in results:
        grouped.setdefault(result.protocol.slug, []).append(result)
    blocks = []
    for members in grouped.values():
        rows = [_measured_row(k, cells, averaging) for k, cells in rows_of(members).items()]
        blocks.append(Block(members[0].protocol.title, _rank(rows)))
    notes = [note for block in blocks for note in _missing_notes(block)]
    blocks.append(_published_block())
    names = beyond_the_sixteen(r for members in grouped.values() for r in members)
    beyond = [block for members in grouped.values() if (block := _beyond_block(members, names))]
    notes += [note for block in beyond for note in _beyond_notes(block)]
    caption = f"Cityscapes-C mIoU (%), {CAPTIONS[averaging]}"
    columns = (CLEAN, *names) if names else ()
    return Table(caption, averaging, tuple(blocks), tuple(notes), columns, tuple(beyond))


def beyond_the_sixteen(results: Iterable[CellResult]) -> tuple[str, ...]:
    """List the corruptions of results that are not of the sixteen, robustseg's own first.

    They are taken from the results alone: what a package measured is shown without the package.
    """
    found = {r.cell.corruption for r in results if r.cell.severity} - {*CORRUPTIONS}
    return (*(name for name in EXTRA if name in found), *sorted(found - {*EXTRA}))


def rows_of(results: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Share the results of one protocol out to rows, one for each network and checkpoint.

    Args:
        results: Of one protocol.

    Returns:
        Label to results, in the zoo's order. A network with several checkpoints has a row for
        each, labelled with the beginning of its hash.
    """
    known = {name: i for i, name in enumerate(MODELS)}
    rows: dict[tuple[int, str, str], list[CellResult]] = {}
    for result in results:
        name = result.model.name
        key = (known.get(name, len(known)), name, result.model.checkpoint)
        rows.setdefault(key, []).append(result)
    names = [name for _, name, _ in rows]
    return {
        cells[0].model.label + (f" [{checkpoint[:8]}]" if names.count(name) > 1 else ""): cells
        for (_, name, checkpoint), cells in sorted(rows.items(), key=lambda row: row[0])
    }


def _measured_row(label: str, cells: Sequence[CellResult], averaging: Averaging) -> Row:
    miou = {(r.cell.corruption, r.cell.severity): r.miou for r in cells}
    columns = {c: corruption_column(miou, c, averaging) for c in CORRUPTIONS}
    clean = miou.get((CLEAN, 0))
    mean = mean_of_columns(columns)
    columns = {
        "clean": Column(clean, () if clean is not None else (0,)),
        **columns,
        "mean": Column(mean),
        "retention": Column(retention(mean, clean)),
    }
    numbers = {key: Number(_percent(c.value), c.missing) for key, c in columns.items()}
    return Row(label, cells[0].model.name, numbers, evaluate_command(r.model for r in cells))


def _beyond_block(members: Sequence[CellResult], names: Sequence[str]) -> Block | None:
    """Gather the networks of one protocol that were measured beyond the sixteen."""
    rows = []
    for label, cells in rows_of(members).items():
        miou = {(r.cell.corruption, r.cell.severity): r.miou for r in cells}
        if not any(corruption in names for corruption, _ in miou):
            continue
        numbers = {CLEAN: Number(_percent(miou.get((CLEAN, 0))))}
        for name in names:
            column = corruption_column(miou, name, "all")
            begun = any(corruption == name for corruption, _ in miou)
            numbers[name] = Number(_percent(column.value), column.missing if begun else ())
        command = evaluate_command(r.model for r in cells)
        rows.append(Row(label, cells[0].model.name, numbers, command))
    return Block(members[0].protocol.title, _rank(rows)) if rows else None


def _beyond_notes(block: Block) -> list[str]:
    """Say of corruptions that were measured in part what is missing."""
    return [
        f"{row.label}: {name} lacks severity {', '.join(map(str, number.missing))}; run: "
        f"{row.command} --corruptions {name}"
        for row in block.rows
        for name, number in row.numbers.items()
        if number.missing
    ]


def _percent(value: float | None) -> Decimal | None:
    """Turn 0-1 into percent; ten digits hold every count, and drop what binary fractions add.

    A cell in which no pixel was scored has the mIoU nan, which is no number of the table.
    """
    return None if value is None or math.isnan(value) else Decimal(f"{100 * value:.10f}")


def _rank(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the best and the second number of each column."""
    if len(rows) < 2:
        return tuple(rows)
    marks = 1 if len(rows) == 2 else 2  # the second of two is no distinction
    ranked = [dict(row.numbers) for row in rows]
    for key in rows[0].numbers:
        values = sorted({n.value for r in rows if (n := r.numbers[key]).value is not None})
        for rank, value in enumerate(reversed(values[-marks:]), start=1):
            for numbers in ranked:
                if numbers[key].value == value:
                    numbers[key] = replace(numbers[key], rank=rank)
    return tuple(replace(r, numbers=n) for r, n in zip(rows, ranked, strict=True))


def _missing_notes(block: Block) -> list[str]:
    notes = []
    for row in block.rows:
        missing = {key: n.missing for key, n in row.numbers.items() if n.missing}
        count = sum(len(severities) for severities in missing.values())
        if count:
            where = "all corruptions" if set(missing) == set(CORRUPTIONS) else ", ".join(missing)
            notes.append(
                f"{row.label}: {count} of the cells that this averaging needs are missing "
                f"({where}); run: {row.command}"
            )
    return notes


def _published_block() -> Block:
    rows = []
    for published in published_rows():
        mean = sum(published.columns.values(), Decimal(0)) / len(published.columns)
        values = {"clean": published.clean, **published.columns, "mean": mean}
        values["retention"] = 100 * mean / published.clean
        rows.append(Row(published.method, "", {key: Number(values[key]) for key in COLUMNS}))
    title = (
        "Published: Table 5 of arXiv 2105.15203; SegFormer-B5 measured there, the others reported "
        "there from arXiv 1908.05005; mean and retention computed from the printed columns"
    )
    return Block(title, tuple(rows))

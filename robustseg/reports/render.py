"""Renders the table: terminal, Markdown, LaTeX, CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from robustseg.reports.table import COLUMNS, HEADINGS, SHORT, Block, Number, Row, Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BEYOND",
    "NAMES",
    "beyond_to_csv",
    "head_of",
    "to_csv",
    "to_frame",
    "to_latex",
    "to_markdown",
    "to_text",
]

NAMES = {"clean": "Clean", **SHORT, "mean": "Mean", "retention": "Ret."}

BEYOND = "Beyond the sixteen: severities 1-5 averaged, no part of the mean"
"""Title of the further table."""

_Headings = Sequence[tuple[str, Sequence[str]]]

LATEX_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
    }
)


def to_text(table: Table, width: int = 1000) -> str:
    """Draw the table for a terminal; where it is too wide, as bands of columns below each other.

    Args:
        table: What to draw.
        width: Columns of characters that there are.
    """
    lines = textwrap.wrap(table.caption, max(width, 40))
    lines += _text_bands(table.blocks, HEADINGS, width)
    if table.beyond:
        lines += ["", *textwrap.wrap(BEYOND, max(width, 40))]
        lines += _text_bands(table.beyond, [("", (key,)) for key in table.beyond_columns], width)
    lines += ["", "* best, + second of three or more, in a measured block"]
    lines += [line for note in table.notes for line in _note_lines(note, max(width, 40))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _note_lines(note: str, width: int) -> list[str]:
    """Wrap a note; the command at its end stays on a line, however long, to be copied."""
    if len(note) <= width:
        return [note]
    text, run, command = note.partition(" run: ")
    return [*textwrap.wrap(text + run, width), *([f"  {command}"] if command else [])]


def head_of(key: str) -> str:
    """Give the head of a column: short for Table 5, the name itself beyond the sixteen."""
    return NAMES.get(key, key)


def _text_bands(blocks: Sequence[Block], headings: _Headings, width: int) -> list[str]:
    label = max(len(row.label) for block in blocks for row in block.rows)
    lines = []
    for band in _bands(headings, width - label):
        lines += ["", *_header(band, label)]
        for block in blocks:
            keys = [key for _, members in band for key in members]
            lines += ["", *textwrap.wrap(block.title, max(width, 40))]
            lines += [
                row.label.ljust(label)
                + "".join(f"  {_starred(row.numbers[k]):>{_column(k)}}" for k in keys)
                for row in block.rows
            ]
    return lines


def _bands(headings: _Headings, room: int) -> list[_Headings]:
    """Share the column groups out to bands of at most ``room`` characters."""
    bands: list[list[tuple[str, Sequence[str]]]] = [[]]
    left = room
    for group, keys in headings:
        size = sum(_column(k) + 2 for k in keys)
        if bands[-1] and size > left:
            bands.append([])
            left = room
        bands[-1].append((group, keys))
        left -= size
    return [*bands]


def _header(band: _Headings, label: int) -> list[str]:
    groups = "".join(f"  {g:<{sum(_column(k) + 2 for k in keys) - 2}}" for g, keys in band)
    names = "".join(f"  {head_of(k):>{_column(k)}}" for _, keys in band for k in keys)
    return [" " * label + part for part in (groups, names) if part.strip()]


def _column(key: str) -> int:
    return max(len(head_of(key)), 5)


def _starred(number: Number) -> str:
    return number.text() + {1: "*", 2: "+"}.get(number.rank, "")


def to_markdown(table: Table) -> str:
    """Write the table as Markdown, one table a block."""
    groups = [g for g, keys in HEADINGS for _ in keys]
    names = [
        f"{group}: {NAMES[key]}" if group and group != "All 16" else NAMES[key]
        for group, key in zip(groups, COLUMNS, strict=True)
    ]
    parts = [f"# {table.caption}", ""]
    for block in table.blocks:
        parts += _markdown_block(block, names)
    if table.beyond:
        parts += [f"## {BEYOND}", ""]
    for block in table.beyond:
        parts += _markdown_block(block, [head_of(key) for key in table.beyond_columns])
    parts += [f"- {note}" for note in table.notes]
    return "\n".join(parts).rstrip() + "\n"


def _markdown_block(block: Block, heads: Sequence[str]) -> list[str]:
    return [
        block.title,
        "",
        "| " + " | ".join(["Method", *heads]) + " |",
        "|---" + "|---:" * len(heads) + "|",
        *(_markdown_row(row) for row in block.rows),
        "",
    ]


def _markdown_row(row: Row) -> str:
    marks: dict[int, Callable[[str], str]] = {1: lambda t: f"**{t}**", 2: lambda t: f"_{t}_"}
    cells = []
    for number in row.numbers.values():
        cells.append(marks.get(number.rank, str)(number.text()))
    return "| " + " | ".join([row.label, *cells]) + " |"


def to_latex(table: Table) -> str:
    """Write the table for LaTeX with booktabs; best in bold, second underlined."""
    heads, rules, column = [], [], 2
    for group, keys in HEADINGS:
        heads.append(f"\\multicolumn{{{len(keys)}}}{{c}}{{{_escape(group)}}}")
        if group:
            rules.append(f"\\cmidrule(lr){{{column}-{column + len(keys) - 1}}}")
        column += len(keys)
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table*}\\centering",
        f"\\caption{{{_escape(table.caption)}.}}",
        "\\resizebox{\\textwidth}{!}{%",
        "\\begin{tabular}{l" + "c" * len(COLUMNS) + "}",
        "\\toprule",
        " & ".join(["", *heads]) + " \\\\",
        "".join(rules),
        " & ".join(["Method", *[NAMES[key] for key in COLUMNS]]) + " \\\\",
    ]
    for block in table.blocks:
        span = f"\\multicolumn{{{len(COLUMNS) + 1}}}{{l}}{{\\footnotesize {_escape(block.title)}}}"
        lines += ["\\midrule", f"{span} \\\\"]
        lines += [_latex_row(row) for row in block.rows]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    lines += [f"\\par\\footnotesize {_escape(note)}" for note in table.notes]
    lines += ["\\end{table*}"]
    lines += _latex_beyond(table) if table.beyond else []
    return "\n".join(lines) + "\n"


def _latex_beyond(table: Table) -> list[str]:
    heads = [_escape(head_of(key)) for key in table.beyond_columns]
    lines = [
        "\\begin{table*}\\centering",
        f"\\caption{{{_escape(BEYOND)}.}}",
        "\\begin{tabular}{l" + "c" * len(heads) + "}",
        "\\toprule",
        " & ".join(["Method", *heads]) + " \\\\",
    ]
    for block in table.beyond:
        title = f"\\footnotesize {_escape(block.title)}"
        lines += ["\\midrule", f"\\multicolumn{{{len(heads) + 1}}}{{l}}{{{title}}} \\\\"]
        lines += [_latex_row(row) for row in block.rows]
    return [*lines, "\\bottomrule", "\\end{tabular}", "\\end{table*}"]


def _latex_row(row: Row) -> str:
    commands = {1: "\\textbf{%s}", 2: "\\underline{%s}"}
    cells = [
        commands.get(number.rank, "%s") % number.text().replace("-", "--")
        for number in row.numbers.values()
    ]
    return " & ".join([_escape(row.label), *cells]) + " \\\\"


def _escape(text: str) -> str:
    return text.translate(LATEX_ESCAPES)


def to_frame(table: Table) -> pd.DataFrame:
    """Give the table as a data frame: one line a row, unrounded percentages, NaN where missing."""
    return _frame(table.blocks, COLUMNS)


def _frame(blocks: Sequence[Block], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # half a second that the other formats need not wait for

    records = []
    for block in blocks:
        for row in block.rows:
            numbers = {k: row.numbers[k].value for k in columns}
            known = {k: float("nan") if n is None else float(n) for k, n in numbers.items()}
            records.append({"block": block.title, "method": row.label, "name": row.name, **known})
    return pd.DataFrame(records, columns=["block", "method", "name", *columns])


def to_csv(table: Table) -> str:
    """Write ``to_frame`` as CSV; missing numbers are empty."""
    return _csv(to_frame(table))


def beyond_to_csv(table: Table) -> str:
    """Write what lies beyond the sixteen as CSV, in the same form."""
    return _csv(_frame(table.beyond, table.beyond_columns))


def _csv(frame: pd.DataFrame) -> str:
    text: str = frame.round(6).to_csv(index=False, lineterminator="\n")
    return text

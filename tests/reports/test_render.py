from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.reports.render import NAMES, to_csv, to_frame, to_latex, to_markdown, to_text
from robustseg.reports.table import COLUMNS, Table, build_table
from robustseg.results import CellResult, Protocol

MakeRow = Callable[..., list[CellResult]]
Numbers = dict[tuple[int, str], list[str]]


@pytest.fixture(scope="module")
def table(make_row: MakeRow, protocol: Protocol) -> Table:
    """Two measured blocks with marks, missing cells and numbers that need rounding."""
    columns = {name: f"{20 + 3.137 * i:.3f}" for i, name in enumerate(CORRUPTIONS)}
    whole = replace(protocol, data="my_data & 50%", inference="whole", window=0, stride=0)
    incomplete = make_row("72.049", "33.333", model="dlv3p_mbv2")
    return build_table(
        [
            *make_row("76.25", columns, model="segformer_b0"),
            *make_row("82.4", "65.8", model="segformer_b5"),
            *[r for r in incomplete if r.cell.corruption != "snow"],
            *make_row("8.35", "0.05", model="dlv3p_x71", settings=whole),
        ]
    )


def numbers_of(table: Table) -> Numbers:
    return {
        (i, row.label): [row.numbers[key].text() for key in COLUMNS]
        for i, block in enumerate(table.blocks)
        for row in block.rows
    }


def labels_of(table: Table) -> list[str]:
    return sorted({row.label for block in table.blocks for row in block.rows}, key=len)[::-1]


def read_text(text: str, table: Table) -> Numbers:
    """Read the rows of all bands; blocks and bands are told apart by how their title begins."""
    titles = {block.title[:20]: i for i, block in enumerate(table.blocks)}
    assert len(titles) == len(table.blocks)
    found: Numbers = {}
    block = -1
    for line in text.splitlines():
        block = titles.get(line[:20], block)
        label = next((name for name in labels_of(table) if line.startswith(name + " ")), None)
        if label is not None and re.search(r"\s[-\d][\d.*+ -]*$", line):
            cells = [cell.rstrip("*+") for cell in line[len(label) :].split()]
            found.setdefault((block, label), []).extend(cells)
    return found


def read_markdown(text: str) -> Numbers:
    found: Numbers = {}
    block = -1
    for line in text.splitlines():
        if line.startswith("| Method |"):
            block += 1
        elif line.startswith("| "):
            label, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found[block, label] = [cell.strip("*_") for cell in cells]
    return found


def read_latex(text: str) -> Numbers:
    found: Numbers = {}
    block = -1
    for line in text.splitlines():
        block += line == "\\midrule"
        if block >= 0 and line.count("&") == len(COLUMNS):
            label, *cells = [cell.strip() for cell in line.removesuffix("\\\\").split(" & ")]
            plain = [re.sub(r"\\(?:textbf|underline)\{(.*)\}", r"\1", cell) for cell in cells]
            found[block, label] = [cell.replace("--", "-") for cell in plain]
    return found


@pytest.mark.parametrize("width", [40, 80, 100, 132, 200, 1000])
def test_text_says_the_numbers_of_the_table(table: Table, width: int) -> None:
    assert read_text(to_text(table, width), table) == numbers_of(table)


def test_markdown_says_the_numbers_of_the_table(table: Table) -> None:
    assert read_markdown(to_markdown(table)) == numbers_of(table)


def test_latex_says_the_numbers_of_the_table(table: Table) -> None:
    assert read_latex(to_latex(table)) == numbers_of(table)


def test_csv_is_read_by_pandas_with_unrounded_numbers(table: Table) -> None:
    frame = pd.read_csv(io.StringIO(to_csv(table)))
    assert list(frame.columns) == ["block", "method", "name", *COLUMNS]
    rows = [(block.title, row) for block in table.blocks for row in block.rows]
    assert list(frame["block"]) == [title for title, _ in rows]
    assert list(frame["method"]) == [row.label for _, row in rows]
    assert list(frame["name"].dropna()) == ["segformer_b0", "segformer_b5", "dlv3p_mbv2",
                                            "dlv3p_x71"]  # fmt: skip
    for (_, row), (_, line) in zip(rows, frame.iterrows(), strict=True):
        for key in COLUMNS:
            value = row.numbers[key].value
            if value is None:
                assert pd.isna(line[key])
            else:
                assert line[key] == pytest.approx(float(value), abs=5e-7)
    first = frame.iloc[0]
    assert first["clean"] == 76.25
    assert first["defocus_blur"] == 23.137
    r101 = frame[frame["method"] == "DLv3+ (R101)"].iloc[0]
    assert r101["mean"] == 39.425


def test_frame_holds_every_digit(table: Table) -> None:
    frame = to_frame(table)
    assert list(frame.columns) == ["block", "method", "name", *COLUMNS]
    rows = [row for block in table.blocks for row in block.rows]
    for row, (_, line) in zip(rows, frame.iterrows(), strict=True):
        for key in COLUMNS:
            value = row.numbers[key].value
            assert pd.isna(line[key]) if value is None else line[key] == float(value)
    # the printed form of this retention is 79.9
    b5 = frame[frame["name"] == "segformer_b5"].iloc[0]
    assert b5["retention"] == pytest.approx(6580 / 82.4, abs=1e-9)


def test_a_long_command_stays_on_a_line(make_row: Callable[..., list[CellResult]]) -> None:
    origin = f"some-where/{'very-' * 30}long/b0.pth"
    text = to_text(build_table(make_row("80", "50", origin=origin)[1:]), 80)
    command = f"robustseg evaluate --models segformer_b0 --checkpoint segformer_b0={origin}"
    assert f"  {command}" in text.splitlines()


@pytest.mark.parametrize("width", [80, 100, 132])
def test_bands_fit_the_terminal(table: Table, width: int) -> None:
    lines = to_text(table, width).splitlines()
    rows = [line for line in lines if line.startswith(tuple(labels_of(table)))]
    rows = [line for line in rows if "of the cells that" not in line]
    heads = [line for line in lines if line.startswith("   ")]
    titles = [line for line in lines[1 : -1 - len(table.notes)] if line not in rows]
    bands = len(rows) // sum(len(block.rows) for block in table.blocks)
    assert bands > 1
    assert len(heads) == 2 * bands
    assert max(map(len, [*rows, *heads, *titles])) <= width


def test_a_wide_terminal_has_one_band(table: Table) -> None:
    rows = [line for line in to_text(table).splitlines() if line.startswith("SegFormer-B5  ")]
    assert len(rows) == 2


@pytest.mark.parametrize("width", [80, 1000])
def test_numbers_stand_under_their_heads(table: Table, width: int) -> None:
    lines = to_text(table, width).splitlines()
    heads = [line for line in lines if re.match(r" {3,}.*(Clean|Gauss|Spatt|Mean)", line)]
    starts = [lines.index(head) for head in heads]
    seen = []
    for head, start in zip(heads, starts, strict=True):
        row = next(line for line in lines[start:] if line.startswith("ICNet"))
        # columns are aligned at the right
        ends = [match.end() for match in re.finditer(r"\S+", head)]
        assert [match.end() for match in re.finditer(r"\S+", row[5:].rjust(len(row)))] == ends
        seen += head.split()
    assert seen == [NAMES[key] for key in COLUMNS]


def test_marks_in_all_formats(table: Table) -> None:
    text, markdown, latex = to_text(table), to_markdown(table), to_latex(table)
    # clean: 82.4 is the best and 76.25 the second of the first block
    assert re.search(r"^SegFormer-B5 +82\.4\*", text, re.M)
    assert re.search(r"^SegFormer-B0 +76\.3\+", text, re.M)
    assert re.search(r"^DLv3\+ \(MBv2\) +72\.0 ", text, re.M)
    assert "| SegFormer-B5 | **82.4** |" in markdown
    assert "| SegFormer-B0 | _76.3_ |" in markdown
    assert "| DLv3+ (MBv2) | 72.0 |" in markdown
    assert "SegFormer-B5 & \\textbf{82.4} &" in latex
    assert "SegFormer-B0 & \\underline{76.3} &" in latex
    # published rows carry no marks
    assert "SegFormer-B5 & 82.4 & 69.1" in latex


def test_every_format_names_caption_titles_and_missing_cells(table: Table) -> None:
    for document in (to_text(table), to_markdown(table)):
        assert table.caption in document
        assert all(block.title in document for block in table.blocks)
        assert len(table.notes) == 1
        assert table.notes[0] in document
    assert "'paper' averaging" in to_latex(table)


def test_latex_is_balanced_and_complete(table: Table) -> None:
    latex = to_latex(table)
    opened = re.findall(r"\\begin\{([^}]*)\}", latex)
    closed = re.findall(r"\\end\{([^}]*)\}", latex)
    assert opened == closed[::-1] == ["table*", "tabular"]
    bare = re.sub(r"\\[{}]", "", latex)
    assert bare.count("{") == bare.count("}")
    columns = re.search(r"\\begin\{tabular\}\{(l?c*)\}", latex)
    assert columns is not None
    width = len(columns[1])
    assert width == len(COLUMNS) + 1
    for line in latex.splitlines():
        if line.endswith("\\\\") and "&" in line:
            cells = re.split(r"(?<!\\)&", line)
            spans = [int(m[1]) if (m := re.search(r"multicolumn\{(\d+)", c)) else 1 for c in cells]
            assert sum(spans) == width


@pytest.mark.parametrize(
    ("character", "escaped"),
    [
        ("&", r"\&"),
        ("%", r"\%"),
        ("$", r"\$"),
        ("#", r"\#"),
        ("_", r"\_"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("\\", r"\textbackslash{}"),
    ],
)
def test_latex_characters_of_labels_and_titles_are_escaped(
    make_row: MakeRow, protocol: Protocol, character: str, escaped: str
) -> None:
    settings = replace(protocol, data=f"my{character}data")
    latex = to_latex(build_table(make_row("80", "50", settings=settings, label=f"A{character}B")))
    assert f"A{escaped}B & 80.0 &" in latex
    assert f"{{\\footnotesize my{escaped}data val" in latex
    assert f"A{character}B" not in latex
    assert f"my{character}d" not in latex


def test_without_results_the_published_rows_remain() -> None:
    table = build_table([])
    assert read_text(to_text(table, 80), table) == numbers_of(table)
    assert len(read_markdown(to_markdown(table))) == 13

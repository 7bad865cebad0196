"""Corruptions beyond the sixteen in every form of the report; no package of theirs is installed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustseg.corruptions.severity import SEVERITIES
from robustseg.reports.figures import draw_curves
from robustseg.reports.page import write_report
from robustseg.reports.render import BEYOND, beyond_to_csv, to_latex, to_markdown, to_text
from robustseg.reports.table import Table, build_table
from robustseg.results import Cell, CellResult, Protocol

MakeRow = Callable[..., list[CellResult]]
MakeResult = Callable[..., CellResult]
HAZE = [Cell("dense_haze", severity) for severity in SEVERITIES]


@pytest.fixture(scope="module")
def results(make_row: MakeRow, make_result: MakeResult, protocol: Protocol) -> list[CellResult]:
    """Two networks under Table 5, haze and zoom blur; a third one, another protocol, without."""
    first = make_row("80", "60")
    # 10, 20, 30, 40 and 50 % average to 30 %
    first += [make_result(10 * cell.severity, cell) for cell in HAZE]
    first += [make_result("70", Cell("zoom_blur", 3))]
    second = make_row("70", "40", model="segformer_b1")
    second += [make_result("34.56", cell, model="segformer_b1") for cell in HAZE]
    other = replace(protocol, inference="whole", window=0, stride=0)
    third = make_row("75", "45", model="segformer_b2")
    return [
        *(replace(r, versions={**r.versions, **origin(r.cell)}) for r in [*first, *second]),
        *third,
        make_result("64", settings=other),
    ]


def origin(cell: Cell) -> dict[str, str]:
    return {"corruption dense_haze": "haze-tools 1.2"} if cell in HAZE else {}


@pytest.fixture(scope="module")
def table(results: Sequence[CellResult]) -> Table:
    return build_table(results)


def test_table_5_is_what_it_would_be_without(results: Sequence[CellResult], table: Table) -> None:
    plain = build_table(r for r in results if r.cell.corruption not in ("dense_haze", "zoom_blur"))
    assert table.blocks == plain.blocks
    assert plain.beyond == ()
    assert plain.beyond_columns == ()
    assert to_text(plain) == to_text(replace(table, beyond=(), notes=plain.notes))


def test_numbers_beyond_the_sixteen(table: Table) -> None:
    assert table.beyond_columns == ("clean", "zoom_blur", "dense_haze")
    (block,) = table.beyond
    assert block.title == table.blocks[0].title
    numbers = [
        [row.label, *(row.numbers[key].text(2) for key in table.beyond_columns)]
        for row in block.rows
    ]
    assert numbers == [
        ["SegFormer-B0", "80.00", "-", "30.00"],
        ["SegFormer-B1", "70.00", "-", "34.56"],
    ]
    assert [row.numbers["dense_haze"].rank for row in block.rows] == [0, 1]
    assert block.rows[0].numbers["zoom_blur"].missing == (1, 2, 4, 5)


def test_partly_measured_corruptions_are_noted(table: Table) -> None:
    notes = [note for note in table.notes if "zoom_blur" in note]
    # the second network was never asked for zoom blur
    assert notes == [
        "SegFormer-B0: zoom_blur lacks severity 1, 2, 4, 5; run: robustseg evaluate --models "
        "segformer_b0 --corruptions zoom_blur"
    ]


@pytest.mark.parametrize("averaging", ["paper", "all"])
def test_averaging_of_the_paper_is_that_of_its_noise_only(
    averaging: str, results: Sequence[CellResult]
) -> None:
    table = build_table(results, "paper" if averaging == "paper" else "all")
    assert table.beyond[0].rows[0].numbers["dense_haze"].text() == "30.0"


def test_text(table: Table) -> None:
    before, after = to_text(table).split(BEYOND)
    assert "dense_haze" not in before
    lines = after.splitlines()
    heads = next(line for line in lines if "dense_haze" in line)
    assert heads.split() == ["Clean", "zoom_blur", "dense_haze"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("SegFormer-B")}
    assert rows["SegFormer-B1"] == ["70.0", "-", "34.6*"]
    wide = next(line for line in lines if line.startswith("SegFormer-B0 "))
    assert wide.index("30.0") + 4 == heads.index("dense_haze") + len("dense_haze")
    narrow = to_text(table, 60).splitlines()
    assert max(len(line) for line in narrow if not line.startswith("  robustseg ")) <= 60


def test_markdown(table: Table) -> None:
    _, after = to_markdown(table).split(f"## {BEYOND}")
    assert "| Method | Clean | zoom_blur | dense_haze |\n|---|---:|---:|---:|\n" in after
    assert "| SegFormer-B1 | 70.0 | - | **34.6** |" in after
    assert "| SegFormer-B0 | **80.0** | - | 30.0 |" in after


def test_latex(table: Table) -> None:
    _, after = to_latex(table).split("\\end{table*}", 1)
    assert "Method & Clean & zoom\\_blur & dense\\_haze \\\\" in after
    assert "SegFormer-B1 & 70.0 & -- & \\textbf{34.6} \\\\" in after
    assert "\\begin{tabular}{lccc}" in after
    assert after.count("\\begin{") == after.count("\\end{") == 2


def test_csv(table: Table) -> None:
    entries = list(csv.DictReader(io.StringIO(beyond_to_csv(table))))
    assert [(e["method"], e["clean"], e["zoom_blur"], e["dense_haze"]) for e in entries] == [
        ("SegFormer-B0", "80.0", "", "30.0"),
        ("SegFormer-B1", "70.0", "", "34.56"),
    ]


def test_page(results: list[CellResult], tmp_path: Path, protocol: Protocol) -> None:
    write_report(results, tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    _, after = html.split("<h2>Beyond the sixteen</h2>")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", after)
    start = cells.index("SegFormer-B0")
    assert cells[start : start + 8] == [
        *("SegFormer-B0", "80.0", "-", "30.0"),
        *("SegFormer-B1", "70.0", "-", "34.6"),
    ]
    assert "missing severities: 1, 2, 4, 5" in after
    # where it came from is told once, apart from the libraries
    assert after.count("<tr><td>Corruption dense_haze</td><td>haze-tools 1.2</td></tr>") == 1
    assert html.count("haze-tools") == 1
    curves = tmp_path / f"beyond-{protocol.slug}.csv"
    lines = list(csv.DictReader(curves.read_text(encoding="utf-8").splitlines()))
    found = {
        int(e["severity"]): e["miou_percent"]
        for e in lines
        if e["method"] == "SegFormer-B0" and e["corruption"] == "dense_haze"
    }
    assert found == {s: f"{10 * s}.0000" for s in SEVERITIES}
    assert {e["corruption"] for e in lines} == {"clean", "dense_haze", "zoom_blur"}
    assert (tmp_path / "beyond.csv").exists()


def test_an_old_table_does_not_stay(
    results: list[CellResult], make_row: MakeRow, tmp_path: Path
) -> None:
    write_report(results, tmp_path)
    write_report(make_row("80", "50"), tmp_path)
    assert not (tmp_path / "beyond.csv").exists()
    assert "Beyond the sixteen" not in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_curves_of_any_number_of_corruptions(count: int, rows: int) -> None:
    names = [f"custom_{number}" for number in range(count)]
    miou = {(name, 2): 0.5 for name in names}
    figure = draw_curves({"a": {("clean", 0): 0.8, **miou}}, names)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == [f"Custom {n}" for n in range(count)]
    assert len(figure.axes) == rows * min(4, max(2, count))
    for axis in shown:
        (line,) = axis.get_lines()
        assert np.asarray(line.get_ydata()).tolist() == [80.0, 50.0]

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.reports.page import FigureFile, write_report
from robustseg.reports.render import to_csv, to_latex, to_markdown
from robustseg.reports.table import COLUMNS, Table
from robustseg.results import CellResult, Protocol

MakeRow = Callable[..., list[CellResult]]
MakeResult = Callable[..., CellResult]
VOID = {"meta", "img", "br", "hr", "link", "input", "col", "source"}


class Page(HTMLParser):
    """Collects what a browser would see, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def results(make_row: MakeRow, make_result: MakeResult, protocol: Protocol) -> list[CellResult]:
    incomplete = [r for r in make_row("70.25", "40") if r.cell.corruption != "fog"]
    clean_only = replace(protocol, inference="whole", window=0, stride=0)
    evil = make_result(
        "61.125",
        model="segformer_b1",
        settings=clean_only,
        label='<b>B1</b> & "co"',
        origin="/weights/<script>alert(1)</script>.pth",
    )
    return [*incomplete, *make_row("82.4", "65.8", model="segformer_b5"), evil]


@pytest.fixture(scope="module")
def report(
    results: list[CellResult], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Table]:
    folder = tmp_path_factory.mktemp("made") / "report"
    extra = folder.with_name("erf.png")
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(extra)
    figure = FigureFile("Receptive <fields>", extra, "Darker & larger")
    return folder, write_report(results, folder, "paper", [figure])


@pytest.fixture(scope="module")
def page(report: tuple[Path, Table]) -> Page:
    return Page((report[0] / "index.html").read_text(encoding="utf-8"))


def test_all_files_are_written(report: tuple[Path, Table], protocol: Protocol) -> None:
    folder, table = report
    curves = f"severity-{protocol.slug}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.html",
        # a protocol with clean results only has no curves
        f"{curves}.csv",
        f"{curves}.png",
        "table5.csv",
        "table5.md",
        "table5.tex",
    ]
    assert (folder / "table5.md").read_text(encoding="utf-8") == to_markdown(table)
    assert (folder / "table5.tex").read_text(encoding="utf-8") == to_latex(table)
    assert (folder / "table5.csv").read_text(encoding="utf-8") == to_csv(table)


def test_html_is_well_formed(page: Page) -> None:
    assert page.open == []
    assert [name for name, _ in page.tags].count("table") == 2
    assert page.tags[0][0] == "html"


def test_html_needs_nothing_from_elsewhere(report: tuple[Path, Table], page: Page) -> None:
    html = (report[0] / "index.html").read_text(encoding="utf-8")
    pictures = [attributes["src"] or "" for attributes in page.attributes("img")]
    assert len(pictures) == 2
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    names = {name for name, _ in page.tags}
    assert not names & {"link", "script", "iframe", "object", "a", "base"}
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//\w|url\(|@import|\bsrc=\"(?!\")|href=", rest)


def test_figures_are_inside(report: tuple[Path, Table], page: Page, protocol: Protocol) -> None:
    folder, _ = report
    files = [folder / f"severity-{protocol.slug}.png", folder.with_name("erf.png")]
    for attributes, path in zip(page.attributes("img"), files, strict=True):
        content = (attributes["src"] or "").split(",", 1)[1]
        assert base64.b64decode(content, validate=True) == path.read_bytes()
    assert [a["alt"] for a in page.attributes("img")] == [
        "mIoU against severity",
        "Receptive <fields>",
    ]
    assert "Darker & larger" in page.text


def test_rows_are_those_of_the_table(report: tuple[Path, Table], page: Page) -> None:
    _, table = report
    wanted = [
        [row.label, *[row.numbers[key].text() for key in COLUMNS]]
        for block in table.blocks
        for row in block.rows
    ]
    assert [
        row for row in page.rows if len(row) == len(COLUMNS) + 1 and row[1] != "Clean"
    ] == wanted
    titles = [row[0] for row in page.rows if len(row) == 1]
    assert titles == [block.title for block in table.blocks]


def test_marks_and_missing_cells_are_shown(report: tuple[Path, Table], page: Page) -> None:
    _, table = report
    classes = [str(attributes.get("class") or "").split() for attributes in page.attributes("td")]
    ranks = [n.rank for b in table.blocks for r in b.rows for n in r.numbers.values()]
    assert sum("best" in names for names in classes) == ranks.count(1) > 0
    assert sum("second" in names for names in classes) == ranks.count(2)
    told = [a["title"] for a in page.attributes("td") if "title" in a]
    # one column of the first network, all sixteen of the one that has a clean result only
    whole, noise = (f"missing severities: {s}" for s in ("1, 2, 3, 4, 5", "1, 2, 3"))
    assert (told.count(whole), told.count(noise), len(told)) == (1 + 12, 4, 17)
    assert len(table.notes) == 2
    assert all(note in page.text for note in table.notes)


def test_labels_and_paths_are_escaped(report: tuple[Path, Table], page: Page) -> None:
    html = (report[0] / "index.html").read_text(encoding="utf-8")
    assert "<script>" not in html
    assert "<b>" not in html
    assert '<b>B1</b> & "co"' in page.text
    assert "/weights/<script>alert(1)</script>.pth" in page.text


def test_summary_speaks_of_whole_rows_only(page: Page) -> None:
    sentences = re.findall(r"^.* has a clean mIoU of .*$", page.text, re.M)
    # 65.8 / 82.4 = 79.854 %
    assert sentences == [
        "SegFormer-B5 has a clean mIoU of 82.4 % and 65.8 % on average over the sixteen "
        "corruptions: it keeps 79.9 % of it."
    ]


def test_provenance_is_told(page: Page) -> None:
    facts = dict(row for row in page.rows if len(row) == 2)
    assert "3,719,027 parameters from checkpoints/segformer_b0.pth" in facts["SegFormer-B0"]
    assert "c" * 16 in facts["SegFormer-B0"]
    assert "on cpu" in facts["SegFormer-B0"]
    assert facts["Libraries"] == "robustseg 0.1.0, torch 2.15.0"


def test_severity_numbers_are_those_of_the_results(
    report: tuple[Path, Table], results: list[CellResult], protocol: Protocol
) -> None:
    with (report[0] / f"severity-{protocol.slug}.csv").open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    found = {(e["method"], e["corruption"], int(e["severity"])): e["miou_percent"] for e in lines}
    wanted = {
        (r.model.label, r.cell.corruption, r.cell.severity): f"{100 * r.miou:.4f}"
        for r in results
        if r.protocol == protocol
    }
    assert found == wanted
    assert len(lines) == len(wanted) == 2 * 81 - 5
    assert found["SegFormer-B5", CORRUPTIONS[0], 3] == "65.8000"


def test_a_report_without_curves(make_result: MakeResult, tmp_path: Path) -> None:
    write_report([make_result("50")], tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert Page(html).attributes("img") == []
    assert "has a clean mIoU" not in html


@pytest.mark.parametrize(("name", "kind"), [("a.png", "png"), ("a.jpg", "jpeg")])
def test_a_picture_is_shown_as_what_it_is(name: str, kind: str, tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (10, 200, 30)).save(tmp_path / name)
    head, _, data = FigureFile("", tmp_path / name, "").url.partition(",")
    assert head == f"data:image/{kind};base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert (image.format, image.size) == (kind.upper(), (3, 2))

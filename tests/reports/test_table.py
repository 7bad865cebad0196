from __future__ import annotations

import csv
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from robustseg.corruptions.severity import CORRUPTIONS, GROUPS
from robustseg.models.cache import cache_folder, hub_folder
from robustseg.reports.published import published_rows
from robustseg.reports.table import COLUMNS, HEADINGS, SHORT, Number, Row, Table, build_table
from robustseg.results import Cell, CellResult, Protocol

MakeResult = Callable[..., CellResult]
MakeRow = Callable[..., list[CellResult]]
NOISE = ("gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise")


def csv_rows() -> list[dict[str, str]]:
    source = resources.files("robustseg.reports").joinpath("data/segformer_table5.csv")
    return list(csv.DictReader(source.read_text().splitlines()))


def ranks(table: Table, key: str) -> list[int]:
    return [row.numbers[key].rank for row in table.blocks[0].rows]


def measured(table: Table) -> Row:
    assert len(table.blocks) == 2
    assert len(table.blocks[0].rows) == 1
    return table.blocks[0].rows[0]


def test_columns_are_those_of_table_5() -> None:
    assert list(COLUMNS) == ["clean", *CORRUPTIONS, "mean", "retention"]
    assert tuple(key for _, keys in HEADINGS for key in keys) == COLUMNS
    assert [head for head, _ in HEADINGS] == ["", "Blur", "Noise", "Digital", "Weather", "All 16"]
    assert list(SHORT) == list(CORRUPTIONS)
    for members in GROUPS.values():
        assert len({SHORT[name] for name in members}) == 4


def test_published_rows_equal_the_file() -> None:
    rows = csv_rows()
    assert len(rows) == 13
    block = build_table([]).blocks[-1]
    assert [row.label for row in block.rows] == [entry["method"] for entry in rows]
    for row, entry in zip(block.rows, rows, strict=True):
        for key in ("clean", *CORRUPTIONS):
            assert row.numbers[key].text() == entry[key]
        assert all(number.rank == 0 for number in row.numbers.values())


@pytest.mark.parametrize(
    ("method", "mean", "two_digits"),
    [
        ("DLv3+ (R50)", "36.81875", "36.82"),
        ("DLv3+ (R101)", "39.425", "39.43"),
        ("DLv3+ (X65)", "42.66875", "42.67"),
        ("SegFormer-B5", "65.8125", "65.81"),
    ],
)
def test_published_means_are_exact(method: str, mean: str, two_digits: str) -> None:
    row = next(r for r in build_table([]).blocks[-1].rows if r.label == method)
    assert row.numbers["mean"].value == Decimal(mean)
    assert row.numbers["mean"].text(2) == two_digits
    clean = row.numbers["clean"].value
    assert clean is not None
    kept = row.numbers["retention"].value
    assert kept == pytest.approx(100 * Decimal(mean) / clean)


def test_origin_of_published_rows_is_named() -> None:
    title = build_table([]).blocks[-1].title
    assert "2105.15203" in title
    assert "1908.05005" in title


@pytest.mark.parametrize("method", ["DLv3+ (R50)", "DLv3+ (R101)", "SegFormer-B5"])
def test_measured_cells_with_the_published_numbers_give_the_published_row(
    make_row: MakeRow, method: str
) -> None:
    published = next(r for r in published_rows() if r.method == method)
    row = measured(build_table(make_row(published.clean, published.columns)))
    wanted = next(r for r in build_table([]).blocks[-1].rows if r.label == method)
    for key in COLUMNS:
        for digits in (1, 2, 3, 5):
            assert row.numbers[key].text(digits) == wanted.numbers[key].text(digits), key
    assert row.label == "SegFormer-B0"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        ("39.425", 2, "39.43"),
        ("36.81875", 4, "36.8188"),
        ("0.05", 1, "0.1"),
        ("0.049999", 1, "0.0"),
        ("8.45", 1, "8.5"),
        ("56.25", 1, "56.3"),
        ("99.95", 1, "100.0"),
        ("100", 1, "100.0"),
        ("0", 1, "0.0"),
        ("12.5", 0, "13"),
    ],
)
def test_numbers_are_rounded_half_up(value: str, digits: int, text: str) -> None:
    assert Number(Decimal(value)).text(digits) == text


def test_python_itself_would_round_otherwise() -> None:
    # otherwise the cases above could not fail
    assert f"{39.425:.2f}" == "39.42"
    assert f"{8.35:.1f}" == "8.3"
    assert f"{56.25:.1f}" == "56.2"
    assert str(Decimal("56.25").quantize(Decimal("0.1"), ROUND_HALF_EVEN)) == "56.2"


@pytest.mark.parametrize("percent", ["56.25", "8.35", "39.425", "0.15", "72.05", "3.55"])
def test_measured_numbers_are_rounded_half_up(make_result: MakeResult, percent: str) -> None:
    number = measured(build_table([make_result(percent)])).numbers["clean"]
    assert number.value == Decimal(percent)
    digits = len(percent.split(".")[1]) - 1
    assert number.text(digits) == str(Decimal(percent) + Decimal(5).scaleb(-digits - 1))[:-1]


@pytest.mark.parametrize(("averaging", "noise"), [("paper", "70.0"), ("all", "50.0")])
def test_averaging_decides_which_severities_of_noise_count(
    make_result: MakeResult, averaging: str, noise: str
) -> None:
    by_severity = {1: "80", 2: "70", 3: "60", 4: "30", 5: "10"}
    results = [
        make_result(percent, Cell(c, s)) for c in CORRUPTIONS for s, percent in by_severity.items()
    ]
    table = build_table(results, "paper" if averaging == "paper" else "all")
    row = measured(table)
    for name in CORRUPTIONS:
        assert row.numbers[name].text() == (noise if name in NOISE else "50.0")
    assert row.numbers["mean"].text() == ("55.0" if averaging == "paper" else "50.0")
    assert f"'{averaging}' averaging" in table.caption


def test_missing_cells_are_dashes_with_a_note(make_row: MakeRow) -> None:
    lost = {Cell("fog", 3), Cell("fog", 4), Cell("gaussian_noise", 2), Cell("shot_noise", 5)}
    results = [r for r in make_row("80", "50") if r.cell not in lost]
    table = build_table(results)
    numbers = measured(table).numbers
    dashes = {key for key, number in numbers.items() if number.text() == "-"}
    # severity 5 of noise is not needed
    assert dashes == {"fog", "gaussian_noise", "mean", "retention"}
    assert numbers["fog"].missing == (3, 4)
    assert numbers["gaussian_noise"].missing == (2,)
    assert len(table.notes) == 1
    assert table.notes[0].startswith("SegFormer-B0: 3 of the cells that this averaging needs are")
    assert "(gaussian_noise, fog)" in table.notes[0]
    assert table.notes[0].endswith("; run: robustseg evaluate --models segformer_b0")

    assert "4 of the cells" in build_table(results, "all").notes[0]
    assert build_table(make_row("80", "50")).notes == ()


@pytest.mark.parametrize(
    ("model", "origin", "options"),
    [
        ("segformer_b0", "checkpoints/segformer_b0.pth", []),
        ("segformer_b0", "{here}/checkpoints/segformer_b0.pth", []),
        ("segformer_b0@hf", "{hub}/models--x/snapshots/y/model.safetensors", []),
        ("dlv3p_r50@mmseg", "{cache}/weights/net.pth", []),
        # the name would find other weights, or none
        ("segformer_b0", "old/checkpoints/segformer_b0.pth", ["old/checkpoints/segformer_b0.pth"]),
        ("segformer_b0@hf", "checkpoints/segformer_b0.pth", ["checkpoints/segformer_b0.pth"]),
        ("segformer_b0", "checkpoints/segformer_b0.bin", ["checkpoints/segformer_b0.bin"]),
        ("dlv3p_x65", "{cache}/weights/net.pth", ["{cache}/weights/net.pth"]),
        ("segformer_b0", "my runs/it's $1.pth", ["my runs/it's $1.pth"]),
    ],
)
def test_the_advised_command_names_weights_that_the_name_does_not_find(
    make_result: MakeResult, model: str, origin: str, options: list[str]
) -> None:
    cache, hub = cache_folder(os.environ), hub_folder(os.environ)
    places = {"cache": str(cache), "hub": str(hub), "here": str(Path.cwd())}
    (note,) = build_table([make_result(model=model, origin=origin.format(**places))]).notes
    words = shlex.split(note.partition("; run: ")[2])
    given = ["--checkpoint", f"{model}={options[0].format(**places)}"] if options else []
    assert words == ["robustseg", "evaluate", "--models", model, *given]


def test_each_checkpoint_of_a_network_has_its_own_command(make_result: MakeResult) -> None:
    results = [
        make_result(checkpoint="a" * 64, origin="one/b0.pth"),
        make_result(checkpoint="b" * 64, origin="two/b0.pth"),
        # the same weights, moved to where the name finds them
        make_result(cell=Cell("fog", 1), checkpoint="b" * 64, origin="checkpoints/segformer_b0.pt"),
    ]
    commands = [note.partition("; run: ")[2] for note in build_table(results).notes]
    command = "robustseg evaluate --models segformer_b0"
    assert commands == [f"{command} --checkpoint segformer_b0=one/b0.pth", command]


def test_a_missing_clean_cell_is_noted(make_row: MakeRow) -> None:
    table = build_table([r for r in make_row("80", "50") if r.cell.severity])
    numbers = measured(table).numbers
    assert [numbers[key].text() for key in ("clean", "mean", "retention")] == ["-", "50.0", "-"]
    assert len(table.notes) == 1
    assert "1 of the cells" in table.notes[0]
    assert "(clean)" in table.notes[0]


@pytest.mark.parametrize(
    ("kept", "where"), [("clean", "all corruptions"), ("fog", f"clean, {', '.join(CORRUPTIONS)}")]
)
def test_the_note_names_what_is_missing(
    make_row: MakeRow, make_result: MakeResult, kept: str, where: str
) -> None:
    whole = [r for r in make_row("80", "50") if r.cell.corruption == kept]
    note = build_table(whole).notes[0]
    assert f"({where.replace(', fog', '')})" in note


def test_a_cell_without_scored_pixels_is_a_dash(make_row: MakeRow) -> None:
    empty = np.zeros((2, 2), np.int64)
    results = [
        replace(r, confusion=empty) if r.cell in (Cell("clean", 0), Cell("fog", 1)) else r
        for r in make_row("80", "50")
    ]
    others = make_row("70", "40", model="segformer_b1")
    table = build_table([*results, *others])
    first, second = table.blocks[0].rows
    dashes = {key for key, number in first.numbers.items() if number.text() == "-"}
    assert dashes == {"clean", "fog", "mean", "retention"}
    assert all(first.numbers[key].rank == 0 for key in dashes)
    assert second.numbers["fog"].rank == 1


def test_best_and_second_of_three_rows(make_row: MakeRow) -> None:
    columns = dict.fromkeys(CORRUPTIONS, "50")
    table = build_table(
        [
            *make_row("80", {**columns, "snow": "10.001"}, model="segformer_b0"),
            *make_row("70", {**columns, "snow": "30"}, model="segformer_b1"),
            *make_row("75", {**columns, "snow": "10"}, model="segformer_b2"),
        ]
    )
    assert ranks(table, "clean") == [1, 0, 2]
    assert ranks(table, "snow") == [2, 1, 0]
    # equal numbers are equally good
    assert ranks(table, "fog") == [1, 1, 1]
    assert ranks(table, "mean") == [2, 1, 0]
    assert ranks(table, "retention") == [0, 1, 2]


def test_ties_share_a_mark(make_row: MakeRow) -> None:
    models = ["segformer_b0", "segformer_b1", "segformer_b2", "segformer_b3"]
    results = [
        result
        for model, clean in zip(models, ["80", "80", "70", "60"], strict=True)
        for result in make_row(clean, "50", model=model)
    ]
    assert ranks(build_table(results), "clean") == [1, 1, 2, 0]


def test_the_second_of_two_and_a_single_row_are_not_marked(make_row: MakeRow) -> None:
    one = make_row("80", "50")
    two = [*one, *make_row("70", "60", model="dlv3p_r50")]
    assert {ranks(build_table(one), key)[0] for key in COLUMNS} == {0}
    assert ranks(build_table(two), "clean") == [1, 0]
    assert ranks(build_table(two), "mean") == [0, 1]


def test_missing_numbers_are_not_ranked(make_row: MakeRow, make_result: MakeResult) -> None:
    table = build_table([*make_row("60", "50"), make_result("80", model="segformer_b1")])
    assert ranks(table, "clean") == [0, 1]
    assert ranks(table, "fog") == [1, 0]


def test_protocols_are_never_in_one_block(make_row: MakeRow, protocol: Protocol) -> None:
    whole = replace(protocol, inference="whole", window=0, stride=0)
    sample = replace(protocol, images=5, limited=True)
    results = [
        *make_row("80", "50", model="segformer_b0"),
        *make_row("90", "60", model="segformer_b1", settings=whole),
        *make_row("95", "70", model="segformer_b0", settings=sample),
        *make_row("70", "40", model="segformer_b1"),
    ]
    table = build_table(results)
    titles = [block.title for block in table.blocks]
    assert titles[:-1] == [protocol.title, whole.title, sample.title]
    assert len(set(titles)) == 4
    rows = [[(r.label, r.numbers["clean"].text()) for r in b.rows] for b in table.blocks[:-1]]
    assert rows == [
        [("SegFormer-B0", "80.0"), ("SegFormer-B1", "70.0")],
        [("SegFormer-B1", "90.0")],
        [("SegFormer-B0", "95.0")],
    ]
    # the better numbers of other blocks take no mark away
    assert ranks(table, "clean") == [1, 0]


def test_rows_come_in_the_order_of_the_zoo(make_result: MakeResult) -> None:
    models = ["dlv3p_x71", "segformer_b5", "dlv3p_mbv2", "segformer_b0"]
    table = build_table([make_result("50", model=model) for model in models])
    names = [row.name for row in table.blocks[0].rows]
    assert names == ["segformer_b0", "segformer_b5", "dlv3p_mbv2", "dlv3p_x71"]


def test_two_checkpoints_of_a_network_never_share_a_row(
    make_result: Callable[..., CellResult],
) -> None:
    fog = Cell("fog", 1)
    results = [
        make_result("80", checkpoint="a" * 64),
        make_result("60", fog, checkpoint="b" * 64),
        make_result("70", model="dlv3p_mbv2"),
    ]
    (measured, _published) = build_table(results).blocks
    labels = [row.label for row in measured.rows]
    assert labels == ["SegFormer-B0 [aaaaaaaa]", "SegFormer-B0 [bbbbbbbb]", "DLv3+ (MBv2)"]
    assert measured.rows[1].numbers["clean"].value is None

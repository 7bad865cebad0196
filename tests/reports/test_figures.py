from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from robustseg.datasets.sample import ImageArray
from robustseg.reports.figures import (
    COLOURS,
    draw_curves,
    severity_curves,
)
from robustseg.results import Cell, CellResult

MakeRow = Callable[..., list[CellResult]]
MakeResult = Callable[..., CellResult]


def read(path: Path) -> ImageArray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def flat(colour: tuple[int, int, int], height: int = 32, width: int = 64) -> ImageArray:
    return np.full((height, width, 3), colour, np.uint8)


def share(image: ImageArray, colour: tuple[int, int, int]) -> float:
    return float((image == colour).all(-1).mean())


def centre(image: ImageArray, colour: tuple[int, int, int]) -> tuple[float, float]:
    rows, columns = np.nonzero((image == colour).all(-1))
    return float(rows.mean()), float(columns.mean())


def rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def test_curves_have_a_line_for_each_network(make_row: MakeRow, tmp_path: Path) -> None:
    results = [*make_row("80", "60"), *make_row("75", "30", model="dlv3p_r50")]
    path = tmp_path / "new" / "curves.png"
    severity_curves(results, path)
    image = read(path)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10
    assert share(image, rgb(COLOURS[0])) > 0.0005
    assert share(image, rgb(COLOURS[1])) > 0.0005
    assert share(image, rgb(COLOURS[2])) == 0
    # the better network's line lies higher in the rows of plots
    assert centre(image, rgb(COLOURS[0]))[0] < centre(image, rgb(COLOURS[1]))[0]
    assert sorted(p.name for p in path.parent.iterdir()) == ["curves.csv", "curves.png"]


def test_curves_of_a_few_cells(make_result: MakeResult, tmp_path: Path) -> None:
    cells = [Cell("clean", 0), Cell("fog", 2), Cell("frost", 5)]
    results = [
        make_result(percent, cell)
        for percent, cell in zip(["80", "33.333", "0"], cells, strict=True)
    ]
    severity_curves(results, tmp_path / "c.png")
    assert share(read(tmp_path / "c.png"), rgb(COLOURS[0])) > 0
    with (tmp_path / "c.csv").open() as stream:
        lines = list(csv.reader(stream))
    assert lines == [
        ["method", "corruption", "severity", "miou_percent"],
        ["SegFormer-B0", "clean", "0", "80.0000"],
        ["SegFormer-B0", "fog", "2", "33.3330"],
        ["SegFormer-B0", "frost", "5", "0.0000"],
    ]


def test_a_network_whose_label_has_changed_is_still_one_line(
    make_result: MakeResult, tmp_path: Path
) -> None:
    results = [make_result("80", label="old"), make_result("60", Cell("fog", 1), label="new")]
    severity_curves(results, tmp_path / "c.png")
    lines = (tmp_path / "c.csv").read_text().splitlines()[1:]
    assert lines == ["old,clean,0,80.0000", "old,fog,1,60.0000"]


def test_a_curve_above_the_clean_set_is_not_cut_off() -> None:
    curves = {"a": {("clean", 0): 0.5, ("frost", 1): 0.9}, "b": {("clean", 0): 0.0}}
    figure = draw_curves(curves)
    for axis in figure.axes:
        low, high = axis.get_ylim()
        assert low == 0
        assert high > 90
        assert axis.get_xlim() == (-0.3, 5.3)

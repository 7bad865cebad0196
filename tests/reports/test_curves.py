from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustseg.reports.curves import draw_curves, read_training, smoothed


def write(folder: Path, losses: list[float], mious: list[float] = [], lr: float = 0.1) -> Path:  # noqa: B006
    folder.mkdir()
    log = [f"{10 * n},{loss},{lr * (1 - n / 1000):.3e},5,100" for n, loss in enumerate(losses, 1)]
    scores = [f"{100 * n},{miou}" for n, miou in enumerate(mious, 1)]
    header = "iteration,loss,rate,images_per_second,memory_mb"
    (folder / "log.csv").write_text("\n".join([header, *log]) + "\n")
    (folder / "validation.csv").write_text("\n".join(["iteration,miou", *scores]) + "\n")
    return folder


def lines(figure: Figure, axis: int) -> list[Line2D]:
    return list(figure.axes[axis].lines)


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.array(line.get_data()).T]


def test_smoothing_is_the_mean_of_neighbours() -> None:
    values = np.random.default_rng(0).random(30).tolist()
    found = smoothed(values, 7)
    assert found[15] == pytest.approx(sum(values[12:19]) / 7)
    assert found[1] == pytest.approx(sum(values[0:5]) / 5)
    assert found[29] == pytest.approx(sum(values[26:30]) / 4)


def test_raw_and_smoothed_loss_rate_and_miou_are_drawn(tmp_path: Path) -> None:
    losses = [2 + (-1) ** n * 0.5 for n in range(100)]
    folder = write(tmp_path / "a", losses, [20, 30])
    figure = draw_curves({"SegFormer": folder}, tmp_path / "out" / "curves.png")
    raw, smooth = lines(figure, 0)
    assert [y for _, y in points(raw)] == losses
    assert abs(points(smooth)[50][1] - 2) < 0.2
    (miou,) = lines(figure, 1)
    assert points(miou) == [(100, 20), (200, 30)]
    (rate,) = lines(figure, 2)
    assert points(rate)[9] == (100, 0.099)
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SegFormer"]


def test_two_trainings_differ_in_colour_and_keep_it(tmp_path: Path) -> None:
    folders = {
        "A": write(tmp_path / "a", [2.0] * 5, [20, 30]),
        "B": write(tmp_path / "b", [1.0] * 5, [10, 15]),
    }
    figure = draw_curves(folders, tmp_path / "curves.png")
    colours = [[str(line.get_color()) for line in lines(figure, axis)] for axis in range(2)]
    assert colours[0] == colours[1]
    assert len(set(colours[0])) == 2


def test_rates_powers_of_ten_apart_are_shares_of_their_peaks(tmp_path: Path) -> None:
    folders = {
        "A": write(tmp_path / "a", [2.0] * 5, lr=6e-5),
        "B": write(tmp_path / "b", [1.0] * 5, lr=1e-2),
        "C": write(tmp_path / "c", [1.0] * 9, lr=1e-2),
    }
    figure = draw_curves(folders, tmp_path / "curves.png")
    first, longer = lines(figure, 2)  # B lies on A
    assert points(first)[0] == (10, 1)
    assert len(points(longer)) == 9
    assert "its peak" in figure.axes[2].get_ylabel()


def test_one_rate_is_drawn_where_all_are_alike(tmp_path: Path) -> None:
    folders = {name: write(tmp_path / name, [2.0] * 5) for name in "ab"}
    assert len(lines(draw_curves(folders, tmp_path / "curves.png"), 2)) == 1


def test_one_point_can_be_seen(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [2.0], [20])
    figure = draw_curves({"A": folder}, tmp_path / "curves.png")
    for axis in range(3):
        (line,) = lines(figure, axis)
        assert line.get_marker() not in ("", "None")


@pytest.mark.parametrize("made", [False, True])
def test_nothing_yet_is_said(made: bool, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", []) if made else tmp_path / "absent"
    figure = draw_curves({"A": folder}, tmp_path / "curves.png")
    assert [axis.texts[0].get_text() for axis in figure.axes] == ["no values", "no values"]
    assert (tmp_path / "curves.pdf").exists()


def test_a_cut_row_and_a_loss_that_is_no_number_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [2.0, float("nan"), 1.0])
    with (folder / "log.csv").open("a") as stream:
        stream.write("40,")
    assert read_training(folder).loss == ([10, 30], [2.0, 1.0])

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from robustseg.engine.monitor import Monitor
from robustseg.errors import SettingError

CPU = torch.device("cpu")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def confusion(right: int, wrong: int) -> torch.Tensor:
    """Road and sidewalk, as often right and as often taken for the other."""
    matrix = torch.zeros(19, 19, dtype=torch.int64)
    matrix[:2, :2] = torch.tensor([[right, wrong], [wrong, right]])
    return matrix


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("robustseg.engine.monitor.time.monotonic", lambda: clock.now)
    return clock


def test_a_row_says_what_the_bar_says(tmp_path: Path, clock: SimpleNamespace) -> None:
    monitor = Monitor(tmp_path / "m.train", 20)
    monitor.start(0)
    clock.now += 4
    note = monitor.logged(10, 0.5124, 6e-5, 80, CPU)
    assert note.startswith("loss 0.512, lr 6.0e-05, 20.0 images/s, ")
    # before anything is closed
    (row,) = rows_of(tmp_path / "m.train" / "log.csv")
    assert row["iteration"] == "10"
    assert (row["loss"], row["rate"], row["images_per_second"]) == (
        "0.512400",
        "6.000e-05",
        "20.00",
    )
    # torch alone takes more than 50 MB, and no test machine has a TB
    assert 50 < float(row["memory_mb"]) < 1e6
    monitor.close()


def test_validation_counts_as_no_training_time(tmp_path: Path, clock: SimpleNamespace) -> None:
    monitor = Monitor(tmp_path, 20)
    monitor.start(0)
    clock.now += 1
    monitor.logged(10, 1.0, 0.1, 10, CPU)
    clock.now += 100
    monitor.validated(10, confusion(3, 1))
    clock.now += 2
    assert "5.0 images/s" in monitor.logged(20, 1.0, 0.1, 10, CPU)
    monitor.close()


def test_validation_rows_and_the_best(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 20)
    monitor.start(0)
    assert monitor.best() is None
    assert monitor.validated(10, confusion(3, 1)) == 60.0
    assert monitor.validated(20, confusion(2, 1)) == 50.0
    assert monitor.best() == 60.0
    monitor.close()
    first, second = rows_of(tmp_path / "validation.csv")
    assert (first["miou"], first["road"], first["sidewalk"]) == ("60.0000", "60.0000", "60.0000")
    assert first["building"] == ""
    assert second["miou"] == "50.0000"
    assert len(first) == 21


def test_a_set_without_classes_has_no_miou(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 20)
    monitor.start(0)
    assert monitor.validated(10, torch.zeros(19, 19, dtype=torch.int64)) != 0
    assert monitor.best() is None
    monitor.start(10)
    assert monitor.best() is None
    monitor.close()


@pytest.mark.parametrize("cut", [0, 1, 5, 20])
def test_resuming_drops_what_comes_again(cut: int, tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 50)
    monitor.start(0)
    for iteration in (10, 20, 30, 40):
        monitor.logged(iteration, 1.0, 0.1, 10, CPU)
        monitor.validated(iteration, confusion(iteration, 1))
    monitor.close()
    for name in ("log.csv", "validation.csv"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) - cut])
    again = Monitor(tmp_path, 50)
    again.start(20)
    assert again.best() == pytest.approx(100 * 20 / 22, abs=1e-4)
    again.logged(30, 2.0, 0.1, 10, CPU)
    again.close()
    assert [row["iteration"] for row in rows_of(tmp_path / "log.csv")] == ["10", "20", "30"]
    assert [row["iteration"] for row in rows_of(tmp_path / "validation.csv")] == ["10", "20"]


def test_a_row_cut_to_a_smaller_number_is_no_row(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 2000)
    monitor.start(0)
    monitor.logged(10, 1.0, 0.1, 10, CPU)
    monitor.close()
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write("12")  # of 1200
    again = Monitor(tmp_path, 2000)
    again.start(1000)
    again.close()
    assert [row["iteration"] for row in rows_of(tmp_path / "log.csv")] == ["10"]


def test_resuming_without_tables_begins_them(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 50)
    monitor.start(30)
    monitor.logged(40, 1.0, 0.1, 10, CPU)
    monitor.close()
    assert [row["iteration"] for row in rows_of(tmp_path / "log.csv")] == ["40"]


def test_tables_of_another_training_are_set_aside(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 50)
    monitor.start(0)
    monitor.logged(10, 1.0, 0.1, 10, CPU)
    monitor.close()
    before = (tmp_path / "log.csv").read_bytes()
    again = Monitor(tmp_path, 50)
    again.start(0)
    again.close()
    assert rows_of(tmp_path / "log.csv") == []
    assert (tmp_path / "log.csv.old1").read_bytes() == before


def test_the_curves_are_drawn_at_the_end(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "segformer_b0.train", 50)
    monitor.start(0)
    monitor.logged(10, 1.0, 0.1, 10, CPU)
    monitor.finish()
    folder = tmp_path / "segformer_b0.train"
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_tensorboard_that_is_absent_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SettingError, match="pip install tensorboard") as caught:
        Monitor(tmp_path / "new", 50, board=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monitor = Monitor(tmp_path, 50, board=True)
    monitor.start(0)
    for iteration in (10, 20, 30):
        monitor.logged(iteration, iteration / 8, 0.5, 10, CPU)
    monitor.validated(30, confusion(3, 1))
    monitor.close()
    again = Monitor(tmp_path, 50, board=True)
    again.start(20)  # the steps after it are purged
    again.logged(40, 0.25, 0.5, 10, CPU)
    again.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert losses == [(10, 1.25), (20, 2.5), (40, 0.25)]
    assert {"training/rate", "training/images_per_second"} <= set(events.Tags()["scalars"])

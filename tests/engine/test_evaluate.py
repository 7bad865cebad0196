from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from robustseg.corruptions.registry import corrupt_frame
from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.corruptions.writer import plan_work, prepare_tree, write_set
from robustseg.datasets.cityscapes import load_image, load_label
from robustseg.datasets.sample import Frame
from robustseg.engine.evaluate import (
    Evaluation,
    Plan,
    load_models,
    make_plan,
    make_protocol,
    missing_files,
)
from robustseg.engine.inference import Inference
from robustseg.engine.pictures import ComputedCells, DecodedSamples, StoredCells
from robustseg.errors import DataError
from robustseg.metrics.confusion import mean_iou
from robustseg.models.checkpoints import Checkpoint, load_model
from robustseg.models.identity import identify
from robustseg.progress import Console
from robustseg.results import Cell, ResultStore, all_cells, load_results

NAME = "segformer_b0"
CELLS = [Cell("clean", 0), Cell("shot_noise", 2), Cell("fog", 3)]
INFERENCE = Inference("slide", 64, 48)


def evaluate(
    runs: Path,
    frames: Sequence[Frame],
    checkpoint: Checkpoint,
    cells: Sequence[Cell] = CELLS,
    workers: int = 0,
    pictures: ComputedCells | StoredCells | None = None,
) -> Plan:
    pictures = pictures or ComputedCells(0, DecodedSamples())
    protocol = make_protocol("cityscapes", "val", frames, False, INFERENCE, 0, "computed")
    store = ResultStore(runs)
    networks = {NAME: identify(checkpoint, NAME)}
    plan = make_plan(store, protocol, networks, cells)
    models = load_models(networks, plan, torch.device("cpu"))
    evaluation = Evaluation(frames, pictures, INFERENCE, store, workers)
    evaluation.run(plan, models, Console(quiet=True))
    return plan


def matrices(runs: Path) -> dict[Cell, npt.NDArray[np.int64]]:
    results, damaged = load_results(runs)
    assert not damaged
    return {r.cell: r.confusion for r in results}


def assert_same(found: Path, expected: Path) -> None:
    a, b = matrices(found), matrices(expected)
    assert a.keys() == b.keys()
    for cell, matrix in a.items():
        np.testing.assert_array_equal(matrix, b[cell])


def states(runs: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in runs.glob("*/*/*.json")}


@pytest.fixture(scope="module")
def finished(
    frames: Sequence[Frame], checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    plan = evaluate(runs, frames, checkpoint)
    assert (plan.missing, plan.finished, plan.notes) == (3, 0, {})
    return runs


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A copy of finished results, to be tampered with."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def test_all_cells_are_clean_and_sixteen_times_five() -> None:
    cells = all_cells()
    assert cells[0] == Cell("clean", 0)
    assert len(set(cells)) == len(cells) == 81
    assert {(c.corruption, c.severity) for c in cells[1:]} == {
        (name, severity) for name in CORRUPTIONS for severity in (1, 2, 3, 4, 5)
    }


def slow_matrix(
    frames: Sequence[Frame], checkpoint: Checkpoint, cell: Cell
) -> npt.NDArray[np.int64]:
    """Predict three windows by hand and count pixel by pixel."""
    model = load_model(checkpoint, NAME)
    counts = np.zeros((19, 19), np.int64)
    for frame in frames:
        image = load_image(frame.image)
        if cell.severity:
            image = corrupt_frame(image, frame.id, cell.corruption, cell.severity, 0)
        normed = (image / 1.0 - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
        x = torch.from_numpy(normed.transpose(2, 0, 1)[None]).float()
        total, times = torch.zeros(19, 64, 128), torch.zeros(128)
        with torch.no_grad():
            for left in (0, 48, 64):
                logits = model.logits(x[..., left : left + 64])
                total[..., left : left + 64] += F.interpolate(logits, (64, 64), mode="bilinear")[0]
                times[left : left + 64] += 1
        prediction = (total / times).argmax(0).tolist()
        label = load_label(frame.label).tolist()
        for true_row, predicted_row in zip(label, prediction, strict=True):
            for true, predicted in zip(true_row, predicted_row, strict=True):
                if true != 255:
                    counts[true, predicted] += 1
    return counts


def slow_miou(counts: npt.NDArray[np.int64]) -> float:
    ious = []
    for k in range(19):
        union = sum(int(counts[k, j]) + int(counts[j, k]) for j in range(19)) - int(counts[k, k])
        if union:
            ious.append(int(counts[k, k]) / union)
    return sum(ious) / len(ious)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_numbers_are_those_of_a_slow_count(
    finished: Path, frames: Sequence[Frame], checkpoint: Checkpoint, cell: Cell
) -> None:
    expected = slow_matrix(frames, checkpoint, cell)
    found = matrices(finished)[cell]
    assert (expected.sum(0) > 0).sum() > 3  # a network that says one thing would prove nothing
    assert found.sum() == expected.sum()
    # sums of floats in another order may turn a pixel whose two best classes tie
    assert np.abs(found - expected).sum() <= 4
    (result,) = [r for r in load_results(finished)[0] if r.cell == cell]
    assert result.miou == pytest.approx(slow_miou(expected), abs=1e-4)
    assert result.miou == pytest.approx(slow_miou(found), abs=1e-12)
    assert result.miou == mean_iou(found)


def test_repeating_computes_nothing(
    runs: Path, frames: Sequence[Frame], checkpoint: Checkpoint
) -> None:
    before = states(runs)
    plan = evaluate(runs, frames, checkpoint)
    assert (plan.missing, plan.finished) == (0, 3)
    assert states(runs) == before


def test_only_missing_cells_are_computed(
    runs: Path, finished: Path, frames: Sequence[Frame], checkpoint: Checkpoint
) -> None:
    next(runs.glob("*/*/fog-3.json")).unlink()
    before = states(runs)
    plan = evaluate(runs, frames, checkpoint)
    assert list(plan.todo) == [Cell("fog", 3)]
    after = states(runs)
    assert set(after) - set(before) == {"fog-3.json"}
    assert {name: after[name] for name in before} == before
    assert_same(runs, finished)


def test_network_without_work_is_not_loaded(
    runs: Path, frames: Sequence[Frame], checkpoint: Checkpoint
) -> None:
    networks = {NAME: identify(checkpoint, NAME)}
    plan = make_plan(
        ResultStore(runs),
        make_protocol("cityscapes", "val", frames, False, INFERENCE, 0, "computed"),
        networks,
        CELLS,
    )
    assert load_models(networks, plan, torch.device("cpu")) == {}


def test_stored_set_gives_the_same_numbers(
    root: Path,
    finished: Path,
    frames: Sequence[Frame],
    checkpoint: Checkpoint,
    tmp_path: Path,
) -> None:
    root_c = tmp_path / "cityscapes_c"
    for cell in CELLS[1:]:
        prepare_tree(root, root_c, [cell.corruption], [cell.severity], 0)
        plan = plan_work(root, root_c, frames, [cell.corruption], [cell.severity])
        write_set(plan, 0, 0, Console(quiet=True))
    stored = StoredCells(root, root_c, DecodedSamples())
    assert missing_files(frames, stored, CELLS) == []
    evaluate(tmp_path / "runs", frames, checkpoint, pictures=stored)
    assert_same(tmp_path / "runs", finished)
    lost = stored.path(frames[1], CELLS[2])
    lost.unlink()
    assert missing_files(frames, stored, CELLS) == [lost]
    assert missing_files(frames, stored, CELLS[:2]) == []


def test_workers_do_not_change_numbers(
    finished: Path, frames: Sequence[Frame], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    evaluate(tmp_path, frames, checkpoint, workers=2)
    assert_same(tmp_path, finished)


def test_other_checkpoint_is_computed_anew_and_the_old_file_kept(
    runs: Path,
    finished: Path,
    frames: Sequence[Frame],
    other_checkpoint: Checkpoint,
) -> None:
    before = {name: content for name, (content, _) in states(runs).items()}
    plan = evaluate(runs, frames, other_checkpoint, CELLS[:1])
    assert plan.missing == 1
    assert plan.notes == {"other checkpoint; kept as *.old": 1}
    (aside,) = runs.glob("*/*/clean-0.json.old1")
    assert aside.read_bytes() == before["clean-0.json"]
    new, old = matrices(runs), matrices(finished)
    assert not np.array_equal(new[CELLS[0]], old[CELLS[0]])
    np.testing.assert_array_equal(new[CELLS[2]], old[CELLS[2]])


@pytest.mark.parametrize("size", [0, 100, -20])
def test_truncated_result_is_redone_with_a_note(
    runs: Path, finished: Path, frames: Sequence[Frame], checkpoint: Checkpoint, size: int
) -> None:
    path = next(runs.glob("*/*/shot_noise-2.json"))
    content = path.read_bytes()[:size]
    path.write_bytes(content)
    plan = evaluate(runs, frames, checkpoint)
    assert list(plan.todo) == [Cell("shot_noise", 2)]
    (note,) = plan.notes
    assert "not a whole result file" in note
    assert path.with_name("shot_noise-2.json.old1").read_bytes() == content
    assert_same(runs, finished)


def test_two_models_share_a_pass(
    frames: Sequence[Frame], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    asked: list[tuple[str, Cell]] = []

    class Spy(ComputedCells):
        def get(self, frame: Frame, cell: Cell) -> object:  # type: ignore[override]
            asked.append((frame.id, cell))
            return super().get(frame, cell)

    pictures = Spy(0, DecodedSamples())
    networks = {name: identify(checkpoint, name) for name in (NAME, "segformer_b0@smp")}
    protocol = make_protocol("cityscapes", "val", frames, False, INFERENCE, 0, "computed")
    store = ResultStore(tmp_path)
    plan = make_plan(store, protocol, networks, CELLS[:2])
    assert plan.missing == 4
    model = load_model(checkpoint, NAME)
    evaluation = Evaluation(frames, pictures, INFERENCE, store, 0)
    evaluation.run(plan, {NAME: model, "segformer_b0@smp": model}, Console(quiet=True))
    assert asked == [(f.id, cell) for cell in CELLS[:2] for f in frames]
    results, _ = load_results(tmp_path)
    assert len(results) == 4
    a, b = (r.confusion for r in results if r.cell == CELLS[1])
    np.testing.assert_array_equal(a, b)


def test_unreadable_image_keeps_finished_cells(
    frames: Sequence[Frame], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")

    class Breaking(ComputedCells):
        def get(self, frame: Frame, cell: Cell) -> object:  # type: ignore[override]
            if cell == CELLS[1] and frame == frames[2]:
                load_image(broken)
            return super().get(frame, cell)

    runs = tmp_path / "runs"
    with pytest.raises(DataError, match="is empty"):
        evaluate(runs, frames, checkpoint, pictures=Breaking(0, DecodedSamples()))
    assert set(states(runs)) == {"clean-0.json"}


def test_cudnn_is_used_and_keeps_full_precision(
    frames: Sequence[Frame], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    seen: list[tuple[bool, bool]] = []

    class Spy(ComputedCells):
        def get(self, frame: Frame, cell: Cell) -> object:  # type: ignore[override]
            seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
            return super().get(frame, cell)

    before = torch.backends.cudnn.allow_tf32
    evaluate(tmp_path, frames, checkpoint, CELLS[:1], pictures=Spy(0, DecodedSamples()))
    assert set(seen) == {(True, False)}
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize(
    ("change", "value"),
    [("stride", 32), ("window", 128), ("mode", "whole")],
)
def test_other_inference_is_another_protocol(
    frames: Sequence[Frame], change: str, value: object
) -> None:
    usual = make_protocol("cityscapes", "val", frames, False, INFERENCE, 0, "computed")
    changed = replace(INFERENCE, **{change: value})  # type: ignore[arg-type]
    other = make_protocol("cityscapes", "val", frames, False, changed, 0, "computed")
    assert usual.slug != other.slug


def test_whole_mode_ignores_window_and_stride(frames: Sequence[Frame]) -> None:
    slugs = {
        make_protocol("c", "val", frames, False, Inference("whole", w, s), 0, "computed").slug
        for w, s in ((1024, 768), (64, 3))
    }
    assert len(slugs) == 1


def test_fewer_images_are_another_protocol(frames: Sequence[Frame]) -> None:
    slugs = {
        make_protocol("c", "val", part, limited, INFERENCE, seed, "computed").slug
        for part, limited, seed in (
            (frames, False, 0),
            (frames[:2], True, 0),
            (frames[1:], True, 0),
            (frames, False, 1),
        )
    }
    assert len(slugs) == 4

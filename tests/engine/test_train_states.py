from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from robustseg.datasets.cityscapes import fingerprint
from robustseg.datasets.sample import Frame
from robustseg.engine.crops import Crops
from robustseg.engine.inference import Inference, confusion_matrix, predict_logits
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe, load_recipe
from robustseg.engine.train import Paths, new_model, train
from robustseg.errors import CheckpointError, RobustsegError, SettingError
from robustseg.metrics.confusion import mean_iou
from robustseg.models.base import SegmentationModel
from robustseg.models.checkpoints import load_model
from robustseg.progress import Console

NAME = "segformer_b0"
ITERATIONS = 6


def small_recipe(*overrides: str) -> Recipe:
    usual = ("iterations=6", "batch_size=2", "crop=[64, 64]", "warmup_iterations=2", "lr=1e-3")
    return load_recipe("segformer", [*usual, "validate_every=0", *overrides])


def run(
    output: Path,
    frames: Sequence[Frame],
    recipe: Recipe,
    model: SegmentationModel | None = None,
    console: Console | None = None,
    **options: Any,  # noqa: ANN401
) -> Paths:
    paths = Paths.below(output, NAME)
    model = model or new_model(NAME, recipe, 0, None)
    console = console or Console(quiet=True)
    train(NAME, model, frames, recipe, 0, paths, 0, console, deterministic=True, **options)
    return paths


@pytest.fixture(scope="module")
def uninterrupted(
    training_frames: Sequence[Frame], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    paths = run(tmp_path_factory.mktemp("whole"), training_frames, small_recipe())
    return load_file(paths.weights)


def assert_same_weights(path: Path, expected: dict[str, Tensor]) -> None:
    found = load_file(path)
    assert found.keys() == expected.keys()
    assert [key for key, value in expected.items() if not torch.equal(found[key], value)] == []


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def at_step(number: int, act: Callable[[], object]) -> SegmentationModel:
    """Give a network that does something in the midst of its n-th step."""
    model = new_model(NAME, small_recipe(), 0, None)
    left = [number]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            act()

    model.get_submodule("decode_head.linear_pred").register_forward_hook(count)
    return model


@pytest.fixture
def stopped(training_frames: Sequence[Frame], tmp_path: Path) -> Paths:
    """A training with a state after each step, stopped in its fourth."""
    model = at_step(4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, training_frames, small_recipe(), model, save_minutes=1e-9)
    return Paths.below(tmp_path, NAME)


def test_newest_states_are_kept(stopped: Paths) -> None:
    assert names(stopped.folder, "state*") == ["state-3.pt", "state-4.pt"]
    assert not stopped.weights.exists()


@pytest.mark.parametrize("left", [0, 1000, 200_000])
def test_damaged_newest_state_gives_way_to_the_one_before(
    stopped: Paths, training_frames: Sequence[Frame], uninterrupted: dict[str, Tensor], left: int
) -> None:
    newest = stopped.state(4)
    newest.write_bytes(newest.read_bytes()[:left])
    said = io.StringIO()
    run(stopped.weights.parent, training_frames, small_recipe(), console=Console(said))
    lines = said.getvalue().splitlines()
    assert lines[:2] == [
        f"{newest} is damaged: trying state-3.pt",
        f"{NAME}: going on from iteration 3",
    ]
    assert_same_weights(stopped.weights, uninterrupted)
    assert names(stopped.folder, "*.pt") == []


def test_nothing_sound_is_said_and_nothing_is_touched(
    stopped: Paths, training_frames: Sequence[Frame]
) -> None:
    for number in (3, 4):
        stopped.state(number).write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state-3.pt is not a state of this training: move"):
        run(stopped.weights.parent, training_frames, small_recipe())
    assert stopped.state(4).read_bytes() == stopped.state(3).read_bytes() == b"not a state"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_signals_save_and_end_with_their_exit_code(
    name: str,
    training_frames: Sequence[Frame],
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    said = io.StringIO()
    model = at_step(2, lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, training_frames, small_recipe(), model, Console(said))
    assert caught.value.code == 128 + number
    assert f"{name}: saved at iteration 2; the same command goes on from there" in said.getvalue()
    assert signal.getsignal(number) == before
    paths = Paths.below(tmp_path, NAME)
    assert names(paths.folder, "state*") == ["state-2.pt"]
    run(tmp_path, training_frames, small_recipe())
    assert_same_weights(paths.weights, uninterrupted)


KILLED = """
import os, signal, sys
from pathlib import Path
from robustseg import files
from robustseg.datasets.cityscapes import list_frames
from robustseg.engine.recipes import load_recipe
from robustseg.engine.train import Paths, new_model, train
from robustseg.progress import Console

root, output, name, *overrides = sys.argv[1:]
real, written = files._flush, []

def flush(path):
    written.append(path.suffix)
    if written.count(".pt") == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    real(path)

files._flush = flush
recipe = load_recipe("segformer", overrides)
model = new_model(name, recipe, 0, None)
train(name, model, list_frames(Path(root), "train"), recipe, 0, Paths.below(Path(output), name), 2,
      Console(quiet=True), save_minutes=1e-9, deterministic=True)
"""


def test_killed_amid_writing_a_state_it_ends_in_the_same_bits(
    root: Path,
    training_frames: Sequence[Frame],
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    usual = ("iterations=6", "batch_size=2", "crop=[64, 64]", "warmup_iterations=2", "lr=1e-3")
    command = [sys.executable, "-c", KILLED, str(root), str(tmp_path), NAME]
    child = subprocess.run(
        [*command, *usual, "validate_every=0"], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    paths = Paths.below(tmp_path, NAME)
    assert names(paths.folder, "state*") == ["state-2.pt", "state-3.pt"]
    assert len(names(paths.folder, ".state*")) == 1
    run(tmp_path, training_frames, small_recipe())
    assert_same_weights(paths.weights, uninterrupted)
    assert names(paths.folder, ".*") == []


def test_validation_leaves_the_training_as_it_is_and_its_weights_behind(
    training_frames: Sequence[Frame],
    frames: Sequence[Frame],
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    recipe = small_recipe("validate_every=2")
    paths = run(tmp_path, training_frames, recipe, validation=frames)
    assert_same_weights(paths.weights, uninterrupted)
    rows = list(csv.DictReader(io.StringIO(paths.validation.read_text())))
    assert [row["iteration"] for row in rows] == ["2", "4", "6"]
    kept = ["weights-4.safetensors", "weights-6.safetensors"]
    assert names(paths.folder, "weights*") == kept
    assert_same_weights(paths.weights_at(6), uninterrupted)
    scores = [float(row["miou"]) for row in rows]
    with safe_open(paths.best, "pt") as file:
        card = file.metadata()
    assert card["iterations"] == str(2 * scores.index(max(scores)) + 2)
    assert float(card["validation_miou"]) == pytest.approx(max(scores))
    assert card["data"] == fingerprint(training_frames)
    assert json.loads(card["recipe"])["validate_every"] == 2
    # the score of a row is that of the weights beside it
    model = load_model(paths.weights_at(4), NAME)
    total = np.zeros((19, 19), np.int64)
    decoded = DecodedSamples()
    for frame in frames:
        sample = decoded.get(frame)
        predicted = predict_logits(model, sample.image, Inference()).argmax(0)
        total += confusion_matrix(sample.label, predicted, 19).numpy()
    assert scores[1] == pytest.approx(100 * mean_iou(total), abs=1e-3)


def test_resumed_training_knows_the_best_score_of_before(
    training_frames: Sequence[Frame], frames: Sequence[Frame], tmp_path: Path
) -> None:
    recipe = small_recipe("validate_every=2")
    model = at_step(5, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "one", training_frames, recipe, model, validation=frames)
    broken = run(tmp_path / "one", training_frames, recipe, validation=frames)
    whole = run(tmp_path / "two", training_frames, recipe, validation=frames)
    assert broken.validation.read_text() == whole.validation.read_text()
    assert_same_weights(broken.best, load_file(whole.best))


def test_batch_of_a_loss_that_is_not_finite_is_kept(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    recipe = small_recipe()
    bias = "decode_head.linear_pred.bias"

    model = new_model(NAME, recipe, 0, None)
    calls = iter(range(1, 100))

    def spoil(*_: object) -> None:
        if next(calls) == 5:
            with torch.no_grad():
                model.get_parameter(bias)[3] = float("inf")

    model.register_forward_pre_hook(spoil)
    with pytest.raises(RobustsegError, match="the loss is nan at iteration 5: look at") as caught:
        run(tmp_path, training_frames, recipe, model, save_minutes=1e-9)
    paths = Paths.below(tmp_path, NAME)
    folder = paths.bad_batch(5)
    assert f"the batch in {folder}, or lower" in str(caught.value)
    assert str(caught.value).endswith("--set lr=0.0005; the last good state is kept")
    content = json.loads((folder / "batch.json").read_text())
    assert (content["iteration"], content["loss"], content["seed"]) == (5, "nan", 0)
    assert content["rate"] == pytest.approx(1e-3 * 2 / 6)
    assert [entry["crop"] for entry in content["crops"]] == [8, 9]
    crops = Crops(training_frames, recipe, 0, DecodedSamples())
    for entry in content["crops"]:
        image, label = crops[entry["crop"]]
        assert entry["frame"] == crops.frame(entry["crop"]).id
        assert entry["train_ids"] == np.unique(label.numpy()).tolist()
        shown, ids = (np.asarray(Image.open(folder / name)) for name in entry["files"])
        assert np.array_equal(shown, image.permute(1, 2, 0).numpy())
        assert np.array_equal(ids, label.numpy())
    assert names(paths.folder, "state*") == ["state-3.pt", "state-4.pt"]
    assert not paths.weights.exists()
    for path in paths.folder.glob("state*"):
        state = torch.load(path, weights_only=True)
        assert all(value.isfinite().all() for value in state["learner"].values())


def test_spoilt_weights_are_written_nowhere(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    model = new_model(NAME, small_recipe(), 0, None)
    gradients = [0]

    def spoil(gradient: Tensor) -> Tensor:
        gradients[0] += 1
        return gradient * (torch.nan if gradients[0] == ITERATIONS else 1.0)

    next(model.parameters()).register_hook(spoil)  # type: ignore[no-untyped-call]
    with pytest.raises(RobustsegError, match="weights are not finite at iteration 6"):
        run(tmp_path, training_frames, small_recipe(), model)
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_a_flipped_bit_is_noticed_and_the_state_set_aside(
    training_frames: Sequence[Frame],
    uninterrupted: dict[str, Tensor],
    stopped: Paths,
    tmp_path: Path,
) -> None:
    paths = stopped
    content = bytearray(paths.state(4).read_bytes())
    content[len(content) // 2] ^= 1
    paths.state(5).write_bytes(content)
    said = io.StringIO()
    run(tmp_path, training_frames, small_recipe(), console=Console(said), keep=1)
    assert f"{paths.state(5)} is damaged: trying state-4.pt" in said.getvalue()
    assert_same_weights(paths.weights, uninterrupted)
    assert names(paths.folder, "state-*") == ["state-5.pt.old1"]


def test_the_same_command_after_the_end_changes_nothing(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    paths = run(tmp_path, training_frames, small_recipe())
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()}
    said = io.StringIO()
    run(tmp_path, training_frames, small_recipe(), console=Console(said))
    assert "nothing is left" in said.getvalue()
    assert {
        p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()
    } == before
    with pytest.raises(SettingError, match="exists and is not overwritten"):
        run(tmp_path, training_frames, small_recipe("lr=2e-3"))
    assert paths.weights.read_bytes() == before[paths.weights][0]


def test_files_of_an_earlier_training_are_kept(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    paths = run(tmp_path, training_frames, small_recipe())
    paths.best.write_bytes(b"of before")
    paths.weights.rename(tmp_path / "kept.safetensors")
    run(tmp_path, training_frames, small_recipe("lr=2e-3"))
    assert (tmp_path / f"{NAME}.train.old1" / "best.safetensors").read_bytes() == b"of before"
    assert not paths.best.exists()

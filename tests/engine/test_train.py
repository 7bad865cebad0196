from __future__ import annotations

import csv
import signal
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from robustseg.datasets.sample import Frame, ImageArray, LabelArray
from robustseg.engine.crops import Crops
from robustseg.engine.recipes import Recipe, load_recipe
from robustseg.engine.train import Paths, build_optimizer, new_model, train
from robustseg.errors import CheckpointError, DataError, RobustsegError, SettingError
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.checkpoints import load_model, read_checkpoint, save_checkpoint
from robustseg.models.identity import NOTICE, identify
from robustseg.progress import Console

NAME = "segformer_b0"
QUIET = Console(quiet=True)


def small_recipe(*overrides: str) -> Recipe:
    usual = ("iterations=6", "batch_size=2", "crop=[64, 64]", "warmup_iterations=2", "lr=1e-3")
    return load_recipe("segformer", [*usual, *overrides])


def run(
    output: Path,
    frames: Sequence[Frame],
    recipe: Recipe,
    model: SegmentationModel | None = None,
    name: str = NAME,
    seed: int = 0,
    workers: int = 0,
) -> Paths:
    paths = Paths.below(output, name)
    model = model or new_model(name, recipe, seed, None)
    train(name, model, frames, recipe, seed, paths, workers, QUIET)
    return paths


def losses(paths: Paths) -> dict[int, float]:
    with paths.log.open() as stream:
        return {int(row["iteration"]): float(row["loss"]) for row in csv.DictReader(stream)}


@pytest.fixture
def two_classes(tmp_path: Path) -> Sequence[Frame]:
    """Bright blocks are road, dark ones are sky."""
    frames = []
    for number in range(2):
        bright = np.random.default_rng(number).random((4, 8)) < 0.5
        bright = bright.repeat(16, 0).repeat(16, 1)
        image = np.where(bright, 210, 40).astype(np.uint8)[..., None].repeat(3, 2)
        paths = tmp_path / f"{number}.png", tmp_path / f"{number}_gtFine_labelIds.png"
        Image.fromarray(image).save(paths[0])
        Image.fromarray(np.where(bright, 7, 23).astype(np.uint8)).save(paths[1])
        frames.append(Frame(str(number), *paths))
    return frames


def test_loss_falls_and_the_checkpoint_predicts(
    two_classes: Sequence[Frame], tmp_path: Path
) -> None:
    recipe = small_recipe("iterations=40", "photometric=false", "scale=[1, 1]")
    paths = run(tmp_path / "out", two_classes, recipe)
    found = losses(paths)
    assert sorted(found) == [10, 20, 30, 40]
    assert found[40] < 0.7 * found[10]
    assert found[40] < 0.3
    checkpoint = read_checkpoint(paths.weights)
    assert checkpoint.card["model"] == NAME
    assert checkpoint.card["iterations"] == "40"
    model = load_model(checkpoint, NAME)
    image = torch.full((1, 3, 64, 64), 210, dtype=torch.uint8)
    with torch.no_grad():
        bright = model(model.normalise(image)).argmax(1)
        dark = model(model.normalise(image // 5)).argmax(1)
    assert (bright == 0).float().mean() > 0.9
    assert (dark == 10).float().mean() > 0.9
    assert not list(paths.folder.glob("state-*"))
    assert paths.recipe.read_text() == replace(recipe, precision="fp32").to_json()


@pytest.fixture(scope="module")
def uninterrupted(
    training_frames: Sequence[Frame], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    paths = run(tmp_path_factory.mktemp("whole"), training_frames, small_recipe())
    return load_file(paths.weights)


def assert_same_weights(path: Path, expected: dict[str, Tensor]) -> None:
    found = load_file(path)
    assert found.keys() == expected.keys()
    differing = [key for key, value in expected.items() if not torch.equal(found[key], value)]
    assert differing == []


class Interrupted(nn.Module):
    """Press Ctrl-C when a layer is used for the n-th time."""

    def __init__(self, uses: int) -> None:
        super().__init__()
        self.left = uses

    def press(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("layer", ["backbone.patch_embed1", "decode_head.linear_pred"])
def test_interrupted_training_goes_on_to_the_very_same_weights(
    layer: str,
    workers: int,
    training_frames: Sequence[Frame],
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    recipe = small_recipe()
    model = new_model(NAME, recipe, 0, None)
    # Ctrl-C comes at any moment: here with dropout's stream and batch statistics already moved
    model.get_submodule(layer).register_forward_hook(Interrupted(3).press)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, training_frames, recipe, model, workers=workers)
    paths = Paths.below(tmp_path, NAME)
    assert not paths.weights.exists()
    assert torch.load(paths.state(3), weights_only=True)["iteration"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # the weights it starts from are those of the state, not these
    run(tmp_path, training_frames, recipe, new_model(NAME, recipe, 5, None))
    assert_same_weights(paths.weights, uninterrupted)


def test_interrupt_between_steps_is_resumed_too(
    training_frames: Sequence[Frame],
    uninterrupted: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = small_recipe()
    real = Crops.fill

    def stop(self: Crops, index: int, pixels: ImageArray, ids: LabelArray) -> None:
        if index == 7:
            raise KeyboardInterrupt
        real(self, index, pixels, ids)

    with monkeypatch.context() as patch:
        patch.setattr(Crops, "fill", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, training_frames, recipe)
    paths = run(tmp_path, training_frames, recipe)
    assert_same_weights(paths.weights, uninterrupted)
    assert sorted(losses(paths)) == [6]


def test_workers_do_not_change_the_weights(
    training_frames: Sequence[Frame], uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    paths = run(tmp_path, training_frames, small_recipe(), workers=2)
    assert_same_weights(paths.weights, uninterrupted)


def test_another_seed_gives_other_weights(
    training_frames: Sequence[Frame], uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    paths = run(tmp_path, training_frames, small_recipe("iterations=1"), seed=1)
    assert not torch.equal(
        load_file(paths.weights)["decode_head.linear_pred.weight"],
        uninterrupted["decode_head.linear_pred.weight"],
    )


def test_global_stream_is_left_alone(training_frames: Sequence[Frame], tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(tmp_path, training_frames, small_recipe("iterations=1"))
    assert torch.equal(torch.get_rng_state(), before)


def test_existing_weights_are_not_overwritten(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    paths = Paths.below(tmp_path, NAME)
    paths.weights.write_bytes(b"precious")
    with pytest.raises(SettingError, match="is not overwritten"):
        run(tmp_path, training_frames, small_recipe())
    assert paths.weights.read_bytes() == b"precious"
    assert not paths.folder.exists()


@pytest.fixture
def stopped(training_frames: Sequence[Frame], tmp_path: Path) -> Paths:
    recipe = small_recipe()
    model = new_model(NAME, recipe, 0, None)
    model.get_submodule("decode_head").register_forward_hook(Interrupted(1).press)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, training_frames, recipe, model)
    return Paths.below(tmp_path, NAME)


def test_other_recipe_on_resume_is_refused(
    stopped: Paths, training_frames: Sequence[Frame]
) -> None:
    before = stopped.state(1).read_bytes()
    with pytest.raises(SettingError, match="another recipe"):
        run(stopped.weights.parent, training_frames, small_recipe("lr=2e-3"))
    assert stopped.state(1).read_bytes() == before


def test_other_images_on_resume_are_refused(
    stopped: Paths, training_frames: Sequence[Frame]
) -> None:
    with pytest.raises(SettingError, match="other images"):
        run(stopped.weights.parent, training_frames[:-1], small_recipe())


def test_spoilt_weights_are_not_saved(
    two_classes: Sequence[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        raise KeyboardInterrupt

    model = new_model(NAME, small_recipe(), 0, None)
    monkeypatch.setattr(model, "normalise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", two_classes, small_recipe(), model)
    assert not list(Paths.below(tmp_path / "out", NAME).folder.glob("state-*"))


def test_other_seed_on_resume_is_refused(stopped: Paths, training_frames: Sequence[Frame]) -> None:
    with pytest.raises(SettingError, match="was made with --seed 0"):
        run(stopped.weights.parent, training_frames, small_recipe(), seed=1)


@pytest.mark.parametrize("size", [0, 1000])
def test_damaged_state_is_named(
    stopped: Paths, training_frames: Sequence[Frame], size: int
) -> None:
    stopped.state(1).write_bytes(stopped.state(1).read_bytes()[:size])
    with pytest.raises(CheckpointError, match="is not a state of this training"):
        run(stopped.weights.parent, training_frames, small_recipe())


def test_log_lines_after_the_state_come_again(
    stopped: Paths, training_frames: Sequence[Frame]
) -> None:
    with stopped.log.open("a") as stream:
        stream.write("4,9.0,1e-3,1.0,\n5,9.0,1e-3,1.0,\n")
    run(stopped.weights.parent, training_frames, small_recipe())
    assert sorted(losses(stopped)) == [6]


def test_infinite_loss_stops_with_a_sentence(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    recipe = small_recipe()
    model = new_model(NAME, recipe, 0, None)
    with torch.no_grad():
        model.get_parameter("decode_head.linear_pred.bias")[3] = float("nan")
    with pytest.raises(RobustsegError, match=r"the loss is nan at iteration 1: look at") as caught:
        run(tmp_path, training_frames, recipe, model)
    assert "\n" not in str(caught.value)
    assert "last good state" not in str(caught.value)  # none was saved
    assert not Paths.below(tmp_path, NAME).weights.exists()


def test_batch_of_ignored_pixels_does_no_harm(two_classes: Sequence[Frame], tmp_path: Path) -> None:
    for frame in two_classes:
        Image.fromarray(np.zeros((64, 128), np.uint8)).save(frame.label)
    paths = run(tmp_path / "out", two_classes, small_recipe("iterations=2"))
    assert all(torch.isfinite(value).all() for value in load_file(paths.weights).values())


class Grouped(SegmentationModel):
    """One parameter of each kind."""

    def __init__(self) -> None:
        super().__init__(create_model(NAME).normalisation, 19)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Sequential(nn.Conv2d(4, 19, 1), nn.BatchNorm2d(19))

    def stages(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def decode(self, features: list[Tensor]) -> Tensor:
        raise NotImplementedError

    @property
    def head_modules(self) -> list[nn.Module]:
        return [self.head]


def group_settings(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Parameter name to (rate factor, weight decay)."""
    model = Grouped()
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, recipe)
    found = {
        names[id(p)]: (group["factor"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert len(found) == sum(len(g["params"]) for g in optimizer.param_groups) == len(names)
    return found


def test_parameter_groups_of_the_segformer_recipe() -> None:
    assert group_settings(load_recipe("segformer")) == {
        "body.0.weight": (1.0, 0.01),
        "body.0.bias": (1.0, 0.01),
        "body.1.weight": (1.0, 0.0),
        "body.1.bias": (1.0, 0.0),
        "norm.weight": (1.0, 0.0),
        "norm.bias": (1.0, 0.0),
        "head.0.weight": (10.0, 0.01),
        "head.0.bias": (10.0, 0.01),
        "head.1.weight": (10.0, 0.01),
        "head.1.bias": (10.0, 0.01),
    }


def decayed(name: str, recipe: Recipe) -> dict[str, float]:
    model = create_model(name)
    names = {id(p): key for key, p in model.named_parameters()}
    groups = build_optimizer(model, recipe).param_groups
    found = {names[id(p)]: float(g["weight_decay"]) for g in groups for p in g["params"]}
    assert found.keys() == set(names.values())
    return found


def test_deeplab_recipe_decays_dense_kernels_alone() -> None:
    recipe = load_recipe("dlv3p")
    found = decayed("dlv3p_mbv2", recipe)
    # the TensorFlow code regularises what it calls weights, and not those of depth-wise layers
    depthwise = {key for key in found if "conv_dw." in key or ".depthwise.0." in key}
    kernels = {key for key, p in create_model("dlv3p_mbv2").named_parameters() if p.ndim == 4}
    assert len(depthwise) == 17 + 3 + 2
    assert {key for key, decay in found.items() if decay} == kernels - depthwise
    assert set(found.values()) == {0.0, 4e-5}
    assert found["decoder.classify.bias"] == 0.0
    assert isinstance(build_optimizer(Grouped(), recipe), torch.optim.SGD)


def test_mmsegmentation_recipe_decays_everything() -> None:
    assert set(decayed("dlv3p_r50", load_recipe("dlv3p_mmseg")).values()) == {5e-4}


def test_rates_of_the_steps_follow_the_recipe(
    training_frames: Sequence[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[float]] = []
    real = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: object) -> object:
        seen.append({float(group["lr"]) for group in self.param_groups})
        return real(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    run(tmp_path, training_frames, small_recipe("iterations=4", "lr=1.6e-3", "warmup_ratio=0.0"))
    # no warm-up to speak of at 0, half of 0.75 at 1, then 2/4 and 1/4 of the rate
    expected = [(0.0, 0.0), (6e-4, 6e-3), (8e-4, 8e-3), (4e-4, 4e-3)]
    assert [sorted(rates) for rates in seen] == [
        pytest.approx(sorted(set(pair))) for pair in expected
    ]


def test_batch_of_one_is_refused_for_deeplab(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    recipe = small_recipe("batch_size=1")
    with pytest.raises(SettingError, match="batch_size of 2 or more"):
        run(tmp_path, training_frames, recipe, name="dlv3p_mbv2")


def test_deeplab_trains(training_frames: Sequence[Frame], tmp_path: Path) -> None:
    recipe = replace(small_recipe("iterations=2"), optimizer="sgd")
    paths = run(tmp_path, training_frames, recipe, name="dlv3p_mbv2")
    assert load_model(read_checkpoint(paths.weights), "dlv3p_mbv2").num_classes == 19


def test_initial_weights_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    model = create_model(NAME)
    save_checkpoint(tmp_path / "init.safetensors", NAME, model, {})
    started = new_model(NAME, small_recipe(), 3, tmp_path / "init.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(started.state_dict()[key], value)
    with pytest.raises(CheckpointError, match="holds segformer_b0, not segformer_b1"):
        new_model("segformer_b1", small_recipe(), 3, tmp_path / "init.safetensors")


def test_initial_weights_of_an_encoder_alone(tmp_path: Path) -> None:
    source = create_model(NAME).state_dict()
    released = {k.removeprefix("backbone."): v for k, v in source.items() if "decode_head" not in k}
    torch.save({**released, "head.weight": torch.zeros(1000, 256)}, tmp_path / "mit_b0.pth")
    said = StringIO()
    started = new_model(NAME, small_recipe(), 3, tmp_path / "mit_b0.pth", Console(said))
    assert said.getvalue().startswith("licence of the weights: NVIDIA Source Code License")
    blank = new_model(NAME, small_recipe(), 3, None).state_dict()
    for key, value in started.state_dict().items():
        assert torch.equal(value, source[key] if key.startswith("backbone.") else blank[key])


def test_a_licence_stays_with_what_is_trained_from_the_weights(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    torch.save(create_model(NAME).state_dict(), tmp_path / "released.pth")
    recipe = small_recipe("iterations=1")
    started = new_model(NAME, recipe, 3, tmp_path / "released.pth")
    paths = run(tmp_path, training_frames, recipe, started)
    assert identify(read_checkpoint(paths.weights)).notice == NOTICE
    paths = run(tmp_path / "own", training_frames, recipe)
    assert identify(read_checkpoint(paths.weights)).notice == ""


def test_initial_weights_of_another_output_stride(tmp_path: Path) -> None:
    model = create_model("dlv3p_mbv2", output_stride=8)
    save_checkpoint(tmp_path / "init.safetensors", "dlv3p_mbv2", model, {})
    with pytest.raises(SettingError, match="output stride 8, the recipe 16: give --set"):
        new_model("dlv3p_mbv2", small_recipe(), 3, tmp_path / "init.safetensors")


def test_random_weights_are_a_function_of_the_seed() -> None:
    first, same, other = (new_model(NAME, small_recipe(), seed, None) for seed in (0, 0, 1))
    key = "decode_head.linear_pred.weight"
    assert torch.equal(first.state_dict()[key], same.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_image_is_named_in_one_line(
    training_frames: Sequence[Frame], tmp_path: Path, workers: int
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(training_frames[0].image.read_bytes()[:300])
    frames = [replace(training_frames[0], image=broken)]
    with pytest.raises(DataError) as caught:
        run(tmp_path / "out", frames, small_recipe(), workers=workers)
    assert str(caught.value).startswith(f"{broken}: is truncated or damaged; copy")
    assert "\n" not in str(caught.value)

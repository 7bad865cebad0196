from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robustseg.engine.device import pick_precision
from robustseg.errors import SettingError

Robustseg = Callable[..., tuple[int, str, str]]

QUICK = ("train", "--model", "segformer_b0", "--recipe", "quick", "--device", "cpu")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the loop is called with, which is tested elsewhere."""
    calls: list[dict[str, Any]] = []
    order = ("name", "model", "frames", "recipe", "seed", "paths", "workers", "console")

    def record(*given: object, **options: object) -> None:
        calls.append(dict(zip(order, given, strict=True)) | options)

    monkeypatch.setattr("robustseg.engine.train.train", record)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_says_what_it_is_about_to_do_and_what_comes_next(
    place: Path, robustseg: Robustseg, calls: list[dict[str, Any]]
) -> None:
    code, out, err = robustseg(*QUICK, "--output", "my weights", "--set", "accumulate=2")
    assert code == 0
    assert out == "my weights/segformer_b0.safetensors\n"
    first, second, curves, following = err.splitlines()
    assert first.startswith("segformer_b0 by recipe quick: 2 images of ")
    assert first.endswith("train; 400 iterations of 4 crops = 1 process x 2 parts x 2")
    assert second == "from random weights, in fp32 on cpu"
    assert curves == "curves: my weights/segformer_b0.train/curves.png"
    assert following == (
        "next: robustseg evaluate --models segformer_b0 "
        "--checkpoint 'segformer_b0=my weights/segformer_b0.safetensors'"
    )


def test_options_reach_the_loop(
    place: Path, robustseg: Robustseg, calls: list[dict[str, Any]]
) -> None:
    options = ("--keep", "5", "--save-minutes", "0.5", "--tensorboard", "--deterministic")
    assert robustseg(*QUICK, *options, "--set", "validate_every=100")[0] == 0
    (call,) = calls
    assert (call["keep"], call["save_minutes"]) == (5, 0.5)
    assert (call["board"], call["deterministic"]) == (True, True)
    assert len(call["validation"]) == 2
    assert all("/val/" in str(frame.image) for frame in call["validation"])
    assert (call["recipe"].init, call["recipe"].precision) == ("none", "fp32")


def test_a_checkpoint_is_named_in_the_recipe_without_its_folder(
    place: Path, robustseg: Robustseg, calls: list[dict[str, Any]]
) -> None:
    start = str(place / "checkpoints" / "segformer_b0.safetensors")
    assert robustseg(*QUICK, "--init", start, "--seed", "7")[0] == 0
    assert robustseg(*QUICK, "--seed", "7")[0] == 0
    started, random = calls
    assert started["recipe"].init == "segformer_b0.safetensors"
    weight = "backbone.patch_embed1.proj.weight"
    assert not torch.equal(
        started["model"].get_parameter(weight), random["model"].get_parameter(weight)
    )


def test_without_a_val_split_there_is_no_validation(
    place: Path, robustseg: Robustseg, calls: list[dict[str, Any]]
) -> None:
    for part in ("leftImg8bit", "gtFine"):
        shutil.rmtree(place / "cityscapes" / part / "val")
    code, _, err = robustseg(*QUICK, "--set", "validate_every=100")
    assert code == 0
    assert "no validation: " in err.splitlines()[0]
    assert calls[0]["validation"] == ()
    code, out, err = robustseg(*QUICK, "--set", "validate_every=100", "--validate", "val")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--keep", "0"), "--keep must be at least 1, found 0"),
        (("--save-minutes", "0"), "--save-minutes must be above 0, found 0"),
        (("--save-minutes", "nan"), "--save-minutes must be above 0, found nan"),
        (("--validate", "val"), "--validate needs an interval: give --set validate_every="),
        (("--init", "nowhere.pth"), "cannot read checkpoint nowhere.pth"),
    ],
)
def test_bad_options_are_one_line(
    options: tuple[str, ...],
    message: str,
    place: Path,
    robustseg: Robustseg,
    calls: list[dict[str, Any]],
) -> None:
    code, out, err = robustseg(*QUICK, "-q", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert calls == []


@pytest.mark.parametrize("explicit", [True, False])
def test_without_the_encoder_the_line_says_all_ways_on(
    explicit: bool, place: Path, robustseg: Robustseg, calls: list[dict[str, Any]]
) -> None:
    given = ("--init", "imagenet") if explicit else ()  # the recipe's
    code, out, err = robustseg("train", "--model", "segformer_b0", "--offline", "-q", *given)
    assert (code, out) == (2, "")
    assert "download model.safetensors or pytorch_model.bin from https://huggingface.co/" in err
    assert "give --init PATH; --init none trains from random weights" in err
    assert err.count("\n") == 1
    assert calls == []


def test_only_the_first_process_speaks_and_fetches(
    place: Path,
    robustseg: Robustseg,
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    # the first one would have to fetch, which is forbidden here
    assert robustseg(*QUICK, "--init", "imagenet") == (0, "", "")
    assert calls[0]["recipe"].init == "imagenet"
    assert robustseg(*QUICK, "--dry-run") == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    code, out, err = robustseg(*QUICK, "--dry-run")
    assert json.loads(out)["batch_size"] == 4
    assert "4 crops = 2 processes x 1 part x 2" in err
    code, _, err = robustseg(*QUICK, "--set", "batch_size=5")
    assert code == 2
    assert "batch_size 5 cannot be divided by 2 processes" in err


@pytest.mark.parametrize(
    ("asked", "device", "able", "found"),
    [
        ("auto", "cpu", True, "fp32"),
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp32"),
        ("fp32", "cuda", True, "fp32"),
        ("bf16", "cuda", True, "bf16"),
    ],
)
def test_precision_is_what_the_device_has(
    asked: str, device: str, able: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: able)
    assert pick_precision(asked, torch.device(device)) == found


def test_bf16_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(SettingError, match="--set precision=fp32"):
        pick_precision("bf16", torch.device("cuda"))

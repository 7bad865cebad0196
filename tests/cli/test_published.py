"""Published weights from the command line, against a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from robustseg.models.build import create_model
from robustseg.models.cache import file_of
from robustseg.models.checkpoints import save_checkpoint
from robustseg.models.published import published_weights
from robustseg.models.zoo import MODELS
from robustseg.results import load_results

Outcome = tuple[int, str, str]
Robustseg = Callable[..., Outcome]
Loopback = Any  # the fixture's class, which cannot be imported from a conftest

EVALUATE = ("evaluate", "--models", "segformer_b0", "--clean-only", "--device", "cpu")
COMMIT = "c" * 40


class Terminal(io.StringIO):
    """Standard input of somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Name of a network to a file of random weights."""
    place, contents = tmp_path_factory.mktemp("weights"), {}
    for name in ("segformer_b0@hf", "segformer_b0"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = create_model(name)
        save_checkpoint(place / "file.safetensors", name, model, {})
        contents[name] = (place / "file.safetensors").read_bytes()
    return contents


@pytest.fixture
def online(
    loopback: Loopback,
    weights: dict[str, bytes],
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Loopback:
    """A Hugging Face that has SegFormer-B0 and its encoder; nothing in the caches."""
    (place / "checkpoints" / "segformer_b0.safetensors").unlink()
    for repository, name in (
        ("segformer-b0-finetuned-cityscapes-1024-1024", "segformer_b0@hf"),
        ("mit-b0", "segformer_b0"),
    ):
        for revision in ("main", COMMIT):
            path = f"/nvidia/{repository}/resolve/{revision}/model.safetensors"
            loopback.files[path] = weights[name]
            etag = hashlib.sha256(weights[name]).hexdigest()
            loopback.headers[path] = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
    monkeypatch.setenv("HF_ENDPOINT", loopback.url)
    monkeypatch.setenv("ROBUSTSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("ROBUSTSEG_OFFLINE")
    return loopback


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Be a terminal at which somebody types."""
    monkeypatch.setattr(sys, "stdin", Terminal(text))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_a_name_is_fetched_evaluated_and_kept(
    online: Loopback, place: Path, robustseg: Robustseg, weights: dict[str, bytes]
) -> None:
    code, out, err = robustseg(*EVALUATE, "--accept-licence")
    assert code == 0
    lines = err.splitlines()
    assert lines[0].startswith("segformer_b0 -> segformer_b0@hf: the paper's head, ")
    assert lines[1].startswith("fetching segformer_b0@hf from https://huggingface.co/nvidia/")
    assert "SegFormer-B0 @hf" in out
    (result,) = load_results(place / "runs")[0]
    assert result.model.name == "segformer_b0@hf"
    assert result.model.checkpoint == hashlib.sha256(weights["segformer_b0@hf"]).hexdigest()
    online.asked.clear()
    code, _, err = robustseg(*EVALUATE, "--offline")
    assert code == 0
    assert "0 cells to do, 1 finished" in err
    assert online.asked == []


def test_weights_that_were_altered_are_fetched_again(
    online: Loopback, robustseg: Robustseg, tmp_path: Path, weights: dict[str, bytes]
) -> None:
    assert robustseg(*EVALUATE, "--accept-licence", "-q")[0] == 0
    (path,) = (tmp_path / "hf").rglob("snapshots/*/model.safetensors")
    path.write_bytes(weights["segformer_b0"])
    online.asked.clear()
    code, out, err = robustseg(*EVALUATE, "--offline")
    assert (code, out) == (2, "")
    assert f"{path} is not the file that was fetched (SHA-256 " in err
    assert err.count("\n") == 1
    code, _, err = robustseg(*EVALUATE, "--dry-run")
    assert code == 0
    assert "is not the file that was fetched" in err
    assert path.read_bytes() == weights["segformer_b0"]
    assert online.asked == []
    code, _, err = robustseg(*EVALUATE)
    assert code == 0
    assert "...): kept as " in err
    assert "0 cells to do, 1 finished" in err
    assert path.read_bytes() == weights["segformer_b0@hf"]


def test_a_dry_run_asks_for_nothing(online: Loopback, robustseg: Robustseg) -> None:
    for command in (EVALUATE, ("erf", "--models", "segformer_b0")):
        code, out, err = robustseg(*command, "--dry-run")
        assert (code, out) == (0, "")
        assert "segformer_b0@hf: not here yet, would come from https://huggingface.co/" in err
    assert online.asked == []


def test_a_dry_run_counts_what_is_to_be_fetched(online: Loopback, robustseg: Robustseg) -> None:
    names = ("segformer_b0", "dlv3p_r101", "dlv3p_r50")
    command = ("evaluate", "--models", *names, "--corruptions", "fog", "--severities", "1", "2")
    code, _, err = robustseg(*command, "--dry-run", "--shard", "1/2", "--device", "cpu")
    assert code == 0
    assert "0 cells to do and 6 cells of networks whose weights are not here yet, 0 finished" in err
    assert "the run would be refused: weights of segformer_b0@hf fall under the NVIDIA " in err
    refused = robustseg(*command, "--offline")
    assert refused[0] == 2
    assert robustseg(*command, "--offline", "--dry-run") == refused
    assert online.asked == []


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (
            (),
            [
                "dlv3p_r101@mmseg: published score is of whole images, here sliding windows "
                "1024/768: give --inference whole to compare"
            ],
        ),
        (
            ("--inference", "whole"),
            [
                "segformer_b0@hf: published score is of sliding windows 1024/768, here whole "
                "images: give --inference slide to compare"
            ],
        ),
        (
            ("--window", "512", "--stride", "512"),
            [
                "segformer_b0@hf: published score is of sliding windows 1024/768, here sliding "
                "windows 512/512: give --window 1024 --stride 768 to compare",
                "dlv3p_r101@mmseg: published score is of whole images, here sliding windows "
                "512/512: give --inference whole to compare",
            ],
        ),
    ],
)
def test_another_test_than_the_published_one_is_said(
    options: tuple[str, ...], notes: list[str], online: Loopback, robustseg: Robustseg
) -> None:
    command = ("evaluate", "--models", "segformer_b0", "dlv3p_r101", "--dry-run")
    code, _, err = robustseg(*command, *options)
    assert code == 0
    assert [line for line in err.splitlines() if "published score" in line] == notes


def test_receptive_fields_are_of_the_variant(online: Loopback, robustseg: Robustseg) -> None:
    command = ("erf", "--models", "segformer_b0", "--stage", "4", "--crop", "64", "--device", "cpu")
    assert robustseg(*command, "--accept-licence", "-q")[:2] == (0, "erf/erf-stage4.png\n")
    assert [path.name for path in Path("erf").glob("*.npz")] == ["segformer_b0@hf-stage4.npz"]


@pytest.mark.parametrize("text", ["", "\n", "n\n", "what?\n"])
def test_anything_but_yes_is_no(
    text: str, online: Loopback, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, text)
    code, out, err = robustseg(*EVALUATE)
    assert (code, out) == (2, "")
    assert "accept this licence? [y/N] " in err
    assert err.splitlines()[-1].endswith(
        "robustseg: error: the licence of the weights of segformer_b0@hf was not accepted: "
        "nothing is fetched"
    )
    assert online.asked == []


def test_yes_is_asked_for_once(
    online: Loopback, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "y\n")
    assert robustseg(*EVALUATE, "-q")[0] == 0
    answer(monkeypatch, "")
    arguments = ("train", "--model", "segformer_b0", "--init", "imagenet", "-q", "--workers", "0")
    overrides = ("iterations=1", "batch_size=1", "crop=[64,64]", "lr=1e-12")
    assert robustseg(*arguments, "--device", "cpu", "--set", *overrides)[0] == 0


def test_where_nobody_answers_nothing_is_fetched(online: Loopback, robustseg: Robustseg) -> None:
    code, out, err = robustseg(*EVALUATE)
    assert (code, out) == (2, "")
    assert err.startswith("robustseg: error: weights of segformer_b0@hf fall under the NVIDIA ")
    assert "give --accept-licence" in err
    assert err.count("\n") == 1
    assert online.asked == []


def test_the_environment_can_accept(
    online: Loopback, robustseg: Robustseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTSEG_ACCEPT_LICENCE", "1")
    assert robustseg(*EVALUATE, "-q")[0] == 0
    entries = json.loads((tmp_path / "cache" / "licences.json").read_text())
    assert entries["nvidia-segformer"]["by"] == "ROBUSTSEG_ACCEPT_LICENCE"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_offline_asks_neither_user_nor_network(
    how: str, online: Loopback, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "y\n")
    if how == "variable":
        monkeypatch.setenv("ROBUSTSEG_OFFLINE", "1")
    code, out, err = robustseg(*EVALUATE, *(["--offline"] if how == "flag" else []))
    assert (code, out) == (2, "")
    assert err.startswith("robustseg: error: no weights for segformer_b0@hf: not in the cache ")
    assert "forbids fetching: download model.safetensors from https://huggingface.co/" in err
    assert "put it at checkpoints/segformer_b0@hf.safetensors" in err
    assert err.count("\n") == 1
    assert online.asked == []


def test_nothing_is_fetched_where_another_name_has_no_weights(
    online: Loopback, robustseg: Robustseg
) -> None:
    command = ("evaluate", "--models", "segformer_b0", "dlv3p_x65", "--accept-licence")
    code, out, err = robustseg(*command)
    assert (code, out) == (2, "")
    assert err.startswith("robustseg: error: no weights for dlv3p_x65: looked for ")
    assert err.count("\n") == 1
    assert online.asked == []


def test_training_starts_from_the_imagenet_source(
    online: Loopback, place: Path, robustseg: Robustseg, tmp_path: Path
) -> None:
    overrides = ("iterations=1", "batch_size=1", "crop=[64,64]", "lr=1e-12")
    command = ("train", "--model", "segformer_b0", "--init", "imagenet", "--accept-licence")
    options = ("--workers", "0", "--device", "cpu", "-q", "--set", *overrides)
    assert robustseg(*command, *options)[0] == 0
    (source,) = (tmp_path / "hf").rglob("snapshots/*/model.safetensors")
    trained = load_file(place / "checkpoints" / "segformer_b0.safetensors")
    for name, value in load_file(source).items():
        if name.startswith("backbone."):
            torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-8)


def test_training_without_the_encoder_is_one_line(place: Path, robustseg: Robustseg) -> None:
    command = ("train", "--model", "segformer_b0", "--init", "imagenet", "-q", "--output", "out")
    code, out, err = robustseg(*command)
    assert (code, out) == (2, "")
    assert "https://huggingface.co/nvidia/mit-b0 and give --init PATH" in err
    assert err.count("\n") == 1


def rows_of(out: str) -> list[dict[str, str]]:
    """Read the tables that are printed, by the columns of their first lines."""
    rows = []
    for block in out.split("\n\n")[:2]:
        head, *lines = block.splitlines()
        starts = [m.start() for m in re.finditer(r"(?<=  )\S|^\S", head)]
        ends = [*starts[1:], 200]
        for line in lines:
            cells = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
            names = [head[a:b].strip() for a, b in zip(starts, ends, strict=True)]
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def test_the_list_says_where_weights_are(
    online: Loopback,
    place: Path,
    robustseg: Robustseg,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (place / "checkpoints" / "dlv3p_r50.pth").touch()
    (place / "checkpoints" / "dlv3p_mbv2@vainf.pth").touch()
    for suffix in (".pth", ".pt"):
        (place / "checkpoints" / f"dlv3p_x41{suffix}").touch()
    robustseg(*EVALUATE, "--accept-licence", "-q")
    unrecorded = file_of(tmp_path / "cache", published_weights("segformer_b2@mmseg"))
    unrecorded.write_bytes(b"large")
    monkeypatch.setattr("robustseg.models.cache.sha256_of", lambda _: pytest.fail("hashed"))
    online.asked.clear()
    code, out, err = robustseg("list", "models")
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 100
    rows = rows_of(out)
    networks = {row["network"]: row for row in rows if "network" in row}
    assert list(networks) == list(MODELS)
    assert networks["segformer_b0"]["weights"] == "segformer_b0@hf, cached"
    assert networks["segformer_b1"]["weights"] == "segformer_b1@hf, fetchable"
    assert networks["dlv3p_r50"]["weights"] == "./checkpoints/dlv3p_r50.pth"
    assert networks["dlv3p_x41"]["weights"] == "several in ./checkpoints"
    assert networks["dlv3p_x65"]["weights"].startswith("none published")
    # the row is of another head and stride than the weights it names
    assert networks["dlv3p_r101"]["stride"] == "16"
    assert networks["dlv3p_r101"]["weights"].startswith("dlv3p_r101@mmseg")
    notes = " ".join(out.partition("published: ")[2].split())
    assert "those that 'train' builds; evaluation takes those of the variant" in notes
    variants = {row["variant"]: row for row in rows if "variant" in row}
    assert len(variants) == 18
    assert variants["dlv3p_mbv2@vainf"]["weights"] == "here"
    assert variants["dlv3p_r101@vainf"]["weights"] == "by hand"
    assert variants["segformer_b2@mmseg"]["weights"] == "cached"
    assert variants["dlv3p_r101_os16@mmseg"] == {
        "variant": "dlv3p_r101_os16@mmseg",
        "head": "mmseg",
        "stride": "16",
        "published": "79.90",
        "tested as": "whole 1024x2048",
        "licence": "Apache-2.0",
        "weights": "fetchable",
    }
    assert online.asked == []

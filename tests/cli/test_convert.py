from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from robustseg.models.build import create_model
from robustseg.models.checkpoints import load_model, read_checkpoint, save_checkpoint

Outcome = tuple[int, str, str]
Robustseg = Callable[..., Outcome]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the layout of SegFormer's authors, as they release it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = create_model("segformer_b0").state_dict()
    unused = {"decode_head.conv_seg.weight": torch.zeros(19, 128, 1, 1)}
    path = tmp_path_factory.mktemp("released") / "segformer.b0.1024x1024.city.160k.pth"
    torch.save({"meta": {}, "state_dict": {**state, **unused}, "optimizer": {}}, path)
    return path


def logits(path: Path, name: str | None = None) -> Tensor:
    x = torch.randn(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return load_model(path, name).logits(x)


def card_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as stream:
        return dict(stream.metadata())


def test_a_released_file_becomes_an_own_one(
    released: Path, tmp_path: Path, robustseg: Robustseg
) -> None:
    target = tmp_path / "new" / "b0.safetensors"
    code, out, err = robustseg("convert", str(released), str(target))
    assert code == 0
    assert out == (
        f"{target}: segformer_b0, 19 classes, from SegFormer's authors; "
        "dropped: decode_head.conv_seg, meta, optimizer\n"
    )
    assert err.count("NVIDIA Source Code License for SegFormer") == 1
    assert card_of(target) == {
        "format": "robustseg-1",
        "model": "segformer_b0",
        "num_classes": "19",
        "family": "SegFormer's authors",
        "source": str(released),
        "source_sha256": hashlib.sha256(released.read_bytes()).hexdigest(),
        "mean": "123.675 116.28 103.53",
        "std": "58.395 57.12 57.375",
        "licence": card_of(target)["licence"],
        "robustseg": card_of(target)["robustseg"],
    }
    assert torch.equal(logits(target), logits(released))


def test_the_licence_and_the_origin_stay_with_a_file(
    released: Path, tmp_path: Path, robustseg: Robustseg
) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    robustseg("convert", str(released), str(first), "-q", "--model", "segformer_b0@hf")
    code, out, err = robustseg("convert", str(first), str(second))
    assert (code, err.count("NVIDIA")) == (0, 1)
    assert "segformer_b0@hf, 19 classes, from SegFormer's authors; dropped: nothing" in out
    assert card_of(second) == card_of(first)
    assert torch.equal(logits(second), logits(released, "segformer_b0@hf"))
    assert not torch.equal(logits(second), logits(released))  # other epsilons


def test_a_file_trained_here_carries_no_licence(tmp_path: Path, robustseg: Robustseg) -> None:
    source, target = tmp_path / "m.safetensors", tmp_path / "n.safetensors"
    save_checkpoint(source, "segformer_b0", create_model("segformer_b0"), {"seed": "3"})
    code, out, err = robustseg("convert", str(source), str(target))
    assert (code, err) == (0, "")
    assert "from robustseg; dropped: nothing" in out
    assert "licence" not in card_of(target)
    assert card_of(target)["seed"] == "3"


def test_output_stride_and_classes(tmp_path: Path, robustseg: Robustseg) -> None:
    source, target = tmp_path / "m.pth", tmp_path / "n.safetensors"
    torch.save({"model_state": create_model("dlv3p_mbv2", 21).state_dict()}, source)
    arguments = ("convert", str(source), str(target), "--output-stride", "8", "--num-classes")
    code, _, err = robustseg(*arguments, "19")
    assert code == 2
    assert err.endswith("holds dlv3p_mbv2 of 21 classes: Pascal VOC; 19 are needed\n")
    assert not target.exists()
    assert robustseg(*arguments, "21")[0] == 0
    assert card_of(target)["output_stride"] == "8"
    assert card_of(target)["num_classes"] == "21"
    assert getattr(load_model(target), "output_stride", None) == 8


@pytest.mark.parametrize("name", ["b0.pth", "b0", "b0.safetensors.bak"])
def test_the_new_file_is_a_safetensors_file(
    released: Path, tmp_path: Path, robustseg: Robustseg, name: str
) -> None:
    code, out, err = robustseg("convert", str(released), str(tmp_path / name))
    assert (code, out) == (2, "")
    assert "must end in .safetensors" in err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(released: Path, tmp_path: Path, robustseg: Robustseg) -> None:
    target = tmp_path / "b0.safetensors"
    target.write_bytes(b"precious")
    code, out, err = robustseg("convert", str(released), str(target))
    assert (code, out) == (2, "")
    assert "exists and is not overwritten" in err
    assert target.read_bytes() == b"precious"


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pkl", ".ckpt"])
def test_code_in_a_file_is_not_run(tmp_path: Path, robustseg: Robustseg, suffix: str) -> None:
    victim, source = tmp_path / "victim", tmp_path / f"m{suffix}"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Payload(victim)}, source)
    code, out, err = robustseg("convert", str(source), str(tmp_path / "n.safetensors"))
    assert (code, out) == (2, "")
    assert "could run code" in err
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == [source.name]


def test_another_network_than_asked_for(
    released: Path, tmp_path: Path, robustseg: Robustseg
) -> None:
    target = tmp_path / "b0.safetensors"
    code, _, err = robustseg("convert", str(released), str(target), "--model", "segformer_b5")
    assert code == 2
    assert "holds segformer_b0, not segformer_b5" in err
    code, _, err = robustseg("convert", str(released), str(target), "--model", "segformer_b9")
    assert "unknown model 'segformer_b9'" in err
    assert not target.exists()


def test_converted_files_are_read_like_any_other(
    released: Path, tmp_path: Path, robustseg: Robustseg
) -> None:
    target = tmp_path / "b0.safetensors"
    robustseg("convert", str(released), str(target), "-q")
    assert read_checkpoint(target).state.keys() == create_model("segformer_b0").state_dict().keys()

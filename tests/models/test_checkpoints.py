from __future__ import annotations

import errno
import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from robustseg.errors import CheckpointError
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.checkpoints import (
    Checkpoint,
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from robustseg.models.zoo import find_checkpoints


@pytest.fixture(scope="module")
def b0() -> SegmentationModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("segformer_b0")
    # batch norm's statistics belong to the weights
    fusion = model.get_submodule("decode_head.linear_fuse.bn")
    assert isinstance(fusion.running_mean, Tensor)
    fusion.running_mean.uniform_(generator=torch.Generator().manual_seed(1))
    return model.eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def meta_state(name: str, num_classes: int = 19) -> dict[str, Tensor]:
    """Give the shapes of a network's weights, without their numbers."""
    with torch.device("meta"):
        return create_model(name, num_classes).state_dict()


def checkpoint_of(state: dict[str, Tensor], **card: str) -> Checkpoint:
    return Checkpoint(Path("given.pth"), "0" * 64, state, card)


def refusal(name: str, checkpoint: Checkpoint) -> str:
    with torch.device("meta"), pytest.raises(CheckpointError) as caught:
        load_model(name, checkpoint)
    message = str(caught.value)
    assert str(checkpoint.path) in message
    assert "\n" not in message
    return message


def test_round_trip(b0: SegmentationModel, x: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "new" / "segformer_b0.safetensors"
    save_checkpoint(path, "segformer_b0", b0, {"recipe": "segformer"})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    checkpoint = read_checkpoint(path)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.card == {
        "format": "robustseg-1",
        "model": "segformer_b0",
        "num_classes": "19",
        "recipe": "segformer",
    }
    model = load_model("segformer_b0", checkpoint)
    assert not model.training
    with torch.no_grad():
        assert torch.equal(model.logits(x), b0.logits(x))


def test_the_output_stride_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = create_model("dlv3p_mbv2", output_stride=8).eval()
    save_checkpoint(path, "dlv3p_mbv2", model, {})
    loaded = load_model("dlv3p_mbv2", read_checkpoint(path))
    x = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert loaded.stages(x)[-1].shape == (1, 320, 9, 9)
        assert torch.equal(loaded.logits(x), model.logits(x))


def test_a_failed_save_leaves_the_old_file(b0: SegmentationModel, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        save_checkpoint(path, "segformer_b0", b0, {"step": 3})  # type: ignore[dict-item]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_another_network_on_the_card() -> None:
    checkpoint = checkpoint_of(meta_state("segformer_b0"), model="segformer_b1")
    assert "holds segformer_b1, not segformer_b0" in refusal("segformer_b0", checkpoint)


@pytest.mark.parametrize("stride", ["32", "", "eight"])
def test_a_senseless_output_stride_on_the_card(stride: str) -> None:
    checkpoint = checkpoint_of(meta_state("segformer_b0"), output_stride=stride)
    assert f"output stride {stride!r}" in refusal("segformer_b0", checkpoint)


def test_a_file_of_150_classes() -> None:
    message = refusal("segformer_b0", checkpoint_of(meta_state("segformer_b0", 150)))
    assert "2 of another shape" in message
    assert "(150, 256, 1, 1) instead of (19, 256, 1, 1)" in message
    assert "150 classes: ADE20K" in message


@pytest.mark.parametrize("other", ["segformer_b1", "segformer_b2", "segformer_b5"])
def test_weights_of_another_size_are_recognised(other: str) -> None:
    message = refusal("segformer_b0", checkpoint_of(meta_state(other)))
    assert "does not fit segformer_b0" in message
    assert message.endswith(f"this looks like an encoder of {other}")
    assert ("unexpected" in message) == (other != "segformer_b1")


def test_weights_of_another_family_and_missing_weights() -> None:
    message = refusal("segformer_b0", checkpoint_of(meta_state("dlv3p_r50")))
    assert f"{len(meta_state('segformer_b0'))} missing (such as backbone." in message
    assert "unexpected (such as backbone.body" in message
    partial = meta_state("segformer_b0")
    del partial["decode_head.linear_pred.bias"]
    message = refusal("segformer_b0", checkpoint_of(partial))
    assert "1 missing (such as decode_head.linear_pred.bias)" in message


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state"])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_files_of_other_origin(
    b0: SegmentationModel, x: Tensor, tmp_path: Path, wrapper: str | None, suffix: str
) -> None:
    state = dict(b0.state_dict())
    # released files carry a classifier that the network never uses
    state["decode_head.conv_seg.weight"] = torch.zeros(19, 128, 1, 1)
    state["decode_head.conv_seg.bias"] = torch.zeros(19)
    state["auxiliary_head.conv_seg.bias"] = torch.zeros(19)
    content = {"epoch": 3, "meta": {"a": [1, "b"]}, wrapper: state} if wrapper else state
    path = tmp_path / f"segformer_b0{suffix}"
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.card == {}
    assert set(checkpoint.state) == set(b0.state_dict())
    for name, value in b0.state_dict().items():
        assert torch.equal(checkpoint.state[name], value)
    if suffix == ".pt" and wrapper:
        model = load_model("segformer_b0", checkpoint)
        with torch.no_grad():
            assert torch.equal(model.logits(x), b0.logits(x))


def test_wrappers_may_be_nested_but_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"state_dict": {"model_state": {"a": torch.ones(2)}}}, path)
    assert list(read_checkpoint(path).state) == ["a"]
    endless: dict[str, object] = {}
    endless["state_dict"] = endless
    torch.save(endless, path)
    assert read_checkpoint(path).state == {}


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {}, 3, {"state_dict": 5}])
def test_a_file_without_a_table_of_weights(tmp_path: Path, content: object) -> None:
    path = tmp_path / "m.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="holds no table of weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"m{suffix}"
    state = {f"layer{i}.weight": torch.full((50, 10), float(i)) for i in range(5)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b".", b"0.", b"hello", b"\x80\x02U\xff", b"\x80\x04\x95"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_files_of_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_damaged_bytes_never_end_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"a": torch.zeros(3, 4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused > 20


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("how", ["torch", "old torch", "pickle"])
def test_code_in_a_file_is_never_run(tmp_path: Path, suffix: str, how: str) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / f"segformer_b0{suffix}"
    content = {"state_dict": {"a": torch.zeros(2)}, "meta": Payload(victim)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
        pickle.loads(path.read_bytes())
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
        torch.load(path, weights_only=False)
    # the payload works where it is let
    victim.unlink()
    with pytest.raises(CheckpointError, match="is not loaded, since it could run code"):
        read_checkpoint(path)
    assert not victim.exists()


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="cannot read checkpoint"):
            read_checkpoint(path)


def test_find_checkpoints_lists_networks_in_the_order_of_the_zoo(tmp_path: Path) -> None:
    for name in ("dlv3p_r50.pth", "segformer_b1.pt", "segformer_b1.pth", "unet.pth", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "segformer_b2.pth").mkdir()
    assert find_checkpoints(tmp_path) == ["segformer_b1", "dlv3p_r50"]
    assert find_checkpoints(tmp_path / "none") == []


def test_metadata_is_readable_without_robustseg(b0: SegmentationModel, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, "segformer_b0", b0, {})
    with safe_open(path, framework="pt") as stream:
        assert stream.metadata()["model"] == "segformer_b0"
        assert set(stream.keys()) == set(b0.state_dict())


def test_a_full_disk_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    path = tmp_path / "segformer_b0.safetensors"
    with pytest.raises(OSError, match="No space left") as caught:
        save_checkpoint(path, "segformer_b0", create_model("segformer_b0"), {})
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []

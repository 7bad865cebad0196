from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from robustseg.errors import CheckpointError, NameLookupError, SettingError
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.checkpoints import (
    Checkpoint,
    initialise,
    load_encoder,
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


def own(state: dict[str, Tensor], model: str, **card: str) -> Checkpoint:
    return checkpoint_of(state, format="robustseg-1", model=model, **card)


def refusal(
    checkpoint: Checkpoint,
    name: str | None = None,
    num_classes: int | None = None,
    output_stride: int | None = None,
) -> str:
    with torch.device("meta"), pytest.raises(CheckpointError) as caught:
        load_model(checkpoint, name, num_classes, output_stride)
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
    for source in (path, str(path), checkpoint):
        model = load_model(source)
        assert not model.training
        assert model.name == "segformer_b0"
        with torch.no_grad():
            assert torch.equal(model.logits(x), b0.logits(x))


def test_the_card_cannot_change_what_the_network_is(b0: SegmentationModel, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, "segformer_b0", b0, {"model": "segformer_b5", "format": "pt"})
    assert load_model(path).name == "segformer_b0"


def test_loading_leaves_the_random_numbers_alone(b0: SegmentationModel, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, "segformer_b0", b0, {})
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_model(path)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("stride", [8, 16])
def test_the_output_stride_is_kept(tmp_path: Path, stride: int) -> None:
    path = tmp_path / "m.safetensors"
    model = create_model("dlv3p_mbv2", output_stride=stride).eval()
    save_checkpoint(path, "dlv3p_mbv2", model, {})
    loaded = load_model(path, "dlv3p_mbv2")
    x = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    side = {8: 9, 16: 5}[stride]
    with torch.no_grad():
        assert loaded.stages(x)[-1].shape == (1, 320, side, side)
        assert torch.equal(loaded.logits(x), model.logits(x))


@pytest.mark.parametrize(
    ("name", "asked", "given", "found"),
    [
        ("dlv3p_mbv2", None, None, 16),
        ("dlv3p_mbv2@smp", None, 8, 8),
        ("dlv3p_mbv2@mmseg", None, None, 8),
        ("dlv3p_r101@mmseg", "dlv3p_r101_os16@mmseg", None, 16),
        ("dlv3p_r101_os16@mmseg", None, None, 16),
        ("dlv3p_r101_os16@mmseg", "dlv3p_r101@mmseg", None, 8),
    ],
)
def test_the_output_stride_is_that_of_the_variant_unless_it_is_given(
    name: str, asked: str | None, given: int | None, found: int
) -> None:
    with torch.device("meta"):
        model = load_model(own(meta_state(name), name), asked, None, given)
    assert getattr(model, "output_stride", None) == found
    assert model.name == (asked or name)


def test_an_output_stride_of_another_variant_is_not_taken_over() -> None:
    # the card's 8 belongs to the variant on the card
    checkpoint = own(meta_state("dlv3p_r101@mmseg"), "dlv3p_r101@mmseg", output_stride="8")
    with torch.device("meta"):
        model = load_model(checkpoint, "dlv3p_r101_os16@mmseg")
    assert getattr(model, "output_stride", None) == 16


def test_an_impossible_output_stride_is_refused() -> None:
    checkpoint = own(meta_state("dlv3p_mbv2"), "dlv3p_mbv2")
    with torch.device("meta"), pytest.raises(SettingError, match="must be 16 or 8, found 32"):
        load_model(checkpoint, output_stride=32)


def test_a_failed_save_leaves_the_old_file(b0: SegmentationModel, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        save_checkpoint(path, "segformer_b0", b0, {"step": 3})  # type: ignore[dict-item]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_another_network_on_the_card() -> None:
    checkpoint = own(meta_state("segformer_b0"), "segformer_b1")
    message = refusal(checkpoint, "segformer_b0")
    assert "holds segformer_b1, not segformer_b0: it is a file of SegFormer-B1 from" in message


def test_a_card_that_does_not_tell_the_truth() -> None:
    checkpoint = own(meta_state("segformer_b1"), "segformer_b0")
    assert "does not fit segformer_b0" in refusal(checkpoint, "segformer_b0")


def test_a_card_of_a_later_version() -> None:
    checkpoint = checkpoint_of(meta_state("segformer_b0"), format="robustseg-2")
    assert "update robustseg" in refusal(checkpoint)


@pytest.mark.parametrize("name", ["segformer_b9", "", "../segformer_b0"])
def test_an_unknown_network_on_the_card(name: str) -> None:
    assert "unknown model" in refusal(own(meta_state("segformer_b0"), name))


def test_an_unknown_network_asked_for() -> None:
    with pytest.raises(NameLookupError, match="unknown model 'segformer_b9'"):
        load_model(own(meta_state("segformer_b0"), "segformer_b0"), "segformer_b9")


@pytest.mark.parametrize("stride", ["32", "", "eight"])
def test_a_senseless_output_stride_on_the_card(stride: str) -> None:
    checkpoint = own(meta_state("dlv3p_mbv2"), "dlv3p_mbv2", output_stride=stride)
    assert f"output stride {stride!r}" in refusal(checkpoint, "dlv3p_mbv2")


@pytest.mark.parametrize(
    ("count", "data"),
    [(150, ": ADE20K"), (172, ": COCO-Stuff"), (21, ": Pascal VOC"), (7, "")],
)
def test_files_of_other_classes(count: int, data: str) -> None:
    checkpoint = checkpoint_of(meta_state("segformer_b0", count))
    message = refusal(checkpoint, "segformer_b0", 19)
    assert message.endswith(f"holds segformer_b0 of {count} classes{data}; 19 are needed")
    with torch.device("meta"):
        assert load_model(checkpoint).num_classes == count


@pytest.mark.parametrize("other", ["segformer_b1", "segformer_b2", "segformer_b5"])
def test_weights_of_another_size_are_recognised(other: str) -> None:
    message = refusal(checkpoint_of(meta_state(other)), "segformer_b0")
    assert f"holds {other}, not segformer_b0" in message


def test_weights_of_another_architecture() -> None:
    message = refusal(checkpoint_of(meta_state("dlv3p_r50")), "segformer_b0")
    assert "holds dlv3p_r50, not segformer_b0" in message


def test_missing_unexpected_and_misshapen_weights_are_named() -> None:
    state = meta_state("segformer_b0")
    del state["decode_head.linear_pred.bias"]
    state["decode_head.linear_c9.proj.bias"] = torch.zeros(1)
    state["backbone.norm3.bias"] = torch.zeros(7)
    message = refusal(checkpoint_of(state))
    assert "1 missing (such as decode_head.linear_pred.bias)" in message
    assert "1 unexpected (such as decode_head.linear_c9.proj.bias)" in message
    assert "1 of another shape (such as backbone.norm3.bias (7,) instead of (160,))" in message


def test_files_of_early_versions_of_torch_have_no_counters(b0: SegmentationModel) -> None:
    state = {k: v for k, v in b0.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(b0.state_dict())
    assert load_model(checkpoint_of(state)).num_classes == 19


def test_a_released_file_with_parts_that_are_never_used(
    b0: SegmentationModel, x: Tensor, tmp_path: Path
) -> None:
    state = dict(b0.state_dict())
    state["decode_head.conv_seg.weight"] = torch.zeros(19, 128, 1, 1)
    state["decode_head.conv_seg.bias"] = torch.zeros(19)
    state["auxiliary_head.conv_seg.bias"] = torch.zeros(19)
    torch.save({"state_dict": state, "meta": {"epoch": 3}}, tmp_path / "released.pth")
    model = load_model(tmp_path / "released.pth", "segformer_b0", 19)
    with torch.no_grad():
        assert torch.equal(model.logits(x), b0.logits(x))


def test_a_network_can_start_from_another_variant_of_the_same_weights(
    b0: SegmentationModel,
) -> None:
    model = create_model("segformer_b0@smp")
    notice = initialise(model, own(b0.state_dict(), "segformer_b0"))
    assert (model.name, notice) == ("segformer_b0@smp", "")
    for name, value in b0.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert "no commercial use" in initialise(model, checkpoint_of(b0.state_dict()))


def test_a_network_cannot_start_from_a_variant_with_another_head() -> None:
    with torch.device("meta"):
        model = create_model("dlv3p_r50")
        other = own(meta_state("dlv3p_r50@vainf"), "dlv3p_r50@vainf")
        with pytest.raises(CheckpointError, match="do not fit dlv3p_r50: build dlv3p_r50@vainf"):
            initialise(model, other)
        load_encoder(model, other)


def test_a_network_cannot_start_from_other_classes() -> None:
    with torch.device("meta"):
        model = create_model("segformer_b0")
        with pytest.raises(CheckpointError, match="150 classes: ADE20K; 19 are needed"):
            initialise(model, checkpoint_of(meta_state("segformer_b0", 150)))


def test_an_encoder_leaves_the_head_as_it_is(b0: SegmentationModel) -> None:
    encoder = {
        k.removeprefix("backbone."): v.clone()
        for k, v in b0.state_dict().items()
        if k.startswith("backbone.")
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = create_model("segformer_b0")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    initialise(model, checkpoint_of({**encoder, "head.weight": torch.zeros(1000, 256)}))
    for name, value in model.state_dict().items():
        source = b0.state_dict() if name.startswith("backbone.") else before
        assert torch.equal(value, source[name])


def test_an_encoder_of_another_size() -> None:
    state = {k: v for k, v in meta_state("segformer_b1").items() if k.startswith("backbone.")}
    with torch.device("meta"), pytest.raises(CheckpointError) as caught:
        load_encoder(create_model("segformer_b0"), checkpoint_of(state))
    assert "does not fit the encoder of segformer_b0" in str(caught.value)


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


@pytest.mark.parametrize(
    "name",
    ["decode_head.linear_pred.weight", "backbone.patch_embed1.proj.weight", "backbone.norm1.bias"],
)
def test_a_single_number_in_place_of_a_weight(b0: SegmentationModel, name: str) -> None:
    state = {**b0.state_dict(), name: torch.tensor(3.0)}
    with pytest.raises(CheckpointError):
        load_model(checkpoint_of(state), "segformer_b0")

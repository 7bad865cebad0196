"""The other code bases' own networks, saved to disk and loaded here, give the same logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from robustseg.errors import CheckpointError
from robustseg.models.build import create_model
from robustseg.models.checkpoints import (
    initialise,
    load_encoder,
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from robustseg.models.conversion import convert_checkpoint
from robustseg.models.folding import prepare_for_inference
from robustseg.models.rates import set_pyramid_rates

Peer: TypeAlias = Any
"""A network of a package that may be missing, and then has no types."""

SIZES = [(128, 192), (97, 131)]


def image(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))


def shake(model: Peer) -> Peer:
    """Give norms and biases numbers too, which start at 0 and 1."""
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=stream)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape, generator=stream), alpha=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def hugging_face() -> Callable[..., Peer]:
    transformers = pytest.importorskip("transformers")

    def make(size: str = "b0", classes: int = 19, kind: str = "SemanticSegmentation") -> Peer:
        more = {}
        if size == "b2":
            more = {
                "depths": [3, 4, 6, 3],
                "hidden_sizes": [64, 128, 320, 512],
                "decoder_hidden_size": 768,
            }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = transformers.SegformerConfig(num_labels=classes, **more)
            return shake(getattr(transformers, f"SegformerFor{kind}")(config))

    return make


@pytest.fixture(scope="module")
def smp() -> Callable[..., Peer]:
    package = pytest.importorskip("segmentation_models_pytorch")

    def make(kind: str, encoder: str, **more: object) -> Peer:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = getattr(package, kind)(
                encoder_name=encoder, encoder_weights=None, classes=19, **more
            )
            return shake(made)

    return make


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    assert torch.equal(found.argmax(1), wanted.argmax(1))


@pytest.mark.parametrize(
    ("form", "size"),
    [
        ("folder", "b0"),
        ("folder", "b2"),
        ("shards", "b0"),
        ("memory.pth", "b0"),
        ("memory.safetensors", "b0"),
    ],
)
def test_hugging_face(
    hugging_face: Callable[..., Peer], tmp_path: Path, size: str, form: str
) -> None:
    peer = hugging_face(size)
    path = tmp_path / form
    if form == "memory.pth":
        torch.save(peer.state_dict(), path)
    elif form == "memory.safetensors":
        save_file({k: v.contiguous() for k, v in peer.state_dict().items()}, path)
    else:
        peer.save_pretrained(path, max_shard_size="5MB" if form == "shards" else "5GB")
    assert (path / "model.safetensors.index.json").exists() == (form == "shards")
    model = load_model(path)
    assert model.name == f"segformer_{size}@hf"
    with torch.no_grad():
        for height, width in SIZES:
            x = image(height, width)
            assert_same(model.logits(x), peer(x).logits)


def test_classifier_of_hugging_face_gives_its_encoder(
    hugging_face: Callable[..., Peer], tmp_path: Path
) -> None:
    peer = hugging_face(classes=1000, kind="ImageClassification")
    peer.save_pretrained(tmp_path / "mit-b0")
    with pytest.raises(CheckpointError, match="an encoder of segformer_b0 without a head"):
        load_model(tmp_path / "mit-b0")
    model = create_model("segformer_b0@hf").eval()
    load_encoder(model, read_checkpoint(tmp_path / "mit-b0"))
    with torch.no_grad():
        x = image(97, 131)
        wanted = peer.segformer(x, output_hidden_states=True).hidden_states
        for found, feature in zip(model.stages(x), wanted, strict=True):
            torch.testing.assert_close(found, feature, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_segformer_of_smp(smp: Callable[..., Peer], tmp_path: Path, suffix: str) -> None:
    peer = smp("Segformer", "mit_b0")
    path = tmp_path / f"given{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in peer.state_dict().items()}}, path)
    else:
        save_file(peer.state_dict(), path)
    model = load_model(path)
    assert model.name == "segformer_b0@smp"
    with torch.no_grad():
        x = image(128, 192)
        assert_same(model(x), peer(x))


@pytest.mark.parametrize(
    ("encoder", "name", "stride"),
    [
        ("tu-mobilenetv2_100", "dlv3p_mbv2", 16),
        ("tu-mobilenetv2_100", "dlv3p_mbv2", 8),
        ("tu-resnet50", "dlv3p_r50", 16),
    ],
)
def test_deeplab_of_smp(
    smp: Callable[..., Peer], tmp_path: Path, encoder: str, name: str, stride: int
) -> None:
    peer = smp("DeepLabV3Plus", encoder, encoder_output_stride=stride)
    torch.save(peer.state_dict(), tmp_path / "given.bin")
    model = load_model(tmp_path / "given.bin", name, output_stride=stride)
    assert model.name == f"{name}@smp"
    with torch.no_grad():
        x = image(128, 192)
        assert_same(model(x), peer(x))


def test_folder_of_smp_says_its_output_stride(smp: Callable[..., Peer], tmp_path: Path) -> None:
    peer = smp("DeepLabV3Plus", "tu-mobilenetv2_100", encoder_output_stride=8)
    peer.save_pretrained(tmp_path / "given")
    model = load_model(tmp_path / "given")
    with torch.no_grad():
        x = image(128, 192)
        assert_same(model(x), peer(x))


@pytest.mark.parametrize("stride", [16, 8])
def test_folder_of_smp_says_its_rates(
    smp: Callable[..., Peer], tmp_path: Path, stride: int
) -> None:
    options = {"encoder_output_stride": stride, "decoder_atrous_rates": (6, 3, 1)}
    peer = smp("DeepLabV3Plus", "tu-mobilenetv2_100", **options)
    peer.save_pretrained(tmp_path / "given")
    own, again = tmp_path / "own.safetensors", tmp_path / "again.safetensors"
    convert_checkpoint(tmp_path / "given", own)
    convert_checkpoint(own, again)
    with torch.no_grad():
        x = image(256, 320)
        wanted = peer(x)
        for path in (tmp_path / "given", own, again):
            model = load_model(path)
            assert_same(model(x), wanted)
            assert_same(prepare_for_inference(model)(x), wanted)
        # what the rates change is far above the tolerance
        set_pyramid_rates(model, (12, 24, 36))
        with pytest.raises(AssertionError):
            assert_same(model(x), wanted)


def test_training_does_not_start_from_a_pyramid_of_other_rates(tmp_path: Path) -> None:
    model = create_model("dlv3p_mbv2")
    set_pyramid_rates(model, (12, 24, 36))
    save_checkpoint(tmp_path / "given.safetensors", "dlv3p_mbv2", model, {})
    checkpoint = read_checkpoint(tmp_path / "given.safetensors")
    with pytest.raises(
        CheckpointError, match=r"rates \[12, 24, 36\], dlv3p_mbv2 has \[6, 12, 18\]"
    ):
        initialise(create_model("dlv3p_mbv2"), checkpoint)


@pytest.mark.parametrize("encoder", ["resnet50", "mobilenet_v2"])
def test_own_encoders_of_smp_are_refused(
    smp: Callable[..., Peer], tmp_path: Path, encoder: str
) -> None:
    torch.save(smp("DeepLabV3Plus", encoder).state_dict(), tmp_path / "given.pth")
    with pytest.raises(CheckpointError, match="not the same network, only its tu- encoders"):
        load_model(tmp_path / "given.pth")


@pytest.mark.parametrize("kind", ["DeepLabV3", "Unet"])
def test_other_networks_of_smp_are_refused(
    smp: Callable[..., Peer], tmp_path: Path, kind: str
) -> None:
    reason = {"DeepLabV3": "DeepLabv3 without the plus", "Unet": "another decoder of"}[kind]
    encoder = {"DeepLabV3": "tu-resnet50", "Unet": "mit_b0"}[kind]
    torch.save(smp(kind, encoder).state_dict(), tmp_path / "given.pth")
    with pytest.raises(CheckpointError, match=reason):
        load_model(tmp_path / "given.pth")

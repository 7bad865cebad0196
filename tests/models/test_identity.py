from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustseg.errors import CheckpointError
from robustseg.models.build import create_model
from robustseg.models.checkpoints import load_model, save_checkpoint
from robustseg.models.families.naming import interchangeable
from robustseg.models.identity import NOTICE, identify, identify_all, is_encoder
from robustseg.models.reading import Checkpoint
from robustseg.models.zoo import MODELS, VARIANTS


def meta_state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return create_model(name).state_dict()


def foreign(names: list[str], **config: object) -> Checkpoint:
    """Make a file that holds nothing but parameters of these names."""
    state = {name: torch.zeros(1) for name in names}
    return Checkpoint(Path("given.pth"), "0" * 64, state, {}, config)


def own(name: str, **card: str) -> Checkpoint:
    facts = {"format": "robustseg-1", "model": name, **card}
    return Checkpoint(Path("given.safetensors"), "0" * 64, meta_state(name), facts)


@pytest.mark.parametrize("name", [*MODELS, *VARIANTS])
def test_names_for_which_the_same_weights_serve(name: str) -> None:
    kin = {other for other in (*MODELS, *VARIANTS) if interchangeable(name, other)}
    bare, _, variant = name.partition("@")
    if name.startswith("segformer") and variant != "mmseg":
        assert kin == {bare, f"{bare}@hf", f"{bare}@smp"}
    elif name in ("dlv3p_r101@mmseg", "dlv3p_r101_os16@mmseg"):
        assert kin == {"dlv3p_r101@mmseg", "dlv3p_r101_os16@mmseg"}
    else:
        assert kin == {name}


@pytest.mark.parametrize(
    ("found", "asked", "name"),
    [
        ("segformer_b0@hf", None, "segformer_b0@hf"),
        ("segformer_b0@hf", "segformer_b0", "segformer_b0@hf"),
        ("segformer_b0@hf", "segformer_b0@hf", "segformer_b0@hf"),
        ("segformer_b0@hf", "segformer_b0@smp", "segformer_b0@smp"),
        ("segformer_b0", "segformer_b0@hf", "segformer_b0@hf"),
        ("segformer_b0@mmseg", "segformer_b0", "segformer_b0@mmseg"),
        ("segformer_b0@mmseg", "segformer_b0@hf", None),
        ("segformer_b0@hf", "segformer_b0@mmseg", None),
        ("segformer_b0@hf", "segformer_b1", None),
        ("dlv3p_r50@vainf", "dlv3p_r50", "dlv3p_r50@vainf"),
        ("dlv3p_r50@vainf", "dlv3p_r50@smp", None),
        ("dlv3p_r50b@mmseg", "dlv3p_r50@mmseg", None),
        ("dlv3p_r101@mmseg", "dlv3p_r101_os16@mmseg", "dlv3p_r101_os16@mmseg"),
    ],
)
def test_what_is_asked_for_and_what_is_found(found: str, asked: str, name: str | None) -> None:
    if name is not None:
        assert identify(own(found), asked).name == name
        return
    with pytest.raises(CheckpointError, match=f"holds {found}, not {asked}"):
        identify(own(found), asked)


def test_own_names_without_a_card_do_not_tell_the_variant() -> None:
    checkpoint = Checkpoint(Path("given.pth"), "0" * 64, meta_state("dlv3p_r50@vainf"), {})
    assert identify(checkpoint, "dlv3p_r50@vainf").name == "dlv3p_r50@vainf"
    with torch.device("meta"):
        assert load_model(checkpoint, "dlv3p_r50@vainf").name == "dlv3p_r50@vainf"
        with pytest.raises(CheckpointError, match="does not fit dlv3p_r50@smp"):
            load_model(checkpoint, "dlv3p_r50@smp")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["base_model.model.decode_head.lora_A.default.weight"], "a LoRA"),
        (["encoder.conv1.weight", "decoder.aspp.0.convs.0.0.weight"], "not the same network"),
        (["encoder.features.0.0.weight", "decoder.aspp.0.convs.0.0.weight"], "only its tu-"),
        (["backbone.conv1.weight", "classifier.0.convs.0.0.weight"], "without the plus"),
        (["classifier.classifier.0.convs.0.0.weight"], "DeepLabv3 without the plus"),
        (["decode_head.aspp_modules.0.conv.weight"], "it has no low-level branch"),
        (["sem_seg_head.predictor.weight"], "a network of detectron2"),
        (["decode_head.conv_seg.weight"], "another network of mmsegmentation"),
        (["some.thing"], "its 1 parameters have names such as some.thing"),
    ],
)
def test_networks_that_the_zoo_does_not_have(names: list[str], reason: str) -> None:
    with pytest.raises(CheckpointError, match=r"given\.pth holds no network of the zoo") as caught:
        identify(foreign(names), "segformer_b0")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [{"model_type": "upernet"}, {"_model_class": "upernet"}])
def test_a_config_says_what_the_names_do_not(config: dict[str, str]) -> None:
    with pytest.raises(CheckpointError, match=r"its config\.json says upernet"):
        identify(foreign(["some.thing"], **config))


@pytest.mark.parametrize("rates", ["6 12", "6 12 x", "6 12 0", "6 12 18 24", "6 12 99999999"])
def test_rates_that_are_none(rates: str) -> None:
    with pytest.raises(CheckpointError, match="three from 1 to 1024 are needed"):
        identify(own("dlv3p_mbv2", output_stride="16", atrous_rates=rates))


def test_rates_of_the_form_need_no_word() -> None:
    found = identify(own("dlv3p_mbv2", output_stride="8", atrous_rates="12 24 36"))
    assert (found.output_stride, found.rates) == (8, ())
    found = identify(own("dlv3p_mbv2", output_stride="16", atrous_rates="12 24 36"))
    assert (found.output_stride, found.rates) == (16, (12, 24, 36))


def test_a_mix_transformer_of_unknown_size() -> None:
    state = meta_state("segformer_b0")
    state["backbone.block2.2.norm1.weight"] = torch.zeros(64)
    with pytest.raises(CheckpointError, match="holds no network of the zoo"):
        identify(Checkpoint(Path("given.pth"), "0" * 64, state, {}))


def test_the_licence_follows_the_weights_of_segformers_authors() -> None:
    foreign_file = Checkpoint(Path("given.pth"), "0" * 64, meta_state("segformer_b0"), {})
    assert identify(foreign_file).notice == NOTICE
    assert identify(own("segformer_b0")).notice == ""
    assert identify(own("segformer_b0@hf", licence=NOTICE)).notice == NOTICE
    deeplab = Checkpoint(Path("given.pth"), "0" * 64, meta_state("dlv3p_mbv2"), {})
    assert identify(deeplab).notice == ""


@pytest.mark.parametrize("name", ["segformer_b0", "dlv3p_mbv2@vainf", "segformer_b0@mmseg"])
def test_whole_networks_are_told_from_encoders(name: str) -> None:
    state = meta_state(name)
    checkpoint = Checkpoint(Path("given.pth"), "0" * 64, state, {})
    assert not is_encoder(checkpoint)
    encoder = {k: v for k, v in state.items() if k.startswith("backbone.")}
    assert is_encoder(Checkpoint(Path("given.pth"), "0" * 64, encoder, {}))


def test_several_files_by_the_names_that_they_have(tmp_path: Path) -> None:
    for name in ("segformer_b0", "dlv3p_mbv2@vainf"):
        save_checkpoint(tmp_path / f"{name}.safetensors", name, create_model(name), {})
    paths = {
        "dlv3p_mbv2": tmp_path / "dlv3p_mbv2@vainf.safetensors",
        "segformer_b0@hf": tmp_path / "segformer_b0.safetensors",
        "segformer_b0": tmp_path / "segformer_b0.safetensors",
    }
    assert list(identify_all(paths)) == ["dlv3p_mbv2@vainf", "segformer_b0@hf", "segformer_b0"]
    paths["dlv3p_mbv2@vainf"] = paths["dlv3p_mbv2"]
    with pytest.raises(CheckpointError, match="both hold dlv3p_mbv2@vainf: ask for one"):
        identify_all(paths)

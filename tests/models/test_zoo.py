from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from robustseg.engine.profiling import count_macs, count_parameters
from robustseg.errors import NameLookupError, SettingError
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.zoo import (
    DEEPLAB_SPECS,
    MODELS,
    SEGFORMER_SPECS,
    get_spec,
    select_models,
)

SEGFORMER_PARAMETERS = {
    "segformer_b0": 3_719_027,
    "segformer_b1": 13_682_131,
    "segformer_b2": 27_361_235,
    "segformer_b3": 47_237_075,
    "segformer_b4": 64_007_635,
    "segformer_b5": 84_607_955,
}
# with 150 classes, as on ADE20K
SEGFORMER_PARAMETERS_150 = {"segformer_b0": 3_752_694, "segformer_b2": 27_461_974}
DEEPLAB_MILLIONS = {
    "dlv3p_mbv2": 2.719,
    "dlv3p_r50": 26.696,
    "dlv3p_r101": 45.688,
    "dlv3p_x41": 28.108,
    "dlv3p_x65": 41.055,
    "dlv3p_x71": 43.477,
}
GMACS = {
    "segformer_b0": 120.96,
    "segformer_b2": 703.49,
    "segformer_b5": 1446.37,
    "dlv3p_mbv2": 44.7,
    "dlv3p_r50": 301.4,
    "dlv3p_r101": 456.6,
    "dlv3p_x41": 304.7,
    "dlv3p_x65": 410.2,
    "dlv3p_x71": 503.9,
}


def on_meta(name: str, num_classes: int = 19, output_stride: int = 16) -> SegmentationModel:
    with torch.device("meta"):
        return create_model(name, num_classes, output_stride)


@pytest.mark.parametrize("name", SEGFORMER_PARAMETERS)
def test_parameters_of_segformer(name: str) -> None:
    assert count_parameters(on_meta(name)) == SEGFORMER_PARAMETERS[name]


@pytest.mark.parametrize("name", SEGFORMER_PARAMETERS_150)
def test_parameters_of_segformer_with_150_classes(name: str) -> None:
    assert count_parameters(on_meta(name, 150)) == SEGFORMER_PARAMETERS_150[name]


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("name", DEEPLAB_MILLIONS)
def test_parameters_of_deeplab(name: str, output_stride: int) -> None:
    count = count_parameters(on_meta(name, output_stride=output_stride))
    assert round(count / 1e6, 3) == DEEPLAB_MILLIONS[name]


@pytest.mark.parametrize("name", GMACS)
def test_multiply_accumulates(name: str) -> None:
    model = on_meta(name)
    assert model.training
    assert count_macs(model, 1024, 2048) / 1e9 == pytest.approx(GMACS[name], rel=0.005)
    assert model.training


def test_lists_cover_the_six_sizes_and_six_backbones() -> None:
    assert list(SEGFORMER_SPECS) == list(SEGFORMER_PARAMETERS)
    assert list(DEEPLAB_SPECS) == list(DEEPLAB_MILLIONS)
    assert list(MODELS) == [*SEGFORMER_PARAMETERS, *DEEPLAB_MILLIONS]
    assert len({get_spec(name).label for name in MODELS}) == 12


def test_normalisation_is_that_of_the_weights() -> None:
    for name in MODELS:
        given = get_spec(name).normalisation
        if "_x" in name:
            assert (given.mean, given.std) == ((127.5,) * 3, (127.5,) * 3)
        else:
            torch.testing.assert_close(
                torch.tensor([given.mean, given.std]) / 255,
                torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]),
                atol=1e-6,
                rtol=0,
            )


@pytest.mark.parametrize("name", ["segformer_b0", "dlv3p_x41"])
def test_normalise_works_channel_by_channel(name: str) -> None:
    model = on_meta(name)
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    found = model.normalise(images)
    assert found.dtype == torch.float32
    mean, std = get_spec(name).normalisation.mean, get_spec(name).normalisation.std
    for c in range(3):
        torch.testing.assert_close(found[:, c], (images[:, c].float() - mean[c]) / std[c])


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("segformer_b55", "segformer_b5"),
        ("SegFormer_B5", "segformer_b5"),
        ("segformer-b2", "segformer_b2"),
        ("dlv3_r101", "dlv3p_r101"),
        ("deeplabv3_plus", "deeplabv3plus"),
    ],
)
def test_typos_are_answered_with_suggestions(typo: str, meant: str) -> None:
    with pytest.raises(NameLookupError, match=rf"unknown model '{typo}': did you mean .*{meant}"):
        select_models([typo])


def test_an_unknown_name_cannot_be_built() -> None:
    with pytest.raises(NameLookupError, match="did you mean dlv3p_r101"):
        create_model("dlv3p_r1001")
    with pytest.raises(NameLookupError, match="unknown model"):
        get_spec("unet")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["all"], [*SEGFORMER_PARAMETERS, *DEEPLAB_MILLIONS]),
        (["segformer"], list(SEGFORMER_PARAMETERS)),
        (["deeplabv3plus"], list(DEEPLAB_MILLIONS)),
        (["segformer_*"], list(SEGFORMER_PARAMETERS)),
        (["dlv3p_x*", "segformer_b0"], ["dlv3p_x41", "dlv3p_x65", "dlv3p_x71", "segformer_b0"]),
        (["*_b[45]"], ["segformer_b4", "segformer_b5"]),
        (["dlv3p_r50", "dlv3p_r*"], ["dlv3p_r50", "dlv3p_r101"]),
    ],
)
def test_groups_and_patterns(wanted: list[str], chosen: list[str]) -> None:
    assert select_models(wanted) == chosen


@pytest.mark.parametrize("output_stride", [32, 4, 0])
def test_output_strides_other_than_16_and_8_are_refused(output_stride: int) -> None:
    with pytest.raises(SettingError, match=f"must be 16 or 8, found {output_stride}"):
        create_model("dlv3p_mbv2", output_stride=output_stride)


@pytest.mark.parametrize("name", ["segformer_b0", "dlv3p_mbv2"])
def test_number_of_classes(name: str) -> None:
    model = on_meta(name, 7)
    assert model.num_classes == 7
    assert model.eval()(torch.empty(1, 3, 64, 96, device="meta")).shape == (1, 7, 64, 96)


@pytest.mark.parametrize("name", MODELS)
def test_head_and_backbone_share_the_parameters_out(name: str) -> None:
    model = on_meta(name)
    head = {id(p) for module in model.head_modules for p in module.parameters()}
    backbone = {id(p) for p in model.get_submodule("backbone").parameters()}
    assert not head & backbone
    assert head | backbone == {id(p) for p in model.parameters()}


def test_the_list_of_networks_is_at_hand_without_torch() -> None:
    code = "import sys, robustseg.models.zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

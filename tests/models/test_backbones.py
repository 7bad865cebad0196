from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.errors import SettingError
from robustseg.models.backbones import FeatureEncoder, XceptionEncoder, build_encoder
from robustseg.models.build import create_model
from robustseg.models.deeplabv3plus import DeepLabV3Plus
from robustseg.models.specs import SMP_FORM, DeepLabSpec
from robustseg.models.zoo import DEEPLAB_SPECS, get_spec

Scramble = Callable[[nn.Module], None]
Draw = Callable[..., Tensor]


def norm_by_hand(x: Tensor, state: dict[str, Tensor], name: str, eps: float) -> Tensor:
    keys = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (state[f"{name}.{key}"][:, None, None] for key in keys)
    return (x - mean) / torch.sqrt(var + eps) * weight + bias


def deeplab_spec(name: str) -> DeepLabSpec:
    spec = get_spec(name)
    assert isinstance(spec, DeepLabSpec)
    return spec


@pytest.mark.parametrize("output_stride", [32, 4, 17])
def test_other_output_strides_are_refused(output_stride: int) -> None:
    with pytest.raises(SettingError, match=f"output stride must be 16 or 8, found {output_stride}"):
        build_encoder(DEEPLAB_SPECS["dlv3p_mbv2"], output_stride)


@pytest.mark.parametrize("name", ["dlv3p_mbv2@mmseg", "dlv3p_mbv2@vainf", "dlv3p_x41@smp"])
def test_encoder_alone_gives_the_stages_of_the_network(
    name: str, scramble_norms: Scramble, random: Draw
) -> None:
    model = create_model(name).eval()
    scramble_norms(model)
    with torch.device("meta"):
        encoder = build_encoder(deeplab_spec(name)).eval()
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in model.state_dict().items() if prefix in k}
    encoder.load_state_dict(state, strict=True, assign=True)
    x = random(1, 3, 49, 65)
    with torch.no_grad():
        alone, stages = encoder(x), model.stages(x)
    assert len(alone) == 4
    assert [feature.shape[1] for feature in alone] == encoder.channels
    for found, wanted in zip(alone, stages, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["dlv3p_mbv2", "dlv3p_x71"])
def test_stride_8_refines_the_grid_of_stride_16(
    name: str, scramble_norms: Scramble, random: Draw
) -> None:
    """With the same weights, every second feature at stride 8 is the feature at stride 16."""
    coarse = build_encoder(DEEPLAB_SPECS[name], 16).eval()
    scramble_norms(coarse)
    with torch.device("meta"):
        fine = build_encoder(DEEPLAB_SPECS[name], 8).eval()
    fine.load_state_dict(coarse.state_dict(), strict=True, assign=True)
    x = random(1, 3, 33, 49)
    with torch.no_grad():
        wanted, found = coarse(x), fine(x)
    for stage in range(4):
        step = 1 if stage < 2 else 2
        part = found[stage][..., ::step, ::step]
        scale = float(wanted[stage].abs().max())
        assert scale > 0
        torch.testing.assert_close(part / scale, wanted[stage] / scale, rtol=0, atol=1e-4)


def relu_features(name: str, state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Run timm's own feature network, which taps after the ReLU."""
    with torch.device("meta"):
        body: Any = timm.create_model(name, features_only=True, output_stride=16).eval()
    renamed = {re.sub(r"^(stem|blocks)\.(\d+)", r"\1_\2", key): v for key, v in state.items()}
    body.load_state_dict(renamed, strict=True, assign=True)
    with torch.no_grad():
        found: list[Tensor] = body(x)
    return found


@pytest.mark.parametrize(("name", "index"), [("x41", 1), ("x65", 1), ("x71", 2)])
def test_xception_is_tapped_in_the_block_that_leaves_a_quarter(name: str, index: int) -> None:
    """Of the official code, these are blocks 2, 2 and 3 of the entry flow, counted from 1."""
    with torch.device("meta"):
        encoder = build_encoder(DEEPLAB_SPECS[f"dlv3p_{name}"], 16)
    assert isinstance(encoder, XceptionEncoder)
    assert min(encoder.tapped) == index
    assert len(encoder.tapped) == 3


def test_xception_is_tapped_before_the_relu(scramble_norms: Scramble, random: Draw) -> None:
    spec, index = DEEPLAB_SPECS["dlv3p_x41"], 1
    encoder = build_encoder(spec, 16).eval()
    assert isinstance(encoder, XceptionEncoder)
    scramble_norms(encoder)
    x = random(1, 3, 33, 33)
    with torch.no_grad():
        found = encoder(x)
        y = encoder.stem(x)
        for block in encoder.blocks[:index]:
            y = block(y)
        stack = encoder.blocks[index].get_submodule("stack")
        for half in ("1", "2"):
            y = separable_by_hand(y.clamp(min=0), stack.get_submodule(f"conv{half}"))
    assert found[0].shape == (1, 256, 9, 9)
    torch.testing.assert_close(found[0], y, rtol=1e-3, atol=1e-4)
    assert float(found[0].min()) < 0
    # timm's own taps are these after the ReLU
    features = relu_features(spec.backbone, encoder.state_dict(), x)[1:]
    for ours, theirs in zip(found[:3], features[:3], strict=True):
        assert float(ours.min()) < 0
        torch.testing.assert_close(ours.clamp(min=0), theirs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[3], features[3], rtol=1e-3, atol=1e-4)


def separable_by_hand(x: Tensor, conv: nn.Module) -> Tensor:
    """Depth-wise, norm, point-wise, norm: timm's separable convolution, without activations."""
    state = conv.state_dict()
    depthwise, pointwise = state["conv_dw.weight"], state["conv_pw.weight"]
    y = norm_by_hand(F.conv2d(x, depthwise, padding=1, groups=len(depthwise)), state, "bn_dw", 1e-3)
    return norm_by_hand(F.conv2d(y, pointwise), state, "bn_pw", 1e-3)


@pytest.mark.parametrize("name", ["dlv3p_x41", "dlv3p_x65", "dlv3p_x71"])
def test_xception_has_every_shortcut_at_stride_8(name: str) -> None:
    with torch.device("meta"):
        coarse, fine = (build_encoder(DEEPLAB_SPECS[name], stride) for stride in (16, 8))
    shapes = [{k: tuple(v.shape) for k, v in e.state_dict().items()} for e in (coarse, fine)]
    assert shapes[0] == shapes[1]
    for encoder, strided in ((coarse, 16), (fine, 8)):
        shortcuts = [m for n, m in encoder.named_modules() if n.endswith("shortcut.conv")]
        strides = [conv.stride[0] for conv in shortcuts if isinstance(conv, nn.Conv2d)]
        assert 2 * math.prod(strides) == strided
    if name == "dlv3p_x71":
        assert "blocks.4.shortcut.conv.weight" in shapes[1]


def test_xception71_exchanges_weights_between_strides() -> None:
    spec = DEEPLAB_SPECS["dlv3p_x71"]
    with torch.device("meta"):
        coarse, fine = (DeepLabV3Plus(spec, 19, stride) for stride in (16, 8))
    fine.load_state_dict(coarse.state_dict(), strict=True, assign=True)
    coarse.load_state_dict(fine.state_dict(), strict=True, assign=True)


def test_mobilenet_and_resnet_are_tapped_by_timm() -> None:
    for name in ("dlv3p_mbv2", "dlv3p_r50", "dlv3p_r101"):
        with torch.device("meta"):
            assert isinstance(build_encoder(DEEPLAB_SPECS[name], 16), FeatureEncoder)


def convs3x3(encoder: nn.Module) -> list[nn.Conv2d]:
    found = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    return [conv for conv in found if conv.kernel_size == (3, 3)]


@pytest.mark.parametrize(
    ("name", "output_stride", "rates"),
    [
        ("dlv3p_mbv2", 8, [1] * 8 + [2] * 7 + [4] * 3),
        ("dlv3p_mbv2@mmseg", 8, [1] * 7 + [2, 1, 1, 1, 2, 1, 1, 4, 1, 1, 4]),
        ("dlv3p_mbv2@mmseg", 16, [1] * 14 + [2, 1, 1, 2]),
        ("dlv3p_r101", 16, [1] * 31 + [2, 2]),
        ("dlv3p_r101_os16@mmseg", 16, [1] * 34 + [2, 4]),
    ],
)
def test_dilations(name: str, output_stride: int, rates: list[int]) -> None:
    with torch.device("meta"):
        encoder = build_encoder(deeplab_spec(name), output_stride).eval()
        sizes = [tuple(f.shape[2:]) for f in encoder(torch.empty(1, 3, 97, 131))]
    assert [conv.dilation for conv in convs3x3(encoder)] == [(rate, rate) for rate in rates]
    assert [conv.padding for conv in convs3x3(encoder)] == [(rate, rate) for rate in rates]
    last = {16: (7, 9), 8: (13, 17)}[output_stride]
    assert sizes == [(25, 33), (13, 17), last, last]


def mobilenet_by_hand(state: dict[str, Tensor], x: Tensor, rates: list[int]) -> list[Tensor]:
    """Run MobileNetV2 padding every block's input, and its stem's not; give all blocks' outputs."""

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int = 1, rate: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, dilation=rate, groups=groups)
        return norm_by_hand(x, state, norm, 1e-5)

    x = conv_norm(x, "body.conv_stem", "body.bn1", stride=2).clamp(0, 6)
    outputs = []
    blocks = sorted(
        {key.split(".conv_")[0] for key in state if ".blocks." in key and "conv" in key}
    )
    for block, rate in zip(blocks, rates, strict=True):
        # stages 1, 2, 3 and 5 have stride 2, of which the last is given up for rate 2
        strided = re.fullmatch(r"body\.blocks\.[123]\.0", block)
        stride = 2 if strided else 1
        y = F.pad(x, (rate,) * 4)
        names = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        if f"{block}.conv_pwl.weight" in state:
            names = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        for index, (conv, norm) in enumerate(names):
            at = (stride, rate) if conv == "conv_dw" else (1, 1)
            y = conv_norm(y, f"{block}.{conv}", f"{block}.{norm}", *at)
            y = y if index == len(names) - 1 else y.clamp(0, 6)
        x = x + y if x.shape == y.shape else y
        outputs.append(x)
    return outputs


def test_border_is_padded_before_the_expansion(scramble_norms: Scramble, random: Draw) -> None:
    spec = deeplab_spec("dlv3p_mbv2@vainf")
    encoder = build_encoder(spec).eval()
    scramble_norms(encoder)
    x = random(1, 3, 97, 131)
    with torch.no_grad():
        features = encoder(x)
        blocks = mobilenet_by_hand(encoder.state_dict(), x, [1] * 14 + [2] * 3)
    assert [tuple(f.shape[2:]) for f in features] == [(24, 33), (12, 17), (6, 9), (6, 9)]
    for found, index in zip(features, (2, 5, 12, 16), strict=True):
        wanted = blocks[index]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


def test_xception_is_tapped_after_the_relu_where_the_form_says_so(
    scramble_norms: Scramble, random: Draw
) -> None:
    spec = replace(DEEPLAB_SPECS["dlv3p_x41"], form=SMP_FORM)
    encoder = build_encoder(spec, 16).eval()
    scramble_norms(encoder)
    x = random(1, 3, 33, 33)
    with torch.no_grad():
        found = encoder(x)
    features = relu_features(spec.backbone, encoder.state_dict(), x)[1:]
    for ours, theirs in zip(found, features, strict=True):
        torch.testing.assert_close(ours, theirs)

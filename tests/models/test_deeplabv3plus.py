from __future__ import annotations

import math
import re
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.errors import SettingError
from robustseg.models.atrous import AtrousPyramid, Decoder, SeparableConv, resize
from robustseg.models.backbones import FeatureEncoder, XceptionEncoder, build_encoder
from robustseg.models.deeplabv3plus import DeepLabV3Plus
from robustseg.models.specs import TF_FORM
from robustseg.models.zoo import DEEPLAB_SPECS

CHANNELS = {
    "dlv3p_mbv2": [24, 32, 96, 320],
    "dlv3p_r50": [256, 512, 1024, 2048],
    "dlv3p_r101": [256, 512, 1024, 2048],
    "dlv3p_x41": [256, 728, 1024, 2048],
    "dlv3p_x65": [256, 728, 1024, 2048],
    "dlv3p_x71": [256, 728, 1024, 2048],
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scramble_norms(module: nn.Module, seed: int = 0) -> None:
    """Give batch norms statistics and factors that matter, and leave the signal's size alone."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            with torch.no_grad():
                for value in (norm.running_mean, norm.bias):
                    value.copy_(0.2 * torch.randn(value.shape, generator=generator))
                for value in (norm.running_var, norm.weight):
                    value.copy_(0.8 + 0.4 * torch.rand(value.shape, generator=generator))


def conv_bn_relu_by_hand(x: Tensor, layers: nn.Module) -> Tensor:
    assert isinstance(layers, nn.Sequential)
    conv, bn = layers[0], layers[1]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(bn, nn.BatchNorm2d)
    y = torch.einsum("nchw,oc->nohw", x, conv.weight[..., 0, 0])
    return batch_norm(y, bn).clamp(min=0)


def batch_norm(y: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return (y - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def dilated_depthwise_by_hand(x: Tensor, weight: Tensor, rate: int) -> Tensor:
    """Sum nine shifted copies of (N, C, H, W), zero outside."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (rate,) * 4)
    total = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            rows, columns = slice(i * rate, i * rate + height), slice(j * rate, j * rate + width)
            total += padded[..., rows, columns] * weight[:, 0, i, j][:, None, None]
    return total


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("name", CHANNELS)
def test_feature_shapes(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        model = DeepLabV3Plus(DEEPLAB_SPECS[name], 19, output_stride).eval()
        x = torch.empty(2, 3, 65, 97)
        stages, logits, output = model.stages(x), model.logits(x), model(x)
    # of odd sizes the larger half is kept: 65 becomes 33, 17, 9, 5
    sizes = [(17, 25), (9, 13), *[{16: (5, 7), 8: (9, 13)}[output_stride]] * 2]
    wanted = [(2, c, *size) for c, size in zip(CHANNELS[name], sizes, strict=True)]
    assert [tuple(stage.shape) for stage in stages] == wanted
    assert logits.shape == (2, 19, 17, 25)
    assert output.shape == (2, 19, 65, 97)


@pytest.mark.parametrize("output_stride", [32, 4, 17])
def test_other_output_strides_are_refused(output_stride: int) -> None:
    with pytest.raises(SettingError, match=f"output stride must be 16 or 8, found {output_stride}"):
        DeepLabV3Plus(DEEPLAB_SPECS["dlv3p_mbv2"], 19, output_stride)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
def test_pyramid_rates_belong_to_the_output_stride(
    output_stride: int, rates: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        model = DeepLabV3Plus(DEEPLAB_SPECS["dlv3p_mbv2"], 19, output_stride)
    convs = [m for m in model.pyramid.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [conv.dilation for conv in convs] == [(rate, rate) for rate in rates]
    assert [conv.padding for conv in convs] == [(rate, rate) for rate in rates]


@pytest.mark.parametrize("name", ["dlv3p_mbv2", "dlv3p_x71"])
def test_stride_8_refines_the_grid_of_stride_16(name: str) -> None:
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


@pytest.fixture
def pyramid() -> AtrousPyramid:
    pyramid = AtrousPyramid(6, (2, 3, 4), TF_FORM).eval()
    scramble_norms(pyramid, 1)
    return pyramid


def pyramid_parts(pyramid: AtrousPyramid, x: Tensor) -> list[Tensor]:
    """Compute the five branches by hand: image pooling, 1 x 1, three atrous."""
    branches = [*pyramid.branches]
    pooled = x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
    ones = torch.ones_like(x[:, :1])
    parts = [conv_bn_relu_by_hand(pooled, pyramid.pool) * ones]
    parts.append(conv_bn_relu_by_hand(x, branches[0]))
    for rate, branch in zip((2, 3, 4), branches[1:], strict=True):
        assert isinstance(branch, SeparableConv)
        depthwise, norm = branch.depthwise[0], branch.depthwise[1]
        assert isinstance(depthwise, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        y = dilated_depthwise_by_hand(x, depthwise.weight, rate)
        # there is a ReLU between the two halves of a split separable convolution
        parts.append(conv_bn_relu_by_hand(batch_norm(y, norm).clamp(min=0), branch.pointwise))
    return parts


def test_pyramid_joins_pooling_first_then_the_rates_in_order(pyramid: AtrousPyramid) -> None:
    x = random(2, 6, 9, 11)
    with torch.no_grad():
        parts = pyramid_parts(pyramid, x)
        wanted = conv_bn_relu_by_hand(torch.cat(parts, 1), pyramid.project)
        torch.testing.assert_close(pyramid(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slot", range(5))
def test_each_part_of_the_pyramid_has_its_columns(pyramid: AtrousPyramid, slot: int) -> None:
    x = random(1, 6, 9, 11)
    project = pyramid.project[0]
    assert isinstance(project, nn.Conv2d)
    columns = slice(256 * slot, 256 * slot + 256)
    with torch.no_grad():
        kept = project.weight[:, columns].clone()
        project.weight.zero_()
        project.weight[:, columns] = kept
        y = torch.einsum("nchw,oc->nohw", pyramid_parts(pyramid, x)[slot], kept[..., 0, 0])
        norm = pyramid.project[1]
        assert isinstance(norm, nn.BatchNorm2d)
        torch.testing.assert_close(
            pyramid(x), batch_norm(y, norm).clamp(min=0), rtol=1e-4, atol=1e-4
        )


def test_image_pooling_is_constant_over_space(pyramid: AtrousPyramid) -> None:
    project = pyramid.project[0]
    assert isinstance(project, nn.Conv2d)
    with torch.no_grad():
        project.weight[:, 256:] = 0
        y = pyramid(random(2, 6, 9, 11))
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])


def test_separable_conv_has_norm_and_relu_in_both_halves() -> None:
    kinds = [type(layer) for layer in SeparableConv(4, 8, 3).modules()]
    half = [nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [SeparableConv, *half, *half]


def test_decoder_joins_the_pyramid_first_then_the_low_level() -> None:
    decoder = Decoder(5, 19, TF_FORM).eval()
    scramble_norms(decoder, 2)
    pyramid, low = random(1, 256, 3, 4), random(1, 5, 9, 13)
    joined: list[Tensor] = []
    decoder.refine.register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0]))
    with torch.no_grad():
        logits = decoder(pyramid, low)
        wanted = conv_bn_relu_by_hand(low, decoder.low_level)
    assert joined[0].shape == (1, 256 + 48, 9, 13)
    torch.testing.assert_close(joined[0][:, 256:], wanted, rtol=1e-4, atol=1e-5)
    # aligned corners: the corners of the coarse grid are those of the fine one
    for rows, columns in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(joined[0][:, :256, rows, columns], pyramid[..., rows, columns])
    # 12 / 3 = 4: every fourth column meets a column of the coarse grid
    torch.testing.assert_close(joined[0][:, :256, ::4, ::4], pyramid, rtol=1e-4, atol=1e-5)
    assert logits.shape == (1, 19, 9, 13)


def test_resize_of_a_ramp_is_a_ramp_from_corner_to_corner() -> None:
    ramp = torch.linspace(-1, 1, 5)[:, None] + 10 * torch.linspace(0, 1, 4)
    fine = torch.linspace(-1, 1, 12)[:, None] + 10 * torch.linspace(0, 1, 31)
    found = resize(ramp[None, None], torch.Size([12, 31]), align_corners=True)[0, 0]
    torch.testing.assert_close(found, fine, rtol=1e-5, atol=1e-5)


def test_output_is_the_logits_resized_with_aligned_corners() -> None:
    model = DeepLabV3Plus(DEEPLAB_SPECS["dlv3p_mbv2"], 19).eval()
    scramble_norms(model, 3)
    x = random(1, 3, 33, 65)
    with torch.no_grad():
        logits, output = model.logits(x), model(x)
    # 33 = 4 * 8 + 1 and 65 = 4 * 16 + 1: every fourth pixel meets a logit
    torch.testing.assert_close(output[..., ::4, ::4], logits, rtol=1e-3, atol=1e-5)
    middle = (logits[..., :1, :-1] + logits[..., :1, 1:]) / 2
    torch.testing.assert_close(output[..., :1, 2::4], middle, rtol=1e-3, atol=1e-5)


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


def test_xception_is_tapped_before_the_relu() -> None:
    spec, index = DEEPLAB_SPECS["dlv3p_x41"], 1
    encoder = build_encoder(spec, 16).eval()
    assert isinstance(encoder, XceptionEncoder)
    scramble_norms(encoder, 4)
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
    depthwise, pointwise = conv.get_submodule("conv_dw"), conv.get_submodule("conv_pw")
    first, second = conv.get_submodule("bn_dw"), conv.get_submodule("bn_pw")
    assert isinstance(depthwise, nn.Conv2d)
    assert isinstance(pointwise, nn.Conv2d)
    assert isinstance(first, nn.BatchNorm2d)
    assert isinstance(second, nn.BatchNorm2d)
    assert depthwise.stride == (1, 1)
    y = batch_norm(dilated_depthwise_by_hand(x, depthwise.weight, 1), first)
    return batch_norm(torch.einsum("nchw,oc->nohw", y, pointwise.weight[..., 0, 0]), second)


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

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.engine.profiling import count_macs, count_parameters
from robustseg.errors import SettingError
from robustseg.models.atrous import AtrousDepthwise, AtrousPyramid, Decoder, SeparableConv, resize
from robustseg.models.build import create_model
from robustseg.models.deeplabv3plus import DeepLabV3Plus
from robustseg.models.specs import MMSEG_FORM, SMP_FORM, TF_FORM, VAINF_FORM, DeepLabForm
from robustseg.models.zoo import DEEPLAB_SPECS

CHANNELS = {
    "dlv3p_mbv2": [24, 32, 96, 320],
    "dlv3p_r50": [256, 512, 1024, 2048],
    "dlv3p_r101": [256, 512, 1024, 2048],
    "dlv3p_x41": [256, 728, 1024, 2048],
    "dlv3p_x65": [256, 728, 1024, 2048],
    "dlv3p_x71": [256, 728, 1024, 2048],
}


Scramble = Callable[[nn.Module], None]
Draw = Callable[..., Tensor]


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


@pytest.fixture
def pyramid(scramble_norms: Scramble) -> AtrousPyramid:
    pyramid = AtrousPyramid(6, (2, 3, 4), TF_FORM).eval()
    scramble_norms(pyramid)
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


def test_pyramid_joins_pooling_first_then_the_rates_in_order(
    pyramid: AtrousPyramid, random: Draw
) -> None:
    x = random(2, 6, 9, 11)
    with torch.no_grad():
        parts = pyramid_parts(pyramid, x)
        wanted = conv_bn_relu_by_hand(torch.cat(parts, 1), pyramid.project)
        torch.testing.assert_close(pyramid(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slot", range(5))
def test_each_part_of_the_pyramid_has_its_columns(
    pyramid: AtrousPyramid, random: Draw, slot: int
) -> None:
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


def test_image_pooling_is_constant_over_space(pyramid: AtrousPyramid, random: Draw) -> None:
    project = pyramid.project[0]
    assert isinstance(project, nn.Conv2d)
    with torch.no_grad():
        project.weight[:, 256:] = 0
        y = pyramid(random(2, 6, 9, 11))
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize("rate", [6, 7, 36])
def test_large_rates_are_the_convolution_however_computed(random: Draw, rate: int) -> None:
    """On grids smaller than the rate, larger, and not a multiple of it."""
    conv = AtrousDepthwise(5, rate).double()
    bias = random(5).double()
    for height, width in ((4, 29), (2 * rate, 3 * rate), (2 * rate + 1, 5 * rate - 1)):
        x = random(2, 5, height, width).double()
        wanted = dilated_depthwise_by_hand(x, conv.weight, rate)
        last = x.contiguous(memory_format=torch.channels_last)
        for found in (conv(x), conv(last)):  # with gradients
            torch.testing.assert_close(found, wanted)
        with torch.no_grad():
            torch.testing.assert_close(conv(last), wanted)
            for method in (conv.interlaced, conv.by_taps):
                found = method(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                torch.testing.assert_close(found, wanted)
            folded = copy.deepcopy(conv)
            folded.bias = nn.Parameter(bias)
            for method in (folded.interlaced, folded.by_taps):
                found = method(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                torch.testing.assert_close(found, wanted + bias[:, None, None])


@pytest.mark.parametrize("form", [TF_FORM, MMSEG_FORM, SMP_FORM, VAINF_FORM], ids=lambda f: f.text)
@pytest.mark.parametrize("rows", [1, 3, 50])
def test_the_decoder_in_bands_of_any_height_is_the_decoder(
    form: DeepLabForm,
    rows: int,
    scramble_norms: Scramble,
    random: Draw,
) -> None:
    decoder = Decoder(5, 7, replace(form, width=8)).eval()
    scramble_norms(decoder)
    decoder.double()
    pyramid, low = random(2, 8, 3, 4).double(), random(2, 5, 9, 13).double()
    wanted = decoder(pyramid, low)  # with gradients, in one piece
    cut: list[int] = []
    decoder.low_level.register_forward_pre_hook(lambda _, inputs: cut.append(inputs[0].shape[2]))
    with torch.no_grad():
        found = decoder.by_bands(pyramid, low, band_bytes=rows * 13 * (8 + 48) * 8)
    torch.testing.assert_close(found, wanted)
    assert len(cut) == 2 * -(-9 // rows)
    assert max(cut) <= rows + 2 * form.refinements


def test_separable_conv_has_norm_and_relu_in_both_halves() -> None:
    kinds = [type(layer) for layer in SeparableConv(4, 8, 3).modules()]
    norm = [nn.BatchNorm2d, nn.ReLU]
    first, second = [nn.Sequential, AtrousDepthwise, *norm], [nn.Sequential, nn.Conv2d, *norm]
    assert kinds == [SeparableConv, *first, *second]


def test_decoder_joins_the_pyramid_first_then_the_low_level(
    scramble_norms: Scramble, random: Draw
) -> None:
    decoder = Decoder(5, 19, TF_FORM).eval()
    scramble_norms(decoder)
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


def test_output_is_the_logits_resized_with_aligned_corners(
    scramble_norms: Scramble, random: Draw
) -> None:
    model = DeepLabV3Plus(DEEPLAB_SPECS["dlv3p_mbv2"], 19).eval()
    scramble_norms(model)
    x = random(1, 3, 33, 65)
    with torch.no_grad():
        logits, output = model.logits(x), model(x)
    # 33 = 4 * 8 + 1 and 65 = 4 * 16 + 1: every fourth pixel meets a logit
    torch.testing.assert_close(output[..., ::4, ::4], logits, rtol=1e-3, atol=1e-5)
    middle = (logits[..., :1, :-1] + logits[..., :1, 1:]) / 2
    torch.testing.assert_close(output[..., :1, 2::4], middle, rtol=1e-3, atol=1e-5)


@dataclass(frozen=True)
class Head:
    """A code base's head, as its source says, and what networks with it must cost.

    Costs are those of an independent implementation, without auxiliary heads: parameters with 19
    classes, and multiply-accumulates of a 1024 x 2048 image in units of 10^9.
    """

    network: str
    output_stride: int
    rates: tuple[int, int, int]
    parameters: int
    gmacs: float
    separable: bool = True
    relu_between: bool = True
    pool_first: bool = True
    project_padding: int = 0
    separable_after_project: bool = False
    refinements: int = 2
    low_level_first: bool = False
    align_corners: bool = True


HEADS = {
    "tf": Head("dlv3p_mbv2", 16, (6, 12, 18), 2_719_299, 44.7),
    "tf8": Head("dlv3p_mbv2", 8, (12, 24, 36), 2_719_299, 103.4),
    "smp": Head(
        "dlv3p_mbv2@smp",
        16,
        (12, 24, 36),
        2_716_259,
        36.4,
        relu_between=False,
        pool_first=False,
        separable_after_project=True,
        refinements=1,
    ),
    "mmseg": Head(
        "dlv3p_mbv2@mmseg",
        8,
        (12, 24, 36),
        15_244_374 - 226_579,
        544.3,
        project_padding=1,
        align_corners=False,
    ),
    "vainf": Head(
        "dlv3p_mbv2@vainf",
        16,
        (6, 12, 18),
        5_225_203,
        133.1,
        separable=False,
        pool_first=False,
        refinements=1,
        low_level_first=True,
        align_corners=False,
    ),
}


class HeadByHand:
    """Computes a head from a state dict with functions alone."""

    def __init__(self, head: Head, state: dict[str, Tensor]) -> None:
        self.head = head
        self.state = state

    def conv(self, x: Tensor, name: str, rate: int = 1, padding: int = 0) -> Tensor:
        weight = self.state[f"{name}.0.weight"]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, None, 1, padding, rate, groups)

    def norm_relu(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.1.{key}"]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, var, weight, bias, eps=1e-5))

    def point(self, x: Tensor, name: str) -> Tensor:
        return self.norm_relu(self.conv(x, name), name)

    def three(self, x: Tensor, name: str, rate: int = 1) -> Tensor:
        if not self.head.separable:
            return self.norm_relu(self.conv(x, name, rate, rate), name)
        x = self.conv(x, f"{name}.depthwise", rate, rate)
        if self.head.relu_between:
            x = self.norm_relu(x, f"{name}.depthwise")
        return self.point(x, f"{name}.pointwise")

    def logits(self, low: Tensor, high: Tensor) -> Tensor:
        head = self.head
        pooled = self.point(F.adaptive_avg_pool2d(high, 1), "pyramid.pool")
        pooled = pooled.repeat(1, 1, *high.shape[2:])
        parts = [self.point(high, "pyramid.branches.0")]
        for k, rate in enumerate(head.rates, start=1):
            parts.append(self.three(high, f"pyramid.branches.{k}", rate))
        parts = [pooled, *parts] if head.pool_first else [*parts, pooled]
        x = self.conv(torch.cat(parts, 1), "pyramid.project", padding=head.project_padding)
        x = self.norm_relu(x, "pyramid.project")
        if head.separable_after_project:
            x = self.three(x, "pyramid.refine")
        low = self.point(low, "decoder.low_level")
        x = F.interpolate(
            x, (low.shape[2], low.shape[3]), mode="bilinear", align_corners=head.align_corners
        )
        x = torch.cat([low, x] if head.low_level_first else [x, low], 1)
        for k in range(head.refinements):
            x = self.three(x, f"decoder.refine.{k}")
        weight, bias = (self.state[f"decoder.classify.{key}"] for key in ("weight", "bias"))
        return F.conv2d(x, weight, bias)


@pytest.mark.parametrize("code_base", HEADS)
def test_head_is_that_of_its_code_base(
    code_base: str, scramble_norms: Scramble, random: Draw
) -> None:
    head = HEADS[code_base]
    model = create_model(head.network, 19, head.output_stride).eval()
    scramble_norms(model)
    # more than twice the largest rate, so that every tap of every branch meets the image
    low, high = random(1, 24, 79, 81), random(1, 320, 40, 41, seed=1)
    by_hand = HeadByHand(head, model.state_dict())
    with torch.no_grad():
        logits = model.decode([low, high, high, high])
        wanted = by_hand.logits(low, high)
        x = random(1, 3, 33, 47)
        upsampled = F.interpolate(
            model.logits(x), (33, 47), mode="bilinear", align_corners=head.align_corners
        )
        torch.testing.assert_close(model(x), upsampled)
    assert float(logits.std()) > 0.01
    torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("code_base", HEADS)
def test_variant_costs_what_its_code_base_costs(code_base: str) -> None:
    head = HEADS[code_base]
    with torch.device("meta"):
        model = create_model(head.network, 19, head.output_stride)
    assert count_parameters(model) == head.parameters
    assert count_macs(model, 1024, 2048) / 1e9 == pytest.approx(head.gmacs, rel=0.005)


# parameters in millions or exactly, and multiply-accumulates of 1024 x 2048 where they are known
COSTS = [
    ("dlv3p_r50", 8, 26.696, 900.3),
    ("dlv3p_r101", 8, 45.688, 1520.9),
    ("dlv3p_x41", 8, 28.108, 950.7),
    ("dlv3p_x65", 8, 41.055, 1372.7),
    ("dlv3p_r50@smp", 16, 26.682, 293.1),
    ("dlv3p_r50@smp", 8, 26.682, 893.7),
    ("dlv3p_r101@smp", 16, 45.674, 448.2),
    ("dlv3p_x41@smp", 16, 28.095, None),
    ("dlv3p_x65@smp", 16, 41.041, None),
    ("dlv3p_x71@smp", 16, 43.464, None),
    ("dlv3p_r50@vainf", 16, 39.761, 476.4),
    ("dlv3p_r50@vainf", 8, 39.761, 1383.2),
    ("dlv3p_r101@vainf", 16, 58.753, None),
    ("dlv3p_r50b@mmseg", 8, 41.206, 1399.2),
    ("dlv3p_r101b@mmseg", 8, 60.198, 2019.9),
    ("dlv3p_r50@mmseg", 8, 43_589_878 - 2_364_691, None),
    ("dlv3p_r101@mmseg", 8, 62_582_006 - 2_364_691, None),
]


@pytest.mark.parametrize(("name", "output_stride", "parameters", "gmacs"), COSTS)
def test_costs(name: str, output_stride: int, parameters: float, gmacs: float | None) -> None:
    with torch.device("meta"):
        model = create_model(name, 19, output_stride)
    count = count_parameters(model)
    assert (count if isinstance(parameters, int) else round(count / 1e6, 3)) == parameters
    if gmacs is not None:
        assert count_macs(model, 1024, 2048) / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_costs_at_512_by_512() -> None:
    with torch.device("meta"):
        models = [create_model(name) for name in ("dlv3p_mbv2", "dlv3p_r50")]
    found = [count_macs(model, 512, 512) / 1e9 for model in models]
    assert [round(gmacs, 1) for gmacs in found] == [5.6, 37.7]


def test_dropout_of_each_code_base() -> None:
    found = {}
    for name in ("dlv3p_mbv2", "dlv3p_mbv2@smp", "dlv3p_mbv2@mmseg", "dlv3p_mbv2@vainf"):
        with torch.device("meta"):
            model = create_model(name)
        assert isinstance(model, DeepLabV3Plus)
        layers = [m for m in model.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d))]
        assert layers == [model.pyramid.dropout, model.decoder.dropout]
        found[name.partition("@")[2]] = [layer.p for layer in layers]
    assert found == {"": [0.1, 0], "smp": [0.5, 0], "mmseg": [0, 0.1], "vainf": [0.1, 0]}

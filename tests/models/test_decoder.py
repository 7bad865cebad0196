from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.build import create_model
from robustseg.models.conv_decoder import ConvDecoder
from robustseg.models.fusion import (
    banded_logits,
    interpolation_matrix,
    upsampled_sum,
    widened_rows,
)
from robustseg.models.mlp_decoder import MLPDecoder

Scramble = Callable[[nn.Module, int], None]

Decoder = MLPDecoder | ConvDecoder
CHANNELS = (3, 4, 5, 6)
SIZES = {
    "even": [(16, 24), (8, 12), (4, 6), (2, 3)],
    "odd": [(25, 33), (13, 17), (7, 9), (4, 5)],
    "one coarse pixel": [(8, 9), (4, 5), (2, 3), (1, 2)],
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(sizes: str = "odd", seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    pairs = zip(CHANNELS, SIZES[sizes], strict=True)
    return [random(2, c, *size, seed=seed + c).to(dtype) for c, size in pairs]


@pytest.fixture(params=[MLPDecoder, ConvDecoder])
def decoder(scramble: Scramble, request: pytest.FixtureRequest) -> Decoder:
    built: Decoder = request.param(CHANNELS, 8, 7).eval()
    scramble(built, 4)
    return built


def distance(found: Tensor, wanted: Tensor) -> float:
    """Give the largest difference, relative to the largest value."""
    assert found.shape == wanted.shape
    return float(((found - wanted).abs().max() / wanted.abs().max()).detach())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_logits_are_those_of_the_textbook(
    decoder: Decoder, sizes: str, gradients: bool, dtype: torch.dtype, bound: float
) -> None:
    decoder = decoder.to(dtype)
    given = features(sizes, dtype=dtype)
    kept = [f.clone() for f in given]
    with torch.set_grad_enabled(gradients):
        found = decoder(given)
        assert distance(found, decoder.textbook(given)) < bound
    assert found.is_contiguous()
    assert all(torch.equal(f, k) for f, k in zip(given, kept, strict=True))


def step(decoder: Decoder, given: list[Tensor], textbook: bool) -> dict[str, Tensor]:
    """Take the gradients of everything, and the statistics that the pass leaves behind."""
    decoder = copy.deepcopy(decoder)
    given = [f.clone().requires_grad_() for f in given]
    with torch.random.fork_rng():
        torch.manual_seed(3)  # dropout drops the same channels
        logits = decoder.textbook(given) if textbook else decoder(given)
    factors = random(*logits.shape, seed=9).to(logits.dtype)
    (logits * factors).sum().backward()
    found = {f"input {i}": f.grad for i, f in enumerate(given)}
    found |= {f"gradient of {n}": p.grad for n, p in decoder.named_parameters()}
    found |= dict(decoder.named_buffers())
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("mode", ["training", "frozen norms", "evaluation"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_a_training_step_is_that_of_the_textbook(
    decoder: Decoder, mode: str, dtype: torch.dtype, bound: float
) -> None:
    decoder = decoder.to(dtype).train(mode != "evaluation")
    if mode == "frozen norms":
        for norm in decoder.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eval()
    given = features(dtype=dtype)
    found, wanted = step(decoder, given, False), step(decoder, given, True)
    assert len(found) == 4 + len(list(decoder.parameters())) + len(list(decoder.buffers()))
    assert set(found) == set(wanted)
    size = max(float(value.abs().max()) for name, value in wanted.items() if "gradient" in name)
    for name, value in wanted.items():
        # a bias before a batch norm has no gradient but rounding
        scale = max(float(value.abs().max()), 1e-2 * size)
        assert float((found[name] - value).abs().max()) < bound * scale, name
    if mode == "training":
        moved = {n for n, b in decoder.named_buffers() if not torch.equal(b, found[n])}
        assert moved == {n for n, _ in decoder.named_buffers()}


def weight_gradients(
    decoder: MLPDecoder, given: list[Tensor], form: Callable[[list[Tensor]], Tensor]
) -> dict[str, Tensor]:
    """Take the gradients of all weights for a loss that pulls every pixel the same way."""
    decoder.zero_grad()
    torch.autograd.backward(form([f.requires_grad_() for f in given]).square().mean())
    found = {n: p.grad for n, p in decoder.named_parameters() if p.ndim > 1}
    return {n: g.double().clone() for n, g in found.items() if g is not None}


def test_gradients_in_single_precision_are_better_than_the_textbooks() -> None:
    """Against double precision, on an encoder's features, which are alike: sums lose digits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("segformer_b0").eval()
    decoder = model.get_submodule("decode_head")
    assert isinstance(decoder, MLPDecoder)
    decoder.train()
    decoder.dropout.p = 0
    with torch.no_grad():
        decoder.linear_fuse.bn.bias.fill_(6)  # no pixel near the kink of the ReLU, which may flip
        given = model.stages(random(1, 3, 512, 512))
    composed = weight_gradients(decoder, given, decoder.forward)
    textbook = weight_gradients(decoder, given, decoder.textbook)
    decoder.double()
    exact = weight_gradients(decoder, [f.detach().double() for f in given], decoder.textbook)
    for name, wanted in exact.items():
        bound = max(1e-6, distance(textbook[name], wanted) / 2)
        assert distance(composed[name], wanted) < bound, name


def test_norms_without_stored_statistics(decoder: Decoder) -> None:
    for norm in decoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean = norm.running_var = None
    with torch.no_grad():
        assert distance(decoder(features()), decoder.textbook(features())) < 1e-5


def test_autocast_lowers_the_precision_of_layers_not_of_their_product(decoder: Decoder) -> None:
    given = features()
    with torch.no_grad():
        exact = decoder.textbook(given)
        with torch.autocast("cpu", torch.bfloat16):
            found, usual = decoder(given), decoder.textbook(given)
            if isinstance(decoder, MLPDecoder):
                weights, bias = decoder.composed()
                assert {w.dtype for w in (*weights, bias)} == {torch.float32}
    assert found.dtype == torch.bfloat16
    assert 0 < distance(found.float(), exact) < max(1.5 * distance(usual.float(), exact), 0.02)


def largest_kept(decode: Callable[[list[Tensor]], Tensor]) -> int:
    """Give how many numbers the largest tensor has that is kept for the gradients."""
    sizes = []

    def keep(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        decode(features("even"))
    return max(sizes)


def test_training_keeps_nothing_as_large_as_the_concatenation(decoder: Decoder) -> None:
    decoder = decoder.train()
    fused = 2 * 8 * 16 * 24
    assert largest_kept(decoder.textbook) == 4 * fused
    assert largest_kept(decoder) == fused


def bilinear_weights(new: int, old: int) -> Tensor:
    """Write half-pixel centres out: corners of input and output meet, pixels do not."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return torch.tensor(np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old))))


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    rows, columns = (
        bilinear_weights(new, old).to(x.dtype)
        for new, old in ((height, x.shape[-2]), (width, x.shape[-1]))
    )
    return rows @ x @ columns.T


@pytest.mark.parametrize("band_bytes", [1, 2000, 5000, 10**6])
@pytest.mark.parametrize("sizes", SIZES)
def test_bands_of_any_height_give_the_sum_of_upsampled_maps(
    scramble: Scramble, sizes: str, band_bytes: int
) -> None:
    given = features(sizes)
    kernels = [random(8, c, seed=20 + c) for c in CHANNELS]
    classifier = nn.Conv2d(8, 7, 1)
    scramble(classifier, 5)
    projections = [lambda x, k=kernel: F.linear(x, k) for kernel in kernels]
    with torch.no_grad():
        found = banded_logits(given, projections, classifier, band_bytes)
        wanted = classifier(upsampled_sum(given, projections).relu())
        assert distance(found, wanted) < 1e-6


@pytest.mark.parametrize("new", [8, 25, 64, 97])
@pytest.mark.parametrize("old", [1, 2, 8, 13, 25])
def test_interpolation_is_by_half_pixel_centres(old: int, new: int) -> None:
    found = interpolation_matrix(old, new, torch.float64)
    torch.testing.assert_close(found, bilinear_weights(new, old))


@pytest.mark.parametrize("align_corners", [False, True])
def test_rows_of_a_resized_map_are_made_of_the_rows_that_they_mix(align_corners: bool) -> None:
    for old, new in [(1, 5), (2, 9), (3, 9), (13, 25), (7, 49), (25, 49)]:
        x = random(1, 3, old, 5, seed=old).double()
        wanted = F.interpolate(x, (new, 11), mode="bilinear", align_corners=align_corners)
        matrix = interpolation_matrix(old, new, torch.float64, align_corners)
        for top in range(0, new, 5):
            part = matrix[top : top + 5]
            weights, wide = widened_rows(x[0].permute(1, 2, 0), part, 11, align_corners)
            assert len(wide) == weights.shape[1] <= part.any(0).sum() + 1
            found = (weights @ wide).view(len(part), 11, 3).permute(2, 0, 1)
            torch.testing.assert_close(found, wanted[0, :, top : top + 5])


@pytest.mark.parametrize(("slot", "stage"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_the_mlp_decoder_fuses_from_the_coarsest_to_the_finest(
    scramble: Scramble, slot: int, stage: int
) -> None:
    """Of the fusing weights, columns 0-7 belong to c4, 8-15 to c3, 16-23 to c2, 24-31 to c1."""
    decoder = MLPDecoder(CHANNELS, 8, 7).eval()
    scramble(decoder, 4)
    weight = decoder.linear_fuse.conv.weight
    with torch.no_grad():
        kept = weight[:, 8 * slot : 8 * slot + 8].clone()
        weight.zero_()
        weight[:, 8 * slot : 8 * slot + 8] = kept
        reference, other = features(), features(seed=100)
        wanted = decoder(reference)
        for i in range(4):
            mixed = [*reference]
            mixed[i] = other[i]
            assert torch.equal(decoder(mixed), wanted) == (i != stage)


def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + 1e-5)
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def pointwise(x: Tensor, layer: nn.Linear | nn.Conv2d) -> Tensor:
    x = torch.einsum("nchw,oc->nohw", x, layer.weight.flatten(1))
    return x if layer.bias is None else x + layer.bias[:, None, None]


def by_hand(decoder: Decoder, inputs: list[Tensor]) -> Tensor:
    if isinstance(decoder, MLPDecoder):
        names = ("linear_c4", "linear_c3", "linear_c2", "linear_c1")
        linears = [decoder.get_submodule(f"{name}.proj") for name in names]
        maps = [pointwise(x, linear) for x, linear in zip(inputs[::-1], linears, strict=True)]  # type: ignore[arg-type]
        fuse, predict = decoder.linear_fuse, decoder.linear_pred
    else:
        maps = [
            normed(pointwise(x, layer.conv), layer.bn).clamp(min=0)
            for x, layer in zip(inputs, decoder.layers, strict=True)
        ]
        fuse, predict = decoder.fusion_conv, decoder.conv_seg
    wide = torch.cat([bilinear(x, 25, 33) for x in maps], 1)
    return pointwise(normed(pointwise(wide, fuse.conv), fuse.bn).clamp(min=0), predict)


def test_decoders_against_ones_written_out(decoder: Decoder) -> None:
    with torch.no_grad():
        wanted = by_hand(decoder, features())
        torch.testing.assert_close(decoder(features()), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(decoder.textbook(features()), wanted, rtol=1e-4, atol=1e-4)


def test_parameters_of_the_convolutional_head_at_full_size() -> None:
    """mmsegmentation 1.2.2 has 400,659 in its head for B0, and 531,731 for B1 to B5."""
    for channels, count in (((32, 64, 160, 256), 400_659), ((64, 128, 320, 512), 531_731)):
        with torch.device("meta"):
            decoder = ConvDecoder(channels, 256, 19)
        assert sum(p.numel() for p in decoder.parameters()) == count

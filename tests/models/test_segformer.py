from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.errors import SettingError
from robustseg.models.bands import can_use_bands
from robustseg.models.build import create_model
from robustseg.models.mix_transformer import (
    Block,
    DropPath,
    EfficientSelfAttention,
    MixFFN,
    MixTransformer,
)
from robustseg.models.segformer import SegFormer
from robustseg.models.specs import SegFormerSpec
from robustseg.models.zoo import SEGFORMER_SPECS

Scramble = Callable[[nn.Module, int], None]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TINY = SegFormerSpec("tiny", (8, 16, 20, 16), (1, 2, 1, 1), 24)


@pytest.fixture(scope="module")
def tiny(scramble: Scramble) -> SegFormer:
    model = SegFormer(TINY, 19).eval()
    scramble(model, 0)
    return model


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias


def reduced(x: Tensor, attention: EfficientSelfAttention) -> Tensor:
    """Shorten the sequence of (H, W, C) patch by patch; rows and columns left over are dropped."""
    r = attention.reduction
    if r == 1:
        return x.reshape(-1, x.shape[-1])
    tokens = []
    for top in range(0, x.shape[0] - r + 1, r):
        for left in range(0, x.shape[1] - r + 1, r):
            patch = x[top : top + r, left : left + r]
            token = torch.einsum("hwc,ochw->o", patch, attention.sr.weight)
            bias = attention.sr.bias
            assert bias is not None
            tokens.append(layer_norm(token + bias, attention.norm))
    return torch.stack(tokens)


def eager_attention(x: Tensor, attention: EfficientSelfAttention) -> Tensor:
    """Equation 1 with softmax written out, one image and one head after the other."""
    images = []
    for image in x:
        height, width, dim = image.shape
        size = dim // attention.heads
        query = image.reshape(-1, dim) @ attention.q.weight.T + attention.q.bias
        pairs = reduced(image, attention) @ attention.kv.weight.T + attention.kv.bias
        heads = []
        for head in range(attention.heads):
            part = slice(head * size, (head + 1) * size)
            key, value = pairs[:, :dim][:, part], pairs[:, dim:][:, part]
            scores = torch.exp(query[:, part] @ key.T / size**0.5)
            heads.append(scores / scores.sum(-1, keepdim=True) @ value)
        mixed = torch.cat(heads, -1) @ attention.proj.weight.T + attention.proj.bias
        images.append(mixed.reshape(height, width, dim))
    return torch.stack(images)


@pytest.mark.parametrize(
    ("dim", "heads", "reduction", "size"),
    [
        (32, 1, 8, (16, 24)),
        (64, 2, 4, (8, 12)),
        (40, 5, 2, (6, 4)),
        (64, 8, 1, (3, 5)),
        # sizes that the reduction does not divide
        (32, 1, 8, (25, 33)),
        (64, 2, 4, (13, 17)),
        (40, 5, 2, (7, 9)),
    ],
)
def test_attention_against_one_written_out(
    scramble: Scramble, dim: int, heads: int, reduction: int, size: tuple[int, int]
) -> None:
    attention = EfficientSelfAttention(dim, heads, reduction)
    scramble(attention, reduction)
    x = random(2, *size, dim)
    with torch.no_grad():
        torch.testing.assert_close(
            attention(x), eager_attention(x, attention), rtol=1e-4, atol=1e-5
        )


def test_sequence_reduction_drops_what_is_left_over(scramble: Scramble) -> None:
    attention = EfficientSelfAttention(8, 2, 4)
    scramble(attention, 1)
    x = random(1, 11, 9, 8)
    changed = x.clone()
    # keys come from rows 0-7 and columns 0-7 alone: the others are queries only
    changed[:, 8:] += 1
    changed[:, :, 8:] += 1
    with torch.no_grad():
        found, wanted = attention(changed), attention(x)
    torch.testing.assert_close(found[:, :8, :8], wanted[:, :8, :8])
    assert not torch.allclose(found[:, 8:], wanted[:, 8:])


def test_mix_ffn_against_one_written_out(scramble: Scramble) -> None:
    ffn = MixFFN(6)
    scramble(ffn, 2)
    x = random(2, 4, 5, 6)
    with torch.no_grad():
        hidden = x @ ffn.fc1.weight.T + ffn.fc1.bias
        padded = F.pad(hidden, (0, 0, 1, 1, 1, 1))
        conv = ffn.dwconv.dwconv
        assert conv.bias is not None
        mixed = sum(
            (
                padded[:, i : i + 4, j : j + 5] * conv.weight[:, 0, i, j]
                for i in range(3)
                for j in range(3)
            ),
            torch.zeros_like(hidden),
        )
        mixed = mixed + conv.bias
        activated = mixed * 0.5 * (1 + torch.erf(mixed / 2**0.5))
        wanted = activated @ ffn.fc2.weight.T + ffn.fc2.bias
        torch.testing.assert_close(ffn(x), wanted, rtol=1e-4, atol=1e-5)


def test_block_adds_both_branches_to_the_stream(scramble: Scramble) -> None:
    block = Block(16, 2, 2, drop_path=0.5).eval()
    scramble(block, 3)
    x = random(1, 5, 7, 16)
    with torch.no_grad():
        middle = x + eager_attention(layer_norm(x, block.norm1), block.attn)
        wanted = middle + block.mlp(layer_norm(middle, block.norm2))
        torch.testing.assert_close(block(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "merging", "block", "reduction", "stage"),
    [
        ("", 1e-5, 1e-6, 1e-5, 1e-6),
        ("@smp", 1e-5, 1e-6, 1e-5, 1e-6),
        ("@hf", 1e-5, 1e-5, 1e-5, 1e-5),
        ("@mmseg", 1e-6, 1e-6, 1e-6, 1e-6),
    ],
)
def test_layer_norms_have_the_epsilons_of_the_code_base(
    variant: str, merging: float, block: float, reduction: float, stage: float
) -> None:
    with torch.device("meta"):
        model = create_model(f"segformer_b0{variant}")
    norms = {n: m.eps for n, m in model.named_modules() if isinstance(m, nn.LayerNorm)}
    assert len(norms) == 4 + 8 * 2 + 6 + 4
    for name, eps in norms.items():
        if ".patch_embed" in name:
            assert eps == merging, name
        elif ".attn." in name:
            assert eps == reduction, name
        else:
            assert eps == (block if ".block" in name else stage), name


def test_drop_path_is_the_identity_in_evaluation() -> None:
    x = random(4, 3, 3, 2)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_drop_path_drops_whole_images_and_scales_the_others() -> None:
    x = torch.ones(4000, 2, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = DropPath(0.2).train()(x)
    values = y.reshape(4000, -1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert values.unique().tolist() == [0.0, 1.25]
    # the mean stays; its standard error is 0.008
    assert float(y.mean()) == pytest.approx(1, abs=0.03)


def test_drop_path_grows_linearly_over_the_blocks() -> None:
    encoder = MixTransformer((8, 8, 10, 8), (2, 1, 3, 1), drop_path=0.3)
    rates = [m.rate for m in encoder.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (64, 96, [(16, 24), (8, 12), (4, 6), (2, 3)]),
        (97, 131, [(25, 33), (13, 17), (7, 9), (4, 5)]),
    ],
)
def test_stage_shapes(height: int, width: int, sizes: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        model = SegFormer(SEGFORMER_SPECS["segformer_b0"], 19)
        stages = model.stages(torch.empty(2, 3, height, width))
    wanted = [(2, dim, *size) for dim, size in zip((32, 64, 160, 256), sizes, strict=True)]
    assert [tuple(stage.shape) for stage in stages] == wanted


def test_odd_input_sizes(tiny: SegFormer) -> None:
    x = random(1, 3, 97, 131)
    with torch.no_grad():
        logits, output = tiny.logits(x), tiny(x)
    assert logits.shape == (1, 19, 25, 33)
    assert output.shape == (1, 19, 97, 131)


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """Resize (..., h, w) by half-pixel centres: corners of input and output meet, pixels do not."""

    def weights(new: int, old: int) -> Tensor:
        centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        rows = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))
        return torch.tensor(rows, dtype=x.dtype)

    return weights(height, x.shape[-2]) @ x @ weights(width, x.shape[-1]).T


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (8, 8)])
def test_small_inputs_are_refused_with_a_reason(tiny: SegFormer, size: tuple[int, int]) -> None:
    message = f"from 32 x 32 pixels, found {size[0]} x {size[1]}: pad or enlarge"
    with pytest.raises(SettingError, match=message):
        tiny(random(1, 3, *size))


@pytest.mark.parametrize("size", [(32, 32), (33, 63), (64, 64), (65, 64)])
def test_small_inputs_that_are_large_enough(tiny: SegFormer, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert tiny(random(1, 3, *size)).isfinite().all()


def test_output_is_resized_by_corners_where_the_code_base_does(tiny: SegFormer) -> None:
    model = SegFormer(replace(TINY, align_corners=True), 19).eval()
    model.load_state_dict(tiny.state_dict())
    with torch.no_grad():
        x = random(1, 3, 97, 129)
        logits, output = model.logits(x), model(x)
        # every fourth pixel is one of the logits' own
        torch.testing.assert_close(output[..., ::4, ::4], logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(tiny(x)[..., ::4, ::4], logits, rtol=0.1, atol=0.1)


def test_gradients_and_inference_see_the_same_network(tiny: SegFormer) -> None:
    """Inference works in bands and in place; what has a gradient does neither."""
    x = random(2, 3, 97, 131).requires_grad_()
    with torch.no_grad():
        assert can_use_bands(x)
        fast = [*tiny.stages(x), tiny(x)]
    assert not can_use_bands(x)
    kept = [*tiny.stages(x), tiny(x)]
    for found, wanted in zip(fast, kept, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    kept[-1][0, :, 48, 64].sum().backward()
    assert x.grad is not None
    assert x.grad[0].any()
    assert not x.grad[1].any()


def test_output_is_the_logits_resized_by_half_pixel_centres(tiny: SegFormer) -> None:
    x = random(1, 3, 97, 131)
    with torch.no_grad():
        torch.testing.assert_close(tiny(x), bilinear(tiny.logits(x), 97, 131), rtol=1e-3, atol=1e-4)


def test_every_weight_is_trained(scramble: Scramble) -> None:
    model = SegFormer(TINY, 19, drop_path=0.0)
    scramble(model, 5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model(random(2, 3, 64, 64)).square().mean().backward()
    # biases are left out: what a batch norm takes away again has no gradient
    weights = {n: p.grad for n, p in model.named_parameters() if n.endswith("weight")}
    assert [n for n, gradient in weights.items() if gradient is None or not gradient.any()] == []


def test_images_of_a_batch_do_not_meet(tiny: SegFormer) -> None:
    x = random(2, 3, 64, 96)
    with torch.no_grad():
        together, alone = tiny.logits(x), tiny.logits(x[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


# Names in transformers to released names; the stages count from 0 there and from 1 here.
HUB_NAMES = [
    (r"^segformer\.encoder\.patch_embeddings\.(\d)\.proj", "backbone.patch_embed{}.proj"),
    (r"^segformer\.encoder\.patch_embeddings\.(\d)\.layer_norm", "backbone.patch_embed{}.norm"),
    (r"^segformer\.encoder\.block\.(\d)", "backbone.block{}"),
    (r"^segformer\.encoder\.layer_norm\.(\d)", "backbone.norm{}"),
    (r"^decode_head\.linear_c\.(\d)\.proj", "decode_head.linear_c{}.proj"),
    (r"\.layer_norm_1\.", ".norm1."),
    (r"\.layer_norm_2\.", ".norm2."),
    (r"\.attention\.self\.(query|key|value)", r".attn.\1"),
    (r"\.attention\.self\.sr", ".attn.sr"),
    (r"\.attention\.self\.layer_norm", ".attn.norm"),
    (r"\.attention\.output\.dense", ".attn.proj"),
    (r"\.mlp\.dense([12])", r".mlp.fc\1"),
    (r"^decode_head\.linear_fuse", "decode_head.linear_fuse.conv"),
    (r"^decode_head\.batch_norm", "decode_head.linear_fuse.bn"),
    (r"^decode_head\.classifier", "decode_head.linear_pred"),
]
# Version 5 has names of its own in memory.
MEMORY_NAMES = [
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.proj", "backbone.patch_embed{}.proj"),
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.layer_norm", "backbone.patch_embed{}.norm"),
    (r"^segformer\.stages\.(\d)\.blocks", "backbone.block{}"),
    (r"^segformer\.stages\.(\d)\.layer_norm", "backbone.norm{}"),
    (r"^decode_head\.linear_projections\.(\d)\.proj", "decode_head.linear_c{}.proj"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.q_proj", ".attn.query"),
    (r"\.attention\.k_proj", ".attn.key"),
    (r"\.attention\.v_proj", ".attn.value"),
    (r"\.attention\.o_proj", ".attn.proj"),
    (r"\.attention\.sequence_reduction\.sequence_reduction", ".attn.sr"),
    (r"\.attention\.sequence_reduction\.layer_norm", ".attn.norm"),
]


def released_name(name: str) -> str:
    for pattern, replacement in MEMORY_NAMES + HUB_NAMES:
        match = re.search(pattern, name)
        if match and "{}" in replacement:
            name = name.replace(match[0], replacement.format(int(match[1]) + 1))
        else:
            name = re.sub(pattern, replacement, name)
    return name


def released_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename, and join queries' companions: the released files hold keys and values in one."""
    named = {released_name(name): value for name, value in state.items()}
    found = {}
    for name, value in named.items():
        if ".attn.key." in name:
            both = [value, named[name.replace(".key.", ".value.")]]
            found[name.replace(".key.", ".kv.")] = torch.cat(both)
        elif ".attn.value." not in name:
            found[name.replace(".attn.query.", ".attn.q.")] = value
    return found


@pytest.mark.parametrize("size", [(64, 96), (97, 131)])
def test_against_transformers(scramble: Scramble, size: tuple[int, int]) -> None:
    transformers: Any = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.SegformerConfig(num_labels=19)
        peer = transformers.SegformerForSemanticSegmentation(config).eval()
    scramble(peer, 6)
    model = create_model("segformer_b0@hf").eval()
    model.load_state_dict(released_state(peer.state_dict()), strict=True)
    x = random(2, 3, *size)
    with torch.no_grad():
        wanted = peer(pixel_values=x).logits
        found = model.logits(x)
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5

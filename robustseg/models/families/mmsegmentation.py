"""SegFormer and DeepLabv3+ of mmsegmentation.

Its SegFormer has another head (``head="conv"`` of the zoo). Its encoder keeps queries, keys and
values in one table, and the feed-forward layers as 1 x 1 convolutions. DeepLabv3+ stands on a
ResNet with a stem of three convolutions, on a plain ResNet, or on MobileNetV2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from robustseg.models.families.family import Family, State
from robustseg.models.families.renaming import NameTable

__all__ = ["MMSEGMENTATION"]

BLOCK = "backbone.block{number}.{block}"
TRANSFORMER = {
    "layers.{stage}.0.projection": "backbone.patch_embed{number}.proj",
    "layers.{stage}.0.norm": "backbone.patch_embed{number}.norm",
    "layers.{stage}.1.{block}.norm1": f"{BLOCK}.norm1",
    "layers.{stage}.1.{block}.norm2": f"{BLOCK}.norm2",
    "layers.{stage}.1.{block}.attn.attn.q": f"{BLOCK}.attn.q",
    "layers.{stage}.1.{block}.attn.attn.kv": f"{BLOCK}.attn.kv",
    "layers.{stage}.1.{block}.attn.attn.out_proj": f"{BLOCK}.attn.proj",
    "layers.{stage}.1.{block}.attn.sr": f"{BLOCK}.attn.sr",
    "layers.{stage}.1.{block}.attn.norm": f"{BLOCK}.attn.norm",
    "layers.{stage}.1.{block}.ffn.layers.0": f"{BLOCK}.mlp.fc1",
    "layers.{stage}.1.{block}.ffn.layers.1": f"{BLOCK}.mlp.dwconv.dwconv",
    "layers.{stage}.1.{block}.ffn.layers.4": f"{BLOCK}.mlp.fc2",
    "layers.{stage}.2": "backbone.norm{number}",
}
SEGFORMER_HEAD = {
    "decode_head.convs.{block}.{rest}": "decode_head.convs.{block}.{rest}",
    "decode_head.fusion_conv.{rest}": "decode_head.fusion_conv.{rest}",
}


def _expanding_block() -> dict[str, str]:
    """Name the layers of MobileNetV2's blocks, all but the first of which expand their input."""
    rows = {
        "backbone.conv1.conv": "backbone.body.conv_stem",
        "backbone.conv1.bn": "backbone.body.bn1",
        "backbone.layer1.0.conv.0.conv": "backbone.body.blocks.0.0.conv_dw",
        "backbone.layer1.0.conv.0.bn": "backbone.body.blocks.0.0.bn1",
        "backbone.layer1.0.conv.1.conv": "backbone.body.blocks.0.0.conv_pw",
        "backbone.layer1.0.conv.1.bn": "backbone.body.blocks.0.0.bn2",
    }
    for k, conv in enumerate(("conv_pw", "conv_dw", "conv_pwl")):
        theirs, own = f"backbone.layer{{number}}.{{block}}.conv.{k}", "backbone.body.blocks.{stage}"
        rows[f"{theirs}.conv"] = f"{own}.{{block}}.{conv}"
        rows[f"{theirs}.bn"] = f"{own}.{{block}}.bn{k + 1}"
    return rows


RESNET = {
    **{f"backbone.stem.{k}": f"backbone.body.conv1.{k}" for k in (0, 1, 3, 4, 6)},
    "backbone.stem.7": "backbone.body.bn1",
    "backbone.conv1": "backbone.body.conv1",
    "backbone.bn1": "backbone.body.bn1",
    "backbone.layer{number}.{block}.{rest}": "backbone.body.layer{number}.{block}.{rest}",
}


def _deeplab_head() -> dict[str, str]:
    def dense(theirs: str, own: str) -> dict[str, str]:
        return {f"decode_head.{theirs}.conv": f"{own}.0", f"decode_head.{theirs}.bn": f"{own}.1"}

    def separable(theirs: str, own: str) -> dict[str, str]:
        return {
            **dense(f"{theirs}.depthwise_conv", f"{own}.depthwise"),
            **dense(f"{theirs}.pointwise_conv", f"{own}.pointwise"),
        }

    rows = {
        **dense("image_pool.1", "pyramid.pool"),
        **dense("aspp_modules.0", "pyramid.branches.0"),
        **dense("bottleneck", "pyramid.project"),
        **dense("c1_bottleneck", "decoder.low_level"),
    }
    for k in (1, 2, 3):
        rows |= separable(f"aspp_modules.{k}", f"pyramid.branches.{k}")
    for k in (0, 1):
        rows |= separable(f"sep_bottleneck.{k}", f"decoder.refine.{k}")
    return rows


def split_and_flatten(state: Mapping[str, Tensor]) -> State:
    """Split queries from keys and values; make linear layers of 1 x 1 convolutions.

    The classifier is ``conv_seg`` in both networks; DeepLabv3+'s gets its own name here.
    """
    deeplab = any(name.startswith("decode_head.c1_bottleneck.") for name in state)
    prepared: State = {}
    for name, value in state.items():
        before, joined, leaf = name.rpartition("in_proj_")
        if joined and value.ndim:
            width = len(value) // 3
            prepared[f"{before}q.{leaf}"] = value[:width]
            prepared[f"{before}kv.{leaf}"] = value[width:]
        elif re.search(r"\.ffn\.layers\.[04]\.weight$", name) and value.ndim == 4:
            prepared[name] = value.flatten(1)
        elif deeplab and name.startswith("decode_head.conv_seg."):
            prepared[name.replace("decode_head.conv_seg", "decoder.classify")] = value
        else:
            prepared[name] = value
    return prepared


MMSEGMENTATION = Family(
    title="mmsegmentation",
    variant="mmseg",
    mark=re.compile(
        r"(backbone\.)?layers\.0\.0\.projection\.|decode_head\.(c1_bottleneck|sep_bottleneck)\."
    ),
    table=NameTable(
        {
            **{f"backbone.{theirs}": own for theirs, own in TRANSFORMER.items()},
            **TRANSFORMER,
            **SEGFORMER_HEAD,
            **_expanding_block(),
            **RESNET,
            **_deeplab_head(),
            "decoder.classify": "decoder.classify",
            "decode_head.conv_seg": "decode_head.conv_seg",
        }
    ),
    dropped=re.compile(r"auxiliary_head\.|head\."),
    prepare=split_and_flatten,
)

"""SegFormer and DeepLabv3+ of segmentation_models_pytorch.

Its SegFormer differs from the authors' in the last resize alone. DeepLabv3+ is read over timm's
backbones, ``tu-*``: its own encoders of the same names dilate other layers.
"""

from __future__ import annotations

import re

from robustseg.models.families.family import Family
from robustseg.models.families.renaming import NameTable

__all__ = ["DEEPLAB_SMP", "SEGFORMER_SMP"]

SEGFORMER = {
    "encoder.patch_embed{number}.{rest}": "backbone.patch_embed{number}.{rest}",
    "encoder.block{number}.{rest}": "backbone.block{number}.{rest}",
    "encoder.norm{number}": "backbone.norm{number}",
    "decoder.mlp_stage.{reverse}.linear": "decode_head.linear_c{number}.proj",
    "decoder.fuse_stage.0": "decode_head.linear_fuse.conv",
    "decoder.fuse_stage.1": "decode_head.linear_fuse.bn",
}
"""All but the classifier, whose name both networks share."""


def _deeplab_head() -> dict[str, str]:
    pyramid = {
        "decoder.aspp.0.convs.4.1": "pyramid.pool.0",
        "decoder.aspp.0.convs.4.2": "pyramid.pool.1",
        "decoder.aspp.1.0": "pyramid.refine.depthwise.0",
        "decoder.aspp.1.1": "pyramid.refine.pointwise.0",
        "decoder.aspp.2": "pyramid.refine.pointwise.1",
    }
    for theirs, own in (
        ("aspp.0.convs.0", "pyramid.branches.0"),
        ("aspp.0.project", "pyramid.project"),
        ("block1", "decoder.low_level"),
    ):
        pyramid |= {f"decoder.{theirs}.{k}": f"{own}.{k}" for k in (0, 1)}
    separable = {f"aspp.0.convs.{k}": f"pyramid.branches.{k}" for k in (1, 2, 3)}
    for theirs, own in (*separable.items(), ("block2", "decoder.refine.0")):
        pyramid |= {
            f"decoder.{theirs}.0.0": f"{own}.depthwise.0",
            f"decoder.{theirs}.0.1": f"{own}.pointwise.0",
            f"decoder.{theirs}.1": f"{own}.pointwise.1",
        }
    return pyramid


BACKBONES = {
    "encoder.model.stem_{block}.{rest}": "backbone.stem.{block}.{rest}",
    "encoder.model.blocks_{block}.{rest}": "backbone.blocks.{block}.{rest}",
    "encoder.model.{rest}": "backbone.body.{rest}",
}
"""Xception's blocks, whose names timm flattens where it gives features, before all others."""

SEGFORMER_SMP = Family(
    title="segmentation_models_pytorch",
    variant="smp",
    mark=re.compile(r"encoder\.patch_embed1\."),
    table=NameTable({**SEGFORMER, "segmentation_head.0": "decode_head.linear_pred"}),
    dropped=re.compile(r"classification_head\."),
)
DEEPLAB_SMP = Family(
    title="segmentation_models_pytorch",
    variant="smp",
    mark=re.compile(r"decoder\.aspp\.0\."),
    table=NameTable({**BACKBONES, **_deeplab_head(), "segmentation_head.0": "decoder.classify"}),
    dropped=re.compile(r"classification_head\."),
)

"""DeepLabv3+ of VainF's DeepLabV3Plus-Pytorch, over ResNets and MobileNetV2."""

from __future__ import annotations

import re

from robustseg.models.families.family import Family
from robustseg.models.families.renaming import NameTable

__all__ = ["VAINF"]

STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of MobileNetV2's stages (Table 2 of arXiv 1801.04381); the stem is counted before them."""

LOW_LEVEL = 4
"""The stem and three blocks make the low-level feature, the others the high-level one."""


def _mobilenet() -> dict[str, str]:
    """Name MobileNetV2's layers, which are numbered through from the stem on."""
    rows = {
        "backbone.low_level_features.0.0": "backbone.body.conv_stem",
        "backbone.low_level_features.0.1": "backbone.body.bn1",
    }
    places = [(stage, block) for stage, count in enumerate(STAGES) for block in range(count)]
    for n, (stage, block) in enumerate(places, start=1):
        level = "low" if n < LOW_LEVEL else "high"
        theirs = f"backbone.{level}_level_features.{n}.conv"
        own = f"backbone.body.blocks.{stage}.{block}"
        names = ["conv_pw", "conv_dw", "conv_pwl"] if n > 1 else ["conv_dw", "conv_pw"]
        for k, conv in enumerate(names, start=1):
            # the last convolution has no activation, and stands beside its batch norm
            last = k == len(names)
            rows[f"{theirs}.{k - 1}" + ("" if last else ".0")] = f"{own}.{conv}"
            rows[f"{theirs}.{k}" if last else f"{theirs}.{k - 1}.1"] = f"{own}.bn{k}"
    return rows


def _head() -> dict[str, str]:
    pairs = {
        "aspp.project": "pyramid.project",
        "project": "decoder.low_level",
        "classifier": "decoder.refine.0",
        **{f"aspp.convs.{k}": f"pyramid.branches.{k}" for k in range(4)},
    }
    rows = {
        f"classifier.{theirs}.{k}": f"{own}.{k}" for theirs, own in pairs.items() for k in (0, 1)
    }
    return {
        **rows,
        "classifier.aspp.convs.4.1": "pyramid.pool.0",
        "classifier.aspp.convs.4.2": "pyramid.pool.1",
        "classifier.classifier.3": "decoder.classify",
    }


RESNET = {
    "backbone.conv1": "backbone.body.conv1",
    "backbone.bn1": "backbone.body.bn1",
    "backbone.layer{number}.{block}.{rest}": "backbone.body.layer{number}.{block}.{rest}",
}

VAINF = Family(
    title="VainF's DeepLabV3Plus-Pytorch",
    variant="vainf",
    mark=re.compile(r"classifier\.aspp\."),
    table=NameTable({**_mobilenet(), **RESNET, **_head()}),
    dropped=re.compile(r"backbone\.fc\."),
)

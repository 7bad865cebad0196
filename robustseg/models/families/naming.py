"""Says which network a state under own names is, from shapes and depths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from robustseg.models.own import OwnSpec
from robustseg.models.specs import DeepLabSpec, SegFormerSpec
from robustseg.models.zoo import SEGFORMER_SPECS, get_spec

__all__ = ["base_of", "count_classes", "has_head", "interchangeable"]

CLASSIFIERS = ("decode_head.linear_pred", "decode_head.conv_seg", "decoder.classify")
HEADS = ("decode_head.", "pyramid.", "decoder.")
RESNETS = {6: "dlv3p_r50", 23: "dlv3p_r101"}
"""By the blocks of the third stage (Table 1 of arXiv 1512.03385)."""
XCEPTIONS = {13: "dlv3p_x41", 21: "dlv3p_x65", 23: "dlv3p_x71"}
"""By all blocks: 3 or 5 of the entry flow, 8 or 16 of the middle flow, 2 of the exit flow."""


def base_of(state: Mapping[str, Tensor], variant: str) -> str:
    """Name the network, without its variant; empty where the zoo has none such.

    Args:
        state: Under own names.
        variant: Of the code base that the state is from: mmsegmentation's plain ResNets have
            names of their own, since its usual ones have a stem of three convolutions.
    """
    embed = state.get("backbone.patch_embed1.proj.weight")
    if embed is not None:
        depths = tuple(_count(state, rf"backbone\.block{i}\.(\d+)\.") for i in (1, 2, 3, 4))
        matches = [
            name
            for name, spec in SEGFORMER_SPECS.items()
            if spec.depths == depths and spec.dims[:1] == embed.shape[:1]
        ]
        return matches[0] if matches else ""
    if any(name.startswith("backbone.blocks.") for name in state):
        return XCEPTIONS.get(_count(state, r"backbone\.blocks\.(\d+)\."), "")
    if "backbone.body.conv_stem.weight" in state:
        return "dlv3p_mbv2"
    base = RESNETS.get(_count(state, r"backbone\.body\.layer3\.(\d+)\."), "")
    plain = "backbone.body.conv1.weight" in state
    return f"{base}b" if base and variant == "mmseg" and plain else base


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Count the different numbers that a part of the parameters' names takes."""
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def count_classes(state: Mapping[str, Tensor]) -> int:
    """Give the channels of the logits; 0 where there is no classifier."""
    found = [state[f"{c}.weight"] for c in CLASSIFIERS if f"{c}.weight" in state]
    return sum(found[0].shape[:1]) if found else 0


def has_head(state: Mapping[str, Tensor]) -> bool:
    """Say whether there is more than an encoder."""
    return any(name.startswith(HEADS) for name in state)


def interchangeable(one: str, other: str) -> bool:
    """Say whether two networks have parameters of the same names, shapes and meaning.

    Such networks differ in epsilons, in the last resize, in dilation or in output stride, none of
    which can be seen in the weights.
    """
    return _bare(get_spec(one)) == _bare(get_spec(other))


Spec = SegFormerSpec | DeepLabSpec | OwnSpec


def _bare(spec: Spec) -> Spec:
    if isinstance(spec, OwnSpec):
        return spec
    if isinstance(spec, SegFormerSpec):
        default = SegFormerSpec("", (0,) * 4, (0,) * 4, 0)
        return replace(spec, label="", epsilons=default.epsilons, align_corners=False)
    return replace(spec, label="", output_stride=16, dilation="plain")

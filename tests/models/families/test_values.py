"""Numbers arrive where a look at the other code base's forward pass says they belong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robustseg.models.checkpoints import load_model
from robustseg.models.identity import identify
from robustseg.models.reading import Checkpoint

Shapes = dict[str, list[int]]
Fill = Callable[[Shapes], Checkpoint]

PLACES = {
    "nvlabs segformer_b0": {
        "backbone.block3.1.mlp.dwconv.dwconv.bias": "backbone.block3.1.mlp.dwconv.dwconv.bias",
    },
    "hf segformer_b0": {
        "segformer.encoder.patch_embeddings.1.proj.weight": "backbone.patch_embed2.proj.weight",
        "segformer.encoder.block.0.1.attention.self.sr.bias": "backbone.block1.1.attn.sr.bias",
        "segformer.encoder.block.3.0.layer_norm_2.weight": "backbone.block4.0.norm2.weight",
        "segformer.encoder.layer_norm.2.bias": "backbone.norm3.bias",
        "decode_head.linear_c.3.proj.weight": "decode_head.linear_c4.proj.weight",
        "decode_head.batch_norm.running_var": "decode_head.linear_fuse.bn.running_var",
    },
    "hf5 segformer_b0": {
        "segformer.stages.2.blocks.1.layernorm_after.bias": "backbone.block3.1.norm2.bias",
        "segformer.stages.0.blocks.0.attention.o_proj.weight": "backbone.block1.0.attn.proj.weight",
        "decode_head.linear_projections.0.proj.bias": "decode_head.linear_c1.proj.bias",
    },
    "smp segformer_b0": {
        # from the coarsest stage to the finest
        "decoder.mlp_stage.0.linear.weight": "decode_head.linear_c4.proj.weight",
        "decoder.mlp_stage.2.linear.bias": "decode_head.linear_c2.proj.bias",
        "decoder.fuse_stage.1.running_mean": "decode_head.linear_fuse.bn.running_mean",
    },
    "mmseg segformer_b0": {
        "backbone.layers.3.0.projection.bias": "backbone.patch_embed4.proj.bias",
        "backbone.layers.1.2.weight": "backbone.norm2.weight",
        "backbone.layers.0.1.1.ffn.layers.1.weight": "backbone.block1.1.mlp.dwconv.dwconv.weight",
        "decode_head.convs.0.bn.running_var": "decode_head.convs.0.bn.running_var",
        "decode_head.conv_seg.bias": "decode_head.conv_seg.bias",
    },
    "mmseg dlv3p_r50": {
        "backbone.stem.6.weight": "backbone.body.conv1.6.weight",
        "backbone.stem.7.running_var": "backbone.body.bn1.running_var",
        "decode_head.image_pool.1.bn.bias": "pyramid.pool.1.bias",
        "decode_head.aspp_modules.2.depthwise_conv.bn.bias": "pyramid.branches.2.depthwise.1.bias",
        "decode_head.sep_bottleneck.1.pointwise_conv.bn.bias": "decoder.refine.1.pointwise.1.bias",
        "decode_head.conv_seg.weight": "decoder.classify.weight",
    },
    "mmseg dlv3p_mbv2": {
        "backbone.layer1.0.conv.0.bn.bias": "backbone.body.blocks.0.0.bn1.bias",
        "backbone.layer4.3.conv.1.conv.weight": "backbone.body.blocks.3.3.conv_dw.weight",
        "backbone.layer7.0.conv.2.bn.running_mean": "backbone.body.blocks.6.0.bn3.running_mean",
    },
    "vainf dlv3p_mbv2": {
        # 1 block, 2 and 3 in the low level; 4, 5 and 6 are the third stage's
        "backbone.low_level_features.1.conv.1.weight": "backbone.body.blocks.0.0.conv_pw.weight",
        "backbone.low_level_features.3.conv.0.0.weight": "backbone.body.blocks.1.1.conv_pw.weight",
        "backbone.high_level_features.4.conv.1.1.bias": "backbone.body.blocks.2.0.bn2.bias",
        "backbone.high_level_features.17.conv.2.weight": "backbone.body.blocks.6.0.conv_pwl.weight",
        "classifier.aspp.convs.4.2.weight": "pyramid.pool.1.weight",
    },
    "vainf dlv3p_r50": {
        "classifier.project.0.weight": "decoder.low_level.0.weight",
        "classifier.aspp.project.1.bias": "pyramid.project.1.bias",
        "classifier.aspp.convs.3.0.weight": "pyramid.branches.3.0.weight",
        "classifier.classifier.1.running_mean": "decoder.refine.0.1.running_mean",
        "classifier.classifier.3.bias": "decoder.classify.bias",
    },
    "smp dlv3p_x71": {
        "encoder.model.stem_1.bn.weight": "backbone.stem.1.bn.weight",
        "encoder.model.blocks_4.shortcut.conv.weight": "backbone.blocks.4.shortcut.conv.weight",
        "decoder.aspp.0.convs.2.0.1.weight": "pyramid.branches.2.pointwise.0.weight",
        "decoder.aspp.0.convs.2.1.weight": "pyramid.branches.2.pointwise.1.weight",
        "decoder.aspp.1.0.weight": "pyramid.refine.depthwise.0.weight",
        "decoder.aspp.2.running_var": "pyramid.refine.pointwise.1.running_var",
        "decoder.block1.1.bias": "decoder.low_level.1.bias",
        "decoder.block2.0.0.weight": "decoder.refine.0.depthwise.0.weight",
        "segmentation_head.0.weight": "decoder.classify.weight",
    },
}


@pytest.mark.parametrize("key", PLACES)
def test_tensors_that_are_only_renamed(layouts: dict[str, Shapes], filled: Fill, key: str) -> None:
    checkpoint = filled(layouts[key])
    state = identify(checkpoint).state
    for theirs, own in PLACES[key].items():
        assert torch.equal(state[own], checkpoint.state[theirs]), (theirs, own)


@pytest.mark.parametrize("leaf", ["weight", "bias"])
def test_keys_and_values_of_hugging_face_are_joined(
    layouts: dict[str, Shapes], filled: Fill, leaf: str
) -> None:
    checkpoint = filled(layouts["hf segformer_b0"])
    found = identify(checkpoint).state[f"backbone.block2.1.attn.kv.{leaf}"]
    before = "segformer.encoder.block.1.1.attention.self"
    assert len(found) == 128
    assert torch.equal(found[:64], checkpoint.state[f"{before}.key.{leaf}"])
    assert torch.equal(found[64:], checkpoint.state[f"{before}.value.{leaf}"])
    checkpoint = filled(layouts["hf5 segformer_b0"])
    found = identify(checkpoint).state[f"backbone.block2.1.attn.kv.{leaf}"]
    before = "segformer.stages.1.blocks.1.attention"
    assert torch.equal(found[:64], checkpoint.state[f"{before}.k_proj.{leaf}"])
    assert torch.equal(found[64:], checkpoint.state[f"{before}.v_proj.{leaf}"])


@pytest.mark.parametrize("leaf", ["weight", "bias"])
def test_queries_keys_and_values_of_mmsegmentation_are_split(
    layouts: dict[str, Shapes], filled: Fill, leaf: str
) -> None:
    checkpoint = filled(layouts["mmseg segformer_b0"])
    state = identify(checkpoint).state
    table = checkpoint.state[f"backbone.layers.2.1.0.attn.attn.in_proj_{leaf}"]
    assert torch.equal(state[f"backbone.block3.0.attn.q.{leaf}"], table[:160])
    assert torch.equal(state[f"backbone.block3.0.attn.kv.{leaf}"], table[160:])


def test_convolutions_of_one_pixel_are_linear_layers(
    layouts: dict[str, Shapes], filled: Fill
) -> None:
    checkpoint = filled(layouts["mmseg segformer_b0"])
    state = identify(checkpoint).state
    for theirs, own in ((0, "fc1"), (4, "fc2")):
        kernel = checkpoint.state[f"backbone.layers.0.1.1.ffn.layers.{theirs}.weight"]
        assert torch.equal(state[f"backbone.block1.1.mlp.{own}.weight"], kernel[:, :, 0, 0])


def test_the_numbers_of_the_network_are_those_of_the_file(
    layouts: dict[str, Shapes], filled: Fill
) -> None:
    checkpoint = filled(layouts["mmseg segformer_b0"])
    model = load_model(checkpoint)
    # they belong to the network alone: the file's table may be let go or changed
    table = checkpoint.state["backbone.layers.2.1.0.attn.attn.in_proj_weight"]
    before = model.get_parameter("backbone.block3.0.attn.q.weight").clone()
    table.zero_()
    assert torch.equal(model.get_parameter("backbone.block3.0.attn.q.weight"), before)


def test_tensors_of_half_precision_become_float32(layouts: dict[str, Shapes], filled: Fill) -> None:
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in filled(layouts["hf segformer_b0"]).state.items()
    }
    model = load_model(Checkpoint(Path("half.pth"), "0" * 64, state, {}))
    found = model.get_parameter("decode_head.linear_c2.proj.weight")
    assert found.dtype == torch.float32
    assert torch.equal(found, state["decode_head.linear_c.1.proj.weight"].float())

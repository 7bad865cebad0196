"""SegFormer of Hugging Face's transformers.

Files have the names of version 4, which ``save_pretrained`` of version 5 still writes; a
``state_dict()`` of version 5 in memory has others. Files of the bare encoder lack the prefix
``segformer``; those trained on ImageNet have it, and a ``classifier``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from robustseg.models.families.family import Family, State
from robustseg.models.families.renaming import NameTable

__all__ = ["HUGGING_FACE"]

BLOCK = "backbone.block{number}.{block}"

ENCODER_4 = {
    "encoder.patch_embeddings.{stage}.proj": "backbone.patch_embed{number}.proj",
    "encoder.patch_embeddings.{stage}.layer_norm": "backbone.patch_embed{number}.norm",
    "encoder.block.{stage}.{block}.layer_norm_1": f"{BLOCK}.norm1",
    "encoder.block.{stage}.{block}.layer_norm_2": f"{BLOCK}.norm2",
    "encoder.block.{stage}.{block}.attention.self.query": f"{BLOCK}.attn.q",
    "encoder.block.{stage}.{block}.attention.self.kv": f"{BLOCK}.attn.kv",
    "encoder.block.{stage}.{block}.attention.self.sr": f"{BLOCK}.attn.sr",
    "encoder.block.{stage}.{block}.attention.self.layer_norm": f"{BLOCK}.attn.norm",
    "encoder.block.{stage}.{block}.attention.output.dense": f"{BLOCK}.attn.proj",
    "encoder.block.{stage}.{block}.mlp.dense1": f"{BLOCK}.mlp.fc1",
    "encoder.block.{stage}.{block}.mlp.dwconv.dwconv": f"{BLOCK}.mlp.dwconv.dwconv",
    "encoder.block.{stage}.{block}.mlp.dense2": f"{BLOCK}.mlp.fc2",
    "encoder.layer_norm.{stage}": "backbone.norm{number}",
}
REDUCTION_5 = "stages.{stage}.blocks.{block}.attention.sequence_reduction"
ENCODER_5 = {
    "stages.{stage}.patch_embeddings.proj": "backbone.patch_embed{number}.proj",
    "stages.{stage}.patch_embeddings.layer_norm": "backbone.patch_embed{number}.norm",
    "stages.{stage}.blocks.{block}.layernorm_before": f"{BLOCK}.norm1",
    "stages.{stage}.blocks.{block}.layernorm_after": f"{BLOCK}.norm2",
    "stages.{stage}.blocks.{block}.attention.q_proj": f"{BLOCK}.attn.q",
    "stages.{stage}.blocks.{block}.attention.kv": f"{BLOCK}.attn.kv",
    f"{REDUCTION_5}.sequence_reduction": f"{BLOCK}.attn.sr",
    f"{REDUCTION_5}.layer_norm": f"{BLOCK}.attn.norm",
    "stages.{stage}.blocks.{block}.attention.o_proj": f"{BLOCK}.attn.proj",
    "stages.{stage}.blocks.{block}.mlp.fc1": f"{BLOCK}.mlp.fc1",
    "stages.{stage}.blocks.{block}.mlp.dwconv.dwconv": f"{BLOCK}.mlp.dwconv.dwconv",
    "stages.{stage}.blocks.{block}.mlp.fc2": f"{BLOCK}.mlp.fc2",
    "stages.{stage}.layer_norm": "backbone.norm{number}",
}
HEAD = {
    "decode_head.linear_c.{stage}.proj": "decode_head.linear_c{number}.proj",
    "decode_head.linear_projections.{stage}.proj": "decode_head.linear_c{number}.proj",
    "decode_head.linear_fuse": "decode_head.linear_fuse.conv",
    "decode_head.batch_norm": "decode_head.linear_fuse.bn",
    "decode_head.classifier": "decode_head.linear_pred",
}
KEY = re.compile(r"(.*\.attention\.)(self\.key|k_proj)(\.\w+)")
KV = {"self.key": ("self.value", "self.kv"), "k_proj": ("v_proj", "kv")}


def join_keys_and_values(state: Mapping[str, Tensor]) -> State:
    """Join the layers that make keys and values, keys first, as one linear layer."""
    joined = dict(state)
    for name, key in state.items():
        match = KEY.fullmatch(name)
        if match:
            before, which, leaf = match.groups()
            value_name, kv_name = (before + part + leaf for part in KV[which])
            value = joined.get(value_name)
            if value is not None and key.ndim and key.shape == value.shape:
                joined[kv_name] = torch.cat([key, joined.pop(value_name)])
                del joined[name]
    return joined


HUGGING_FACE = Family(
    title="Hugging Face",
    variant="hf",
    mark=re.compile(r"(segformer\.)?(encoder\.patch_embeddings|stages\.0\.patch_embeddings)\."),
    table=NameTable(
        {
            f"{prefix}{theirs}": own
            for prefix in ("segformer.", "")
            for theirs, own in {**ENCODER_4, **ENCODER_5}.items()
        }
        | HEAD
    ),
    dropped=re.compile(r"classifier\."),
    prepare=join_keys_and_values,
)

"""transformers' SegFormer with the weights of one of ours."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from robustseg.models.base import SegmentationModel

RENAMED = (
    (r"^decode_head\.linear_fuse\.conv\.", "decode_head.linear_fuse."),
    (r"^decode_head\.linear_fuse\.bn\.", "decode_head.batch_norm."),
    (r"^decode_head\.linear_pred\.", "decode_head.classifier."),
    (r"\.attn\.q\.", ".attention.self.query."),
    (r"\.attn\.sr\.", ".attention.self.sr."),
    (r"\.attn\.norm\.", ".attention.self.layer_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
    (r"\.norm([12])\.", r".layer_norm_\1."),
)


def same_weights(model: SegmentationModel) -> torch.nn.Module:
    """Build transformers' SegFormer-B0 with 19 classes and the weights of ours.

    Its layer norms have an epsilon of 1e-5 everywhere, so logits differ by about 1e-6.
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    peer: torch.nn.Module = SegformerForSemanticSegmentation(SegformerConfig(num_labels=19))
    state = {key: value for k, v in model.state_dict().items() for key, value in _rename(k, v)}
    load_hub_names(peer, state)
    return peer.eval()


def _rename(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """Turn one of our parameters into the one or two of the hub's layout."""
    name = re.sub(
        r"^backbone\.(patch_embed|block|norm)(\d)\.",
        lambda m: f"segformer.encoder.{m[1]}.{int(m[2]) - 1}.",
        name,
    )
    name = re.sub(
        r"^decode_head\.linear_c(\d)\.",
        lambda m: f"decode_head.linear_c.{int(m[1]) - 1}.",
        name,
    )
    name = re.sub(
        r"encoder\.patch_embed\.(\d)\.norm\.", r"encoder.patch_embed.\1.layer_norm.", name
    )
    name = name.replace("encoder.patch_embed.", "encoder.patch_embeddings.")
    name = name.replace("encoder.norm.", "encoder.layer_norm.")
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    if ".attn.kv." not in name:
        return [(name, value)]
    key, val = value.chunk(2)
    return [
        (name.replace(".attn.kv.", ".attention.self.key."), key),
        (name.replace(".attn.kv.", ".attention.self.value."), val),
    ]


def load_hub_names(peer: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Load weights under the hub's names into whatever layout this transformers version has."""
    import tempfile

    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        save_file(
            {k: v.contiguous() for k, v in state.items()},
            f"{folder}/model.safetensors",
            metadata={"format": "pt"},
        )
        peer.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        loaded = type(peer).from_pretrained(folder)  # type: ignore[attr-defined]
    peer.load_state_dict(loaded.state_dict())

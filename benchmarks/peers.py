"""Peers' networks with random weights, and ours with the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from robustseg.models.base import SegmentationModel
from robustseg.models.checkpoints import Checkpoint, load_model
from robustseg.models.specs import DeepLabSpec, SegFormerSpec
from robustseg.models.zoo import base_name, get_spec

__all__ = ["PEERS", "build_peer", "logits_of", "with_weights_of"]

PEERS = ("transformers", "smp")
"""Whose networks are known here: transformers', segmentation_models_pytorch's."""


def build_peer(library: str, name: str, output_stride: int = 16) -> nn.Module:
    """Build a library's network with random weights and batch-norm statistics that matter.

    Args:
        library: ``transformers`` (SegFormer) or ``smp``.
        name: Of ours, without a variant.
        output_stride: 16 or 8, of DeepLabv3+.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = _build(library, name, output_stride)
        for key, value in peer.state_dict().items():
            if key.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.8, 1.2)
    return peer.eval()


def _build(library: str, name: str, output_stride: int) -> nn.Module:
    spec = get_spec(name)
    peer: nn.Module
    if library == "transformers" and isinstance(spec, SegFormerSpec):
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        config = SegformerConfig(
            hidden_sizes=spec.dims,
            depths=spec.depths,
            decoder_hidden_size=spec.decoder_dim,
            num_labels=19,
            attn_implementation="sdpa",
        )
        peer = SegformerForSemanticSegmentation(config)
        return peer
    import segmentation_models_pytorch as smp

    if isinstance(spec, SegFormerSpec):
        peer = smp.Segformer(
            f"mit_{name[-2:]}",
            encoder_weights=None,
            classes=19,
            decoder_segmentation_channels=spec.decoder_dim,
        )
    elif isinstance(spec, DeepLabSpec):
        peer = smp.DeepLabV3Plus(
            f"tu-{spec.backbone}",
            encoder_weights=None,
            classes=19,
            encoder_output_stride=output_stride,
        )
    return peer


def with_weights_of(peer: nn.Module, name: str, output_stride: int = 16) -> SegmentationModel:
    """Build ours with a peer's weights, through the reader of its checkpoints."""
    checkpoint = Checkpoint(Path("peer"), "0" * 64, dict(peer.state_dict()), {})
    stride = output_stride if isinstance(get_spec(name), DeepLabSpec) else None
    return load_model(checkpoint, base_name(name), output_stride=stride)


def logits_of(peer: Callable[..., object], x: Tensor) -> Tensor:
    """Run a peer: transformers gives a quarter of the input size, smp the input size."""
    found = peer(x)
    logits = found if isinstance(found, Tensor) else found.logits  # type: ignore[attr-defined]
    assert isinstance(logits, Tensor)
    return logits

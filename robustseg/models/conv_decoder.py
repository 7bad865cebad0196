"""The decoder that mmsegmentation gives SegFormer in place of equation 4 (arXiv 2105.15203).

Each stage passes a 1 x 1 convolution, batch norm and ReLU before it is upsampled. The ReLU lets
only the fusing convolution move before the upsampling.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.bands import can_use_bands
from robustseg.models.fusion import (
    banded_logits,
    classify,
    fold_norm,
    measured_norm,
    upsampled_sum,
    uses_batch_statistics,
)
from robustseg.models.mlp_decoder import ConvNorm

__all__ = ["ConvDecoder"]


class ConvDecoder(nn.Module):
    """Convolution, batch norm and ReLU on each stage, upsampled and fused by another such layer.

    ``textbook`` upsamples and concatenates, from the finest stage to the coarsest, before it
    fuses; it gives the same numbers, gradients and batch-norm statistics.

    Args:
        in_channels: Of the four stages, the finest first.
        dim: Channels of the projections and of the fused map.
        num_classes: Channels of the logits.
    """

    def __init__(self, in_channels: tuple[int, int, int, int], dim: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvNorm(channels, dim) for channels in in_channels)
        self.fusion_conv = ConvNorm(4 * dim, dim)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(dim, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the four stages' features, finest first, to logits (N, classes, H/4, W/4)."""
        weights, bias = self.moved_fusion()
        slots = zip(self.layers, weights, (None, None, None, bias), strict=True)
        projections = [partial(project, layer, weight, b) for layer, weight, b in slots]
        norms = [layer.bn for layer in (*self.layers, self.fusion_conv)]
        measured = any(uses_batch_statistics(norm) for norm in norms)
        if not self.training and not measured and can_use_bands(features[0]):
            return banded_logits(features, projections, self.conv_seg)
        fused = upsampled_sum(features, projections)
        if uses_batch_statistics(self.fusion_conv.bn):
            fused = measured_norm(self.fusion_conv.bn, fused)
        return classify(fused, self.dropout, self.conv_seg)

    @property
    def layers(self) -> list[ConvNorm]:
        """The stages' layers, the finest stage first."""
        return [layer for layer in self.convs if isinstance(layer, ConvNorm)]

    def moved_fusion(self) -> tuple[list[Tensor], Tensor | None]:
        """Cut the fusing weights into four of (E, E), finest stage first, and a bias.

        A batch norm that applies stored statistics is part of them; one that measures is not, and
        there is no bias then.
        """
        fuse, norm = self.fusion_conv.conv.weight.flatten(1), self.fusion_conv.bn
        if uses_batch_statistics(norm):
            return list(fuse.chunk(4, dim=1)), None
        scale, shift = fold_norm(norm)
        return list((fuse * scale[:, None]).chunk(4, dim=1)), shift

    def textbook(self, features: list[Tensor]) -> Tensor:
        """Do what ``forward`` does in the usual order: upsample, concatenate, then fuse."""
        size = features[0].shape[-2:]
        maps = [layer(f) for layer, f in zip(self.layers, features, strict=True)]
        maps = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps]
        out: Tensor = self.conv_seg(self.dropout(self.fusion_conv(torch.cat(maps, dim=1))))
        return out


def project(layer: ConvNorm, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """Apply a stage's layer and its part of the fusing convolution to (..., C), giving (..., E)."""
    kernel = layer.conv.weight.flatten(1)
    if uses_batch_statistics(layer.bn):
        x = layer.bn(F.linear(x, kernel).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    else:
        scale, shift = fold_norm(layer.bn)
        x = F.linear(x, kernel * scale[:, None], shift)
    return F.linear(x.relu_(), weight, bias)

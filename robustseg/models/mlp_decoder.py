"""The all-MLP decoder of SegFormer (arXiv 2105.15203, section 3.2, equation 4).

Equation 4 applies a linear layer to each stage, upsamples, concatenates and fuses by another
linear layer. Nothing but interpolation stands between the two linear layers, and interpolation
commutes with them: stage by stage their product does the work of both.
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
    full_precision,
    measured_norm,
    upsampled_sum,
    uses_batch_statistics,
)

__all__ = ["ConvNorm", "MLPDecoder", "StageProjection"]


class StageProjection(nn.Module):
    """Linear layer over the channels of a feature map (first line of equation 4)."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, dim, H, W)."""
        out: Tensor = self.proj(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """1 x 1 convolution without bias, batch norm and ReLU (third line of equation 4)."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, dim, H, W)."""
        return F.relu(self.bn(self.conv(x)))


class MLPDecoder(nn.Module):
    """The all-MLP decoder, with the parameters of equation 4 and the work of their products.

    ``textbook`` follows the equation line by line and gives the same numbers, gradients and
    batch-norm statistics. The released code concatenates from the coarsest stage to the finest.

    Args:
        in_channels: Of the four stages, the finest first.
        dim: Channels C of the projections and of the fused map.
        num_classes: Channels of the logits.
    """

    def __init__(self, in_channels: tuple[int, int, int, int], dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear_c1 = StageProjection(in_channels[0], dim)
        self.linear_c2 = StageProjection(in_channels[1], dim)
        self.linear_c3 = StageProjection(in_channels[2], dim)
        self.linear_c4 = StageProjection(in_channels[3], dim)
        self.linear_fuse = ConvNorm(4 * dim, dim)
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(dim, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the four stages' features, finest first, to logits (N, classes, H/4, W/4)."""
        weights, bias = self.composed()
        projections = [
            partial(F.linear, weight=weight, bias=b)
            for weight, b in zip(weights, (None, None, None, bias), strict=True)
        ]
        norm = self.linear_fuse.bn
        if not self.training and not uses_batch_statistics(norm) and can_use_bands(features[0]):
            return banded_logits(features, projections, self.linear_pred)
        fused = upsampled_sum(features, projections)
        if uses_batch_statistics(norm):
            fused = measured_norm(norm, fused)
        return classify(fused, self.dropout, self.linear_pred)

    def composed(self) -> tuple[list[Tensor], Tensor]:
        """Multiply the linear layers out: four weights (C, C_i), finest stage first, and a bias.

        A batch norm that applies stored statistics is part of the product. The product is taken
        in the parameters' own precision, also where autocast lowers that of the layers.
        """
        linears = [c.proj for c in (self.linear_c1, self.linear_c2, self.linear_c3, self.linear_c4)]
        fuse, norm = self.linear_fuse.conv.weight.flatten(1), self.linear_fuse.bn
        with full_precision(fuse.device):
            shift = torch.zeros_like(norm.bias)
            if not uses_batch_statistics(norm):
                scale, shift = fold_norm(norm)
                fuse = fuse * scale[:, None]
            slots = fuse.chunk(4, dim=1)[::-1]
            weights = [slot @ linear.weight for slot, linear in zip(slots, linears, strict=True)]
            for slot, linear in zip(slots, linears, strict=True):
                shift = shift + slot @ linear.bias
        return weights, shift

    def textbook(self, features: list[Tensor]) -> Tensor:
        """Do what ``forward`` does as equation 4 writes it: upsample, concatenate, then fuse."""
        size = features[0].shape[-2:]
        linears = (self.linear_c4, self.linear_c3, self.linear_c2, self.linear_c1)
        maps = [linear(f) for linear, f in zip(linears, features[::-1], strict=True)]
        maps = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps]
        fused = self.linear_fuse(torch.cat(maps, dim=1))
        out: Tensor = self.linear_pred(self.dropout(fused))
        return out

"""SegFormer (arXiv 2105.15203): the Mix Transformer with the all-MLP decoder.

Parameter names are those of the released checkpoints: ``backbone.*`` and ``decode_head.*``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.base import SegmentationModel
from robustseg.models.mix_transformer import MixTransformer
from robustseg.models.specs import SegFormerSpec

__all__ = ["MLPDecoder", "SegFormer"]


class Projection(nn.Module):
    """Linear layer over the channels of a feature map (first line of equation 4)."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, dim, H, W)."""
        out: Tensor = self.proj(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class Fusion(nn.Module):
    """1 x 1 convolution without bias, batch norm and ReLU (third line of equation 4)."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, dim, H, W)."""
        return F.relu(self.bn(self.conv(x)))


class MLPDecoder(nn.Module):
    """The all-MLP decoder (section 3.2, equation 4).

    The released code concatenates the projected stages from the coarsest to the finest.
    """

    def __init__(self, in_channels: tuple[int, ...], dim: int, num_classes: int) -> None:
        super().__init__()
        for i, channels in enumerate(in_channels, start=1):
            self.add_module(f"linear_c{i}", Projection(channels, dim))
        self.linear_fuse = Fusion(len(in_channels) * dim, dim)
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(dim, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the four stages' features to logits (N, classes, H/4, W/4)."""
        size = features[0].shape[-2:]
        projected = []
        for i in range(len(features), 0, -1):
            x = self.get_submodule(f"linear_c{i}")(features[i - 1])
            if x.shape[-2:] != size:
                x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            projected.append(x)
        fused = self.linear_fuse(torch.cat(projected, dim=1))
        out: Tensor = self.linear_pred(self.dropout(fused))
        return out


class SegFormer(SegmentationModel):
    """SegFormer of one of the sizes B0-B5.

    Args:
        spec: The size, a row of ``zoo.SEGFORMER_SPECS``.
        num_classes: Channels of the logits.
        drop_path: Stochastic depth of the encoder's last block.
    """

    def __init__(self, spec: SegFormerSpec, num_classes: int, drop_path: float = 0.1) -> None:
        super().__init__(spec.normalisation, num_classes)
        self.backbone = MixTransformer(spec.dims, spec.depths, drop_path)
        self.decode_head = MLPDecoder(spec.dims, spec.decoder_dim, num_classes)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Give the four normed stage outputs (N, C_i, H_i, W_i) at 1/4, 1/8, 1/16, 1/32."""
        features: list[Tensor] = self.backbone(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits (N, num_classes, H/4, W/4)."""
        out: Tensor = self.decode_head(features)
        return out

    @property
    def head_modules(self) -> list[nn.Module]:
        """The decoder."""
        return [self.decode_head]

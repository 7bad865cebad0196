"""DeepLabv3+ (arXiv 1802.02611) in the form of the official TensorFlow code.

Atrous spatial pyramid pooling with split separable convolutions over timm's backbones, a decoder
with two separable convolutions at 1/4, and ``align_corners=True`` in every resize.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.errors import SettingError
from robustseg.models.backbones import build_encoder
from robustseg.models.base import SegmentationModel
from robustseg.models.specs import DeepLabSpec

__all__ = ["AtrousPyramid", "Decoder", "DeepLabV3Plus"]

WIDTH = 256
LOW_LEVEL_WIDTH = 48
ATROUS_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Rates of the pyramid by output stride (section 3.1 of arXiv 1706.05587)."""


def conv_bn_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """1 x 1 convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def separable_conv(in_channels: int, out_channels: int, rate: int = 1) -> nn.Sequential:
    """Depth-wise 3 x 3 at an atrous rate, then 1 x 1, each with batch norm and ReLU."""
    depthwise = nn.Conv2d(
        in_channels, in_channels, 3, padding=rate, dilation=rate, groups=in_channels, bias=False
    )
    return nn.Sequential(
        depthwise,
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        conv_bn_relu(in_channels, out_channels),
    )


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear resize to ``size`` with aligned corners."""
    return F.interpolate(x, size=[*size], mode="bilinear", align_corners=True)


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling: image pooling, 1 x 1 and three atrous branches."""

    def __init__(self, in_channels: int, rates: tuple[int, int, int]) -> None:
        super().__init__()
        self.pool = conv_bn_relu(in_channels, WIDTH)
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(in_channels, WIDTH),
                *[separable_conv(in_channels, WIDTH, rate) for rate in rates],
            ]
        )
        self.project = conv_bn_relu(5 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, 256, h, w)."""
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        parts = [pooled, *[branch(x) for branch in self.branches]]
        out: Tensor = self.dropout(self.project(torch.cat(parts, dim=1)))
        return out


class Decoder(nn.Module):
    """Joins the pyramid with the low-level feature at 1/4 and refines (figure 2)."""

    def __init__(self, low_level_channels: int, num_classes: int) -> None:
        super().__init__()
        self.low_level = conv_bn_relu(low_level_channels, LOW_LEVEL_WIDTH)
        self.refine = nn.Sequential(
            separable_conv(WIDTH + LOW_LEVEL_WIDTH, WIDTH), separable_conv(WIDTH, WIDTH)
        )
        self.classify = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, pyramid: Tensor, low_level: Tensor) -> Tensor:
        """Map (N, 256, h, w) and (N, C, H/4, W/4) to logits (N, classes, H/4, W/4)."""
        low = self.low_level(low_level)
        joined = torch.cat([resize(pyramid, low.shape[-2:]), low], dim=1)
        out: Tensor = self.classify(self.refine(joined))
        return out


class DeepLabV3Plus(SegmentationModel):
    """DeepLabv3+ over a backbone of timm.

    Args:
        spec: Backbone and normalisation, an entry of ``zoo.DEEPLAB_SPECS``.
        num_classes: Channels of the logits.
        output_stride: Ratio of input to coarsest feature, 16 or 8.

    Raises:
        SettingError: The output stride is another.
    """

    align_corners = True

    def __init__(
        self, spec: DeepLabSpec, num_classes: int, output_stride: int | None = None
    ) -> None:
        super().__init__(spec.normalisation, num_classes)
        output_stride = spec.output_stride if output_stride is None else output_stride
        if output_stride not in ATROUS_RATES:
            raise SettingError(f"output stride must be 16 or 8, found {output_stride}")
        self.output_stride = output_stride
        self.backbone = build_encoder(spec, output_stride)
        channels = self.backbone.channels
        self.pyramid = AtrousPyramid(channels[-1], ATROUS_RATES[output_stride])
        self.decoder = Decoder(channels[0], num_classes)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Give the backbone's four stages; the last two or three share the output stride."""
        features: list[Tensor] = self.backbone(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits (N, num_classes, H/4, W/4)."""
        out: Tensor = self.decoder(self.pyramid(features[-1]), features[0])
        return out

    @property
    def head_modules(self) -> list[nn.Module]:
        """Pyramid and decoder."""
        return [self.pyramid, self.decoder]

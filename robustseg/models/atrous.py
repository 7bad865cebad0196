"""Pyramid and decoder of DeepLabv3+, in the form of any of the code bases that write them.

One set of layers serves all: a ``DeepLabForm`` says which convolutions are separable, in which
order parts are concatenated, what follows the projection and how grids are aligned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.bands import BAND_BYTES, bands, can_use_bands
from robustseg.models.fusion import interpolation_matrix, widened_rows
from robustseg.models.interlacing import interlace, separate
from robustseg.models.specs import DeepLabForm

__all__ = [
    "AtrousDepthwise",
    "AtrousPyramid",
    "Decoder",
    "SeparableConv",
    "conv_norm_relu",
    "resize",
]

LOW_LEVEL_WIDTH = 48
"""Channels that the low-level feature is reduced to (table 1 of arXiv 1802.02611)."""


TAPS = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
TAPS_BYTES = 1 << 20
SLOW_RATE = 6
"""From here on channels-last CPU kernels fall back to code that is ten times slower."""


class AtrousDepthwise(nn.Conv2d):
    """Depth-wise 3 x 3 convolution at an atrous rate that keeps the grid.

    It has no bias until a batch norm is folded into it. At large rates on a CPU inference adds nine
    shifted maps up, one for each tap of the filter: most of what the outer taps meet lies outside
    the map, and is never touched. Training convolves the coarser images that a rate amounts to.
    """

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__(
            channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w)."""
        if (
            self.dilation[0] < SLOW_RATE
            or x.device.type != "cpu"
            or not x.is_contiguous(memory_format=torch.channels_last)
            # compilers and exports know the convolution, and better leave it whole
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        ):
            return super().forward(x)
        method = self.by_taps if can_use_bands(x) else self.interlaced
        return method(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def interlaced(self, x: Tensor) -> Tensor:
        """Map (N, h, w, C) to (N, h, w, C) as ``forward`` does: as coarser images."""
        rate = self.dilation[0]
        parts = separate(x, rate).permute(0, 3, 1, 2)
        parts = F.conv2d(parts, self.weight, self.bias, padding=1, groups=self.groups)
        return interlace(parts.permute(0, 2, 3, 1), rate, x.shape[1], x.shape[2])

    def by_taps(self, x: Tensor) -> Tensor:
        """Map (N, h, w, C) to (N, h, w, C) as ``forward`` does: one tap after another."""
        rate, height, width = self.dilation[0], x.shape[1], x.shape[2]
        weight = self.weight.permute(2, 3, 1, 0).contiguous()[:, :, 0]
        out = torch.empty_like(x)
        # a band stays in the cache while its nine taps are added
        for top, bottom in bands(height, x[:, 0].nbytes, TAPS_BYTES):
            torch.mul(x[:, top:bottom], weight[1, 1], out=out[:, top:bottom])
            if self.bias is not None:  # of a folded batch norm
                out[:, top:bottom] += self.bias
            for i, j in TAPS:
                down, right = (i - 1) * rate, (j - 1) * rate
                first, last = max(top, -down), min(bottom, height - down)
                left, end = max(0, -right), min(width, width - right)
                if first < last and left < end:
                    met = x[:, first + down : last + down, left + right : end + right]
                    out[:, first:last, left:end].addcmul_(met, weight[i, j])
        return out


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int = 1, rate: int = 1
) -> nn.Sequential:
    """Give a convolution that keeps the grid, without bias, then batch norm and ReLU."""
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=rate * (kernel // 2),
        dilation=rate,
        bias=False,
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class SeparableConv(nn.Module):
    """Atrous separable convolution (figure 3 of arXiv 1802.02611).

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        rate: Atrous rate of the depth-wise 3 x 3.
        norm_between: Whether batch norm and ReLU also follow the depth-wise half, as section 3.2
            of the paper adds them to every one of Xception's.
    """

    def __init__(
        self, in_channels: int, out_channels: int, rate: int = 1, norm_between: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(AtrousDepthwise(in_channels, rate))
        if norm_between:
            self.depthwise.extend([nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)])
        self.pointwise = conv_norm_relu(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, out_channels, h, w)."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


def conv3x3(in_channels: int, out_channels: int, rate: int, form: DeepLabForm) -> nn.Module:
    """Give a 3 x 3 convolution with batch norm and ReLU: separable or dense, as the form has it."""
    if form.separable:
        return SeparableConv(in_channels, out_channels, rate, form.norm_between)
    return conv_norm_relu(in_channels, out_channels, 3, rate)


def resize(x: Tensor, size: torch.Size, align_corners: bool) -> Tensor:
    """Resize (N, C, h, w) bilinearly to ``size``; ``align_corners`` as in ``F.interpolate``."""
    return F.interpolate(x, size=[*size], mode="bilinear", align_corners=align_corners)


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling with image pooling (figure 5 of arXiv 1706.05587).

    Args:
        in_channels: Of the backbone's last stage.
        rates: Atrous rates of the three 3 x 3 branches.
        form: Separable or dense branches, their width, the order of the parts, the projection.
    """

    def __init__(self, in_channels: int, rates: tuple[int, int, int], form: DeepLabForm) -> None:
        super().__init__()
        width = form.width
        self.pool_first = form.pool_first
        self.pool = conv_norm_relu(in_channels, width)
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(in_channels, width),
                *[conv3x3(in_channels, width, rate, form) for rate in rates],
            ]
        )
        self.project = conv_norm_relu(5 * width, width, form.project_kernel)
        self.dropout = nn.Dropout(form.dropout)
        self.refine: nn.Module = nn.Identity()
        if form.project_refine:
            self.refine = conv3x3(width, width, 1, form)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, width, h, w)."""
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        parts = [branch(x) for branch in self.branches]
        parts = [pooled, *parts] if self.pool_first else [*parts, pooled]
        out: Tensor = self.refine(self.dropout(self.project(torch.cat(parts, dim=1))))
        return out


class Decoder(nn.Module):
    """Joins the pyramid with the low-level feature at 1/4 and refines them.

    Figure 2 and section 4.1 of arXiv 1802.02611: the low-level feature reduced to 48 channels, the
    pyramid upsampled to it, one or two 3 x 3 convolutions, a classifier.

    Args:
        low_level_channels: Of the backbone's first stage.
        num_classes: Channels of the logits.
        form: Width, number and kind of the convolutions, order of the parts, alignment.
    """

    def __init__(self, low_level_channels: int, num_classes: int, form: DeepLabForm) -> None:
        super().__init__()
        self.low_level_first = form.low_level_first
        self.align_corners = form.align_corners
        self.low_level = conv_norm_relu(low_level_channels, LOW_LEVEL_WIDTH)
        widths = [form.width + LOW_LEVEL_WIDTH, *[form.width] * form.refinements]
        self.refine = nn.Sequential(
            *[conv3x3(before, form.width, 1, form) for before in widths[:-1]]
        )
        # the one form that has it drops whole channels
        self.dropout = nn.Dropout2d(form.classifier_dropout)
        self.classify = nn.Conv2d(form.width, num_classes, 1)

    def forward(self, pyramid: Tensor, low_level: Tensor) -> Tensor:
        """Map (N, width, h, w) and (N, low_level_channels, H, W) to logits (N, classes, H, W)."""
        if can_use_bands(low_level) and not self.training:
            return self.by_bands(pyramid, low_level)
        low = self.low_level(low_level)
        high = resize(pyramid, low.shape[-2:], self.align_corners)
        joined = torch.cat([low, high] if self.low_level_first else [high, low], dim=1)
        out: Tensor = self.classify(self.dropout(self.refine(joined)))
        return out

    def by_bands(self, pyramid: Tensor, low_level: Tensor, band_bytes: int = BAND_BYTES) -> Tensor:
        """Do what ``forward`` does one band of rows at a time, in inference.

        The upsampled pyramid and what is made of it never exist as a whole.
        """
        count, _, height, width = low_level.shape
        rows = pyramid.permute(0, 2, 3, 1)
        aligned = self.align_corners
        mixing = interpolation_matrix(rows.shape[1], height, rows.dtype, aligned)
        margin = len(self.refine)  # each 3 x 3 convolution looks one row further
        row_bytes = width * (rows.shape[3] + LOW_LEVEL_WIDTH) * rows.element_size()
        logits = low_level.new_empty(count, self.classify.out_channels, height, width)
        for image in range(count):
            for top, bottom in bands(height, row_bytes, band_bytes):
                first, last = max(top - margin, 0), min(bottom + margin, height)
                low = self.low_level(low_level[image : image + 1, :, first:last])
                weights, wide = widened_rows(rows[image], mixing[first:last], width, aligned)
                high = (weights @ wide).view(1, last - first, width, -1).permute(0, 3, 1, 2)
                joined = torch.cat([low, high] if self.low_level_first else [high, low], dim=1)
                band = self.classify(self.refine(joined))
                logits[image, :, top:bottom] = band[0, :, top - first : bottom - first]
        return logits

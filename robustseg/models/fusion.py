"""Adds features of several resolutions up and classifies them, without a wide concatenation.

A 1 x 1 convolution of concatenated maps is the sum of the maps' own 1 x 1 convolutions, and a
1 x 1 convolution commutes with bilinear upsampling, whose weights sum to one at every pixel. So a
decoder that upsamples, concatenates and fuses may as well fuse each map at its own, lower
resolution, upsample and add: the same numbers for a fraction of the work and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.bands import BAND_BYTES, add, bands

__all__ = [
    "Projection",
    "banded_logits",
    "classify",
    "fold_norm",
    "full_precision",
    "interpolation_matrix",
    "measured_norm",
    "upsampled_sum",
    "uses_batch_statistics",
    "widened_rows",
]

Projection = Callable[[Tensor], Tensor]
"""A function of single pixels: maps (N, h, w, C) to (N, h, w, E)."""


def uses_batch_statistics(norm: nn.BatchNorm2d) -> bool:
    """Whether a batch norm measures its input instead of applying what it has stored."""
    return norm.training or norm.running_mean is None or norm.running_var is None


def fold_norm(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Write a batch norm with stored statistics as ``x * scale + shift``, both (C,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def measured_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Apply a batch norm that measures its input (N, C, H, W).

    On a CPU the input is laid out channel by channel: torch adds a channels-last map up pixel
    after pixel in single precision, which leaves gradients five times further from the exact ones.
    """
    out: Tensor = norm(x.contiguous() if x.device.type == "cpu" else x)
    return out


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Keep autocast, where it is on, from lowering the precision of a block."""
    known = torch.amp.is_autocast_available(device.type)  # not of the meta device
    if known and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def upsampled_sum(features: Sequence[Tensor], projections: Sequence[Projection]) -> Tensor:
    """Project each map at its own resolution, bring all to that of the first, and add them.

    Args:
        features: Maps (N, C_k, H_k, W_k), the finest first.
        projections: One for each map.

    Returns:
        (N, E, H_1, W_1), channels-last in memory.
    """
    height, width = features[0].shape[-2:]
    maps = [
        project(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for feature, project in zip(features, projections, strict=True)
    ]
    total = maps[0]
    for x in maps[1:]:
        wide = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
        total = add(total, wide)
    return total


def classify(fused: Tensor, dropout: nn.Module, classifier: nn.Module) -> Tensor:
    """Apply ReLU, dropout and the classifier to the fused map (N, E, H, W); overwrites it.

    Returns:
        Logits (N, classes, H, W), contiguous: few channels are resized faster one by one.
    """
    logits: Tensor = classifier(dropout(fused.relu_()))
    return logits.contiguous()


def banded_logits(
    features: Sequence[Tensor],
    projections: Sequence[Projection],
    classifier: nn.Conv2d,
    band_bytes: int = BAND_BYTES,
) -> Tensor:
    """Sum as ``upsampled_sum`` does, apply ReLU and the classifier, one band of rows at a time.

    For inference: nothing here has a gradient. The fused map, by far the largest tensor of the
    decoder, never exists as a whole. Bilinear interpolation is separable: columns are resized
    first, in the rows that a band needs, and rows are mixed by a product with the band's
    interpolation weights.

    Args:
        features: Maps (N, C_k, H_k, W_k), the finest first.
        projections: One for each map.
        classifier: 1 x 1 convolution from E channels to classes.
        band_bytes: About how large one band of the fused map may be.

    Returns:
        Logits (N, classes, H_1, W_1), contiguous; equal to the sum's up to rounding.
    """
    finest, *others = (f.permute(0, 2, 3, 1) for f in features)
    n, height, width, _ = finest.shape
    coarse = [project(f) for f, project in zip(others, projections[1:], strict=True)]
    mixing = [interpolation_matrix(f.shape[1], height, f.dtype) for f in coarse]
    kernel = classifier.weight.flatten(1)
    logits = finest.new_empty(n, len(kernel), height, width)
    row_bytes = width * kernel.shape[1] * finest.element_size()
    for image in range(n):
        for top, bottom in bands(height, row_bytes, band_bytes):
            band = projections[0](finest[image, top:bottom]).view(bottom - top, -1)
            for x, matrix in zip(coarse, mixing, strict=True):
                weights, wide = widened_rows(x[image], matrix[top:bottom], width)
                band.addmm_(weights, wide)
            pixels = band.relu_().view(-1, kernel.shape[1])
            scores = kernel @ pixels.T
            logits[image, :, top:bottom] = scores.view(-1, bottom - top, width)
    if classifier.bias is not None:
        logits += classifier.bias[:, None, None]
    return logits


def interpolation_matrix(
    size: int, new_size: int, dtype: torch.dtype = torch.float32, align_corners: bool = False
) -> Tensor:
    """Give the weights (new_size, size) of linear interpolation; as ``F.interpolate`` has it."""
    identity = torch.eye(size, dtype=dtype)[None]
    return F.interpolate(identity, size=new_size, mode="linear", align_corners=align_corners)[0].T


def widened_rows(
    x: Tensor, matrix: Tensor, width: int, align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """Resize the columns of the rows of (h, w, E) that some new rows mix.

    Args:
        x: (h, w, E).
        matrix: Weights (rows, h) of the new rows in the old ones.
        width: New number of columns.
        align_corners: As in ``F.interpolate``.

    Returns:
        Weights (rows, h') and the widened old rows (h', width * E): their product are the new rows.
    """
    used = matrix.any(0).nonzero()
    first, last = int(used[0]), int(used[-1]) + 1
    rows = x[None, first:last].permute(0, 3, 1, 2)
    size = (last - first, width)
    wide = F.interpolate(rows, size=size, mode="bilinear", align_corners=align_corners)
    return matrix[:, first:last], wide.permute(0, 2, 3, 1).reshape(last - first, -1)

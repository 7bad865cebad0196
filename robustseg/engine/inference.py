"""From a uint8 image to class predictions: the sliding-window test of SegFormer's section 4.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustseg.datasets.sample import ImageArray, LabelArray
from robustseg.models.base import SegmentationModel

__all__ = ["Inference", "Window", "confusion_matrix", "predict_logits", "windows"]


@dataclass(frozen=True)
class Inference:
    """How an image is shown to the network.

    Attributes:
        mode: ``slide``, or ``whole`` for one pass over the whole image.
        window: Side of the square window in pixels.
        stride: Step of the window in pixels.
    """

    mode: Literal["slide", "whole"] = "slide"
    window: int = 1024
    stride: int = 768


@dataclass(frozen=True)
class Window:
    """A rectangle of an image: rows ``top`` to ``bottom``, columns ``left`` to ``right``."""

    top: int
    bottom: int
    left: int
    right: int


def windows(height: int, width: int, inference: Inference) -> list[Window]:
    """Lay the windows over an image, row by row.

    On each axis windows start at multiples of the stride; the last is shifted back inside, and an
    axis that is not longer than the window has one window of its own length.

    Returns:
        Windows that cover every pixel.
    """
    if inference.mode == "whole":
        return [Window(0, height, 0, width)]
    rows = _starts(height, inference)
    columns = _starts(width, inference)
    side = inference.window
    return [
        Window(top, min(top + side, height), left, min(left + side, width))
        for top in rows
        for left in columns
    ]


def _starts(length: int, inference: Inference) -> list[int]:
    last = max(length - inference.window, 0)
    return [*range(0, last, inference.stride), last]


@torch.inference_mode()
def predict_logits(model: SegmentationModel, image: ImageArray, inference: Inference) -> Tensor:
    """Average the logits of all windows over the pixels they share.

    Windows pass through the network together on a GPU and one by one on a CPU, where that is as
    fast and needs a third of the memory.

    Args:
        model: In evaluation mode.
        image: uint8 RGB (H, W, 3).
        inference: Window and stride.

    Returns:
        float32 (num_classes, H, W) on the model's device.
    """
    device = next(model.parameters()).device
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None]
    height, width = image.shape[:2]
    layout = windows(height, width, inference)
    if len(layout) == 1:
        return model(model.normalise(pixels)).float()[0]  # type: ignore[no-any-return]
    total = torch.zeros(model.num_classes, height, width, device=device)
    times = torch.zeros(height, width, device=device)
    at_once = len(layout) if device.type == "cuda" else 1
    for start in range(0, len(layout), at_once):
        group = layout[start : start + at_once]
        crops = torch.cat([pixels[..., w.top : w.bottom, w.left : w.right] for w in group])
        for w, logits in zip(group, model(model.normalise(crops)), strict=True):
            total[:, w.top : w.bottom, w.left : w.right] += logits
            times[w.top : w.bottom, w.left : w.right] += 1
    return total / times


@torch.inference_mode()
def confusion_matrix(label: LabelArray, prediction: Tensor, num_classes: int) -> Tensor:
    """Count the confusion matrix of one image on the prediction's device.

    Args:
        label: uint8 train ids (H, W); values of ``num_classes`` and above are ignored.
        prediction: int64 (H, W) class indices.
        num_classes: K.

    Returns:
        int64 (K, K), rows true classes, columns predictions.
    """
    truth = torch.from_numpy(label).to(prediction.device).long()
    counted = truth < num_classes
    pairs = truth[counted] * num_classes + prediction[counted]
    counts = torch.bincount(pairs, minlength=num_classes * num_classes)
    return counts.view(num_classes, num_classes)

"""Validation amid a training: the confusion matrix of the network as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from robustseg.datasets.labels import NUM_CLASSES
from robustseg.datasets.sample import Frame
from robustseg.engine.crops import Share
from robustseg.engine.inference import Inference, confusion_matrix, predict_logits
from robustseg.engine.pictures import ComputedCells, DecodedSamples, ahead
from robustseg.models.base import SegmentationModel
from robustseg.results import CLEAN, Cell

__all__ = ["validate"]

AHEAD = 2
"""Images that are decoded while the network works."""


def validate(
    model: SegmentationModel,
    frames: Sequence[Frame],
    decoded: DecodedSamples,
    inference: Inference,
    share: Share,
) -> Tensor:
    """Count the confusion matrix over clean images, divided among the processes.

    The network infers in evaluation mode; afterwards each of its modules is in the mode it had.

    Args:
        model: The bare network, not wrapped for several processes.
        frames: All validation images, the same in every process.
        decoded: Memory of decoded images.
        inference: Window and stride.
        share: Which process this is, of how many; all of them must call this.

    Returns:
        int64 (19, 19) on the CPU, summed over all processes; rows true classes.

    Raises:
        DataError: An image or label cannot be read.
    """
    device = next(model.parameters()).device
    total = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64, device=device)
    mine = frames[share.rank :: share.world]
    with evaluating(model):
        for sample in ahead(ComputedCells(0, decoded), mine, Cell(CLEAN, 0), AHEAD):
            logits = predict_logits(model, sample.image, inference)
            total += confusion_matrix(sample.label, logits.argmax(0), NUM_CLASSES)
    if share.world > 1:
        distributed.all_reduce(total)
    return total.cpu()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode, then give each module its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

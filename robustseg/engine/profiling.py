"""What a network costs: parameters, multiply-accumulates, seconds an image."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model

__all__ = ["Cost", "count_macs", "count_parameters", "profile", "seconds_per_image"]


@dataclass(frozen=True)
class Cost:
    """The cost of one network at one input size.

    Attributes:
        model: Name.
        parameters: How many.
        macs: Multiply-accumulates of convolutions, linear layers and attention, done as the
            paper writes the network (papers print these as FLOPs).
        macs_composed: Those that are left when consecutive linear layers are multiplied out, as
            the network is run.
        seconds: Of one image, median of three; None if not measured.
    """

    model: str
    parameters: int
    macs: int
    macs_composed: int
    seconds: float | None


def profile(name: str, height: int, width: int, device: torch.device, timed: bool) -> Cost:
    """Measure a network with random weights on one whole image."""
    model = create_model(name).eval()
    macs = count_macs(model, height, width)
    composed = count_macs(model, height, width, as_run=True)
    seconds = seconds_per_image(model.to(device), height, width) if timed else None
    return Cost(name, count_parameters(model), macs, composed, seconds)


def count_parameters(model: SegmentationModel) -> int:
    """Count the trainable numbers of a network."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: SegmentationModel, height: int, width: int, as_run: bool = False) -> int:
    """Count multiply-accumulates up to the logits, on the meta device: nothing is computed.

    Args:
        model: The network.
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        as_run: Count what ``logits`` does, instead of what the paper writes.
    """
    # shapes alone are traced, so that large inputs cost no memory
    shadow = copy.deepcopy(model).to("meta").eval()
    logits = shadow.logits if as_run else shadow.textbook_logits
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits(torch.empty(1, 3, height, width, device="meta"))
    return int(counter.get_total_flops()) // 2


@torch.inference_mode()
def seconds_per_image(model: SegmentationModel, height: int, width: int, repeats: int = 3) -> float:
    """Time one forward pass of batch 1, after one to warm up."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, height, width, device=device)
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        model(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return median(times[1:])

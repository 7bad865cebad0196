"""What every network of the zoo offers to evaluation, training and receptive-field figures."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.specs import Normalisation

__all__ = ["SegmentationModel"]


class SegmentationModel(nn.Module, ABC):
    """A network with an encoder of four or more stages and a decode head.

    Attributes:
        name: As in the zoo, with its variant; empty for a network built by hand.
        licence: That the weights it started from carry, or empty.
        normalisation: What ``normalise`` applies to a uint8 image.
        align_corners: How the logits are brought to input size.
        num_classes: Channels of the logits.
    """

    name: str = ""
    licence: str = ""
    align_corners: bool = False

    def __init__(self, normalisation: Normalisation, num_classes: int) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.num_classes = num_classes

    @abstractmethod
    def stages(self, x: Tensor) -> list[Tensor]:
        """Give the features of the four encoder stages, finest first.

        Args:
            x: Normalised float input (N, 3, H, W).

        Returns:
            Four tensors (N, C_i, H_i, W_i).
        """

    @abstractmethod
    def decode(self, features: list[Tensor]) -> Tensor:
        """Turn the stages' features into logits (N, num_classes, h, w), before upsampling."""

    @property
    @abstractmethod
    def head_modules(self) -> list[nn.Module]:
        """The modules of the decode head, which recipes train at a higher rate."""

    def logits(self, x: Tensor) -> Tensor:
        """Give the logits (N, num_classes, ~H/4, ~W/4) before the last upsampling."""
        return self.decode(self.stages(x))

    def textbook_logits(self, x: Tensor) -> Tensor:
        """Give ``logits(x)`` by the operations that the paper writes, and counts.

        A network that gets the same numbers by fewer operations overrides this.
        """
        return self.logits(x)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits (N, num_classes, H, W) for a normalised float input (N, 3, H, W)."""
        size = [x.shape[-2], x.shape[-1]]
        # few channels are resized faster one by one than all at once
        logits = self.logits(x).contiguous()
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=self.align_corners)

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 RGB (N, 3, H, W) into the float32 input that the network was trained on.

        The result is laid out channels-last, which the convolutions after it keep and run faster.
        """
        mean = torch.tensor(self.normalisation.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.normalisation.std, device=images.device).view(1, 3, 1, 1)
        pixels = images.float().contiguous(memory_format=torch.channels_last)
        return (pixels - mean) / std

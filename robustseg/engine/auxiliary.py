"""The auxiliary head: a second loss, on an earlier stage, while a network is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.engine.recipes import Recipe
from robustseg.errors import SettingError
from robustseg.models.atrous import conv_norm_relu
from robustseg.models.base import SegmentationModel
from robustseg.models.deeplabv3plus import DeepLabV3Plus

__all__ = ["AuxiliaryHead", "Learner", "build_auxiliary"]

STAGE = 2
"""Index of the stage that is supervised: the third, as section 3.3 of PSPNet (arXiv 1612.01105)."""

WIDTH = 256
DROPOUT = 0.1


class AuxiliaryHead(nn.Module):
    """A 3 x 3 convolution with batch norm and ReLU, dropout of channels, and a classifier.

    Args:
        in_channels: Of the stage.
        num_classes: Channels of the logits.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.refine = conv_norm_relu(in_channels, WIDTH, 3)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classify = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to logits (N, num_classes, h, w)."""
        out: Tensor = self.classify(self.dropout(self.refine(x)))
        return out


def build_auxiliary(model: SegmentationModel, recipe: Recipe, seed: int) -> AuxiliaryHead | None:
    """Build the head that the recipe asks for, on the network's device; None if it asks for none.

    Raises:
        SettingError: The network is no DeepLabv3+.
    """
    if not recipe.auxiliary:
        return None
    if not isinstance(model, DeepLabV3Plus):
        raise SettingError("an auxiliary head is for DeepLabv3+ only: give --set auxiliary=0.0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AuxiliaryHead(model.backbone.channels[STAGE], model.num_classes)
    parameter = next(model.parameters())
    return head.to(parameter.device, parameter.dtype)


class Learner(nn.Module):
    """A network with its auxiliary head, from uint8 crops to logits: one forward for all of it.

    Args:
        model: The network.
        auxiliary: Its auxiliary head, or None.
    """

    def __init__(self, model: SegmentationModel, auxiliary: AuxiliaryHead | None) -> None:
        super().__init__()
        self.model = model
        self.auxiliary = auxiliary

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map uint8 RGB (N, 3, H, W) to the logits (N, K, H, W) of the head, and the auxiliary."""
        x = self.model.normalise(images).to(next(self.model.parameters()).dtype)
        if self.auxiliary is None:
            return [self.model(x)]
        features = self.model.stages(x)
        maps = [self.model.decode(features), self.auxiliary(features[STAGE])]
        size, corners = [*x.shape[-2:]], self.model.align_corners
        return [
            F.interpolate(m.contiguous(), size=size, mode="bilinear", align_corners=corners)
            for m in maps
        ]

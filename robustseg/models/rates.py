"""The atrous rates of a pyramid that is there: which they are, and others from a file's config.

A code base that lets its users choose the rates (segmentation_models_pytorch) writes them into the
config beside the weights, which do not show them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from robustseg.models.atrous import AtrousPyramid

__all__ = ["pyramid_rates", "set_pyramid_rates"]


def pyramid_rates(model: nn.Module) -> tuple[int, ...]:
    """Give the rates of a network's three 3 x 3 branches; nothing where it has no pyramid."""
    return tuple(conv.dilation[0] for conv in _atrous_convs(model))


def set_pyramid_rates(model: nn.Module, rates: Sequence[int]) -> None:
    """Give the 3 x 3 branches of a network's pyramid other rates; the weights stay.

    Args:
        model: A DeepLabv3+ of the zoo.
        rates: One for each of the three branches, in their order, each at least 1.
    """
    for conv, rate in zip(_atrous_convs(model), rates, strict=True):
        conv.dilation = conv.padding = (rate, rate)


def _atrous_convs(model: nn.Module) -> list[nn.Conv2d]:
    pyramid = getattr(model, "pyramid", None)
    if not isinstance(pyramid, AtrousPyramid):
        return []
    convs = [m for m in pyramid.branches.modules() if isinstance(m, nn.Conv2d)]
    return [conv for conv in convs if conv.kernel_size == (3, 3)]

"""Builds the networks of the zoo."""

from __future__ import annotations

from robustseg.models.base import SegmentationModel
from robustseg.models.deeplabv3plus import DeepLabV3Plus
from robustseg.models.own import OwnSpec
from robustseg.models.segformer import SegFormer
from robustseg.models.specs import SegFormerSpec
from robustseg.models.wrapped import build_own
from robustseg.models.zoo import get_spec

__all__ = ["create_model"]


def create_model(
    name: str, num_classes: int = 19, output_stride: int | None = None
) -> SegmentationModel:
    """Build a network with random weights.

    Args:
        name: Of the zoo, with or without a variant, or a registered one.
        num_classes: Channels of the logits.
        output_stride: 16 or 8, of the DeepLabv3+ backbones, by default that of the variant;
            SegFormer and registered networks have none.

    Returns:
        The network, in training mode: ``model(x)`` gives logits (N, num_classes, H, W) for a
        normalised float input (N, 3, H, W), ``model.logits(x)`` those before the last upsampling.

    Raises:
        NameLookupError: The name is unknown.
        PluginError: A registered network cannot be built.
        SettingError: The output stride is neither 16 nor 8.
    """
    spec = get_spec(name)
    model: SegmentationModel
    if isinstance(spec, SegFormerSpec):
        model = SegFormer(spec, num_classes)
    elif isinstance(spec, OwnSpec):
        model = build_own(spec, num_classes)
    else:
        model = DeepLabV3Plus(spec, num_classes, output_stride)
    model.name = name
    return model

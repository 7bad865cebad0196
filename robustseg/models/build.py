"""Builds the networks of the zoo."""

from __future__ import annotations

from robustseg.errors import SettingError
from robustseg.models.backbones import FeatureEncoder, XceptionEncoder, build_encoder
from robustseg.models.base import SegmentationModel
from robustseg.models.deeplabv3plus import DeepLabV3Plus
from robustseg.models.mix_transformer import MixTransformer
from robustseg.models.own import OwnSpec
from robustseg.models.segformer import SegFormer
from robustseg.models.specs import SegFormerSpec
from robustseg.models.wrapped import build_own
from robustseg.models.zoo import get_spec

__all__ = ["create_encoder", "create_model"]


def create_model(
    name: str,
    num_classes: int = 19,
    output_stride: int | None = None,
    drop_path: float = 0.1,
) -> SegmentationModel:
    """Build a network with random weights.

    Args:
        name: Of the zoo, with or without a variant, or a registered one.
        num_classes: Channels of the logits.
        output_stride: 16 or 8, of the DeepLabv3+ backbones, by default that of the variant;
            SegFormer and registered networks have none.
        drop_path: Stochastic depth of SegFormer's encoder, at its last block; others have none.

    Returns:
        The network, in training mode: ``model(x)`` gives logits (N, num_classes, H, W) for a
        normalised float input (N, 3, H, W), ``model.logits(x)`` those before the last upsampling.

    Raises:
        NameLookupError: The name is unknown.
        PluginError: A registered network cannot be built.
        SettingError: The output stride is neither 16 nor 8, or there is no class.
    """
    if num_classes < 1:
        raise SettingError(f"a network has 1 class or more, found {num_classes}")
    if output_stride not in (None, 16, 8):
        raise SettingError(f"output stride must be 16 or 8, found {output_stride}")
    spec = get_spec(name)
    model: SegmentationModel
    if isinstance(spec, SegFormerSpec):
        model = SegFormer(spec, num_classes, drop_path)
    elif isinstance(spec, OwnSpec):
        model = build_own(spec, num_classes)
    else:
        model = DeepLabV3Plus(spec, num_classes, output_stride)
    model.name = name
    return model


def create_encoder(
    name: str, output_stride: int | None = None
) -> MixTransformer | FeatureEncoder | XceptionEncoder:
    """Build the encoder of a network alone, with random weights.

    Args:
        name: Of the zoo, with or without a variant.
        output_stride: As in ``create_model``.

    Returns:
        The encoder, in training mode: it maps a normalised float input (N, 3, H, W) to the four
        features (N, C_i, H_i, W_i), the finest, at 1/4, first. Its ``channels`` are the C_i.

    Raises:
        NameLookupError: The name is unknown.
        SettingError: The output stride is neither 16 nor 8, or the network is a registered one.
    """
    spec = get_spec(name)
    if isinstance(spec, SegFormerSpec):
        return MixTransformer(spec.dims, spec.depths, epsilons=spec.epsilons)
    if isinstance(spec, OwnSpec):
        raise SettingError(f"{name} is a registered network: its encoder is not known by itself")
    return build_encoder(spec, output_stride)

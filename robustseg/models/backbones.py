"""timm's backbones as four-stage encoders with output stride 16 or 8."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from robustseg.models.specs import DeepLabSpec

__all__ = ["FeatureEncoder", "XceptionEncoder", "build_encoder"]


class FeatureEncoder(nn.Module):
    """A timm backbone that gives its features itself (MobileNetV2, ResNet).

    Attributes:
        channels: Channels of the four stages.
    """

    def __init__(self, backbone: str, output_stride: int) -> None:
        super().__init__()
        body: Any = timm.create_model(
            backbone, features_only=True, output_stride=output_stride, out_indices=(1, 2, 3, 4)
        )
        self.channels: list[int] = body.feature_info.channels()
        self.body: nn.Module = body

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the four stages, finest (H/4) first."""
        features: list[Tensor] = self.body(x)
        return features


class XceptionEncoder(nn.Module):
    """Aligned Xception, tapped as the TensorFlow DeepLab taps it: before the ReLU.

    timm's own features are taken after that ReLU. At output stride 8 timm also leaves out the
    convolution of a shortcut whose stride has become 1 (Xception-71's fifth block); it belongs to
    the network and to its weights, and is put back.

    Attributes:
        channels: Channels of the four stages.
    """

    def __init__(self, backbone: str, output_stride: int) -> None:
        super().__init__()
        body: Any = timm.create_model(
            backbone, num_classes=0, global_pool="", output_stride=output_stride
        )
        self.stem: nn.Module = body.stem
        self.blocks: nn.Sequential = body.blocks
        if output_stride < 16:
            restore_shortcuts(self.blocks, backbone)
        taps = [info for info in body.feature_info if ".stack." in info["module"]][1:]
        self.tapped = {int(info["module"].split(".")[1]) for info in taps}
        self.channels: list[int] = [info["num_chs"] for info in taps] + [body.num_features]
        for index in self.tapped:
            # in place it would overwrite the tapped tensor
            body.blocks[index].stack.act3.inplace = False

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the four stages, finest (H/4) first."""
        features = []
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            if index in self.tapped:
                x, tap = forward_with_tap(block, x)
                features.append(tap)
            else:
                x = block(x)
        return [*features, x]


def forward_with_tap(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run one Xception module; give its output and that of its second separable convolution."""
    y = tap = x
    for name, layer in block.get_submodule("stack").named_children():
        y = layer(y)
        if name == "conv2":
            tap = y
    shortcut = getattr(block, "shortcut", None)
    return y + (x if shortcut is None else shortcut(x)), tap


def restore_shortcuts(blocks: nn.Sequential, backbone: str) -> None:
    """Give blocks whose stride became 1 the shortcut convolution they have at full stride."""
    whole: Any = timm.create_model(backbone, num_classes=0)
    for block, reference in zip(blocks, whole.blocks, strict=True):
        if getattr(block, "shortcut", None) is None and reference.shortcut is not None:
            shortcut = reference.shortcut
            shortcut.conv.stride = (1, 1)
            block.shortcut = shortcut


def build_encoder(spec: DeepLabSpec, output_stride: int) -> FeatureEncoder | XceptionEncoder:
    """Build a DeepLabv3+ backbone with random weights."""
    kind = XceptionEncoder if spec.backbone.startswith("xception") else FeatureEncoder
    return kind(spec.backbone, output_stride)

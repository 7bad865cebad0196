"""timm's backbones as four-stage encoders with output stride 16 or 8.

A backbone reaches an output stride by dilating what follows the last stride it keeps (section 3.1
of arXiv 1706.05587). Code bases differ in which convolutions they dilate and how they pad; each is
timm's network with these numbers changed, so that weights keep their names.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from robustseg.errors import SettingError
from robustseg.models.specs import DeepLabSpec

__all__ = ["FeatureEncoder", "XceptionEncoder", "build_encoder"]

MULTI_GRID = (1, 2, 4)
"""Rates of the 3 x 3 convolutions in the last stage (section 3.2.1 of arXiv 1706.05587)."""


class FeatureEncoder(nn.Module):
    """A timm backbone that gives its features itself (MobileNetV2, ResNet).

    Args:
        backbone: Name in timm.
        output_stride: 16 or 8.
        dilation: As in ``DeepLabSpec``.
        border: As in ``DeepLabSpec``.

    Attributes:
        channels: Channels of the four stages.
    """

    def __init__(
        self, backbone: str, output_stride: int, dilation: str = "plain", border: bool = False
    ) -> None:
        super().__init__()
        body: Any = timm.create_model(
            backbone, features_only=True, output_stride=output_stride, out_indices=(1, 2, 3, 4)
        )
        if dilation == "first_block":
            dilate_first_blocks(body.blocks)
        elif dilation == "multi_grid":
            for block, rate in zip(body.layer4, MULTI_GRID, strict=True):
                set_rate(block.conv2, rate)
        if border:
            pad_before_expansion(body)
        self.channels: list[int] = body.feature_info.channels()
        self.body: nn.Module = body

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the four stages, finest (H/4) first."""
        features: list[Tensor] = self.body(x)
        return features


def set_rate(conv: nn.Conv2d, rate: int) -> None:
    """Set the atrous rate of a 3 x 3 convolution, and the padding that keeps its grid."""
    conv.dilation = conv.padding = (rate, rate)


def dilate_first_blocks(stages: Any) -> None:  # noqa: ANN401
    """Dilate the first block of each of MobileNetV2's stages by the rate of its last, no other.

    timm leaves the first block of a stage that lost its stride at the rate of the stage before,
    and dilates the others.
    """
    for stage in stages:
        rate = stage[-1].conv_dw.dilation[0]
        for index, block in enumerate(stage):
            set_rate(block.conv_dw, rate if index == 0 else 1)


def pad_before_expansion(body: Any) -> None:  # noqa: ANN401
    """Move the padding of MobileNetV2's depth-wise convolutions in front of the expansion.

    Padding a 1 x 1 convolution is padding its input; what the depth-wise convolution then meets
    outside the image is no longer 0 but what the batch norm and ReLU6 make of it. Blocks without
    an expansion have nothing between, and stay. The stem loses its padding.
    """
    body.conv_stem.padding = (0, 0)
    for stage in body.blocks:
        for block in stage:
            if hasattr(block, "conv_pwl"):
                block.conv_pw.padding, block.conv_dw.padding = block.conv_dw.padding, (0, 0)


class XceptionEncoder(nn.Module):
    """Aligned Xception (figure 4 of arXiv 1802.02611, after arXiv 1610.02357).

    The three finer stages are tapped in the strided modules of the entry flow, after their second
    separable convolution: before the ReLU that follows as the TensorFlow DeepLab does, or after it
    as timm does. At output stride 8 timm also leaves out the convolution of a shortcut whose
    stride has become 1 (Xception-71's fifth block); it belongs to the network and to its weights,
    and is put back.

    Args:
        backbone: Name in timm.
        output_stride: 16 or 8.
        tap_after_relu: Whether the finer stages are taken after the ReLU.

    Attributes:
        channels: Channels of the four stages.
    """

    def __init__(self, backbone: str, output_stride: int, tap_after_relu: bool = False) -> None:
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
        self.tap = "act3" if tap_after_relu else "conv2"
        for index in self.tapped:
            # in place it would overwrite the tapped tensor
            body.blocks[index].stack.act3.inplace = tap_after_relu

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the four stages, finest (H/4) first."""
        features = []
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            if index in self.tapped:
                x, tap = forward_with_tap(block, x, self.tap)
                features.append(tap)
            else:
                x = block(x)
        return [*features, x]


def forward_with_tap(block: nn.Module, x: Tensor, at: str) -> tuple[Tensor, Tensor]:
    """Run one Xception module; give its output and that of the layer called ``at``."""
    y = tap = x
    for name, layer in block.get_submodule("stack").named_children():
        y = layer(y)
        if name == at:
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


def build_encoder(
    spec: DeepLabSpec, output_stride: int | None = None
) -> FeatureEncoder | XceptionEncoder:
    """Build a DeepLabv3+ backbone with random weights, to use with or without a head.

    Args:
        spec: Of the network; of its form only ``tap_after_relu`` matters here.
        output_stride: Ratio of input to coarsest feature, 16 or 8; the spec's if None.

    Returns:
        The encoder, in training mode: it maps a normalised float input (N, 3, H, W) to four
        features, finest (about H/4) first.

    Raises:
        SettingError: The output stride is another.
    """
    output_stride = spec.output_stride if output_stride is None else output_stride
    if output_stride not in (16, 8):
        raise SettingError(f"output stride must be 16 or 8, found {output_stride}")
    if spec.backbone.startswith("xception"):
        return XceptionEncoder(spec.backbone, output_stride, spec.form.tap_after_relu)
    return FeatureEncoder(spec.backbone, output_stride, spec.dilation, spec.border)

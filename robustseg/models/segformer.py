"""SegFormer (arXiv 2105.15203, section 3): the Mix Transformer and a decoder without context.

Parameter names are those of the released checkpoints: ``backbone.*`` and ``decode_head.*``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustseg.errors import SettingError
from robustseg.models.base import SegmentationModel
from robustseg.models.conv_decoder import ConvDecoder
from robustseg.models.mix_transformer import MixTransformer
from robustseg.models.mlp_decoder import MLPDecoder
from robustseg.models.specs import SegFormerSpec

__all__ = ["SMALLEST_SIDE", "SegFormer"]

SMALLEST_SIDE = 32
"""Of an input, in pixels; with less, a stage's sequence reduction would leave no key."""


class SegFormer(SegmentationModel):
    """SegFormer of one of the sizes B0-B5 (figure 2).

    Args:
        spec: The size, a row of ``zoo.SEGFORMER_SPECS``, or another code base's form of it.
        num_classes: Channels of the logits.
        drop_path: Stochastic depth of the encoder's last block.
    """

    def __init__(self, spec: SegFormerSpec, num_classes: int, drop_path: float = 0.1) -> None:
        super().__init__(spec.normalisation, num_classes)
        self.align_corners = spec.align_corners
        self.backbone = MixTransformer(spec.dims, spec.depths, drop_path, spec.epsilons)
        decoder = MLPDecoder if spec.head == "mlp" else ConvDecoder
        self.decode_head = decoder(spec.dims, spec.decoder_dim, num_classes)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Give the four normed stage outputs (N, C_i, H_i, W_i) at 1/4, 1/8, 1/16, 1/32.

        Raises:
            SettingError: The input is smaller than 32 x 32 pixels.
        """
        if not torch.compiler.is_compiling():  # the sizes of an exported network are symbols
            height, width = x.shape[-2:]
            if min(height, width) < SMALLEST_SIDE:
                raise SettingError(
                    f"SegFormer takes images from {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels, "
                    f"found {height} x {width}: pad or enlarge them"
                )
        features: list[Tensor] = self.backbone(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits (N, num_classes, H/4, W/4)."""
        out: Tensor = self.decode_head(features)
        return out

    def textbook_logits(self, x: Tensor) -> Tensor:
        """Give the logits by the decoder as the paper writes it."""
        return self.decode_head.textbook(self.stages(x))

    @property
    def head_modules(self) -> list[nn.Module]:
        """The decoder."""
        return [self.decode_head]

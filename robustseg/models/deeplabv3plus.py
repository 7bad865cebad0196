"""DeepLabv3+ (arXiv 1802.02611) over timm's backbones."""

from __future__ import annotations

from torch import Tensor, nn

from robustseg.models.atrous import AtrousPyramid, Decoder
from robustseg.models.backbones import build_encoder
from robustseg.models.base import SegmentationModel
from robustseg.models.specs import DeepLabSpec

__all__ = ["DeepLabV3Plus"]


class DeepLabV3Plus(SegmentationModel):
    """DeepLabv3+ (figure 2 of arXiv 1802.02611): backbone, atrous pyramid, decoder.

    The pyramid's rates double with the output stride halved (section 3.3 of arXiv 1706.05587)
    where the form says so.

    Args:
        spec: Backbone, normalisation and form: an entry of ``zoo.DEEPLAB_SPECS`` or of
            ``zoo.VARIANTS``.
        num_classes: Channels of the logits.
        output_stride: Ratio of input to coarsest feature, 16 or 8; the spec's if None.

    Raises:
        SettingError: The output stride is another.
    """

    def __init__(
        self, spec: DeepLabSpec, num_classes: int, output_stride: int | None = None
    ) -> None:
        super().__init__(spec.normalisation, num_classes)
        self.output_stride = spec.output_stride if output_stride is None else output_stride
        self.align_corners = spec.form.align_corners
        self.backbone = build_encoder(spec, self.output_stride)
        channels = self.backbone.channels
        rates = spec.form.rates[0 if self.output_stride == 16 else 1]
        self.pyramid = AtrousPyramid(channels[-1], rates, spec.form)
        self.decoder = Decoder(channels[0], num_classes, spec.form)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Give the backbone's four stages; the last two or three share the output stride."""
        features: list[Tensor] = self.backbone(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits (N, num_classes, ~H/4, ~W/4) of the first and the last stage."""
        out: Tensor = self.decoder(self.pyramid(features[-1]), features[0])
        return out

    @property
    def head_modules(self) -> list[nn.Module]:
        """Pyramid and decoder."""
        return [self.pyramid, self.decoder]

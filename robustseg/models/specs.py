"""What tells one network from another, as data: importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "IMAGENET",
    "MMSEG_FORM",
    "SMP_FORM",
    "TF_FORM",
    "UNIT",
    "VAINF_FORM",
    "DeepLabForm",
    "DeepLabSpec",
    "Epsilons",
    "Normalisation",
    "SegFormerSpec",
]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation that a network's input is normalised with, on a 0-255 scale."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
UNIT = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class Epsilons:
    """What the layer norms of a Mix Transformer add to the variance; each code base has its own.

    Attributes:
        patch_embed: After the overlapped patch merging.
        block: Of the two norms in a transformer block.
        reduction: After the sequence reduction of the attention.
        stage: At the end of a stage.
    """

    patch_embed: float = 1e-5
    block: float = 1e-6
    reduction: float = 1e-5
    stage: float = 1e-6


@dataclass(frozen=True)
class SegFormerSpec:
    """One row of Table 6 of the SegFormer paper, as released.

    Attributes:
        label: Name in tables.
        dims: Embedding dimension C of each of the four stages.
        depths: Blocks L of each stage.
        decoder_dim: Channels C of the decoder.
        normalisation: Of the input.
        head: ``mlp`` is the paper's decoder (equation 4); ``conv`` that of mmsegmentation, where
            each stage passes a convolution, batch norm and ReLU before the upsampling.
        epsilons: Of the layer norms.
        align_corners: How the logits are brought to input size.
    """

    label: str
    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_dim: int
    normalisation: Normalisation = IMAGENET
    head: Literal["mlp", "conv"] = "mlp"
    epsilons: Epsilons = Epsilons()
    align_corners: bool = False


@dataclass(frozen=True)
class DeepLabForm:
    """How a code base writes the pyramid and the decoder of DeepLabv3+.

    Attributes:
        text: The form in a few words, for lists.
        width: Channels of the pyramid's branches and of the decoder.
        separable: Whether the 3 x 3 convolutions are depth-wise and point-wise.
        norm_between: Whether batch norm and ReLU stand between these two.
        pool_first: Whether the image pooling is concatenated first, or last.
        project_kernel: Side of the convolution that joins the pyramid's branches.
        project_refine: Whether one more separable convolution follows it.
        refinements: 3 x 3 convolutions of the decoder.
        low_level_first: Whether the decoder concatenates the low-level feature first, or last.
        align_corners: In every resize, the last one included.
        rates: Atrous rates of the pyramid at output strides 16 and 8.
        dropout: After the pyramid's projection, in training.
        classifier_dropout: Before the classifier, in training.
        tap_after_relu: Whether Xception's low-level feature is taken after the ReLU.
    """

    text: str
    width: int = 256
    separable: bool = True
    norm_between: bool = True
    pool_first: bool = True
    project_kernel: Literal[1, 3] = 1
    project_refine: bool = False
    refinements: int = 2
    low_level_first: bool = False
    align_corners: bool = True
    rates: tuple[tuple[int, int, int], tuple[int, int, int]] = ((6, 12, 18), (12, 24, 36))
    dropout: float = 0.1
    classifier_dropout: float = 0.0
    tap_after_relu: bool = False


TF_FORM = DeepLabForm("official TensorFlow head")
MMSEG_FORM = DeepLabForm(
    "mmsegmentation's head",
    width=512,
    project_kernel=3,
    align_corners=False,
    dropout=0.0,
    classifier_dropout=0.1,
)
SMP_FORM = DeepLabForm(
    "segmentation_models_pytorch's head",
    norm_between=False,
    pool_first=False,
    project_refine=True,
    refinements=1,
    rates=((12, 24, 36), (12, 24, 36)),
    dropout=0.5,
    tap_after_relu=True,
)
VAINF_FORM = DeepLabForm(
    "VainF's head",
    separable=False,
    pool_first=False,
    refinements=1,
    low_level_first=True,
    align_corners=False,
)


@dataclass(frozen=True)
class DeepLabSpec:
    """A DeepLabv3+.

    Attributes:
        label: Name in tables, as Table 5 writes it.
        backbone: Name in timm.
        normalisation: Of the input.
        form: Of pyramid and decoder.
        output_stride: Ratio of input to coarsest feature unless another is asked for.
        dilation: Which layers of the backbone are dilated: as timm does it (``plain``), as
            mmsegmentation's MobileNetV2 (``first_block``), or with a multi-grid of 1, 2, 4 in the
            last stage (``multi_grid``).
        border: Whether MobileNetV2 pads before the expansion of each block instead of in its
            depth-wise convolution, and its stem not at all, as VainF's does.
    """

    label: str
    backbone: str
    normalisation: Normalisation = IMAGENET
    form: DeepLabForm = TF_FORM
    output_stride: Literal[16, 8] = 16
    dilation: Literal["plain", "first_block", "multi_grid"] = "plain"
    border: bool = False

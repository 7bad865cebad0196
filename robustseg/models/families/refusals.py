"""Says what a state is that belongs to no network of the zoo, in the words of its users."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["DATASETS", "reason_against"]

DATASETS = {
    1000: "ImageNet",
    150: "ADE20K",
    171: "COCO-Stuff",
    172: "COCO-Stuff",
    182: "COCO-Stuff",
    59: "Pascal Context",
    60: "Pascal Context",
    65: "Mapillary Vistas",
    66: "Mapillary Vistas",
    21: "Pascal VOC",
    11: "CamVid",
    34: "Cityscapes before its labels are reduced to 19",
}
"""By the number of classes: where a file with other classes than asked for likely comes from."""

WITHOUT_PLUS = "DeepLabv3 without the plus: it has no low-level branch"
NATIVE = (
    "segmentation_models_pytorch's own encoder, which dilates other layers than timm's: it is not "
    "the same network, only its tu- encoders are read"
)

REASONS: tuple[tuple[str, str], ...] = (
    (r".*\blora_[AB]\b|.*\.lora_(up|down|embedding)", "a LoRA: weights to be added to a network"),
    (r"state\.\d+\.|exp_avg|momentum_buffer", "the state of an optimizer alone"),
    (r"encoder\.(conv1|layer0|features)\.", NATIVE),
    (r"decoder\.aspp\.convs\.", WITHOUT_PLUS),
    (r"classifier\.(classifier\.)?0\.convs\.", WITHOUT_PLUS),
    (r"decode_head\.aspp_modules\.", WITHOUT_PLUS),
    (r"sem_seg_head\.", "a network of detectron2"),
    (r"(xception_\d\d|MobilenetV2|resnet_v1)", "a network of TensorFlow"),
    (r"(model\.)?pixel_level_module\.", "Mask2Former or MaskFormer"),
    (
        r"decoder\.blocks\.|decoder\.(p5|seg_blocks)\.",
        "another decoder of segmentation_models_pytorch",
    ),
    (r"decode_head\.", "another network of mmsegmentation or transformers"),
)
"""Matches of the starts of parameter names, and what a state with such a name is."""


def reason_against(state: Mapping[str, Tensor]) -> str:
    """Say what a state likely is, for people; empty where nothing is known of it."""
    for pattern, reason in REASONS:
        if any(re.match(pattern, name) for name in state):
            return reason
    return ""

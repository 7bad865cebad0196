"""Backbones of DeepLabv3+ as timm and torchvision publish them, trained on ImageNet."""

from __future__ import annotations

import re

from robustseg.models.families.family import Family
from robustseg.models.families.renaming import NameTable

__all__ = ["TIMM"]

TIMM = Family(
    title="timm",
    variant="",
    mark=re.compile(r"layer1\.0\.conv1\.|blocks\.0\.0\.conv_dw\.|blocks\.0\.stack\.conv1\."),
    table=NameTable(
        {
            "stem.{block}.{rest}": "backbone.stem.{block}.{rest}",
            "blocks.{block}.stack.{rest}": "backbone.blocks.{block}.stack.{rest}",
            "blocks.{block}.shortcut.{rest}": "backbone.blocks.{block}.shortcut.{rest}",
            "{rest}": "backbone.body.{rest}",
        }
    ),
    # MobileNetV2's last 1 x 1 convolution serves its classifier alone
    dropped=re.compile(r"(fc|classifier|head|conv_head|bn2)\."),
)

"""SegFormer as its authors release it; own names are theirs.

Encoder files, trained on ImageNet, have no prefix and a classifier ``head``. Segmentation files
carry a second classifier, ``decode_head.conv_seg``, that the network never uses.
"""

from __future__ import annotations

import re

from robustseg.models.families.family import Family
from robustseg.models.families.renaming import NameTable

__all__ = ["NVLABS"]

NVLABS = Family(
    title="SegFormer's authors",
    variant="",
    mark=re.compile(r"(backbone\.)?patch_embed1\."),
    table=NameTable(
        {
            "backbone.{rest}": "backbone.{rest}",
            "decode_head.{rest}": "decode_head.{rest}",
            **{
                f"{part}{{number}}{more}": f"backbone.{part}{{number}}{more}"
                for part, more in (("patch_embed", ".{rest}"), ("block", ".{rest}"), ("norm", ""))
            },
        }
    ),
    dropped=re.compile(r"decode_head\.conv_seg\.|auxiliary_head\.|head\."),
)

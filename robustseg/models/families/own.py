"""DeepLabv3+ under own names, in files without a card; SegFormer's own names are its authors'."""

from __future__ import annotations

import re

from robustseg.models.families.family import Family
from robustseg.models.families.renaming import NameTable

__all__ = ["OWN"]

OWN = Family(
    title="robustseg",
    variant="",
    mark=re.compile(r"pyramid\.(pool|branches)\.|backbone\.body\.|backbone\.blocks\.\d+\.stack\."),
    table=NameTable({}),
    dropped=re.compile(r"(?!)"),  # nothing
)

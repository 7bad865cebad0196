"""The code bases whose checkpoints are read: one module each, as tables of parameter names."""

from __future__ import annotations

from robustseg.models.families.family import Family
from robustseg.models.families.huggingface import HUGGING_FACE
from robustseg.models.families.mmsegmentation import MMSEGMENTATION
from robustseg.models.families.nvlabs import NVLABS
from robustseg.models.families.own import OWN
from robustseg.models.families.smp import DEEPLAB_SMP, SEGFORMER_SMP
from robustseg.models.families.timm import TIMM
from robustseg.models.families.vainf import VAINF

__all__ = ["FAMILIES", "OWN", "Family"]

FAMILIES: tuple[Family, ...] = (
    OWN,
    HUGGING_FACE,
    MMSEGMENTATION,
    SEGFORMER_SMP,
    DEEPLAB_SMP,
    VAINF,
    NVLABS,
    TIMM,
)
"""In the order in which a file is compared with them; the first that knows it reads it."""

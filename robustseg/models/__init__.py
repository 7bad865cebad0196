"""SegFormer and DeepLabv3+: networks, names and checkpoints.

Names are resolved on first use, so that the list of models is at hand without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustseg.models.zoo import MODELS, create_model, get_spec, select_models

if TYPE_CHECKING:
    from robustseg.models.base import SegmentationModel
    from robustseg.models.checkpoints import load_model, save_checkpoint

__all__ = [
    "MODELS",
    "SegmentationModel",
    "create_model",
    "get_spec",
    "load_model",
    "save_checkpoint",
    "select_models",
]


def __getattr__(name: str) -> object:
    if name == "SegmentationModel":
        from robustseg.models.base import SegmentationModel

        return SegmentationModel
    if name in ("load_model", "save_checkpoint"):
        from robustseg.models import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

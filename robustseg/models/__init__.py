"""SegFormer and DeepLabv3+: networks, names and checkpoints.

Names are resolved on first use, so that the list of models is at hand without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from robustseg.models.own import register_model
from robustseg.models.zoo import MODELS, get_spec, select_models

if TYPE_CHECKING:
    from robustseg.models.base import SegmentationModel
    from robustseg.models.build import create_encoder, create_model
    from robustseg.models.checkpoints import load_model, save_checkpoint

__all__ = [
    "MODELS",
    "SegmentationModel",
    "create_encoder",
    "create_model",
    "get_spec",
    "load_model",
    "register_model",
    "save_checkpoint",
    "select_models",
]


_HOME = {
    "SegmentationModel": "base",
    "create_encoder": "build",
    "create_model": "build",
    "load_model": "checkpoints",
    "save_checkpoint": "checkpoints",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

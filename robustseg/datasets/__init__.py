"""Data sets: the Cityscapes tree, its labels, and what is wrong with a tree."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustseg.datasets.cityscapes import (
        fingerprint,
        list_frames,
        load_image,
        load_label,
        load_sample,
    )
    from robustseg.datasets.doctor import Finding, diagnose, examine, overview, summarise
    from robustseg.datasets.labels import CLASS_NAMES, IGNORE, NUM_CLASSES, PALETTE, colourise
    from robustseg.datasets.layout import find_root
    from robustseg.datasets.sample import Frame, ImageArray, LabelArray, Sample

__all__ = [
    "CLASS_NAMES",
    "IGNORE",
    "NUM_CLASSES",
    "PALETTE",
    "Finding",
    "Frame",
    "ImageArray",
    "LabelArray",
    "Sample",
    "colourise",
    "diagnose",
    "examine",
    "find_root",
    "fingerprint",
    "list_frames",
    "load_image",
    "load_label",
    "load_sample",
    "overview",
    "summarise",
]

_HOMES = {
    "cityscapes": (
        "fingerprint",
        "list_frames",
        "load_image",
        "load_label",
        "load_sample",
    ),
    "doctor": ("Finding", "diagnose", "examine", "overview", "summarise"),
    "labels": ("CLASS_NAMES", "IGNORE", "NUM_CLASSES", "PALETTE", "colourise"),
    "layout": ("find_root",),
    "sample": ("Frame", "ImageArray", "LabelArray", "Sample"),
}


def __getattr__(name: str) -> object:
    # Lazy, so that `robustseg.datasets.sample` alone does not bring Pillow with it.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

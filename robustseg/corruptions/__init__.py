"""The corruptions of Cityscapes-C: pure functions of image, severity and random stream.

The public names load on first use, so that reading the names and constants in
``robustseg.corruptions.severity`` imports neither numpy nor OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustseg.corruptions.entries import register
    from robustseg.corruptions.registry import corrupt, corrupt_frame, corrupt_severities
    from robustseg.corruptions.severity import CORRUPTIONS, GROUPS, SEVERITIES
    from robustseg.corruptions.streams import random_stream

__all__ = [
    "CORRUPTIONS",
    "GROUPS",
    "SEVERITIES",
    "corrupt",
    "corrupt_frame",
    "corrupt_severities",
    "random_stream",
    "register",
]

_HOME = {
    "CORRUPTIONS": "severity",
    "GROUPS": "severity",
    "SEVERITIES": "severity",
    "corrupt": "registry",
    "corrupt_frame": "registry",
    "corrupt_severities": "registry",
    "random_stream": "streams",
    "register": "entries",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types of all public names meet here
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

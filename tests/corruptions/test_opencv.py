from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from robustseg.corruptions.opencv import OpenCVUnavailableError, load_cv2
from robustseg.errors import RobustsegError


def test_loads_opencv() -> None:
    assert load_cv2() is sys.modules["cv2"]


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(OpenCVUnavailableError, match="pip install opencv-python"):
        load_cv2()


def test_missing_system_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RobustsegError, match=r"libGL\.so\.1.*apt-get install libgl1 libglib2\.0-0"):
        load_cv2()

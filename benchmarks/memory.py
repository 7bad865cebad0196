"""How much memory a call takes (Linux)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

__all__ = ["peak_memory"]


def peak_memory(call: Callable[[], object]) -> float:
    """Give by how many MiB a call raises the memory of this process at its peak."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that earlier calls left would hide the peak
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _resident("VmRSS")
    call()
    return (_resident("VmHWM") - before) / 1024


def _resident(key: str) -> int:
    """Read a figure of this process's memory in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

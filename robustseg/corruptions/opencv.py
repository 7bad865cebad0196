"""OpenCV, loaded when first needed and with a helpful message where it cannot be."""

from __future__ import annotations

import importlib
from types import ModuleType

from robustseg.errors import RobustsegError

__all__ = ["OpenCVUnavailableError", "load_cv2"]


class OpenCVUnavailableError(RobustsegError):
    """OpenCV is not installed, or a system library that it needs is missing."""


def load_cv2() -> ModuleType:
    """Import OpenCV.

    The number of OpenCV's threads is left alone: it changes the speed of the functions used here,
    not their results.

    Returns:
        The module ``cv2``.

    Raises:
        OpenCVUnavailableError: It cannot be imported; the message says what to install.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise OpenCVUnavailableError(
            f"OpenCV cannot be loaded ({error}): {_remedy(error)}"
        ) from error


def _remedy(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "install it with `pip install opencv-python`"
    return (
        "a system library is missing; install it with `apt-get install libgl1 libglib2.0-0` "
        "(`dnf install mesa-libGL glib2` on Fedora and RHEL)"
    )

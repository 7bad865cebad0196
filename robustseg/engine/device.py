"""Choosing the device that a network runs on."""

from __future__ import annotations

import torch

from robustseg.errors import SettingError

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """Turn ``--device`` into a device; ``auto`` is the first GPU, or the CPU where there is none.

    Raises:
        SettingError: The device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(
            f"device {name!r} cannot be used here: give --device cpu or auto"
        ) from error
    return device

"""Choosing the device that a network runs on."""

from __future__ import annotations

import torch

from robustseg.errors import SettingError

__all__ = ["pick_device", "pick_precision"]


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


def pick_precision(name: str, device: torch.device) -> str:
    """Turn a recipe's ``precision`` into ``bf16`` or ``fp32``.

    ``auto`` is bf16 on GPUs that compute in it, fp32 on others and on CPUs.

    Raises:
        SettingError: bf16 is asked for where the device does not compute in it.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        return "bf16" if able else "fp32"
    if name == "bf16" and device.type == "cuda" and not able:
        raise SettingError(f"{device} does not compute in bf16: give --set precision=fp32")
    return name

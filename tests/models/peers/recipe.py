"""Weights and images that are functions of a name, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def _stream(text: str) -> np.random.Generator:
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def named_tensor(key: str, shape: Sequence[int]) -> Tensor:
    """Make a parameter or buffer from its name in the peer's checkpoint."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    uniform = _stream(key).random(tuple(shape)) - 0.5  # of variance 1/12
    if key.endswith("running_var"):
        values = 1 + uniform
    elif len(shape) > 1:
        # of a variance that ReLUs keep: a deeper layer must still see the image
        values = uniform * (24 / np.prod(shape[1:])) ** 0.5
    elif key.endswith("weight"):
        values = 0.8 + uniform / 2
    else:
        values = uniform / 2
    return torch.from_numpy(values.astype(np.float32))


def named_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Make a whole checkpoint from the peer's names and shapes."""
    return {key: named_tensor(key, shape) for key, shape in shapes.items()}


def named_image(height: int, width: int) -> Tensor:
    """Make a normalised float32 input (1, 3, H, W)."""
    values = _stream(f"{height} x {width}").random((1, 3, height, width)) * 4 - 2
    return torch.from_numpy(values.astype(np.float32))

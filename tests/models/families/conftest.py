from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robustseg.models.reading import Checkpoint

Shapes = dict[str, list[int]]
"""Parameter name to shape."""

Fill = Callable[[Shapes], Checkpoint]


@pytest.fixture(scope="session")
def layouts() -> dict[str, Shapes]:
    """What files of other code bases hold: ``<code base> <network>`` to names and shapes.

    The names are those of transformers 5 (``hf5`` in memory, ``hf`` on disk), of
    segmentation_models_pytorch 0.6, and of published files of the others; 19 classes, 1000 of
    ImageNet in encoders.
    """
    content: dict[str, Shapes] = json.loads(
        lzma.decompress(Path(__file__).with_name("keys.json.xz").read_bytes())
    )
    return content


@pytest.fixture(scope="session")
def filled() -> Fill:
    """Make a checkpoint of random numbers, different in every place."""

    def fill(shapes: Shapes) -> Checkpoint:
        stream = torch.Generator().manual_seed(0)
        state = {
            name: torch.rand(shape, generator=stream) if shape else torch.tensor(7)
            for name, shape in shapes.items()
        }
        return Checkpoint(Path("given.pth"), "0" * 64, state, {})

    return fill


@pytest.fixture(scope="session")
def hollow() -> Fill:
    """Make a checkpoint without numbers."""

    def fill(shapes: Shapes) -> Checkpoint:
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        return Checkpoint(Path("given.pth"), "0" * 64, state, {})

    return fill

"""Our networks beside what those of the peers made of the same weights (tests/models/peers)."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from robustseg.models.checkpoints import Checkpoint, load_model
from robustseg.models.zoo import base_name

HERE = Path(__file__).parent / "peers"
KEYS: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress((HERE / "keys.json.gz").read_bytes())
)


def load_recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe", HERE / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = load_recipe()


def assert_same(found: Tensor, wanted: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    apart = np.abs(found.numpy() - wanted).max() / np.abs(wanted).max()
    assert apart < 1e-4


@pytest.mark.parametrize("name", KEYS)
def test_logits_are_those_of_the_peer(name: str) -> None:
    """Its checkpoint is recognised, loaded under a bare name, and gives its logits."""
    state = RECIPE.named_state(KEYS[name])
    checkpoint = Checkpoint(Path("peer.pth"), "0" * 64, state, {})
    # the multi-grid network has the weights of another one: it must be asked for
    asked = name if "_os16" in name else base_name(name)
    model = load_model(checkpoint, asked)
    assert model.name == name
    with np.load(HERE / "values.npz") as values:
        size, labels, logits = (values[f"{name} {kind}"] for kind in ("size", "labels", "logits"))
    with torch.no_grad():
        found = model.logits(RECIPE.named_image(*map(int, size)))[0]
    assert_same(found[:, ::2, ::2], logits)
    assert np.array_equal(found.argmax(0).numpy(), labels)
    assert len(np.unique(labels)) > 3

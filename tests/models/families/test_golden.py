"""Logits of the other code bases, made once with random weights by a recipe.

The folder is given by the environment variable ``ROBUSTSEG_GOLDEN``; without it nothing is tested.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.checkpoints import load_encoder, load_model
from robustseg.models.families.huggingface import HUGGING_FACE
from robustseg.models.mix_transformer import DropPath
from robustseg.models.reading import Checkpoint

FOLDER = Path(os.environ.get("ROBUSTSEG_GOLDEN", ""))
INDEX: dict[str, Any] = {}
if os.environ.get("ROBUSTSEG_GOLDEN"):
    INDEX = json.loads((FOLDER / "recipe_index.json").read_text())

pytestmark = pytest.mark.skipif(not INDEX, reason="needs ROBUSTSEG_GOLDEN")

ENCODER = "nvlabs_mit_b0"
NAMES = {
    "hf_segformer_b0": "segformer_b0@hf",
    "hf_segformer_b2": "segformer_b2@hf",
    "smp_segformer_mit_b0": "segformer_b0@smp",
    "mmseg_segformer_b0": "segformer_b0@mmseg",
    ENCODER: "segformer_b0",
    "smp_dlv3p_tu-mobilenetv2_100_os16": "dlv3p_mbv2@smp",
    "smp_dlv3p_tu-resnet50_os16": "dlv3p_r50@smp",
    "smp_dlv3p_tu-resnet50_os8": "dlv3p_r50@smp",
    "smp_dlv3p_tu-xception65_os16": "dlv3p_x65@smp",
    "smp_dlv3p_tu-xception71_os16": "dlv3p_x71@smp",
    "vainf_dlv3p_resnet50_os16": "dlv3p_r50@vainf",
    "vainf_dlv3p_mobilenet_os16": "dlv3p_mbv2@vainf",
    "mmseg_dlv3p_r50-d8": "dlv3p_r50@mmseg",
    "mmseg_dlv3p_mobilenet-v2-d8": "dlv3p_mbv2@mmseg",
}


@cache
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe", FOLDER / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def statistics() -> dict[str, Tensor]:
    return load_file(FOLDER / "recipe_bn_stats.safetensors")


@cache
def logits() -> Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    content: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = np.load(
        FOLDER / "recipe_logits.npz"
    )
    return content


def weights(key: str) -> Checkpoint:
    state = {}
    for name, shape in INDEX[key]["keys"].items():
        drawn = torch.from_numpy(np.asarray(recipe().tensor(name, tuple(shape))))
        state[name] = statistics().get(f"{key}|{name}", drawn)
    return Checkpoint(Path(key), "0" * 64, state, {})


def network(key: str) -> SegmentationModel:
    if key == ENCODER:
        model = create_model("segformer_b0").eval()
        load_encoder(model, weights(key))
        return model
    checkpoint = weights(key)
    if NAMES[key].startswith("dlv3p") and key.startswith("smp") and key.endswith("os16"):
        # these were made with the rates of the paper, which are not smp's default
        checkpoint = replace(checkpoint, config={"decoder_atrous_rates": [6, 12, 18]})
    return load_model(checkpoint, output_stride=8 if key.endswith("os8") else None)


def test_every_entry_is_tested() -> None:
    assert set(INDEX) == set(NAMES)


@pytest.mark.parametrize("key", NAMES)
def test_logits(key: str) -> None:
    model = network(key)
    assert model.name == NAMES[key]
    for height, width in INDEX[key]["cases"]:
        x = torch.from_numpy(recipe().image(height, width))
        wanted = torch.from_numpy(logits()[f"{key}|{height}x{width}|logits"])
        with torch.no_grad():
            found = run(model.float(), x, key)
            exact = run(model.double(), x.double(), key)
        largest = wanted.abs().max()
        # random ResNets enlarge the rounding of float32, which differs between processors
        rounding = float((found - exact).abs().max() / largest)
        error = float((found - wanted).abs().max() / largest)
        assert error <= max(1e-4, 2 * rounding)
        assert rounding < 1e-3
        assert_same_classes(found, wanted, error * float(largest))


def run(model: SegmentationModel, x: Tensor, key: str) -> Tensor:
    return model.stages(x)[-1] if key == ENCODER else model.logits(x)


def assert_same_classes(found: Tensor, wanted: Tensor, error: float) -> None:
    """See that the classes are the same wherever the error cannot have turned them over."""
    best = wanted.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 2 * error
    assert torch.equal(found.argmax(1)[clear], wanted.argmax(1)[clear])
    assert clear.float().mean() > 0.99


def test_file_of_hugging_face() -> None:
    model = load_model(FOLDER / "hf_segformer_b0_seed0.safetensors", "segformer_b0")
    assert model.name == "segformer_b0@hf"
    golden = np.load(FOLDER / "hf_segformer_b0_seed0.npz")
    with torch.no_grad():
        stages = model.stages(torch.from_numpy(golden["input"]))
        found = model.decode(stages)
    for number, stage in enumerate(stages):
        torch.testing.assert_close(
            stage, torch.from_numpy(golden[f"stage{number}"]), rtol=1e-4, atol=1e-4
        )
    wanted = torch.from_numpy(golden["logits"])
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    assert torch.equal(found.argmax(1), wanted.argmax(1))


def test_a_training_step() -> None:
    golden = json.loads((FOLDER / "train_step_hf_b0.json").read_text())
    model = load_model(weights("hf_segformer_b0")).train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.rate = 0.0
    images = torch.from_numpy(recipe().image(128, 192, 2))
    labels = torch.from_numpy(recipe().labels(128, 192, 2))
    loss = F.cross_entropy(model(images), labels, ignore_index=255)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-5)
    mean = model.get_buffer("decode_head.linear_fuse.bn.running_mean")[:8]
    torch.testing.assert_close(
        mean, torch.tensor(golden["bn_running_mean_after"]), rtol=1e-4, atol=1e-6
    )
    largest = max(golden["grad_norms"].values())
    for name, wanted in golden["grad_norms"].items():
        # zero in theory are those of keys' biases, and of biases before the batch norm
        assert gradient(model, name).norm().item() == pytest.approx(
            wanted, rel=1e-3, abs=1e-6 * largest
        ), name


def gradient(model: SegmentationModel, name: str) -> Tensor:
    """Give the gradient of what the other code base calls ``name``."""
    half = re.search(r"self\.(key|value)\.", name)
    own = HUGGING_FACE.table.rename(re.sub(r"self\.(key|value)\.", "self.kv.", name))
    assert own is not None
    found = model.get_parameter(own).grad
    assert found is not None
    return found if half is None else found.chunk(2)[half[1] == "value"]

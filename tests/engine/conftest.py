from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustseg.datasets.cityscapes import list_frames
from robustseg.datasets.sample import Frame
from robustseg.models.build import create_model
from robustseg.models.checkpoints import Checkpoint, read_checkpoint, save_checkpoint

LABEL_IDS = np.array([0, 7, 8, 11, 17, 21, 23, 24, 26, 33], np.uint8)
"""One void class and nine that count."""


def write_pair(root: Path, city: str, name: str, split: str, seed: int) -> None:
    """Blocks of flat classes whose colours follow their ids."""
    rng = np.random.default_rng(seed)
    ids = LABEL_IDS[rng.integers(0, len(LABEL_IDS), (4, 8))].repeat(16, 0).repeat(16, 1)
    grain = rng.integers(0, 40, (64, 128, 3))
    image = (ids[..., None] * np.array([5, 3, 6]) + grain).astype(np.uint8)
    for part, suffix, pixels in (
        ("leftImg8bit", "leftImg8bit", image),
        ("gtFine", "gtFine_labelIds", ids),
    ):
        folder = root / part / split / city
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{city}_{name}_{suffix}.png")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three validation and four training pairs of 64 x 128 pixels."""
    root = tmp_path_factory.mktemp("data") / "cityscapes"
    for number in range(3):
        write_pair(root, "aa" if number else "bb", f"{number:06d}_000019", "val", number)
    for number in range(4):
        write_pair(root, "cc", f"{number:06d}_000019", "train", 10 + number)
    return root


@pytest.fixture(scope="session")
def frames(root: Path) -> Sequence[Frame]:
    return list_frames(root, "val")


@pytest.fixture(scope="session")
def training_frames(root: Path) -> Sequence[Frame]:
    return list_frames(root, "train")


def make_checkpoint(path: Path, seed: int) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model("segformer_b0")
        # random logits hardly differ in their maximum; this gives predictions of many classes
        torch.nn.init.normal_(model.get_parameter("decode_head.linear_pred.weight"))
    save_checkpoint(path, "segformer_b0", model, {})
    return read_checkpoint(path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_checkpoint(tmp_path_factory.mktemp("weights") / "b0.safetensors", 0)


@pytest.fixture(scope="session")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_checkpoint(tmp_path_factory.mktemp("weights") / "other.safetensors", 1)

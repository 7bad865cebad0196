from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustseg.cli.main import main
from robustseg.models.build import create_model
from robustseg.models.checkpoints import save_checkpoint

Outcome = tuple[int, str, str]
"""Exit code, standard output, standard error."""


def write_pairs(root: Path, split: str, count: int) -> None:
    for number in range(count):
        rng = np.random.default_rng(number)
        ids = np.array([7, 8, 11, 21, 23, 26, 33, 0], np.uint8)[rng.integers(0, 8, (4, 8))]
        ids = ids.repeat(16, 0).repeat(16, 1)
        image = (ids[..., None] * np.array([6, 4, 7])).astype(np.uint8)
        for part, suffix, pixels in (
            ("leftImg8bit", "leftImg8bit", image),
            ("gtFine", "gtFine_labelIds", ids),
        ):
            folder = root / part / split / "aa"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"aa_{number:06d}_000019_{suffix}.png")


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and weights of a small network, never to be changed."""
    place = tmp_path_factory.mktemp("place")
    write_pairs(place / "cityscapes", "val", 2)
    write_pairs(place / "cityscapes", "train", 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model("segformer_b0")
    save_checkpoint(place / "checkpoints" / "segformer_b0.safetensors", "segformer_b0", model, {})
    return place


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    place = tmp_path / "place"
    shutil.copytree(original / "cityscapes", place / "cityscapes")
    (place / "checkpoints").mkdir()
    weights = "checkpoints/segformer_b0.safetensors"
    (place / weights).symlink_to(original / weights)
    monkeypatch.chdir(place)
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    return place


@pytest.fixture
def robustseg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def start() -> Callable[[Sequence[str]], subprocess.Popen[str]]:
    """Start the command line in a process group of its own."""

    def call(arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "robustseg", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return call

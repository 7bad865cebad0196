from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from robustseg.engine.distributed import Process
from robustseg.errors import SettingError

WORKER = """
import sys
from pathlib import Path
import torch
from torch import nn
from robustseg.datasets.cityscapes import list_frames
from robustseg.engine import train as module
from robustseg.engine.recipes import load_recipe
from robustseg.progress import Console

root, output, name, mode = sys.argv[1:]
rank = int(__import__("os").environ.get("RANK", 0))
recipe = load_recipe("quick", [
    "iterations=20", "crop=[64, 64]",
    "drop_path=0.0", "warmup_iterations=2", "lr=1e-3", "optimizer='%s'" % (
        "sgd" if name.startswith("dlv3p") else "adamw"),
    "auxiliary=%s" % (0.4 if mode == "auxiliary" else 0.0),
    "loss_over='counted'", "batch_size=%d" % (4 if name.startswith("dlv3p") else 2),
])
# all but the first start from other weights, which those of the first must replace
model = module.new_model(name, recipe, rank, None).double()
for part in model.modules():
    if isinstance(part, nn.Dropout | nn.Dropout2d):
        part.p = 0.0
    if isinstance(part, nn.BatchNorm2d):
        part.running_mean += rank
if mode == "auxiliary":
    from robustseg.engine import auxiliary
    auxiliary.DROPOUT = 0.0
if mode == "fails" and rank == 1:
    def fail(*_):
        raise ValueError("rank 1 has failed")
    model.register_forward_pre_hook(fail)
frames = list_frames(Path(root), "train")
paths = module.Paths.below(Path(output), name)
module.train(name, model, frames, recipe, 0, paths, 0, Console(), deterministic=True)
torch.save(model.state_dict(), Path(output) / f"{rank}.pt")
"""


def start(
    root: Path,
    output: Path,
    name: str,
    world: int,
    mode: str = "plain",
) -> list[subprocess.Popen[str]]:
    output.mkdir(exist_ok=True)
    arguments = [str(root), str(output), name, mode]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["OMP_NUM_THREADS"] = "1"
    children = []
    for rank in range(world):
        told = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, *arguments],
                env=common | told | {"LOCAL_WORLD_SIZE": str(world)} if world > 1 else common,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return children


def finished(children: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    try:
        said = [child.communicate(timeout=120)[1] for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    return [(child.returncode, text) for child, text in zip(children, said, strict=True)]


def state(path: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return content


@pytest.mark.parametrize(("name", "mode"), [("segformer_b0", "plain")])
def test_two_processes_end_in_the_parameters_of_one(
    name: str, mode: str, root: Path, tmp_path: Path
) -> None:
    children = [start(root, tmp_path / str(world), name, world, mode=mode) for world in (1, 2)]
    results = [finished(group) for group in children]
    assert [[code for code, _ in group] for group in results] == [[0], [0, 0]], results
    alone = state(tmp_path / "1/0.pt")
    both = [state(tmp_path / f"2/{rank}.pt") for rank in (0, 1)]
    for found in both:
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            # what is exactly zero without rounding, such as the gradient of a bias before a batch
            # norm, needs the absolute tolerance
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-9, msg=key)
    tables = [tmp_path / f"{world}/{name}.train" for world in (1, 2)]
    losses = [
        [row.split(",")[1] for row in (table / "log.csv").read_text().splitlines()]
        for table in tables
    ]
    assert losses[0] == losses[1]
    # the second process is silent
    assert "training" in results[1][0][1]
    assert results[1][1][1] == ""
    written = sorted(p.name for p in (tmp_path / "2").iterdir())
    assert written == ["0.pt", "1.pt", f"{name}.safetensors", f"{name}.train"]


def test_error_of_one_process_ends_the_other(root: Path, tmp_path: Path) -> None:
    children = start(root, tmp_path / "out", "segformer_b0", 2, mode="fails")
    first, second = finished(children)
    assert second[0] != 0
    assert "rank 1 has failed" in second[1]
    assert first[0] != 0
    assert "process 0 cannot go on" in first[1]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Process()),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, Process(3, 8, 4)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Process(0, 1, 1)),
        ({"WORLD_SIZE": "8"}, Process()),
    ],
)
def test_place_among_processes(environment: dict[str, str], expected: Process) -> None:
    assert Process.of_environment(environment) == expected


def test_nonsense_of_the_environment_is_refused() -> None:
    with pytest.raises(SettingError, match=r"RANK=2 and WORLD_SIZE=2 of the environment make no"):
        Process.of_environment({"RANK": "2", "WORLD_SIZE": "2"})

"""Several processes that train one network: who they are, what they add up, their batch norm."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import timm.layers
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from robustseg.errors import SettingError

__all__ = ["Process", "agreed", "joined", "parallel", "sum_over", "synchronise_norms"]

LAYERS: Any = timm.layers  # their names are not exported explicitly
BatchNormAct2d: Any = LAYERS.BatchNormAct2d

PATIENCE = timedelta(minutes=15)
"""How long a process waits for the others before it takes them for dead."""


@dataclass(frozen=True)
class Process:
    """This process among those of a training.

    Attributes:
        rank: Number of this process, from 0.
        world: How many processes there are.
        local_world: How many of them are on this machine.
    """

    rank: int = 0
    world: int = 1
    local_world: int = 1

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Process:
        """Read what ``torchrun`` tells its processes; one process where it says nothing.

        Raises:
            SettingError: It makes no sense.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        if any(name not in environment for name in names[:2]):
            return cls()
        words = [environment[n] for n in names[:2]]
        words.append(environment.get(names[2], words[1]))
        if not all(word.isdecimal() for word in words) or not int(words[0]) < int(words[1]):
            raise SettingError(
                f"RANK={words[0]} and WORLD_SIZE={words[1]} of the environment make no sense: "
                "start with torchrun, or unset them"
            )
        return cls(int(words[0]), int(words[1]), max(int(words[2]), 1))


@contextmanager
def joined(device: torch.device) -> Iterator[Process]:
    """Join the other processes that ``torchrun`` started, if there are any, until the block ends.

    A group of processes that exists already is used, and left as it is.

    Args:
        device: Of the network: a GPU makes the group NCCL's, a CPU Gloo's.
    """
    process = Process.of_environment(os.environ)
    if process.world == 1:
        yield process
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if distributed.is_initialized():
        yield process
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield process
    finally:
        distributed.destroy_process_group()


def sum_over(values: Tensor, process: Process) -> Tensor:
    """Add a tensor up over all processes, in place."""
    if process.world > 1:
        distributed.all_reduce(values)
    return values


def agreed(values: list[int], process: Process, device: torch.device) -> list[int]:
    """Give the largest of each number over all processes, so that all decide alike."""
    if process.world == 1:
        return values
    numbers = torch.tensor(values, device=device)
    distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
    return [int(n) for n in numbers.tolist()]


def parallel(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Share a module among the processes: all start from the first one's parameters and buffers.

    Args:
        module: In the memory of each process; its batch norms measure over all of them from now on.
        device: Where it is.
    """
    synchronise_norms(module, device)
    for buffer in module.buffers():
        distributed.broadcast(buffer, 0)
    with warnings.catch_warnings():
        # torch is renaming the switch; buffers stay the same everywhere, and need no sending
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,
        )


def synchronise_norms(model: nn.Module, device: torch.device) -> None:
    """Make every batch norm measure over all processes; names and parameters stay.

    Args:
        model: Changed in place.
        device: On a GPU torch's own synchronised batch norm is used, on a CPU one of ours.
    """
    if device.type == "cuda":
        convert = LAYERS.convert_sync_batchnorm  # knows timm's norms with activations
        for name, child in model.named_children():
            model.add_module(name, convert(child))
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SharedNorm
        elif type(module) is BatchNormAct2d:
            module.__class__ = _SharedNormAct


class _Sum(torch.autograd.Function):
    """Adds up over processes; what flows back adds up as well, since all processes use the sum."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class _SharedNorm(nn.BatchNorm2d):
    """Batch norm whose mean and variance are those of the inputs of all processes together.

    The inputs of all processes are of the same size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return _shared_norm(self, x) if self.training else super().forward(x)


class _SharedNormAct(BatchNormAct2d):  # type: ignore[misc]
    """The same for timm's batch norm with an activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(x)  # type: ignore[no-any-return]
        return self.act(self.drop(_shared_norm(self, x)))  # type: ignore[no-any-return]


def _shared_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    count = x.numel() // x.shape[1] * distributed.get_world_size()
    mean = _Sum.apply(x.sum((0, 2, 3))) / count
    centred = x - mean[:, None, None]
    variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
    if norm.track_running_stats:
        _remember(norm, mean.detach(), variance.detach() * (count / max(count - 1, 1)))
    scale = torch.rsqrt(variance + norm.eps) * norm.weight
    out: Tensor = centred * scale[:, None, None] + norm.bias[:, None, None]
    return out


@torch.no_grad()
def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)

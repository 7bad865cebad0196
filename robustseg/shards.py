"""Sharing a run among machines: which part is this process's, and who said so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from robustseg.errors import SettingError

__all__ = ["Shard", "parse_shard", "rank_of_environment", "shard_of_environment"]

_Item = TypeVar("_Item")

TORCHRUN = ("RANK", "WORLD_SIZE")
SLURM = "SLURM_ARRAY_TASK_"


class Shard(NamedTuple):
    """A part of the work.

    Attributes:
        part: From 1 to ``parts``.
        parts: How many there are.
    """

    part: int = 1
    parts: int = 1

    def of(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Give this part of a list: every ``parts``-th item, so that all parts are alike."""
        return items[self.part - 1 :: self.parts]


def parse_shard(text: str) -> Shard:
    """Parse ``i/n``, 1-based.

    Raises:
        SettingError: It is not of that form.
    """
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise SettingError(f"{text!r} is not of the form i/n with 1 <= i <= n")
    return Shard(int(first), int(second))


def shard_of_environment(environ: Mapping[str, str]) -> tuple[Shard, str]:
    """Find the part of a process that ``torchrun`` or a Slurm array started.

    Where both did, each task of the array is divided among its ranks.

    Args:
        environ: The environment.

    Returns:
        The part and the variables that decided it; the whole and nothing if there are none.

    Raises:
        SettingError: The variables make no sense.
    """
    array, ranks = _of_slurm(environ), _of_torchrun(environ)
    deciders = [name for shard, name in ((array, "Slurm array"), (ranks, "torchrun")) if shard]
    outer, inner = array or Shard(), ranks or Shard()
    part = (outer.part - 1) * inner.parts + inner.part
    return Shard(part, outer.parts * inner.parts), " and ".join(deciders)


def rank_of_environment(environ: Mapping[str, str]) -> Shard:
    """Find which of the processes that ``torchrun`` started this is; the only one without it.

    Raises:
        SettingError: The variables make no sense.
    """
    return _of_torchrun(environ) or Shard()


def _of_torchrun(environ: Mapping[str, str]) -> Shard | None:
    if not all(environ.get(name) for name in TORCHRUN):
        return None
    rank, size = (_number(environ, name) for name in TORCHRUN)
    if not 0 <= rank < size:
        raise SettingError(f"RANK={rank} is not below WORLD_SIZE={size}: give --shard I/N")
    return Shard(rank + 1, size)


def _of_slurm(environ: Mapping[str, str]) -> Shard | None:
    if not all(environ.get(f"{SLURM}{name}") for name in ("ID", "MIN", "COUNT")):
        return None
    task, first, count = (_number(environ, f"{SLURM}{name}") for name in ("ID", "MIN", "COUNT"))
    step = _number(environ, f"{SLURM}STEP") if environ.get(f"{SLURM}STEP") else 1
    index, rest = divmod(task - first, step) if step > 0 else (0, 1)
    if rest or not 0 <= index < count or not _is_even(environ, first, step, count):
        raise SettingError(
            f"the Slurm array's tasks are not evenly spaced ({SLURM}ID={task}): give --shard I/N"
        )
    return Shard(index + 1, count)


def _is_even(environ: Mapping[str, str], first: int, step: int, count: int) -> bool:
    """Whether the last task fits the others; a list such as 1,2,7 does not."""
    name = f"{SLURM}MAX"
    beyond = _number(environ, name) - (first + step * (count - 1)) if environ.get(name) else 0
    return 0 <= beyond < step  # the end of 0-15:4 is 15, its last task 12


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError as error:
        raise SettingError(f"{name}={environ[name]!r} is no number: give --shard I/N") from error

from __future__ import annotations

import pytest

from robustseg.errors import SettingError
from robustseg.shards import Shard, parse_shard, shard_of_environment


def slurm(task: int, first: int, last: int, step: int = 1) -> dict[str, str]:
    """What Slurm sets for ``--array=first-last:step``."""
    count = len(range(first, last + 1, step))
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def torchrun(rank: int, size: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": "0"}


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 30])
def test_parts_of_a_list_make_the_whole(parts: int) -> None:
    items = [f"item {number}" for number in range(20)]
    pieces = [Shard(part, parts).of(items) for part in range(1, parts + 1)]
    assert sorted(item for piece in pieces for item in piece) == sorted(items)
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(("text", "shard"), [("1/1", (1, 1)), ("2/8", (2, 8)), ("8/8", (8, 8))])
def test_parse(text: str, shard: tuple[int, int]) -> None:
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "a/b", "1/", "-1/2", "1/2/3", "²/3"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="not of the form i/n"):
        parse_shard(text)


def test_without_variables_it_is_the_whole() -> None:
    assert shard_of_environment({}) == (Shard(1, 1), "")
    assert shard_of_environment({"WORLD_SIZE": "4", "RANK": ""}) == (Shard(1, 1), "")
    assert shard_of_environment({"SLURM_JOB_ID": "17"}) == (Shard(1, 1), "")


def test_ranks_of_torchrun() -> None:
    found = [shard_of_environment(torchrun(rank, 3)) for rank in range(3)]
    assert found == [(Shard(n, 3), "torchrun") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("first", "last", "step"), [(0, 7, 1), (1, 8, 1), (0, 15, 4), (10, 30, 5), (5, 5, 1)]
)
def test_tasks_of_a_slurm_array(first: int, last: int, step: int) -> None:
    tasks = range(first, last + 1, step)
    found = [shard_of_environment(slurm(task, first, last, step)) for task in tasks]
    assert found == [(Shard(n, len(tasks)), "Slurm array") for n in range(1, len(tasks) + 1)]


def test_ranks_within_tasks_share_the_task() -> None:
    environments = [slurm(task, 0, 2) | torchrun(rank, 2) for task in range(3) for rank in range(2)]
    found = [shard_of_environment(environment) for environment in environments]
    assert [shard for shard, _ in found] == [Shard(n, 6) for n in range(1, 7)]
    assert {decider for _, decider in found} == {"Slurm array and torchrun"}


@pytest.mark.parametrize(
    "environment",
    [
        torchrun(4, 4),
        torchrun(-1, 4),
        {"RANK": "one", "WORLD_SIZE": "4"},
        slurm(3, 0, 7, 2),
        slurm(9, 0, 7),
        slurm(0, 0, 7) | {"SLURM_ARRAY_TASK_STEP": "0"},
        slurm(0, 0, 7) | {"SLURM_ARRAY_TASK_COUNT": "x"},
        # --array=1,2,7 has three tasks and a step of one
        slurm(2, 1, 7) | {"SLURM_ARRAY_TASK_COUNT": "3"},
    ],
)
def test_variables_that_make_no_sense_are_named(environment: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"(RANK|SLURM_ARRAY_TASK).*give --shard I/N"):
        shard_of_environment(environment)

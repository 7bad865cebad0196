"""``robustseg generate-c``: build Cityscapes-C beside a Cityscapes folder."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.cli.options import (
    Data,
    add_cells,
    add_channel_order,
    add_data,
    add_general,
    add_run,
    add_shard,
    check_at_least,
    chosen_cells,
    console_of,
    data_of,
    folder,
)
from robustseg.errors import SettingError
from robustseg.progress import Console, duration, sized
from robustseg.shards import Shard, shard_of_environment

if TYPE_CHECKING:
    from robustseg.corruptions.registry import ChannelOrder
    from robustseg.corruptions.writer import Plan

__all__ = ["add_parser", "default_root_c", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "generate-c",
        help="build Cityscapes-C: 16 corruptions x 5 severities",
        description=__doc__,
    )
    add_data(parser)
    parser.add_argument(
        "--root-c", type=folder, metavar="DIR", help="where the set goes (default: <root>_c)"
    )
    add_cells(parser)
    add_run(parser, workers=os.cpu_count() or 2)
    add_shard(parser)
    add_channel_order(parser)
    add_general(parser)
    # no --shard is not the same as 1/1: torchrun or a Slurm array may say which part
    parser.set_defaults(run=run, shard=None)


def default_root_c(root: Path) -> Path:
    """Name the corrupted set beside its root: ``cityscapes`` -> ``cityscapes_c``."""
    if root.name == "..":
        root = root.resolve()
    absolute = root.absolute()
    return root.parent / f"{absolute.name}_c" if root.name else Path(f"{absolute}_c")


def run(args: argparse.Namespace) -> int:
    """Write what is missing; 1 if some of it could not be made."""
    from robustseg.corruptions.writer import Record, plan_work, prepare_tree, read_record, write_set

    check_at_least("--workers", args.workers, 0)
    corruptions, severities = chosen_cells(args)
    shard, decider = _shard(args)
    data = data_of(args)
    root_c = args.root_c or default_root_c(data.root)
    console = console_of(args)
    cells = (corruptions, severities)
    plan = plan_work(data.root, root_c, data.frames, *cells, shard, args.workers)
    if shard.parts > 1:
        console.say(f"part {shard.part} of {shard.parts}, as {decider} says")
    size = _announce(plan, data, cells, args.workers, console)
    if args.dry_run:
        return 0
    _check_space(root_c, size)
    made = read_record(root_c) or Record(seed=0)
    seed = made.seed if args.seed is None else args.seed
    order: ChannelOrder = args.channel_order or made.channel_order
    problem = prepare_tree(data.root, root_c, corruptions, severities, seed, order)
    if problem:
        console.say(f"{problem}; the images are made all the same")
    failures = write_set(plan, seed, args.workers, console, order)
    for failure in failures:  # also with --quiet, which silences progress alone
        print(f"left out: {failure}", file=sys.stderr)
    print(root_c)
    return 1 if failures else 0


def _shard(args: argparse.Namespace) -> tuple[Shard, str]:
    """Find which part is to be done, and what said so."""
    if args.shard is not None:
        return args.shard, "--shard"
    return shard_of_environment(os.environ)


def _announce(
    plan: Plan, data: Data, cells: tuple[list[str], list[int]], workers: int, console: Console
) -> float:
    """Say what will be done.

    Returns:
        Its size in bytes.
    """
    from robustseg.corruptions.writer import estimate

    size, seconds = estimate(plan, workers)
    corruptions, severities = cells
    whole = f"{len(data.frames)} x {len(corruptions)} corruptions x {len(severities)} severities"
    there = len(plan.there)
    part, total = there + plan.missing, len(data.frames) * len(corruptions) * len(severities)
    share = f"{part} of {total}" if part < total else f"{total}"
    cost = f", about {sized(size)} and {duration(seconds)}" if plan.missing else ""
    console.say(
        f"{plan.root_c}: {share} images ({whole}), {there} there, {plan.missing} to make{cost}"
    )
    return size


def _check_space(root_c: Path, size: float) -> None:
    from robustseg.corruptions.writer import free_bytes

    free = free_bytes(root_c)
    if size > free:
        raise SettingError(
            f"{root_c} needs about {sized(size)} and {sized(free)} are free: give "
            "another --root-c, or leave it out: evaluate corrupts on the fly"
        )

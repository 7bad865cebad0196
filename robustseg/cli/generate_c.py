"""``robustseg generate-c``: build Cityscapes-C beside a Cityscapes folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.cli.options import (
    add_cells,
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
from robustseg.progress import sized

if TYPE_CHECKING:
    from robustseg.corruptions.writer import Work

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
    add_general(parser)
    parser.set_defaults(run=run)


def default_root_c(root: Path) -> Path:
    """Name the corrupted set beside its root: ``cityscapes`` -> ``cityscapes_c``."""
    if root.name == "..":
        root = root.resolve()
    absolute = root.absolute()
    return root.parent / f"{absolute.name}_c" if root.name else Path(f"{absolute}_c")


def run(args: argparse.Namespace) -> int:
    """Write what is missing; 1 if some images could not be read."""
    from robustseg.corruptions.writer import plan_work, prepare_tree, write_set

    check_at_least("--workers", args.workers, 0)
    corruptions, severities = chosen_cells(args)
    data = data_of(args)
    root_c = args.root_c or default_root_c(data.root)
    console = console_of(args)
    everything = plan_work(data.root, root_c, data.frames, corruptions, severities)
    part, parts = args.shard
    plan = everything[part - 1 :: parts]
    missing = sum(len(work.targets) for work in plan)
    size = _estimate(plan)
    total = len(data.frames) * len(corruptions) * len(severities)
    there = total - sum(len(work.targets) for work in everything)
    console.say(
        f"{root_c}: {total} images ({len(data.frames)} x {len(corruptions)} corruptions x "
        f"{len(severities)} severities), {there} there, {missing} to make, "
        f"about {sized(size)}"
    )
    if args.dry_run:
        return 0
    _check_space(root_c, size)
    seed = args.seed or 0
    problem = prepare_tree(data.root, root_c, corruptions, severities, seed)
    if problem:
        console.say(f"{problem}; the images are made all the same")
    failures = write_set(plan, seed, args.workers, console) if plan else []
    for failure in failures:
        console.say(f"left out: {failure}")
    print(root_c)
    return 1 if failures else 0


def _estimate(plan: Sequence[Work]) -> float:
    """Estimate the bytes that a plan will write, from the size of its first image."""
    from robustseg.corruptions.writer import BYTES_PER_SAMPLE
    from robustseg.datasets.cityscapes import load_image
    from robustseg.errors import DataError

    for work in plan:
        try:
            pixels = load_image(work.frame.image).size
        except DataError:
            continue
        return BYTES_PER_SAMPLE * pixels * sum(len(w.targets) for w in plan)
    return 0.0


def _check_space(root_c: Path, size: float) -> None:
    from robustseg.corruptions.writer import free_bytes

    free = free_bytes(root_c)
    if size > free:
        raise SettingError(
            f"{root_c} needs about {sized(size)} and {sized(free)} are free: give "
            "another --root-c, or leave it out: evaluate corrupts on the fly"
        )

"""``robustseg check``: what is wrong with a Cityscapes tree."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from robustseg.cli.options import add_general, console_of, folder

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "check", help="list everything wrong with a data set", description=__doc__
    )
    parser.add_argument(
        "--root",
        type=folder,
        metavar="DIR",
        help="Cityscapes folder (default: $CITYSCAPES_DATASET, then ./cityscapes)",
    )
    parser.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="splits to check (default: all that are there)"
    )
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print an overview and all findings; 1 if any of them is an error."""
    from robustseg.datasets.doctor import count_pairs, diagnose, summarise
    from robustseg.datasets.layout import find_root

    root = args.root or folder(os.environ.get("CITYSCAPES_DATASET") or "cityscapes")
    if not (root.is_dir() and any(root.iterdir())):
        find_root(args.root, os.environ, Path.cwd())  # says in one line what is missing
    with console_of(args).task(f"reading {root}", count_pairs(root, args.splits)) as task:
        diagnosis = diagnose(root, on_done=task.advance, splits=args.splits)
    if diagnosis.overview:
        print(diagnosis.overview)
    for line in summarise(diagnosis.findings):
        print(line)
    errors = sum(f.severity == "error" for f in diagnosis.findings)
    if errors:
        print(f"{errors} error{'s' * (errors != 1)} in {root}")
        return 1
    print(f"{root} is a valid data set")
    return 0

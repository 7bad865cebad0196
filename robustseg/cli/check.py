"""``robustseg check``: what is wrong with a Cityscapes tree or with a corrupted set."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from robustseg.cli.options import add_general, check_at_least, console_of, folder
from robustseg.progress import counted

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
    parser.add_argument(
        "--root-c",
        type=folder,
        metavar="DIR",
        help="compare a corrupted set with its manifest; with --root, which is checked too, "
        "all its images are expected",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 2,
        metavar="N",
        help=f"how many files of --root-c are read at once (default: {os.cpu_count() or 2})",
    )
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print an overview and all findings; 1 if any of them is an error."""
    check_at_least("--workers", args.workers, 0)
    if args.root_c is None:
        return _check_root(args)
    code = _check_root(args) if args.root is not None else 0
    return max(code, _check_set(args))


def _check_set(args: argparse.Namespace) -> int:
    from robustseg.corruptions.verify import verify_set

    verdict = verify_set(args.root_c, args.workers, console_of(args), args.root)
    if verdict.record is not None:
        print(f"{args.root_c}: {counted(verdict.files, 'file')} of {verdict.record}")
    if verdict.at_work:
        print(f"{counted(verdict.at_work, 'run')} of generate-c at work on it now")
    for line in verdict.problems:
        print(line)
    if not verdict.listed:
        print("no manifest.csv: only seen whether each file can be read; generate-c adds one")
    if verdict.problems:
        print(f"{counted(len(verdict.problems), 'problem')} in {args.root_c}")
        return 1
    print(
        f"{args.root_c} is whole: {counted(verdict.images, 'image')} in "
        f"{counted(verdict.cells, 'cell')}"
    )
    return 0


def _check_root(args: argparse.Namespace) -> int:
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

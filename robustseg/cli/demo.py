"""``robustseg demo``: the whole job on built-in street scenes, without data, weights or network."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from robustseg.cli.options import (
    add_device,
    add_general,
    check_at_least,
    check_seed,
    console_of,
    folder,
)

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "demo", help="run everything on built-in street scenes", description=__doc__
    )
    parser.add_argument(
        "--output",
        type=folder,
        default=Path("robustseg-demo"),
        metavar="DIR",
        help="where everything goes (default: ./robustseg-demo)",
    )
    add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="images made at once (default: 2)"
    )
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo, print the table and the report's path."""
    from robustseg.demo import Demo, Size, run_demo
    from robustseg.engine.device import pick_device
    from robustseg.reports.render import to_text

    check_at_least("--workers", args.workers, 1)
    check_seed(args.seed)
    demo = Demo(args.output, pick_device(args.device), args.seed, args.workers, Size())
    table = run_demo(demo, console_of(args))
    print(to_text(table, shutil.get_terminal_size().columns))
    print(f"report: {(demo.report / 'index.html').absolute()}")
    return 0

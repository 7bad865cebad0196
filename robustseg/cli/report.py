"""``robustseg report``: Table 5 from stored results as text, Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from robustseg.cli.options import add_general, add_runs, console_of, folder
from robustseg.errors import DataError
from robustseg.metrics.robustness import AVERAGINGS

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("report", help="make Table 5 and figures", description=__doc__)
    add_runs(parser)
    parser.add_argument(
        "--output", type=folder, default=Path("report"), metavar="DIR", help="(default: ./report)"
    )
    parser.add_argument(
        "--averaging",
        choices=AVERAGINGS,
        default="paper",
        help="paper: noise over severities 1-3; all: every corruption over 1-5 (default: paper)",
    )
    parser.add_argument(
        "--figures",
        nargs="+",
        action="extend",
        type=folder,
        default=[],
        metavar="PNG",
        help="show these pictures too",
    )
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table and write all formats; networks are not needed."""
    from robustseg.reports.page import FigureFile, write_report
    from robustseg.reports.render import to_text
    from robustseg.results import load_results

    results, damaged = load_results(args.runs)
    for line in damaged:
        console_of(args).say(f"left out: {line}")
    if not results:
        raise DataError(
            f"no results in {args.runs}: run 'robustseg evaluate' first, or give --runs DIR"
        )
    for path in args.figures:
        if not (path.is_file() and path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"):
            raise DataError(f"no PNG file: {path}")
    figures = [FigureFile(path.stem, path, str(path)) for path in args.figures]
    table = write_report(results, args.output, args.averaging, figures)
    print(to_text(table, shutil.get_terminal_size().columns), end="")
    print(args.output / "index.html")
    return 0

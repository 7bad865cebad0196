"""Options that mean the same in every subcommand, and turning them into objects."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.corruptions.entries import corruption_groups, further_entries
from robustseg.corruptions.severity import CORRUPTIONS, GROUPS, SEVERITIES, check_severity
from robustseg.errors import NameLookupError, SettingError
from robustseg.names import select
from robustseg.progress import Console
from robustseg.shards import Shard, parse_shard

if TYPE_CHECKING:
    from robustseg.datasets.sample import Frame
    from robustseg.models.fetch import Access
    from robustseg.models.identity import Identity

__all__ = [
    "CHECKPOINTS",
    "Data",
    "access_of",
    "add_cells",
    "add_channel_order",
    "add_checkpoints",
    "add_corruptions",
    "add_data",
    "add_device",
    "add_fetching",
    "add_general",
    "add_plugin",
    "add_run",
    "add_runs",
    "add_shard",
    "check_at_least",
    "check_seed",
    "chosen_cells",
    "chosen_corruptions",
    "chosen_models",
    "console_of",
    "data_of",
    "folder",
    "given_checkpoints",
    "plugin_hint",
    "say_notices",
    "shard_of",
]

CHECKPOINTS = Path("checkpoints")


def add_general(parser: argparse.ArgumentParser) -> None:
    """Add ``-v`` and ``-q``."""
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks of errors")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def add_data(parser: argparse.ArgumentParser, split: str = "val", limit: int | None = None) -> None:
    """Add ``--root``, ``--split`` and ``--limit``."""
    parser.add_argument(
        "--root",
        type=folder,
        metavar="DIR",
        help="Cityscapes folder (default: $CITYSCAPES_DATASET, then ./cityscapes)",
    )
    parser.add_argument("--split", default=split, help=f"split to use (default: {split})")
    parser.add_argument(
        "--limit",
        type=int,
        default=limit,
        metavar="N",
        help=f"use the first N images only (default: {limit or 'all'})",
    )


def add_cells(parser: argparse.ArgumentParser) -> None:
    """Add ``--corruptions``, ``--plugin`` and ``--severities``."""
    add_corruptions(parser)
    parser.add_argument(
        "--severities",
        nargs="+",
        type=int,
        default=list(SEVERITIES),
        metavar="N",
        help="severities from 1 to 5 (default: 1 2 3 4 5)",
    )


def add_corruptions(parser: argparse.ArgumentParser) -> None:
    """Add ``--corruptions`` and ``--plugin``."""
    parser.add_argument(
        "--corruptions",
        nargs="+",
        default=["all"],
        metavar="NAME",
        help="names, patterns, or groups: blur noise digital weather; beyond these sixteen also "
        "extra and custom (default: all, which is the sixteen)",
    )
    add_plugin(parser)


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """Add ``--plugin``; ``main`` imports what it names before the command runs."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module for the corruptions and models that it registers",
    )


def add_channel_order(parser: argparse.ArgumentParser) -> None:
    """Add ``--channel-order``; None unless it is given, so that a stored set can decide."""
    parser.add_argument(
        "--channel-order",
        choices=("rgb", "bgr"),
        help="how corruptions see the channels: rgb, their definition, or bgr, as scripts that "
        "read with OpenCV feed them (default: that of --root-c, else rgb)",
    )


def add_run(parser: argparse.ArgumentParser, workers: int) -> None:
    """Add ``--seed``, ``--workers`` and ``--dry-run``."""
    parser.add_argument(
        "--seed", type=int, help="seed of the corruptions (default: that of --root-c, else 0)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=workers,
        metavar="N",
        help=f"how many images are made at once (default: {workers})",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint``, ``--offline``, ``--accept-licence`` and ``--device``."""
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=PATH",
        help="weights of a model (default: ./checkpoints/NAME.*, else published ones, which are "
        "fetched once)",
    )
    add_fetching(parser)
    add_device(parser)


def add_fetching(parser: argparse.ArgumentParser) -> None:
    """Add ``--offline`` and ``--accept-licence``."""
    parser.add_argument(
        "--offline", action="store_true", help="fetch nothing: use weights that are here"
    )
    parser.add_argument(
        "--accept-licence",
        action="store_true",
        help="accept the licence of the weights that are fetched (NVIDIA's of SegFormer: research "
        "and evaluation only)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)"
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add ``--runs``."""
    parser.add_argument(
        "--runs", type=folder, default=Path("runs"), metavar="DIR", help="results (default: ./runs)"
    )


def add_shard(parser: argparse.ArgumentParser) -> None:
    """Add ``--shard``."""
    parser.add_argument(
        "--shard", type=shard_of, default=Shard(), metavar="I/N", help="do the I-th of N parts"
    )


def folder(text: str) -> Path:
    """Parse a path; shells leave the ``~`` of ``--option=~/DIR``."""
    return Path(text).expanduser()


@dataclass(frozen=True)
class Data:
    """A data set as the options chose it."""

    root: Path
    split: str
    frames: list[Frame]
    limited: bool


def data_of(args: argparse.Namespace) -> Data:
    """Find the data set and list its frames.

    Raises:
        DataError: There is no such data set.
        SettingError: ``--limit`` leaves no image.
    """
    from robustseg.datasets.cityscapes import list_frames
    from robustseg.datasets.layout import find_root

    root = find_root(args.root, os.environ, Path.cwd())
    check_at_least("--limit", args.limit, 1)
    everything = list_frames(root, args.split)
    frames = everything[: args.limit]
    return Data(root, args.split, frames, len(frames) < len(everything))


def chosen_cells(args: argparse.Namespace) -> tuple[list[str], list[int]]:
    """Resolve ``--corruptions`` and ``--severities``.

    Raises:
        NameLookupError: A corruption or group is unknown.
        SettingError: A severity is not 1-5.
        PluginError: A plugin cannot be used.
    """
    for severity in args.severities:
        check_severity(severity)
    return chosen_corruptions(args), sorted(set(args.severities))


def chosen_corruptions(args: argparse.Namespace) -> list[str]:
    """Resolve ``--corruptions``: the sixteen in their order, then those beyond.

    Raises:
        NameLookupError: A corruption or group is unknown.
        PluginError: A plugin cannot be used.
    """
    # A broken package must not stand in the way of the sixteen.
    if set(args.corruptions) <= {"all", *GROUPS, *CORRUPTIONS}:
        known, groups = list(CORRUPTIONS), GROUPS
    else:
        known, groups = [*CORRUPTIONS, *further_entries()], corruption_groups()
    with plugin_hint(args):
        names = select(args.corruptions, known, "corruption", groups)
    return [c for c in known if c in names]


def chosen_models(args: argparse.Namespace, wanted: Sequence[str]) -> list[str]:
    """Resolve names of networks.

    Raises:
        NameLookupError: A name or pattern matches no network.
        PluginError: A plugin cannot be used.
    """
    from robustseg.models.zoo import select_models

    with plugin_hint(args):
        return select_models(wanted)


@contextmanager
def plugin_hint(args: argparse.Namespace) -> Iterator[None]:
    """Add to an unknown name how one of the user's own is made known.

    Raises:
        NameLookupError: The one that was raised inside, without ``--plugin`` with the hint.
    """
    try:
        yield
    except NameLookupError as error:
        if args.plugin:
            raise
        raise NameLookupError(f"{error}; for one of your own add --plugin MODULE") from error


def given_checkpoints(pairs: Sequence[str], models: Sequence[str]) -> dict[str, Path]:
    """Parse ``name=path`` pairs.

    Raises:
        SettingError: A pair has no ``=``, or names a model that is not asked for, nor a variant
            of one.
        NameLookupError: There is no such variant.
    """
    from robustseg.models.zoo import base_name, get_spec

    given = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not path:
            raise SettingError(f"--checkpoint {pair!r} is not of the form NAME=PATH")
        if name not in models and base_name(name) in models:
            get_spec(name)
        elif name not in models:
            raise SettingError(f"--checkpoint {pair}: {name} is not among the models asked for")
        given[name] = Path(path).expanduser()  # shells leave the ~ of NAME=~/PATH
    return given


def say_notices(console: Console, identities: Iterable[Identity]) -> None:
    """Say once under which licences the weights are, where they carry one."""
    for notice in dict.fromkeys(identity.notice for identity in identities):
        if notice:
            console.say(f"licence of the weights: {notice}")


def access_of(args: argparse.Namespace, console: Console) -> Access:
    """Gather what fetching published weights may do; a terminal is asked for licences."""
    from robustseg.models.fetch import access_from

    answers = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    ask = _confirmed if answers else None
    return access_from(os.environ, args.offline, args.accept_licence, ask, console)


def _confirmed(question: str) -> bool:
    """Ask on standard error, which is not piped away; anything but yes is no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def shard_of(text: str) -> Shard:
    """Parse ``--shard i/n``, a part of the work, 1-based.

    Raises:
        argparse.ArgumentTypeError: It is not of that form.
    """
    try:
        return parse_shard(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def console_of(args: argparse.Namespace) -> Console:
    """Make the console for messages and progress."""
    return Console(quiet=args.quiet)


def check_at_least(name: str, value: int | None, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        SettingError: It is.
    """
    if value is not None and value < least:
        raise SettingError(f"{name} must be at least {least}, found {value}")


def check_seed(seed: int) -> None:
    """Refuse a seed that torch's generators do not take.

    Raises:
        SettingError: It is negative or too large.
    """
    if not 0 <= seed < 1 << 63:
        raise SettingError(f"--seed must be from 0 to 2**63 - 1, found {seed}")

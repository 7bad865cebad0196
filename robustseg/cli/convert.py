"""``robustseg convert``: a checkpoint of another code base as a file of robustseg's own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustseg.cli.options import add_general, check_at_least, console_of, folder, say_notices

if TYPE_CHECKING:
    from robustseg.models.identity import Identity

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "convert",
        help="turn a checkpoint of another code base into an own file",
        description=__doc__,
    )
    parser.add_argument(
        "source",
        type=folder,
        metavar="IN",
        help="a file of weights, or a folder that save_pretrained wrote",
    )
    parser.add_argument(
        "target", type=folder, metavar="OUT", help="the new file, which ends in .safetensors"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the network it must hold; segformer_b0@smp and dlv3p_r101_os16@mmseg cannot be told "
        "from their relatives by the weights (default: what the file looks like)",
    )
    parser.add_argument(
        "--num-classes", type=int, metavar="N", help="classes it must have (default: any)"
    )
    parser.add_argument(
        "--output-stride",
        type=int,
        choices=(8, 16),
        help="of a DeepLabv3+, which weights do not show (default: that of the code base)",
    )
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and print what was found and what was dropped."""
    check_at_least("--num-classes", args.num_classes, 1)

    from robustseg.models.conversion import convert_checkpoint

    identity = convert_checkpoint(
        args.source, args.target, args.model, args.num_classes, args.output_stride
    )
    say_notices(console_of(args), [identity])
    print(f"{args.target}: {describe(identity)}")
    return 0


def describe(identity: Identity) -> str:
    """Say in one line what a file holds and what of it is not used."""
    dropped = [*_groups(identity.dropped), *identity.checkpoint.beside]
    count = identity.num_classes
    return (
        f"{identity.name}, {count} class{'es' * (count != 1)}, from {identity.family}; "
        f"dropped: {', '.join(dropped) or 'nothing'}"
    )


def _groups(names: Sequence[str]) -> list[str]:
    """Name modules instead of their parameters."""
    depth = 2 if any(name.startswith("decode_head.") for name in names) else 1
    return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))

"""``robustseg erf``: effective receptive fields, as in SegFormer's Figure 3."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.cli.options import (
    CHECKPOINTS,
    Data,
    access_of,
    add_checkpoints,
    add_data,
    add_general,
    add_plugin,
    check_at_least,
    chosen_models,
    console_of,
    data_of,
    folder,
    given_checkpoints,
    say_notices,
)
from robustseg.errors import CheckpointError
from robustseg.progress import counted

if TYPE_CHECKING:
    from robustseg.progress import Console

__all__ = ["add_parser", "run"]

STAGES = ("1", "2", "3", "4", "head")
DEFAULTS = ("segformer_b5", "dlv3p_r101")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("erf", help="draw effective receptive fields", description=__doc__)
    parser.add_argument(
        "--stage",
        nargs="+",
        choices=(*STAGES, "all"),
        default=["all"],
        metavar="N",
        help="encoder stages 1 2 3 4, head, or all (default: all)",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="default: segformer_b5 dlv3p_r101, or what ./checkpoints holds of the two families",
    )
    add_data(parser, limit=100)
    add_checkpoints(parser)
    add_plugin(parser)
    parser.add_argument(
        "--crop", type=int, default=1024, help="side of the centre crop in pixels (default: 1024)"
    )
    parser.add_argument(
        "--output", type=folder, default=Path("erf"), metavar="DIR", help="(default: ./erf)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compute the maps that are missing, draw the figure and print its path."""
    from robustseg.models.locate import find_all
    from robustseg.models.zoo import find_checkpoints

    check_at_least("--crop", args.crop, 64)
    wanted = args.models or _default_models(find_checkpoints(CHECKPOINTS), args.checkpoint)
    models = chosen_models(args, wanted)
    given = given_checkpoints(args.checkpoint, models)
    data = data_of(args)
    stages = STAGES if "all" in args.stage else [s for s in STAGES if s in args.stage]
    taps = ["head" if s == "head" else f"stage{s}" for s in stages]
    console = console_of(args)
    access = access_of(args, console)
    paths = find_all(models, given, CHECKPOINTS, access, fetching=not args.dry_run).paths
    console.say(f"{', '.join(models)}: {', '.join(taps)} over {counted(len(data.frames), 'image')}")
    if args.dry_run:
        return 0
    print(draw(data, paths, taps, args.crop, args.device, args.output, console))
    return 0


def _default_models(available: list[str], given: list[str]) -> list[str]:
    """Take the paper's pair if its weights are there, else all that are."""
    named = [pair.partition("=")[0] for pair in given if "=" in pair]
    if named:
        return named
    if all(name in available for name in DEFAULTS) or not available:
        return list(DEFAULTS)
    return available


def draw(
    data: Data,
    paths: dict[str, Path],
    taps: list[str],
    crop: int,
    device_name: str,
    output: Path,
    console: Console,
) -> Path:
    """Compute and store the maps of all models, and draw them.

    Raises:
        CheckpointError: A checkpoint does not fit its network.
        DataError: An image cannot be read, or crops differ in size.
    """
    from robustseg.engine.device import pick_device
    from robustseg.erf.figures import draw_fields
    from robustseg.erf.run import fields_of_model
    from robustseg.models.identity import identify_all
    from robustseg.models.zoo import get_spec

    if not paths:
        raise CheckpointError("no model to draw")
    device = pick_device(device_name)
    identities = identify_all(paths)
    say_notices(console, identities.values())
    fields = {}
    for name, identity in identities.items():
        found = fields_of_model(name, identity, data.frames, taps, crop, device, output, console)
        fields.update({(name, tap): field for tap, field in found.items()})
    labels = [(name, get_spec(name).label) for name in identities]
    figure = output / f"erf-{'-'.join(taps) if len(taps) < 5 else 'all'}.png"
    draw_fields(fields, labels, taps, len(data.frames), figure)
    return figure

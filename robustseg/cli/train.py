"""``robustseg train``: train a network by its paper's recipe, from random weights or ``--init``."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustseg.cli.options import (
    access_of,
    add_data,
    add_device,
    add_fetching,
    add_general,
    add_plugin,
    check_at_least,
    check_seed,
    console_of,
    data_of,
    folder,
    plugin_hint,
)
from robustseg.progress import counted

__all__ = ["add_parser", "run"]

IMAGENET = Path("imagenet")
"""What ``--init`` says for the published encoder."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("train", help="train a network", description=__doc__)
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="see 'robustseg list models'"
    )
    add_data(parser, split="train")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="segformer, dlv3p, quick, or a .toml file (default: the network's own)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change entries of the recipe, such as iterations=1000 crop=[512,512]",
    )
    parser.add_argument(
        "--init",
        type=folder,
        metavar="PATH",
        help="start from this checkpoint of the same network or of its encoder; imagenet: from the "
        "published encoder",
    )
    add_fetching(parser)
    parser.add_argument(
        "--output",
        type=folder,
        default=Path("checkpoints"),
        metavar="DIR",
        help="where NAME.safetensors goes (default: ./checkpoints, where evaluate looks)",
    )
    add_device(parser)
    add_plugin(parser)
    parser.add_argument("--seed", type=int, default=0, help="of weights and crops (default: 0)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes that make crops (default: 2)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the recipe, and stop")
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and print the checkpoint's path."""
    from robustseg.engine.recipes import default_recipe, load_recipe
    from robustseg.models.zoo import get_spec

    with plugin_hint(args):
        get_spec(args.model)
    check_at_least("--workers", args.workers, 0)
    check_seed(args.seed)
    recipe = load_recipe(args.recipe or default_recipe(args.model), args.overrides)
    data = data_of(args)
    console = console_of(args)
    console.say(f"{args.model}: {counted(len(data.frames), 'image')} of {data.root}, {data.split}")
    if args.dry_run:
        print(recipe.to_json())
        return 0

    from robustseg.engine.device import pick_device
    from robustseg.engine.train import Paths, new_model, train
    from robustseg.models.fetch import fetch_encoder

    paths = Paths.below(args.output, args.model)
    init = args.init
    if init == IMAGENET:
        init = fetch_encoder(args.model, access_of(args, console))
    device = pick_device(args.device)
    model = new_model(args.model, recipe, args.seed, init, console).to(device)
    train(args.model, model, data.frames, recipe, args.seed, paths, args.workers, console)
    print(paths.weights)
    return 0

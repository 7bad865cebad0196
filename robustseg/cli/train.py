"""``robustseg train``: train a network by its paper's recipe, on one device or many."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.cli.options import (
    CHECKPOINTS,
    Data,
    access_of,
    add_data,
    add_device,
    add_fetching,
    add_general,
    add_plugin,
    check_at_least,
    check_seed,
    data_of,
    folder,
    plugin_hint,
)
from robustseg.errors import CheckpointError, DataError, NameLookupError, SettingError
from robustseg.progress import Console, counted
from robustseg.shards import Shard, rank_of_environment

if TYPE_CHECKING:
    import torch

    from robustseg.datasets.sample import Frame
    from robustseg.engine.recipes import Recipe

__all__ = ["add_parser", "run"]

STARTS = ("imagenet", "none")
"""What ``--init`` takes beside a path, and a recipe's ``init`` holds."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("train", help="train a network", description=__doc__)
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="see 'robustseg list models'"
    )
    add_data(parser, split="train")
    parser.add_argument(
        "--validate",
        metavar="SPLIT",
        help="split to validate on, at the recipe's intervals (default: val, if it is there)",
    )
    _add_recipe(parser)
    add_fetching(parser)
    _add_files(parser)
    add_device(parser)
    add_plugin(parser)
    parser.add_argument("--seed", type=int, default=0, help="of weights and crops (default: 0)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="how many make crops (default: 2)"
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="the same bits in every run, more slowly"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the recipe, and stop")
    add_general(parser)
    parser.set_defaults(run=run)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="segformer, dlv3p, dlv3p_mmseg, quick, or a .toml file (default: the network's own)",
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
        metavar="START",
        help="imagenet: the published encoder; none: random weights; or a checkpoint of the same "
        "network or of its encoder (default: the recipe's)",
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=folder,
        default=CHECKPOINTS,
        metavar="DIR",
        help="where NAME.safetensors goes (default: ./checkpoints, where evaluate looks)",
    )
    parser.add_argument(
        "--keep", type=int, default=2, metavar="N", help="states and weights kept (default: 2)"
    )
    parser.add_argument(
        "--save-minutes",
        type=float,
        default=5.0,
        metavar="M",
        help="time between two saved states (default: 5)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write for TensorBoard too, if it is installed"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and print the checkpoint's path."""
    from robustseg.engine.recipes import default_recipe, load_recipe
    from robustseg.models.zoo import get_spec

    with plugin_hint(args):
        get_spec(args.model)
    _check(args)
    process = rank_of_environment(os.environ)
    console = Console(quiet=args.quiet or process.part > 1)
    named = args.recipe or default_recipe(args.model)
    recipe = load_recipe(named, args.overrides)
    start = args.init or recipe.init
    data = data_of(args)
    validation = _validation(args, data, recipe, console)
    if args.deterministic:  # read when CUDA is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    from robustseg.engine.device import pick_device, pick_precision

    device = pick_device(_device_of_process(args.device))
    # a path names a place on this machine; the recipe goes into the weights
    recipe = replace(
        recipe,
        init=start if start in STARTS else Path(start).name,
        precision=pick_precision(recipe.precision, device),
    )
    console.say(f"{args.model} by recipe {named}: {_plan(data, recipe, process, validation)}")
    console.say(f"from {_start(start)}, in {recipe.precision} on {device}")
    if args.dry_run:
        if process.part == 1:
            print(recipe.to_json())
        return 0
    return _train(args, start, recipe, data, validation, process, device, console)


def _check(args: argparse.Namespace) -> None:
    check_at_least("--workers", args.workers, 0)
    check_at_least("--keep", args.keep, 1)
    if not 0 < args.save_minutes < float("inf"):
        raise SettingError(f"--save-minutes must be above 0, found {args.save_minutes:g}")
    check_seed(args.seed)


def _validation(
    args: argparse.Namespace, data: Data, recipe: Recipe, console: Console
) -> Sequence[Frame]:
    """List the images to validate on; none where nobody asked for a split that is not there."""
    from robustseg.datasets.cityscapes import list_frames

    if not recipe.validate_every:
        if args.validate:
            raise SettingError(
                "--validate needs an interval: give --set validate_every=ITERATIONS too"
            )
        return ()
    try:
        return list_frames(data.root, args.validate or "val")
    except DataError as error:
        if args.validate:
            raise
        console.say(f"no validation: {error}")
        return ()


def _device_of_process(name: str) -> str:
    """Give each process of a machine a GPU of its own, unless the user names one."""
    local = os.environ.get("LOCAL_RANK", "")
    if name not in ("auto", "cuda") or not local.isdecimal():
        return name
    from torch import cuda

    return f"cuda:{local}" if cuda.is_available() else name


def _plan(data: Data, recipe: Recipe, process: Shard, validation: Sequence[Frame]) -> str:
    from robustseg.engine.crops import Share

    share = Share(process.part - 1, process.parts, recipe.accumulate)
    size = share.size(recipe.batch_size)
    processes = "process" if share.world == 1 else "processes"
    divided = f"{share.world} {processes} x {counted(share.parts, 'part')} x {size}"
    validated = f", validated on {counted(len(validation), 'image')}" if validation else ""
    return (
        f"{counted(len(data.frames), 'image')} of {data.root}, {data.split}; "
        f"{recipe.iterations} iterations of {recipe.batch_size} crops = {divided}{validated}"
    )


def _start(start: str) -> str:
    words = {"imagenet": "the published ImageNet encoder", "none": "random weights"}
    return words.get(start, start)


def _train(
    args: argparse.Namespace,
    start: str,
    recipe: Recipe,
    data: Data,
    validation: Sequence[Frame],
    process: Shard,
    device: torch.device,
    console: Console,
) -> int:
    from robustseg.engine.train import Paths, new_model, train

    paths = Paths.below(args.output, args.model)
    # the other processes are given the first one's weights, and need not fetch any
    source = _checkpoint(args, start, console) if process.part == 1 else None
    model = new_model(args.model, recipe, args.seed, source, console).to(device)
    train(
        args.model,
        model,
        data.frames,
        recipe,
        args.seed,
        paths,
        args.workers,
        console,
        validation=validation,
        keep=args.keep,
        save_minutes=args.save_minutes,
        board=args.tensorboard,
        deterministic=args.deterministic,
    )
    if process.part == 1:
        console.say(f"curves: {paths.folder / 'curves.png'}")
        console.say(f"next: {_next_command(args, paths.weights)}")
        print(paths.weights)
    return 0


def _checkpoint(args: argparse.Namespace, start: str, console: Console) -> Path | None:
    """Find the weights to start from; the published ones may have to be fetched."""
    from robustseg.models.fetch import fetch_encoder

    if start == "none":
        return None
    if start != "imagenet":
        return folder(start)
    try:
        return fetch_encoder(args.model, access_of(args, console))
    except (CheckpointError, NameLookupError) as error:
        raise type(error)(f"{error}; --init none trains from random weights") from error


def _next_command(args: argparse.Namespace, weights: Path) -> str:
    words = ["robustseg", "evaluate", "--models", args.model]
    for module in args.plugin:
        words += ["--plugin", module]
    if args.root is not None:
        words += ["--root", str(args.root)]
    if args.output != CHECKPOINTS:
        words += ["--checkpoint", f"{args.model}={weights}"]
    return shlex.join(words)

"""``robustseg evaluate``: mIoU on clean images and under 16 corruptions x 5 severities."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.cli.options import (
    CHECKPOINTS,
    Data,
    access_of,
    add_cells,
    add_channel_order,
    add_checkpoints,
    add_data,
    add_general,
    add_run,
    add_runs,
    add_shard,
    check_at_least,
    chosen_cells,
    chosen_models,
    console_of,
    data_of,
    folder,
    given_checkpoints,
    say_notices,
)
from robustseg.corruptions.severity import DEFINITION
from robustseg.errors import DataError, SettingError
from robustseg.progress import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustseg.corruptions.registry import ChannelOrder
    from robustseg.engine.evaluate import Plan
    from robustseg.engine.inference import Inference
    from robustseg.engine.pictures import ComputedCells, StoredCells
    from robustseg.models.locate import Found
    from robustseg.models.published import Published
    from robustseg.results import Cell, Protocol

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "evaluate", help="evaluate networks on clean and corrupted images", description=__doc__
    )
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="NAME",
        help="names, patterns such as 'segformer_*', or all",
    )
    add_data(parser)
    parser.add_argument(
        "--root-c",
        type=folder,
        metavar="DIR",
        help="read corrupted images from this set (default: corrupt on the fly)",
    )
    add_cells(parser)
    add_channel_order(parser)
    add_checkpoints(parser)
    parser.add_argument("--clean-only", action="store_true", help="leave all corruptions out")
    parser.add_argument(
        "--inference",
        choices=("slide", "whole"),
        default="slide",
        help="sliding window, or the whole image at once (default: slide)",
    )
    parser.add_argument("--window", type=int, default=1024, help="side in pixels (default: 1024)")
    parser.add_argument("--stride", type=int, default=768, help="step in pixels (default: 768)")
    add_runs(parser)
    add_run(parser, workers=2)
    add_shard(parser)
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compute the cells that are missing and print the rows so far."""
    from robustseg.results import all_cells

    check_at_least("--workers", args.workers, 0)
    check_at_least("--window", args.window, 64)
    check_at_least("--stride", args.stride, 1)
    if args.stride > args.window:
        raise SettingError(f"--stride {args.stride} is above --window {args.window}: gaps are left")
    models = chosen_models(args, args.models)
    corruptions, severities = chosen_cells(args)
    given = given_checkpoints(args.checkpoint, models)
    data = data_of(args)

    from robustseg.models.locate import find_all

    access = access_of(args, console_of(args))
    found = find_all(models, given, CHECKPOINTS, access, fetching=not args.dry_run)
    cells = all_cells([] if args.clean_only else corruptions, severities)
    return _evaluate(args, data, found, cells)


def _evaluate(args: argparse.Namespace, data: Data, found: Found, cells: Sequence[Cell]) -> int:
    from robustseg.engine.device import pick_device
    from robustseg.engine.evaluate import Evaluation, load_models, make_plan
    from robustseg.engine.inference import Inference
    from robustseg.models.identity import identify_all
    from robustseg.results import ResultStore

    console = console_of(args)
    device = pick_device(args.device)
    identities = identify_all(found.paths)
    inference = Inference(args.inference, args.window, args.stride)
    for row in found.published:
        if note := _mode_note(row, inference):
            console.say(note)
    pictures, protocol = _protocol(args, data, inference, cells)
    part, parts = args.shard
    cells = cells[part - 1 :: parts]
    store = ResultStore(args.runs)
    planned = partial(
        make_plan, store, protocol, identities, cells, origin=partial(pictures.origin, data.frames)
    )
    # Weights are loaded before results of other weights are set aside: they may not fit.
    loaded = load_models(identities, planned(move=False), device)
    plan = planned(move=not args.dry_run)
    for reason, count in plan.notes.items():
        console.say(f"not used: {counted(count, 'result')}: {reason}")
    for model, identity in identities.items():
        console.say(f"{model}: weights from {identity.checkpoint.path}")
    say_notices(console, identities.values())
    absent = len(cells) * len(found.absent)
    console.say(_announcement(plan, absent, data, str(device), args.runs / protocol.slug))
    if args.dry_run:
        return 0
    if plan.todo:
        evaluation = Evaluation(data.frames, pictures, inference, store, args.workers)
        evaluation.run(plan, loaded, console)
    _print_table(args.runs, protocol.slug)
    return 0


def _protocol(
    args: argparse.Namespace, data: Data, inference: Inference, cells: Sequence[Cell]
) -> tuple[ComputedCells | StoredCells, Protocol]:
    """Choose where corrupted images come from, and gather the settings."""
    from robustseg.engine.evaluate import make_protocol, stored_source
    from robustseg.engine.pictures import ComputedCells, DecodedSamples

    if args.root_c is None:
        seed = args.seed or 0
        order: ChannelOrder = args.channel_order or "rgb"
        pictures: ComputedCells | StoredCells = ComputedCells(seed, DecodedSamples(), order)
        source, definition, made = "computed", DEFINITION, str(order)
    else:
        pictures = _stored(args.root_c, data, cells)
        seed, source, definition, made = stored_source(pictures, data.frames)
        if args.seed not in (None, seed):
            raise SettingError(
                f"{args.root_c} was made with seed {seed}, not {args.seed}: leave --seed out"
            )
        if args.channel_order not in (None, made):
            raise SettingError(
                f"{args.root_c} was made with channel order {made}, not {args.channel_order}: "
                "leave --channel-order out"
            )
    name = data.root.resolve().name
    settings = (name, data.split, data.frames, data.limited, inference, seed, source, definition)
    return pictures, make_protocol(*settings, channel_order=made)


def _mode_note(row: Published, inference: Inference) -> str:
    """Say where published weights were tested in another way than here, or nothing."""

    def words(mode: str, window: int, stride: int) -> str:
        return f"sliding windows {window}/{stride}" if mode == "slide" else "whole images"

    theirs = words(row.inference, row.window, row.stride)
    ours = words(inference.mode, inference.window, inference.stride)
    if theirs == ours:
        return ""
    options = f" --inference {row.inference}" if row.inference != inference.mode else ""
    if row.inference == "slide" and (row.window, row.stride) != (
        inference.window,
        inference.stride,
    ):
        options += f" --window {row.window} --stride {row.stride}"
    return f"{row.name}: published score is of {theirs}, here {ours}: give{options} to compare"


def _announcement(plan: Plan, absent: int, data: Data, device: str, folder: Path) -> str:
    further = f" and {counted(absent, 'cell')} of networks whose weights are not here yet"
    todo = counted(plan.missing, "cell") + " to do" + (further if absent else "")
    return (
        f"{counted(len(data.frames), 'image')} of {data.root}; {todo}, {plan.finished} finished; "
        f"on {device}; results in {folder}"
    )


def _stored(root_c: Path, data: Data, cells: Sequence[Cell]) -> StoredCells:
    """Take images from a stored set, and see that all of them are there."""
    from robustseg.engine.evaluate import missing_files
    from robustseg.engine.pictures import DecodedSamples, StoredCells

    stored = StoredCells(data.root, root_c, DecodedSamples())
    missing = missing_files(data.frames, stored, cells)
    if missing:
        raise DataError(
            f"{root_c} lacks {counted(len(missing), 'image')}, such as {missing[0]}: run "
            f"'robustseg generate-c --root {data.root} --root-c {root_c}', or leave --root-c out"
        )
    return stored


def _print_table(runs: Path, slug: str) -> None:
    """Print the rows of one protocol; the published ones are the report's."""
    import shutil
    from dataclasses import replace

    from robustseg.reports.render import to_text
    from robustseg.reports.table import build_table
    from robustseg.results import load_results

    table = build_table(r for r in load_results(runs)[0] if r.protocol.slug == slug)
    measured = replace(table, blocks=table.blocks[:-1])
    if not measured.blocks:
        return  # this part of the work had no cell
    print(to_text(measured, shutil.get_terminal_size().columns), end="")

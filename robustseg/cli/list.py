"""``robustseg list``: the models, corruptions, recipes and results that there are.

``robustseg list corruptions --sheet FILE`` draws one image under all of them.
"""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robustseg.cli.options import (
    CHECKPOINTS,
    add_corruptions,
    add_general,
    add_runs,
    chosen_corruptions,
    console_of,
    folder,
)
from robustseg.errors import SettingError

if TYPE_CHECKING:
    from robustseg.models.fetch import Access
    from robustseg.models.published import Published

__all__ = ["add_parser", "run"]

SCENE = (256, 512, 4, "val")
"""Height, width, seed and split of the built-in scene of the sheet."""

KINDS = ("models", "corruptions", "recipes", "results")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("list", help="list what there is", description=__doc__)
    parser.add_argument("kind", choices=KINDS, help="what to list")
    add_runs(parser)
    parser.add_argument(
        "--sheet",
        type=folder,
        metavar="FILE",
        help="draw the corruptions of one image into this new PNG or JPEG file",
    )
    parser.add_argument(
        "--image", type=folder, metavar="FILE", help="that image (default: a built-in scene)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the corruptions (default: 0)")
    add_corruptions(parser)
    add_general(parser)
    parser.set_defaults(run=run, corruptions=[])


def run(args: argparse.Namespace) -> int:
    """Print one line an entry, or draw the sheet."""
    if args.kind != "corruptions" and (args.sheet or args.corruptions):
        raise SettingError("--sheet and --corruptions are for 'list corruptions'")
    if args.image and not args.sheet:
        raise SettingError("--image is drawn into a sheet: give --sheet FILE too")
    if args.sheet:
        return _draw_sheet(args)
    listing: dict[str, Callable[[], list[str]]] = {
        "models": _models,
        "corruptions": lambda: _corruptions(args),
        "recipes": _recipes,
        "results": lambda: _results(args.runs),
    }
    for line in listing[args.kind]():
        print(line)
    return 0


def _models() -> list[str]:
    """List the twelve with where their weights are, then the published weights."""
    from robustseg.models.fetch import access_from
    from robustseg.models.licences import LICENCES
    from robustseg.models.own import own_models
    from robustseg.models.published import published_networks
    from robustseg.models.zoo import MODELS, VARIANTS

    access = access_from(os.environ)
    networks: list[tuple[str, ...]] = [("network", "label", "head", "stride", "input", "weights")]
    networks += [(*_network(name), _weights(name, access)) for name in (*MODELS, *own_models())]
    rows = published_networks()
    variants: list[tuple[str, ...]] = [
        ("variant", "head", "stride", "published", "tested as", "licence", "weights")
    ]
    variants += [_variant(row, access) for row in rows]
    others = _shortened([name for name in VARIANTS if name not in {row.name for row in rows}])
    notes = (
        "published: mIoU in percent on Cityscapes val at a single scale, by those who trained it, "
        "tested as is said: side / step of the sliding window, or the whole image",
        f"NVIDIA NC: {LICENCES['nvidia-segformer'].title}; asked for once, before fetching",
        "head, stride and input of a network are those that 'train' builds; evaluation takes those "
        "of the variant that stands under weights",
        f"without published weights, for checkpoints of your own: {', '.join(others)}",
    )
    return [
        *_columns(networks),
        "",
        *_columns(variants),
        "",
        *(line for note in notes for line in textwrap.wrap(note, 100, subsequent_indent="  ")),
    ]


def _network(name: str) -> tuple[str, str, str, str, str]:
    """Give a network's name, label, head, output stride and normalisation in short."""
    from robustseg.models.specs import UNIT, DeepLabSpec, SegFormerSpec
    from robustseg.models.zoo import get_spec

    spec = get_spec(name)
    scale = "-1..1" if spec.normalisation == UNIT else "ImageNet"
    if isinstance(spec, SegFormerSpec):
        head = "MLP" if spec.head == "mlp" else "mmseg"
        return name, spec.label, head, "-", scale
    if not isinstance(spec, DeepLabSpec):
        return name, spec.label, "own", "-", scale
    head = name.partition("@")[2] or "TensorFlow"
    return name, spec.label, head, str(spec.output_stride), scale


def _weights(name: str, access: Access) -> str:
    """Say where a network's name finds its weights."""
    from robustseg.errors import CheckpointError
    from robustseg.models.locate import find_checkpoint
    from robustseg.models.published import default_variant, published_weights

    try:
        found = find_checkpoint(name, {}, CHECKPOINTS)
    except CheckpointError:
        return f"several in ./{CHECKPOINTS}"
    if found is not None:
        return f"./{found}"
    variant = default_variant(name)
    if variant is None:
        return "none published: train, or --checkpoint"
    return f"{variant}, {_state(published_weights(variant), access)}"


def _variant(row: Published, access: Access) -> tuple[str, ...]:
    """Describe published weights."""
    from robustseg.models.licences import LICENCES

    name, _, head, stride, _ = _network(row.name)
    licence = LICENCES[row.licence].label
    whole = row.inference == "whole"
    tested = "whole 1024x2048" if whole else f"slide {row.window}/{row.stride}"
    return name, head, stride, str(row.miou), tested, licence, _state(row, access)


def _state(row: Published, access: Access) -> str:
    """Say whether published weights are here, in the cache, or have to come."""
    from robustseg.models.zoo import SUFFIXES

    if any((CHECKPOINTS / f"{row.name}{suffix}").is_file() for suffix in SUFFIXES):
        return "here"
    if access.cached(row, hashed=False) is not None:
        return "cached"
    return "by hand" if row.origin == "hand" else "fetchable"


def _shortened(names: list[str]) -> list[str]:
    """Write the variants of a code base as one pattern where it has all networks of a kind."""
    short = [re.sub(r"^(segformer|dlv3p)_\w+@smp$", r"\1_*@smp", name) for name in names]
    return list(dict.fromkeys(short))


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the cells of a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _corruptions(args: argparse.Namespace) -> list[str]:
    """List everything, or what ``--corruptions`` asks for; no package is imported for it."""
    from robustseg.corruptions.entries import further_entries
    from robustseg.corruptions.severity import CORRUPTIONS, EXTRA_TABLE, TABLE

    wanted = chosen_corruptions(args) if args.corruptions else [*CORRUPTIONS, *further_entries()]
    constants = {**TABLE._asdict(), **EXTRA_TABLE._asdict()}
    lines = []
    for group, members in _grouped(wanted).items():
        lines.append(f"{group}:")
        for name in members:
            lines.append(f"  {name}")
            levels = enumerate(constants.get(name, ()), start=1)
            lines += [f"    {severity}  {_constants(level)}" for severity, level in levels]
            if name not in constants:
                lines.append(f"    from {further_entries()[name].source}")
    return lines


def _grouped(names: list[str]) -> dict[str, list[str]]:
    """Share names out to their groups."""
    from robustseg.corruptions.entries import corruption_groups
    from robustseg.corruptions.severity import CORRUPTIONS, GROUPS

    # A broken package must not stand in the way of the sixteen.
    groups = GROUPS if set(names) <= {*CORRUPTIONS} else corruption_groups()
    shares = {g: [n for n in names if n in members] for g, members in groups.items() if g != "all"}
    return {group: members for group, members in shares.items() if members}


def _draw_sheet(args: argparse.Namespace) -> int:
    """Draw one image under the corruptions asked for, by default the sixteen."""
    if args.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise SettingError(f"--sheet {args.sheet}: the name must end in .png or .jpg")
    if args.sheet.exists():
        raise SettingError(f"{args.sheet} exists and is not overwritten: move it, or name another")
    args.corruptions = args.corruptions or ["all"]
    groups = _grouped(chosen_corruptions(args))

    from robustseg.corruptions.severity import SEVERITIES
    from robustseg.datasets.cityscapes import load_image
    from robustseg.datasets.streets import render_street
    from robustseg.reports.sheet import corruption_sheet

    if args.image:
        # the stream of an image of a data set, so that the sheet shows what generate-c makes
        image, image_id = load_image(args.image), args.image.stem.removesuffix("_leftImg8bit")
    else:
        image, image_id = render_street(*SCENE)[0], "street"
    count = len(SEVERITIES) * sum(map(len, groups.values()))
    with console_of(args).task("drawing corruptions", count) as task:
        corruption_sheet(image, image_id, args.sheet, args.seed, groups, task.advance)
    print(args.sheet)
    return 0


def _constants(level: NamedTuple) -> str:
    """Write a severity's constants: ``radius 10, sigma 3``."""
    return ", ".join(f"{k} {v}" for k, v in zip(level._fields, level, strict=True))


def _recipes() -> list[str]:
    from robustseg.engine.recipes import RECIPES, load_recipe

    lines = []
    for name in RECIPES:
        r = load_recipe(name)
        lines.append(
            f"{name:10} {r.optimizer} lr {r.lr:g}, {r.iterations} iterations of batch "
            f"{r.batch_size}, crop {r.crop[0]} x {r.crop[1]}, poly {r.poly_power:g}"
        )
    return lines


def _results(runs: Path) -> list[str]:
    from robustseg.results import all_cells, load_results

    table5 = set(all_cells())
    results, damaged = load_results(runs)
    counts: dict[tuple[str, str], list[int]] = {}
    for result in results:
        count = counts.setdefault((result.protocol.slug, result.model.name), [0, 0])
        count[result.cell not in table5] += 1
    lines = [
        f"{slug}  {model:14} {n} of {len(table5)} cells" + (f", {more} beyond" if more else "")
        for (slug, model), (n, more) in counts.items()
    ]
    return [*lines, *(f"damaged: {line}" for line in damaged)] or [f"no results in {runs}"]

"""``robustseg list``: the models, corruptions, recipes and results that there are."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from robustseg.cli.options import CHECKPOINTS, add_general, add_runs

__all__ = ["add_parser", "run"]

KINDS = ("models", "corruptions", "recipes", "results")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("list", help="list what there is", description=__doc__)
    parser.add_argument("kind", choices=KINDS, help="what to list")
    add_runs(parser)
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line an entry."""
    listing: dict[str, Callable[[], list[str]]] = {
        "models": _models,
        "corruptions": _corruptions,
        "recipes": _recipes,
        "results": lambda: _results(args.runs),
    }
    for line in listing[args.kind]():
        print(line)
    return 0


def _models() -> list[str]:
    from robustseg.models.zoo import DEEPLAB_SPECS, SEGFORMER_SPECS, find_checkpoints

    rows = [
        (name, s.label, f"dims {s.dims}, depths {s.depths}, decoder {s.decoder_dim}")
        for name, s in SEGFORMER_SPECS.items()
    ]
    rows += [
        (name, d.label, f"official TensorFlow head over timm's {d.backbone}")
        for name, d in DEEPLAB_SPECS.items()
    ]
    here = find_checkpoints(CHECKPOINTS)
    return [
        f"{name:14} {label:14} {text}" + (", weights in ./checkpoints" if name in here else "")
        for name, label, text in rows
    ]


def _corruptions() -> list[str]:
    from robustseg.corruptions.severity import GROUPS, TABLE

    lines = []
    for group, members in GROUPS.items():
        lines.append(f"{group}:")
        for name in members:
            lines.append(f"  {name}")
            levels = enumerate(getattr(TABLE, name), start=1)
            lines += [f"    {severity}  {_constants(level)}" for severity, level in levels]
    return lines


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

"""``robustseg profile``: parameters, multiply-accumulates and seconds an image."""

from __future__ import annotations

import argparse

from robustseg.cli.options import (
    add_device,
    add_general,
    add_plugin,
    check_at_least,
    chosen_models,
    console_of,
)

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("profile", help="say what networks cost", description=__doc__)
    parser.add_argument(
        "--models", nargs="+", default=["all"], metavar="NAME", help="(default: all)"
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=(1024, 2048),
        metavar=("HEIGHT", "WIDTH"),
        help="input in pixels (default: 1024 2048)",
    )
    parser.add_argument("--time", action="store_true", help="measure seconds an image too")
    add_device(parser)
    add_plugin(parser)
    add_general(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line a network."""
    models = chosen_models(args, args.models)
    check_at_least("--size", min(args.size), 64)

    from robustseg.engine.device import pick_device
    from robustseg.engine.profiling import profile

    device = pick_device(args.device)
    height, width = args.size
    timed = f"  seconds on {device}" if args.time else ""
    counted = f"GMAC {height} x {width}"
    wide = max(14, *map(len, models))
    print(f"{'model':{wide}} {'parameters':>12} {counted:>18} {'as run':>8}{timed}")
    with console_of(args).task("profiling", len(models)) as task:
        for name in models:
            cost = profile(name, height, width, device, args.time)
            seconds = "" if cost.seconds is None else f"  {cost.seconds:.3f}"
            macs = f"{cost.macs / 1e9:18.1f} {cost.macs_composed / 1e9:8.1f}"
            print(f"{name:{wide}} {cost.parameters:12,} {macs}{seconds}")
            task.advance(note=name)
    return 0

"""The entry point: builds the parser, runs a subcommand, turns errors into one line."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from robustseg import __version__
from robustseg.cli import check, convert, demo, erf, evaluate, generate_c, profile, report, train
from robustseg.cli import list as list_command
from robustseg.errors import RobustsegError
from robustseg.plugins import use_plugins

__all__ = ["build_parser", "main"]

COMMANDS = (demo, check, generate_c, train, convert, evaluate, report, erf, list_command, profile)

EPILOG = """\
start with:
  robustseg demo                                       everything below on built-in scenes
on real data, from a folder that holds cityscapes/:
  robustseg generate-c --root cityscapes               Cityscapes-C
  robustseg evaluate --models segformer_b5 dlv3p_r101  clean + 16 corruptions x 5 severities
  robustseg report                                     Table 5
  robustseg erf --stage 4                              effective receptive fields
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments; the usage is behind ``--help``."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"robustseg: error: {message} (see '{self.prog} --help')\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the whole command line; nothing heavy is imported."""
    parser = _Parser(
        prog="robustseg",
        description="How segmentation networks fail when the camera image degrades.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"robustseg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        Exit code: 0 done, 1 done in part, 2 wrong input or no space or rights, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path need not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    args = build_parser().parse_args(argv)
    # Waiting threads of torch spin by default: a second busy process on the same cores then slows
    # training on a CPU eightfold. Read when torch is loaded, which is after this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        use_plugins(getattr(args, "plugin", []))
        code: int = args.run(args)
    except KeyboardInterrupt:
        if argv is None:  # the process ends here; one more Ctrl-C must not change its exit code
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("interrupted: what was finished is kept, the same command goes on from there")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `robustseg list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RobustsegError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError":
            raise
        if args.verbose:
            traceback.print_exc()
        _say(f"error: {_sentence(error)}")
        return 2
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError | RuntimeError):
        return "out of memory: use smaller crops, windows or batches, or --device cpu"
    if not isinstance(error, OSError):
        return str(error)
    place = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left to write{place}: make room and repeat the command, it goes on"
    return f"{error.strerror or error}:{place}" if place else str(error)


def _say(text: str) -> None:
    sys.stderr.write(f"robustseg: {text}\n")

"""Times building a corrupted set beside a plain script that does the same with the originals.

    python -m benchmarks.generate --images 4
    python -m benchmarks.generate --images 2 --glass

Measured is wall time from a clean tree on disk to PNG files on disk, with as many processes each:

- robustseg: the command ``robustseg generate-c``, with its start, its flushing of every file to the
  disk, the hashes and the manifest;
- plain script: a ``multiprocessing.Pool`` over the images. Each process decodes an image with
  Pillow, calls the functions of imagecorruptions 1.1.2 one after the other and saves each result
  with Pillow's defaults. They run through the shim of the tests, which mends only what today's
  libraries broke; loading it is not timed, and nothing is flushed.

Both write all severities of all corruptions. Glass blur is timed apart, since the original's is a
Python loop of half a minute a pass: robustseg always makes it, the plain script with ``--glass``
alone. The ratio of a line compares equal files; no ratio is printed for what one side left out.
The scenes are built in, 1024 x 2048; ``--root`` takes the first images of another tree.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.corruptions import Peer, load_released
from robustseg.corruptions.severity import CORRUPTIONS, SEVERITIES
from robustseg.datasets.cityscapes import list_frames
from robustseg.datasets.sample import Frame
from robustseg.datasets.streets import write_streets

GLASS = "glass_blur"


@cache
def load_original() -> Peer:
    """Load the original functions once a process."""
    return load_released()


def warm_up() -> None:
    """Load what a process needs, before the clock runs."""
    load_original()


def corrupt_plainly(frame: Frame, folder: Path, names: Sequence[str]) -> None:
    """Make all files of one image, as a short script would."""
    original = load_original()
    image = np.asarray(Image.open(frame.image).convert("RGB"))
    for name in names:
        for severity in SEVERITIES:
            corrupted = original(image, name, severity)
            path = folder / name / str(severity) / frame.image.name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(corrupted).save(path)


def time_plain(frames: Sequence[Frame], folder: Path, names: Sequence[str], workers: int) -> float:
    """Give the seconds that the plain script takes for some corruptions."""
    with get_context("spawn").Pool(workers, initializer=warm_up) as pool:
        pool.map(abs, range(workers * 4))  # the processes are up
        started = time.perf_counter()
        make = partial(corrupt_plainly, folder=folder, names=names)
        for _ in pool.imap_unordered(make, frames):
            pass
        return time.perf_counter() - started


def time_robustseg(
    root: Path, root_c: Path, names: Sequence[str], images: int, workers: int
) -> float:
    """Give the seconds that ``generate-c`` takes for some corruptions."""
    command = [sys.executable, "-m", "robustseg", "generate-c", "-q", "--root", str(root)]
    command += ["--root-c", str(root_c), "--limit", str(images), "--shard", "1/1"]
    command += ["--corruptions", *names, "--workers", str(workers)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def show(label: str, files: int, ours: float, theirs: float | None) -> None:
    """Print one line: images a second of each, and their ratio where both did it."""
    if theirs is None:
        print(f"{label:24} {files:6d} {files / ours:10.2f} {'-':>12} {'-':>7}", flush=True)
        return
    ratio = theirs / ours
    print(
        f"{label:24} {files:6d} {files / ours:10.2f} {files / theirs:12.2f} {ratio:7.1f}",
        flush=True,
    )


def compare(root: Path, scratch: Path, args: argparse.Namespace) -> None:
    """Time both and print the table."""
    frames = list_frames(root, "val", args.images)
    others = [name for name in args.corruptions if name != GLASS]
    print(f"{len(frames)} images, {args.workers} processes each; images a second")
    print(f"{'':24} {'files':>6} {'robustseg':>10} {'plain script':>12} {'ratio':>7}")
    for label, names in ((f"{len(others)} without glass blur", others), ("glass blur", [GLASS])):
        if not set(names) & set(args.corruptions):
            continue
        ours = time_robustseg(root, scratch / "ours", names, len(frames), args.workers)
        theirs = None
        if names != [GLASS] or args.glass:
            theirs = time_plain(frames, scratch / "plain", names, args.workers)
        show(label, len(frames) * len(names) * len(SEVERITIES), ours, theirs)


def main() -> None:
    """Build or take the images, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="a Cityscapes tree (default: built-in scenes)")
    parser.add_argument("--images", type=int, default=4, help="how many (default: 4)")
    parser.add_argument("--size", nargs=2, type=int, default=[1024, 2048], help="of the scenes")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--corruptions", nargs="+", default=list(CORRUPTIONS), choices=CORRUPTIONS)
    parser.add_argument("--glass", action="store_true", help="the plain script's glass blur too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        root = args.root or scratch / "scenes"
        if args.root is None:
            height, width = args.size
            write_streets(root, {"val": args.images}, height, width, 0, workers=args.workers)
        compare(root, scratch, args)


if __name__ == "__main__":
    main()

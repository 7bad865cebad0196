"""Times the corruptions beside the original functions of imagecorruptions.

    pip install --no-deps --target peers imagecorruptions-imaug
    python -m benchmarks.corruptions --development peers
    python -m benchmarks.corruptions --released

All corrupt the same built-in scene in the same process, on one thread, with the same random stream.
``--development`` takes the functions of imagecorruptions' development version from the folder of
its maintained fork; its glass blur runs in numba, compiled before the clock starts, and draws from
generators of its own, as does its impulse noise. ``--released`` takes those of release 1.1.2,
through the shim of the tests, which mends only what today's libraries broke; its glass blur is a
Python loop that takes about half a minute a pass. Every output of ours is compared with theirs. CPU
seconds are those of this thread. The last column is how much memory a call of ours takes at its
peak beyond what was in use before, its result included.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.memory import peak_memory
from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.registry import corrupt, corrupt_severities
from robustseg.corruptions.severity import CORRUPTIONS, SEVERITIES
from robustseg.datasets.sample import ImageArray
from robustseg.datasets.streets import render_street

SHIM = Path(__file__).parents[1] / "tests" / "corruptions" / "conftest.py"
REPEATS = 3
SEED = 7

Peer = Callable[[ImageArray, str, int], ImageArray]


def load_released() -> Peer:
    """Load release 1.1.2 through the tests' shim, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("originals", SHIM)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {SHIM}: run from a checkout")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    original = module.load_original()

    def released(image: ImageArray, name: str, severity: int) -> ImageArray:
        corrupted: ImageArray = original(image, name, severity, SEED)
        return corrupted

    return released


def load_development(folder: Path) -> Peer:
    """Load the development version from a folder that holds the package ``imagecorruptions``."""
    sys.path.insert(0, str(folder))
    try:
        package: ModuleType = importlib.import_module("imagecorruptions")
    finally:
        sys.path.remove(str(folder))
    if not str(package.__file__).startswith(str(folder)):
        raise SystemExit(f"{folder} holds no package imagecorruptions: see the top of this file")

    def development(image: ImageArray, name: str, severity: int) -> ImageArray:
        np.random.seed(SEED)
        corrupted: ImageArray = package.corrupt(image, corruption_name=name, severity=severity)
        return corrupted

    return development


def fastest(call: Callable[[], ImageArray], repeats: int) -> tuple[float, ImageArray]:
    """Give the least CPU seconds of several calls, and the last output."""
    seconds = []
    for _ in range(repeats):
        started = time.thread_time()
        output = call()
        seconds.append(time.thread_time() - started)
    return min(seconds), output


def rows(
    image: ImageArray, names: list[str], severities: list[int], peer: Peer
) -> Iterator[tuple[str, int, float, float, int, float]]:
    """Give for each cell our seconds, the peer's, the samples that differ, and our memory."""
    for name in names:
        for severity in severities:

            def ours(name: str = name, severity: int = severity) -> ImageArray:
                return corrupt(image, name, severity, np.random.RandomState(SEED))

            def theirs(name: str = name, severity: int = severity) -> ImageArray:
                return peer(image, name, severity)

            ours()  # loads or makes the compiled code
            memory = peak_memory(ours)
            mine, made = fastest(ours, REPEATS)
            first, wanted = fastest(theirs, 1)
            slow = first > 5
            other = first if slow else fastest(theirs, REPEATS)[0]
            yield name, severity, mine, other, int((made != wanted).sum()), memory


def main() -> None:
    """Print one line a corruption and severity, sums, and the time of all severities together."""
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--development", type=Path, metavar="DIR")
    which.add_argument("--released", action="store_true")
    parser.add_argument("--corruptions", nargs="+", default=list(CORRUPTIONS))
    parser.add_argument("--severities", nargs="+", type=int, default=list(SEVERITIES))
    parser.add_argument("--size", nargs=2, type=int, default=[1024, 2048])
    args = parser.parse_args()
    load_cv2().setNumThreads(1)
    peer = load_released() if args.released else load_development(args.development)
    image, _ = render_street(args.size[0], args.size[1], seed=0, split="val")
    sums: dict[str, list[float]] = {}
    print(f"{'corruption':18} {'s':>1} {'ours ms':>8} {'peer ms':>9} {'ratio':>7} differ  +MiB")
    for name, severity, mine, other, differing, memory in rows(
        image, args.corruptions, args.severities, peer
    ):
        both = sums.setdefault(name, [0.0, 0.0])
        both[0], both[1] = both[0] + mine, both[1] + other
        print(
            f"{name:18} {severity} {mine * 1e3:8.1f} {other * 1e3:9.1f} {other / mine:7.1f} "
            f"{differing:6} {memory:5.0f}",
            flush=True,
        )
    print("\nsum over the severities; together: all of them by corrupt_severities")
    total = np.zeros(3)
    for name, (mine, other) in sums.items():

        def together(name: str = name) -> ImageArray:
            streams = [np.random.RandomState(SEED) for _ in args.severities]
            for corrupted in corrupt_severities(image, name, args.severities, streams):
                last = corrupted
            return last

        shared, _ = fastest(together, REPEATS)
        total += mine, other, shared
        print(
            f"{name:18}   {mine * 1e3:8.1f} {other * 1e3:9.1f} {other / mine:7.1f} "
            f"together {shared * 1e3:8.1f}"
        )
    print(
        f"{'sum':18}   {total[0] * 1e3:8.1f} {total[1] * 1e3:9.1f} {total[1] / total[0]:7.1f} "
        f"together {total[2] * 1e3:8.1f}"
    )


if __name__ == "__main__":
    main()

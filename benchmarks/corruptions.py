"""Times the corruptions beside the original functions of imagecorruptions 1.1.2.

    python -m benchmarks.corruptions --severities 3

Both corrupt the same built-in scene in the same process, on one thread, with the same random
stream; every output is compared. The originals run through the shim of the tests, which mends only
what today's libraries broke. Their glass blur is a Python loop: a pass takes about half a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.registry import corrupt
from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.datasets.sample import ImageArray
from robustseg.datasets.streets import render_street

SHIM = Path(__file__).parents[1] / "tests" / "corruptions" / "conftest.py"
REPEATS = 3


def load_shim() -> ModuleType:
    """Load the tests' shim, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("originals", SHIM)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {SHIM}: run from a checkout")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fastest(call: Callable[[], ImageArray], repeats: int) -> tuple[float, ImageArray]:
    """Give the least CPU seconds of several calls, and the last output."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        output = call()
        seconds.append(time.process_time() - started)
    return min(seconds), output


def main() -> None:
    """Print one line a corruption and severity, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corruptions", nargs="+", default=list(CORRUPTIONS))
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--size", nargs=2, type=int, default=[1024, 2048])
    args = parser.parse_args()
    load_cv2().setNumThreads(1)
    original = load_shim().load_original()
    image, _ = render_street(args.size[0], args.size[1], seed=0, split="val")
    sums = np.zeros(2)
    print(f"{'corruption':18} {'s':>1} {'ours s':>8} {'original s':>10} {'ratio':>7}  differing")
    for name in args.corruptions:
        for severity in args.severities:
            ours, made = fastest(
                lambda n=name, s=severity: corrupt(image, n, s, np.random.RandomState(7)),  # type: ignore[misc]
                REPEATS,
            )
            theirs, wanted = fastest(
                lambda n=name, s=severity: original(image, n, s, 7),  # type: ignore[misc]
                1 if name == "glass_blur" else REPEATS,
            )
            sums += ours, theirs
            differing = int((made != wanted).sum())
            print(
                f"{name:18} {severity} {ours:8.3f} {theirs:10.3f} {theirs / ours:7.1f}",
                f" {differing}",
                flush=True,
            )
    print(f"{'sum':20} {sums[0]:8.3f} {sums[1]:10.3f} {sums[1] / sums[0]:7.1f}")


if __name__ == "__main__":
    main()

"""How far the corruptions are from what this processor could do, one thread, 1024 x 2048.

    python -m benchmarks.limits

Two rates are measured first: copying an image in memory, and 256-bit vector operations on double
numbers in the first-level cache. Then each corruption is timed at severities 1, 3 and 5 and set
beside the work that it cannot do without: the bytes of image and result that must pass through
memory (others stay in caches), and the vector operations of its loops, counted by hand below. Both
would take place at once, so the longer of the two is the bound. A bound leaves out all that does
not fit vectors: data-dependent branches, and the libraries behind spatter and JPEG, which have
none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.disk import group_taps
from robustseg.corruptions.kernels import gaussian_weights
from robustseg.corruptions.opencv import load_cv2
from robustseg.corruptions.pixels import FloatArray
from robustseg.corruptions.registry import corrupt
from robustseg.corruptions.severity import CORRUPTIONS, TABLE
from robustseg.datasets.streets import render_street

SHAPE = (1024, 2048)
SAMPLES = 3 * SHAPE[0] * SHAPE[1]
DOUBLES, SINGLES, SHORTS = 4, 8, 16
"""Numbers in a vector of 256 bits."""

DIVISION, ROOT = 8, 15
"""Vector operations that could be done while the divider works on one vector of doubles."""

WORD = 16 / SINGLES
"""A word of the Mersenne Twister: 16 integer operations."""

UNIFORM = 2 * WORD + 5 / DOUBLES
# Each pair of normals takes four words and is inside the circle with a chance of pi / 4.
TRY = 4 * WORD + (24 + 45 + 2 * DIVISION + ROOT) / DOUBLES
NORMAL = TRY / 2 / (np.pi / 4)
QUANTISE = 5 / DOUBLES


def smoothing(sigma: float) -> float:
    """Count both passes of a Gaussian: two additions and a product for each pair of taps."""
    pairs = gaussian_weights(sigma).size // 2
    return 2 * (3 * pairs + 1) / DOUBLES


def noise(name: str, severity: int) -> float:
    """Count what a sample of one of the noises takes."""
    if name == "impulse_noise":
        return 4 * WORD + 10 / SINGLES
    if name == "shot_noise":
        # The uniforms alone; the counts are serial.
        mean = 0.4 * TABLE.shot_noise[severity - 1].photons
        return UNIFORM * (2.4 if mean >= 10 else mean + 1)
    return NORMAL + (6 + DIVISION) / DOUBLES + QUANTISE


def blur(name: str, severity: int) -> float:
    """Count what a sample of one of the blurs takes."""
    if name == "motion_blur":
        return 2 * (2 * TABLE.motion_blur[severity - 1].radius + 1) / DOUBLES + QUANTISE
    if name == "gaussian_blur":
        return smoothing(TABLE.gaussian_blur[severity - 1].sigma) + QUANTISE
    if name == "glass_blur":
        glass = TABLE.glass_blur[severity - 1]
        return 2 * smoothing(glass.sigma) + glass.passes * 2 * WORD / 3 + QUANTISE
    from robustseg.corruptions.blur import _disk

    groups = group_taps(_disk(*TABLE.defocus_blur[severity - 1]))
    return float(groups.ends[-1]) / SHORTS + groups.weights.size * 4 / DOUBLES + QUANTISE


def other(name: str, severity: int) -> float:
    """Count what a sample of a digital or weather corruption takes; 0 where nobody has counted."""
    if name in ("brightness", "saturate"):
        return (75 + 4 * DIVISION) / DOUBLES / 3 + QUANTISE
    if name == "fog":
        # Four pixels of the map for every three samples of a picture half as high as wide.
        return (UNIFORM + 8 / DOUBLES) * 2 / 3 + (6 + 2 * DIVISION) / DOUBLES + QUANTISE
    if name == "frost":
        return 6 / DOUBLES
    if name == "snow":
        fall = TABLE.snow[severity - 1]
        drawn = (4 * WORD + 24 / DOUBLES) / 2 / (np.pi / 4) / 3
        streaks = 2 * (2 * fall.radius + 1) / DOUBLES / 3
        return drawn + NORMAL / 3 / fall.zoom + streaks + (16 + DIVISION) / SINGLES + QUANTISE
    return 0.0


def operations(name: str, severity: int) -> float:
    """Count the vector operations of a sample."""
    if name.endswith("_noise"):
        return noise(name, severity)
    return blur(name, severity) if name.endswith("_blur") else other(name, severity)


def fastest(call: Callable[[], object], repeats: int = 5) -> float:
    """Give the least CPU seconds of several calls."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.thread_time()
        call()
        seconds.append(time.thread_time() - started)
    return min(seconds)


@compiled
def chains(total: FloatArray, source: FloatArray, times: int) -> None:
    """Multiply and add eight times for each load of a total, as the blurs do at their best."""
    a, b = 0.5, 0.25
    for _ in range(times):
        for i in range(total.size):
            value = total[i]
            s = source[i]
            value = ((((value * a + s) * b + s) * a + s) * b + s) * a + s
            total[i] = ((value * b + s) * a + s) * b + s


def main() -> None:
    """Print the rates, then a line for each corruption and severity."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    load_cv2().setNumThreads(1)
    image, _ = render_street(*SHAPE, seed=0, split="val")
    target = np.empty_like(image)
    copying = SAMPLES / fastest(lambda: np.copyto(target, image))
    total, source = np.zeros(512), np.ones(512)
    vectors = 16 * 512 * 2000 / DOUBLES / fastest(lambda: chains(total, source, 2000))
    print(f"copying: {copying / 1e9:.1f} GB/s; vector operations: {vectors / 1e9:.1f} G/s")
    print(f"{'corruption':18} s {'ms':>7} {'memory':>7} {'arithmetic':>10} {'reached':>8}")
    for name in CORRUPTIONS:
        for severity in (1, 3, 5):
            seconds = fastest(
                lambda n=name, s=severity: corrupt(image, n, s, np.random.RandomState(1)),  # type: ignore[misc]
                3,
            )
            memory = SAMPLES / copying
            arithmetic = operations(name, severity) * SAMPLES / vectors
            share = f"{max(memory, arithmetic) / seconds:8.0%}" if arithmetic else f"{'-':>8}"
            print(
                f"{name:18} {severity} {seconds * 1e3:7.1f} {memory * 1e3:7.1f} "
                f"{arithmetic * 1e3:10.1f} {share}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Poisson counts from numpy's legacy stream.

numpy multiplies uniforms for means below 10 and uses transformed rejection with squeeze (PTRS;
Hoermann, Insurance: Mathematics and Economics 12, 1993) from there on. How many uniforms a count
takes depends on the count, so the counts of one image cannot be drawn side by side; what can be
is taken out of the serial loop: the uniforms, and all that depends on the mean alone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray
from robustseg.corruptions.twister import Source, fill_uniforms, skip_words

__all__ = ["fill_counts"]

Bytes = npt.NDArray[np.uint8]

UP = np.uintp

READY = 8192
"""Uniforms that are drawn ahead."""

MARGIN = 256
"""A count takes fewer uniforms; at a mean of 10 more than 100 have no chance to be seen."""

MOST = 160
"""Counts that are tabulated; at a mean of 60 none as large is ever accepted."""

# Stirling's series, from the highest power of 1/x^2 down: B_2k / (2k (2k - 1)), as numpy has it.
STIRLING = (
    -1.39243221690590e00,
    1.796443723688307e-01,
    -2.955065359477124e-02,
    6.410256410256410e-03,
    -1.917526917526918e-03,
    8.417508417508418e-04,
    -5.952380952380952e-04,
    7.936507936507937e-04,
    -2.777777777777778e-03,
    8.333333333333333e-02,
)


def _log_factorial(count: int) -> float:
    x = count + 1.0
    if x in (1.0, 2.0):
        return 0.0
    steps = max(7 - int(x), 0)
    shifted = x + steps
    square = (1 / shifted) * (1 / shifted)
    series = STIRLING[0]
    for coefficient in STIRLING[1:]:
        series = series * square + coefficient
    value = series / shifted + 0.5 * math.log(2 * math.pi)
    value += (shifted - 0.5) * math.log(shifted) - shifted
    for _ in range(steps):
        value -= math.log(shifted - 1.0)
        shifted -= 1.0
    return value


LOG_FACTORIALS = np.array([_log_factorial(count) for count in range(MOST)])


def fill_counts(source: Source, image: Bytes, means: FloatArray, tones: Bytes, out: Bytes) -> None:
    """Draw a count for each sample, and write the tone that it stands for.

    Args:
        source: The stream; it is advanced.
        image: uint8 (N,), C order of the image.
        means: float64 (256,), the mean for each byte, at most 60.
        tones: uint8 (K,): the byte for each count; all counts from K - 1 on have the last.
        out: uint8 (N,), to be filled.
    """
    tones_of_all = np.full(MOST, tones[-1])
    tones_of_all[: tones.size] = tones
    squeeze, probabilities = _squeeze(means)
    _fill_counts(source, image, means, np.exp(-means), squeeze, probabilities, tones_of_all, out)


def _squeeze(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Tabulate what PTRS needs of each mean; of no meaning below 10.

    Returns:
        (256, 4): b, a, 1 / alpha and v_r; and (256, MOST): the probability of each count. The
        published test compares logarithms; here the numbers are compared before these are taken.
    """
    large = np.maximum(means, 10.0)
    b = 0.931 + 2.53 * np.sqrt(large)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    counts = np.arange(MOST)
    logarithms = -large[:, None] + counts * np.log(large)[:, None] - LOG_FACTORIALS
    return np.stack((b, a, inverse_alpha, v_r), axis=1), np.exp(logarithms)


@compiled
def _fill_counts(
    source: Source,
    image: Bytes,
    means: FloatArray,
    limits: FloatArray,
    squeeze: FloatArray,
    probabilities: FloatArray,
    tones: Bytes,
    out: Bytes,
) -> None:
    uniforms, words = np.empty(READY), np.empty(2 * READY, np.uint32)
    # The stream itself stays at the last uniform that is known to be spent.
    ahead = Source(source.keys.copy(), source.at.copy(), source.spare)
    spent = READY
    used = 0
    i = 0
    while i < image.size:
        if spent > READY - MARGIN:
            skip_words(source, 2 * used)
            ahead.keys[:] = source.keys
            ahead.at[:] = source.at
            fill_uniforms(ahead, words, uniforms)
            spent = 0
        tone = UP(image[UP(i)])
        mean = means[tone]
        count = 0
        if mean >= 10.0:
            u, v = uniforms[UP(spent)] - 0.5, uniforms[UP(spent + 1)]
            spent += 2
            b, a = squeeze[tone, UP(0)], squeeze[tone, UP(1)]
            us = 0.5 - abs(u)
            proposed = np.floor((2 * a / us + b) * u + mean + 0.43)
            count = int(min(max(proposed, 0.0), MOST - 1.0))
            likely = probabilities[tone, UP(count)] * (a / (us * us) + b)
            # The parts are too irregular to be guessed, so they are not branched on.
            slow = UP(us < 0.07) | UP(v > squeeze[tone, UP(3)])
            wrong = UP(v * squeeze[tone, UP(2)] > likely) | UP(float(count) != proposed)
            wrong |= UP(us < 0.013) & UP(v > us)
            if slow & wrong:
                count = -1
        elif mean > 0.0:
            limit = limits[tone]
            product = uniforms[UP(spent)]
            while product > limit:
                count += 1
                product *= uniforms[UP(spent + count)]
            spent += count + 1
        used = spent
        if count >= 0:
            out[UP(i)] = tones[UP(count)]
            i += 1
    skip_words(source, 2 * used)

"""numpy's legacy random stream, drawn in bulk.

``numpy.random.RandomState`` over MT19937 is frozen for good, and the corruptions are defined on
it. numpy draws number by number; the loops here make the same words (Matsumoto and Nishimura,
ACM TOMACS 8(1), 1998) and the same uniforms and normals from them, in runs that vector
instructions can take.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray
from robustseg.errors import SettingError

__all__ = [
    "Source",
    "draw_normals",
    "fill_normals",
    "fill_uniforms",
    "fill_words",
    "give_back",
    "skip_normals",
    "skip_words",
    "take_over",
]

Words = npt.NDArray[np.uint32]

LENGTH = 624
"""Words of the state."""

FAR = 397
"""Distance of the word that is mixed into each new one."""

BLOCK = 1024
"""Pairs of normals that are tried at a time, so that their scratch stays in the cache."""

U32 = np.uint32
U64 = np.uint64
I32 = np.int32
UP = np.uintp

UPPER, LOWER, MATRIX = U32(0x80000000), U32(0x7FFFFFFF), U32(0x9908B0DF)
MASK_B, MASK_C = U32(0x9D2C5680), U32(0xEFC60000)
ONE, ZERO = U32(1), U32(0)


class Source(NamedTuple):
    """A stream taken over from numpy, to be given back with ``give_back``.

    Attributes:
        keys: uint32 (2, 624); one row is the state, the other the place for the next.
        at: int64 (2,): which row is the state, and how many of its words are spent.
        spare: float64 (2,): 1 and the second normal of a pair of which one was asked for, or 0.
    """

    keys: Words
    at: npt.NDArray[np.int64]
    spare: FloatArray


def take_over(rng: np.random.RandomState) -> Source:
    """Copy the state of a stream.

    Args:
        rng: Over MT19937, as ``RandomState(seed)`` makes it.

    Returns:
        A source that gives what ``rng`` would give next.

    Raises:
        SettingError: The stream is over another generator.
    """
    state = rng.get_state(legacy=False)
    kind = state["bit_generator"]
    if kind != "MT19937":
        raise SettingError(
            f"corruptions need a stream over MT19937, got {kind}: use numpy.random.RandomState"
        )
    keys = np.zeros((2, LENGTH), np.uint32)
    keys[0] = state["state"]["key"]
    position = state["state"]["pos"]
    spare = [float(state["has_gauss"]), state["gauss"]]
    return Source(keys, np.array([0, position]), np.array(spare))


def give_back(source: Source, rng: np.random.RandomState) -> None:
    """Set a numpy stream to where a source has come."""
    row, position = (int(i) for i in source.at)
    has_spare, spare = (float(x) for x in source.spare)
    rng.set_state(("MT19937", source.keys[row], position, int(has_spare), spare))


def draw_normals(rng: np.random.RandomState, count: int) -> FloatArray:
    """Draw standard normals as ``rng.normal`` would.

    Args:
        rng: Over MT19937; it is advanced.
        count: How many.

    Returns:
        float64 (count,). The logarithm is our own, so the last bits can differ from numpy's.

    Raises:
        SettingError: The stream is over another generator.
    """
    source = take_over(rng)
    normals = np.empty(count)
    fill_normals(source, normals)
    give_back(source, rng)
    return normals


@compiled
def _mix(new: Words, start: int, stop: int, far: Words, shift: int, old: Words) -> None:
    for i in range(start, stop):
        k = UP(i)
        word = (old[k] & UPPER) | (old[k + UP(1)] & LOWER)
        new[k] = far[UP(i + shift)] ^ (word >> ONE) ^ (MATRIX if word & ONE else ZERO)


@compiled
def _renew(old: Words, new: Words) -> None:
    """Make the next state; within each of the runs no word depends on another of the same run."""
    run = LENGTH - FAR
    _mix(new, 0, run, old, FAR, old)
    _mix(new, run, 2 * run, new, -run, old)
    _mix(new, 2 * run, LENGTH - 1, new, -run, old)
    word = (old[-1] & UPPER) | (new[0] & LOWER)
    new[-1] = new[FAR - 1] ^ (word >> ONE) ^ (MATRIX if word & ONE else ZERO)


@compiled
def _temper(state: Words, start: int, out: Words, at: int, count: int) -> None:
    for i in range(count):
        k = UP(i)
        word = state[UP(start) + k]
        word ^= word >> U32(11)
        word ^= (word << U32(7)) & MASK_B
        word ^= (word << U32(15)) & MASK_C
        out[UP(at) + k] = word ^ (word >> U32(18))


@compiled
def _advance(source: Source, most: int) -> int:
    """Renew a spent state, spend up to ``most`` words of it, and say how many."""
    if source.at[1] == LENGTH:
        row = source.at[0]
        _renew(source.keys[row], source.keys[1 - row])
        source.at[0] = 1 - row
        source.at[1] = 0
    count: int = min(LENGTH - source.at[1], most)
    source.at[1] += count
    return count


@compiled
def fill_words(source: Source, out: Words) -> None:
    """Draw 32-bit words.

    Args:
        source: The stream; it is advanced.
        out: uint32 (N,), to be filled.
    """
    done = 0
    while done < out.size:
        count = _advance(source, out.size - done)
        _temper(source.keys[source.at[0]], source.at[1] - count, out, done, count)
        done += count


@compiled
def skip_words(source: Source, count: int) -> None:
    """Spend words without making them.

    Args:
        source: The stream; it is advanced.
        count: How many words.
    """
    while count > 0:
        count -= _advance(source, count)


@compiled
def fill_uniforms(source: Source, words: Words, out: FloatArray) -> None:
    """Draw uniforms in [0, 1) of 53 bits, as ``RandomState.random_sample`` does.

    Args:
        source: The stream; it is advanced.
        words: uint32 (2 N,) or more, scratch.
        out: float64 (N,), to be filled.
    """
    fill_words(source, words[: 2 * out.size])
    for i in range(out.size):
        high = I32(words[2 * i] >> U32(5))
        low = I32(words[2 * i + 1] >> U32(6))
        out[i] = (high * 67108864.0 + low) * 2.0**-53


@compiled
def _try_pairs(words: Words, x: FloatArray, y: FloatArray, square: FloatArray) -> None:
    """Draw points of the square around the unit circle, and their squared distances."""
    for i in range(square.size):
        a = I32(words[4 * i] >> U32(5))
        b = I32(words[4 * i + 1] >> U32(6))
        c = I32(words[4 * i + 2] >> U32(5))
        d = I32(words[4 * i + 3] >> U32(6))
        u = (a * 67108864.0 + b) * 2.0**-52 - 1.0
        v = (c * 67108864.0 + d) * 2.0**-52 - 1.0
        x[i] = u
        y[i] = v
        square[i] = u * u + v * v


# A double is 2^k m; these move the point of division so that m lies between sqrt(1/2) and sqrt(2).
SHIFT = U64(0x4000000000000000 - 0x3FE6A09E00000000)
EXPONENT = U64(0xFFF0000000000000)
TWO = U64(0x4000000000000000)
MAGIC = U64(0x4330000000000000)  # as high word, 2^52 + k


@compiled
def _split(bits: npt.NDArray[np.uint64], mantissa: FloatArray, power: FloatArray) -> None:
    mantissa_bits = mantissa.view(np.uint64)
    power_bits = power.view(np.uint64)
    for i in range(bits.size):
        shifted = bits[i] + SHIFT
        power_bits[i] = (shifted >> U64(52)) | MAGIC
        mantissa_bits[i] = bits[i] - (shifted & EXPONENT) + TWO


LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # so short that its product with k is exact
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")


@compiled
def _radii(square: FloatArray, mantissa: FloatArray, power: FloatArray, out: FloatArray) -> None:
    """Give sqrt(-2 ln(s) / s), with ln m = 2 atanh((m - 1) / (m + 1)) by its series."""
    for i in range(square.size):
        k = power[i] - (2.0**52 + 1024.0)
        m = mantissa[i] - 1.0
        s = m / (2.0 + m)
        z = s * s
        series = 2 / 21
        series = series * z + 2 / 19
        series = series * z + 2 / 17
        series = series * z + 2 / 15
        series = series * z + 2 / 13
        series = series * z + 2 / 11
        series = series * z + 2 / 9
        series = series * z + 2 / 7
        series = series * z + 2 / 5
        series = series * z + 2 / 3
        half = 0.5 * m * m
        logarithm = k * LN2_HIGH - ((half - (s * (half + series * z) + k * LN2_LOW)) - m)
        out[i] = np.sqrt(-2.0 * logarithm / square[i])


@compiled
def _keep_inside(
    x: FloatArray, y: FloatArray, square: FloatArray, radii: FloatArray, out: FloatArray
) -> int:
    """Write the pairs that fell inside the circle one after the other."""
    kept = 0
    for i in range(square.size):
        # Written in any case and written over if outside: no branch to guess.
        out[kept] = radii[i] * y[i]
        out[kept + 1] = radii[i] * x[i]
        kept += 2 if (square[i] < 1.0) & (square[i] != 0.0) else 0
    return kept


@compiled
def fill_normals(source: Source, out: FloatArray) -> None:
    """Draw standard normals by Marsaglia's polar method, as ``RandomState.normal`` does.

    Args:
        source: The stream; it is advanced.
        out: float64 (N,), to be filled.
    """
    words = np.empty(4 * BLOCK, np.uint32)
    x, y, square, radii = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    mantissa, power = np.empty(BLOCK), np.empty(BLOCK)
    pairs = np.empty(2 * BLOCK + 2)
    done = 0
    if out.size and source.spare[0]:
        out[0] = source.spare[1]
        source.spare[:] = 0.0
        done = 1
    while done < out.size:
        # No more are tried than are needed, so that no word is drawn in vain.
        n = min(BLOCK, (out.size - done + 1) // 2)
        fill_words(source, words[: 4 * n])
        _try_pairs(words, x, y, square[:n])
        _split(square[:n].view(np.uint64), mantissa, power)
        _radii(square[:n], mantissa, power, radii)
        kept = _keep_inside(x, y, square[:n], radii, pairs)
        if kept > out.size - done:
            kept -= 1
            source.spare[0] = 1.0
            source.spare[1] = pairs[kept]
        out[done : done + kept] = pairs[:kept]
        done += kept


@compiled
def skip_normals(source: Source, count: int) -> None:
    """Spend normals without making them.

    Args:
        source: The stream; it is advanced.
        count: How many normals.
    """
    words = np.empty(4 * BLOCK, np.uint32)
    x, y, square = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    one = np.empty(1)
    if count and source.spare[0]:
        fill_normals(source, one)
        count -= 1
    while count > 1:
        n = min(BLOCK, count // 2)
        fill_words(source, words[: 4 * n])
        _try_pairs(words, x, y, square[:n])
        for i in range(n):
            count -= 2 if (square[i] < 1.0) & (square[i] != 0.0) else 0
    if count:
        fill_normals(source, one)

"""Between bytes and intensities, in the way that the definition of the corruptions needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.datasets.sample import ImageArray

__all__ = ["FloatArray", "fused", "quantise", "quantised"]

FloatArray = npt.NDArray[np.float64]
"""float64 intensities, 0-1 unless said otherwise."""


def quantise(values: npt.NDArray[np.floating[Any]]) -> ImageArray:
    """Turn intensities back into bytes: clip to 0-1, times 255, cut off the fraction.

    The definition truncates instead of rounding, so images darken by half a level on average;
    rounding would be another benchmark.

    Args:
        values: float32 or float64, any shape; the arithmetic stays in its type.

    Returns:
        uint8 of the same shape, 0-255.
    """
    clipped: npt.NDArray[np.floating[Any]] = np.clip(values, 0, 1)
    clipped *= 255
    return clipped.astype(np.uint8)


@compiled
def quantised(value: float) -> np.uint8:
    """Turn one intensity into a byte as ``quantise`` does."""
    return np.uint8(np.int32(min(max(value, 0.0), 1.0) * 255.0))


@compiled
def fused(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """Give a x b + c in single precision, rounded once: the product is exact in double."""
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))

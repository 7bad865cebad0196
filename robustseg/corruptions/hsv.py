"""Brightness and saturation: through HSV and back, in the steps of scikit-image.

Hue is the sextant of the largest channel plus a fraction, over six; everything is in double
precision, and the order of operations decides the bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustseg.corruptions.compiled import compiled
from robustseg.corruptions.pixels import FloatArray, quantised
from robustseg.datasets.sample import ImageArray

__all__ = ["shift_hsv"]

UP = np.uintp

RUN = 512
"""Pixels that are converted at a time, so that their planes stay in the first-level cache."""


@compiled
def _to_hsv(
    pixels: npt.NDArray[np.uint8], start: int, hue: FloatArray, sat: FloatArray, value: FloatArray
) -> None:
    for i in range(hue.size):
        k = UP(3 * (start + i))
        red, green, blue = pixels[k] / 255.0, pixels[k + UP(1)] / 255.0, pixels[k + UP(2)] / 255.0
        largest = max(max(red, green), blue)
        delta = largest - min(min(red, green), blue)
        divisor = delta if delta != 0.0 else 1.0
        # Where two channels share the maximum, the later one decides.
        over = (
            red - green if largest == blue else (blue - red if largest == green else green - blue)
        )
        base = 4.0 if largest == blue else (2.0 if largest == green else 0.0)
        turn = (base + over / divisor) / 6.0 if delta != 0.0 else 0.0
        hue[i] = turn + 1.0 if turn < 0.0 else turn
        sat[i] = delta / (largest if largest != 0.0 else 1.0)
        value[i] = largest


@compiled
def _from_hsv(
    hue: FloatArray,
    sat: FloatArray,
    value: FloatArray,
    change: FloatArray,
    start: int,
    out: npt.NDArray[np.uint8],
) -> None:
    factor, offset, lift = change
    for i in range(hue.size):
        s = min(max(sat[i] * factor + offset, 0.0), 1.0)
        v = min(max(value[i] + lift, 0.0), 1.0)
        sextant = np.floor(hue[i] * 6.0)
        fraction = hue[i] * 6.0 - sextant
        low = v * (1.0 - s)
        falling = v * (1.0 - fraction * s)
        rising = v * (1.0 - (1.0 - fraction) * s)
        odd = (sextant == 1.0) | (sextant == 3.0) | (sextant == 5.0)
        middle = falling if odd else rising
        # From 0 to 6, where 6 is red again: red leads at 0, 5 and 6, green at 1 and 2, blue at 3
        # and 4; the lowest is blue at 0, 1 and 6, red at 2 and 3, green at 4 and 5.
        red_leads = (sextant < 1.0) | (sextant > 4.0)
        green_leads = (sextant > 0.0) & (sextant < 3.0)
        blue_low = (sextant < 2.0) | (sextant > 5.0)
        red_low = (sextant > 1.0) & (sextant < 4.0)
        red = v if red_leads else (low if red_low else middle)
        green = v if green_leads else (middle if blue_low | red_low else low)
        blue = low if blue_low else (middle if red_leads | green_leads else v)
        k = UP(3 * (start + i))
        out[k] = quantised(red)
        out[k + UP(1)] = quantised(green)
        out[k + UP(2)] = quantised(blue)


@compiled
def _shift_hsv(
    pixels: npt.NDArray[np.uint8], changes: FloatArray, out: npt.NDArray[np.uint8]
) -> None:
    hue, sat, value = np.empty(RUN), np.empty(RUN), np.empty(RUN)
    count = pixels.size // 3
    for start in range(0, count, RUN):
        n = min(RUN, count - start)
        _to_hsv(pixels, start, hue[:n], sat[:n], value[:n])
        for j in range(changes.shape[0]):
            _from_hsv(hue[:n], sat[:n], value[:n], changes[j], start, out[j])


def shift_hsv(image: ImageArray, changes: list[tuple[float, float, float]]) -> list[ImageArray]:
    """Change saturation and value of an image, in several ways at once.

    Args:
        image: uint8 RGB (H, W, 3), 0-255.
        changes: For each result a factor and an offset of S and an offset of V; S and V are
            clipped to 0-1.

    Returns:
        For each of the changes uint8 RGB (H, W, 3).
    """
    out = np.empty((len(changes), image.size), np.uint8)
    _shift_hsv(image.ravel(), np.array(changes), out)
    if len(changes) == 1:
        return [out[0].reshape(image.shape)]
    # Copies, so that keeping one does not keep all.
    return [changed.reshape(image.shape).copy() for changed in out]

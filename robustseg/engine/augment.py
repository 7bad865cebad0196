"""Random training crops: resize, crop, flip and photometric distortion.

The steps and constants are those of the released SegFormer configuration. Each draws from the
stream that it is given, so that a crop is a function of its number alone. What is drawn comes first
and the pixels after, so that only the pixels of the crop are ever resized.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustseg.corruptions.opencv import load_cv2
from robustseg.datasets.labels import IGNORE
from robustseg.datasets.sample import ImageArray, LabelArray
from robustseg.engine.recipes import Recipe
from robustseg.engine.resampling import Window, count_ids, sample_bilinear, sample_nearest

__all__ = [
    "PADDING",
    "Distortion",
    "distort",
    "draw_distortion",
    "draw_factor",
    "draw_window",
    "fill_example",
]

CROP_TRIES = 10
PADDING = (124, 116, 104)
"""ImageNet's mean colour, which normalisation turns into about zero."""


def fill_example(
    image: ImageArray,
    label: LabelArray,
    recipe: Recipe,
    rng: np.random.RandomState,
    pixels: ImageArray,
    ids: LabelArray,
) -> None:
    """Make one training crop.

    Where the resized image is smaller than the crop, the rest at the bottom and on the right is
    grey and ignored, also where the crop is flipped: the released code pads last.

    Args:
        image: uint8 RGB (H, W, 3), contiguous.
        label: uint8 train ids (H, W).
        recipe: Crop, scale and switches.
        rng: The crop's own stream.
        pixels: uint8 RGB of the recipe's crop size, (h, w, 3), filled.
        ids: uint8 train ids (h, w), filled; 255 = ignored.
    """
    window = draw_window(label, recipe, rng)
    shown = pixels[: window.height, : window.width]
    sample_bilinear(image, window, shown)
    sample_nearest(label, window, ids[: window.height, : window.width])
    if recipe.photometric:
        distort(shown, draw_distortion(rng))
    for start_row, start_column in ((window.height, 0), (0, window.width)):
        pixels[start_row:, start_column:] = PADDING
        ids[start_row:, start_column:] = IGNORE


def draw_factor(scale: tuple[float, float], step: float, rng: np.random.RandomState) -> float:
    """Draw the factor of resizing from a range, or from its points at steps from the lower end.

    Args:
        scale: Least and largest factor.
        step: Distance of the points; 0 takes the whole range.
        rng: Random stream.
    """
    least, most = scale
    if not step:
        return float(rng.uniform(least, most))
    # 0.3 / 0.1 is a little less than 3
    return least + step * int(rng.randint(int((most - least) / step + 1e-6) + 1))


def draw_window(label: LabelArray, recipe: Recipe, rng: np.random.RandomState) -> Window:
    """Draw size, place and flip of a crop in which no class fills too much.

    A place is drawn again while one class fills ``cat_max_ratio`` or more of the counted pixels, or
    all of them; after ten such places the eleventh is taken, as in the released code. At a ratio of
    1 or more the first is.

    Args:
        label: uint8 train ids (H, W) of the whole image.
        recipe: Crop, scale, ``cat_max_ratio`` and flip.
        rng: The crop's own stream.
    """
    factor = draw_factor(recipe.scale, recipe.scale_step, rng)
    height, width = (max(int(side * factor), 1) for side in label.shape)
    flip = recipe.flip and rng.uniform() < 0.5
    rows, columns = min(recipe.crop[0], height), min(recipe.crop[1], width)

    def draw() -> Window:
        top, left = rng.randint(height - rows + 1), rng.randint(width - columns + 1)
        return Window((height, width), int(top), int(left), rows, columns, flip)

    window = draw()
    if recipe.cat_max_ratio >= 1:
        return window
    for _ in range(CROP_TRIES):
        counts = count_ids(label, window)[:IGNORE]
        if (counts > 0).sum() > 1 and counts.max() < recipe.cat_max_ratio * counts.sum():
            break
        window = draw()
    return window


@dataclass(frozen=True)
class Distortion:
    """A change of colours; None is a step that is left out.

    Attributes:
        brightness: Added to all values, -32 to 32.
        contrast: Multiplies all values, 0.5 to 1.5.
        contrast_first: Whether contrast comes before saturation and hue, or after them.
        saturation: Multiplies S, 0.5 to 1.5.
        hue: Added to H, in steps of two degrees, -18 to 17.
    """

    brightness: float | None = None
    contrast: float | None = None
    contrast_first: bool = False
    saturation: float | None = None
    hue: int | None = None


def draw_distortion(rng: np.random.RandomState) -> Distortion:
    """Draw a distortion: each step with probability one half, contrast first or last."""

    def draw(least: float, most: float) -> float | None:
        return float(rng.uniform(least, most)) if rng.randint(2) else None

    return Distortion(
        brightness=draw(-32, 32),
        contrast_first=bool(rng.randint(2)),
        contrast=draw(0.5, 1.5),
        saturation=draw(0.5, 1.5),
        hue=int(rng.randint(-18, 18)) if rng.randint(2) else None,
    )


def distort(image: ImageArray, distortion: Distortion) -> None:
    """Distort the colours of an image in place.

    Every step ends in bytes, fractions cut off, as in the released code; so each is a table of 256
    entries, and steps that follow each other are one. Saturation and hue are changed on OpenCV's
    8-bit HSV planes, where hue runs from 0 to 179; each goes there and back on its own.

    Args:
        image: uint8 RGB (H, W, 3), changed; a view into a larger array will do.
        distortion: What to do.
    """
    contrast = _table(distortion.contrast or 1.0, 0.0)
    before = _table(1.0, distortion.brightness or 0.0)
    if distortion.contrast_first:
        before = contrast[before]
    _look_up(image, before)
    if distortion.saturation is not None:
        _change_plane(image, 1, _table(distortion.saturation, 0.0))
    if distortion.hue is not None:
        turned = (np.arange(256) + distortion.hue) % 180
        _change_plane(image, 0, turned.astype(np.uint8))
    if not distortion.contrast_first:
        _look_up(image, contrast)


def _table(factor: float, offset: float) -> LabelArray:
    """Scale and shift each byte: uint8 (256,)."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return values.clip(0, 255).astype(np.uint8)


def _look_up(image: ImageArray, table: LabelArray) -> None:
    if table[0] or (np.diff(table) != 1).any():  # else it changes nothing
        load_cv2().LUT(image, table, dst=image)


def _change_plane(image: ImageArray, plane: int, table: LabelArray) -> None:
    """Go to HSV, change one plane by a table, and come back."""
    cv2 = load_cv2()
    tables = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    tables[0, :, plane] = table
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    cv2.cvtColor(cv2.LUT(hsv, tables, dst=hsv), cv2.COLOR_HSV2RGB, dst=image)

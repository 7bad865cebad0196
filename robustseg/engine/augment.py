"""Random training crops: resize, crop, flip and photometric distortion.

The steps and constants are those of the released SegFormer configuration. Each draws from the
``RandomState`` that it is given, so that a crop is a function of its number alone.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from robustseg.datasets.labels import IGNORE
from robustseg.datasets.sample import ImageArray, LabelArray
from robustseg.engine.recipes import Recipe

__all__ = ["distort", "random_crop", "random_example", "random_resize"]

CROP_TRIES = 10
PADDING = (124, 116, 104)
"""ImageNet's mean colour, which normalisation turns into about zero."""


def random_example(
    image: ImageArray, label: LabelArray, recipe: Recipe, rng: np.random.RandomState
) -> tuple[ImageArray, LabelArray]:
    """Make one training crop.

    Args:
        image: uint8 RGB (H, W, 3).
        label: uint8 train ids (H, W).
        recipe: Crop, scale and switches.
        rng: The crop's own stream.

    Returns:
        uint8 RGB and uint8 train ids of the recipe's crop size; what lies outside the image is
        ignored.
    """
    image, label = random_resize(image, label, recipe.scale, rng)
    image, label = random_crop(image, label, recipe.crop, recipe.cat_max_ratio, rng)
    if recipe.flip and rng.uniform() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    if recipe.photometric:
        image = distort(image, rng)
    # views of the decoded image are read-only, which torch warns of
    return np.array(image, order="C"), np.array(label, order="C")


def random_resize(
    image: ImageArray,
    label: LabelArray,
    scale: tuple[float, float],
    rng: np.random.RandomState,
) -> tuple[ImageArray, LabelArray]:
    """Resize both by one factor: the image bilinearly, the label by nearest neighbour."""
    factor = rng.uniform(*scale)
    height, width = label.shape
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    # without anti-aliasing, as the recipe's library resizes
    resized = Image.fromarray(image).transform(
        size, Image.Transform.EXTENT, (0, 0, width, height), Image.Resampling.BILINEAR
    )
    ids = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
    return np.asarray(resized), np.asarray(ids)


def random_crop(
    image: ImageArray,
    label: LabelArray,
    crop: tuple[int, int],
    cat_max_ratio: float,
    rng: np.random.RandomState,
) -> tuple[ImageArray, LabelArray]:
    """Cut a crop in which no class fills more than ``cat_max_ratio`` of the counted pixels.

    After ten tries the last is taken as it is; at a ratio of 1 the first is. Where the image is
    smaller than the crop, the rest is padded at the bottom and on the right, with ignored labels.
    """
    height, width = crop
    for _ in range(CROP_TRIES):
        top = rng.randint(0, max(label.shape[0] - height, 0) + 1)
        left = rng.randint(0, max(label.shape[1] - width, 0) + 1)
        part = label[top : top + height, left : left + width]
        if cat_max_ratio >= 1:
            break
        counts = np.bincount(part.ravel(), minlength=IGNORE + 1)[:IGNORE]
        if (counts > 0).sum() > 1 and counts.max() < cat_max_ratio * counts.sum():
            break
    ids = np.full(crop, IGNORE, np.uint8)
    ids[: part.shape[0], : part.shape[1]] = part
    pixels = np.empty((*crop, 3), np.uint8)
    pixels[:] = PADDING
    pixels[: part.shape[0], : part.shape[1]] = image[top : top + height, left : left + width]
    return pixels, ids


def distort(image: ImageArray, rng: np.random.RandomState) -> ImageArray:
    """Distort colours: brightness +-32, contrast and saturation 0.5-1.5, hue +-36 degrees.

    Each with probability one half; contrast comes first or last.

    Args:
        image: uint8 RGB (H, W, 3).
        rng: Random stream.

    Returns:
        uint8 RGB (H, W, 3).
    """
    if rng.randint(2):
        image = _change(image, 1.0, rng.uniform(-32, 32))
    contrast_first = rng.randint(2)
    factor = rng.uniform(0.5, 1.5) if rng.randint(2) else 1.0
    if contrast_first:
        image = _change(image, factor, 0.0)
    saturation = rng.uniform(0.5, 1.5) if rng.randint(2) else 1.0
    hue = rng.randint(-18, 18) if rng.randint(2) else 0
    if saturation != 1.0 or hue:
        image = _change_hsv(image, saturation, hue)
    return image if contrast_first else _change(image, factor, 0.0)


def _change(image: ImageArray, factor: float, offset: float) -> ImageArray:
    """Scale and shift all values, back to bytes after each step as the released code does."""
    changed = image * np.float32(factor) + np.float32(offset)
    return np.asarray(np.clip(changed, 0, 255), np.uint8)


def _change_hsv(image: ImageArray, saturation: float, hue: int) -> ImageArray:
    """Scale saturation and turn hue by ``hue`` steps of two degrees."""
    hsv = np.array(Image.fromarray(image).convert("HSV")).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + round(hue * 256 / 180)) % 256
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
    bands = [Image.fromarray(band) for band in np.moveaxis(hsv.astype(np.uint8), 2, 0)]
    return np.asarray(Image.merge("HSV", bands).convert("RGB"))

"""Labelled grids of pictures: contact sheets of corruptions, predictions beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robustseg.corruptions.registry import corrupt_frame
from robustseg.corruptions.severity import GROUPS, SEVERITIES
from robustseg.datasets.sample import ImageArray
from robustseg.files import atomic_path
from robustseg.reports.table import title_of

__all__ = ["THUMBNAIL", "corruption_sheet", "picture_grid"]

THUMBNAIL = 256
"""Width of a picture in a grid, in pixels."""

_GAP, _HEAD, _SECTION = 4, 26, 30
_TEXT, _SECTION_TEXT = (30, 30, 30), (90, 90, 90)


def corruption_sheet(
    image: ImageArray,
    image_id: str,
    path: Path,
    seed: int,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    on_done: Callable[[int], object] = lambda count: None,
) -> None:
    """Draw one image under corruptions: a row each, the clean image and severities 1-5 as columns.

    The image is corrupted at its own size and then shrunk.

    Args:
        image: uint8 RGB (H, W, 3), H and W at least 32.
        image_id: Names the random streams, as in a data set.
        path: PNG or JPEG to write, by its suffix.
        seed: Of the random streams.
        groups: Group to its corruptions, for the order and the headings.
        on_done: Called with 1 after each corrupted image.

    Raises:
        DataError: The image is too small.
        PluginError: A corruption of another package fails.
    """
    names = [name for members in groups.values() for name in members]
    clean = _thumbnail(image)
    pictures = []
    for name in names:
        row = [clean]
        for severity in SEVERITIES:
            row.append(_thumbnail(corrupt_frame(image, image_id, name, severity, seed)))
            on_done(1)
        pictures.append(row)
    firsts = [names.index(members[0]) for members in groups.values()]
    headings = {first: title_of(group) for first, group in zip(firsts, groups, strict=True)}
    columns = ["clean", *(f"severity {severity}" for severity in SEVERITIES)]
    picture_grid(pictures, [title_of(name) for name in names], columns, path, headings)


def picture_grid(
    pictures: Sequence[Sequence[ImageArray]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
    headings: Mapping[int, str] | None = None,
) -> None:
    """Draw labelled rows and columns of pictures of one size.

    Args:
        pictures: uint8 RGB (H, W, 3) by row and column; they are brought to ``THUMBNAIL`` width.
        rows: Labels at the left.
        columns: Labels at the top.
        path: PNG or JPEG to write, by its suffix.
        headings: Number of a row to what stands above it.
    """
    headings = headings or {}
    font, heavy = ImageFont.load_default(15), ImageFont.load_default(18)
    height = _thumbnail(pictures[0][0]).shape[0]
    left = 16 + max(int(font.getlength(label)) for label in rows)
    tops, top = [], _HEAD
    for number in range(len(rows)):
        top += _SECTION if number in headings else 0
        tops.append(top)
        top += height + _GAP
    sheet = Image.new("RGB", (left + len(columns) * (THUMBNAIL + _GAP), top), "white")
    pen = ImageDraw.Draw(sheet)
    for j, label in enumerate(columns):
        middle = left + j * (THUMBNAIL + _GAP) + THUMBNAIL // 2
        pen.text((middle, _HEAD // 2), label, _TEXT, font, anchor="mm")
    for i, label in enumerate(rows):
        if i in headings:
            middle = tops[i] - _SECTION // 2
            pen.text((8, middle), headings[i], _SECTION_TEXT, heavy, anchor="lm")
        pen.text((left - 8, tops[i] + height // 2), label, _TEXT, font, anchor="rm")
        for j, picture in enumerate(pictures[i]):
            place = (left + j * (THUMBNAIL + _GAP), tops[i])
            sheet.paste(Image.fromarray(_thumbnail(picture)), place)
    with atomic_path(path) as temporary:
        sheet.save(temporary, optimize=True, quality=85)


def _thumbnail(picture: ImageArray) -> ImageArray:
    """Bring a picture to the width of thumbnails: averaged down, or repeated up."""
    height, width = picture.shape[:2]
    size = (THUMBNAIL, max(1, round(height * THUMBNAIL / width)))
    how = Image.Resampling.BOX if width > THUMBNAIL else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, how))

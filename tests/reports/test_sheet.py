from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.corruptions import CORRUPTIONS, GROUPS, SEVERITIES, corrupt_frame
from robustseg.datasets.sample import ImageArray
from robustseg.reports.sheet import THUMBNAIL, corruption_sheet, picture_grid
from robustseg.reports.table import title_of


def read(path: Path) -> ImageArray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def flat(colour: tuple[int, int, int], height: int = 32, width: int = 64) -> ImageArray:
    return np.full((height, width, 3), colour, np.uint8)


def box_of(image: ImageArray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Find where a colour is, and that it fills a rectangle: top, left, height, width."""
    found = (image == colour).all(-1)
    rows, columns = np.nonzero(found)
    box = (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert found.sum() == box[2] * box[3]
    top, left, height, width = map(int, box)
    return top, left, height, width


def find(sheet: ImageArray, picture: ImageArray) -> list[tuple[int, int]]:
    """Find the places of a picture in a sheet, pixel by pixel."""
    height, width = picture.shape[:2]
    corners = (sheet[: -height + 1, : -width + 1] == picture[0, 0]).all(-1)
    return [
        (int(y), int(x))
        for y, x in np.argwhere(corners)
        if np.array_equal(sheet[y : y + height, x : x + width], picture)
    ]


def test_pictures_are_in_their_places(tmp_path: Path) -> None:
    red, green, blue, grey = (200, 30, 30), (30, 180, 30), (30, 30, 220), (91, 97, 90)
    grid = [[flat(red), flat(green)], [flat(blue), flat(grey)]]
    picture_grid(grid, ["first", "second"], ["left", "right"], tmp_path / "g.png")
    image = read(tmp_path / "g.png")
    boxes = {colour: box_of(image, colour) for colour in (red, green, blue, grey)}
    assert {box[2:] for box in boxes.values()} == {(128, 256)}
    assert boxes[red][0] == boxes[green][0] < boxes[blue][0] == boxes[grey][0]
    assert boxes[red][1] == boxes[blue][1] < boxes[green][1] == boxes[grey][1]
    # the labels are dark on white, left of the pictures and above them
    assert (image[:, : boxes[red][1]] < 100).all(-1).any()
    assert (image[: boxes[red][0]] < 100).all(-1).any()


@pytest.mark.parametrize(("height", "width"), [(40, 120), (300, 900), (33, 32)])
def test_pictures_keep_their_shape(height: int, width: int, tmp_path: Path) -> None:
    red = (200, 30, 30)
    picture_grid([[flat(red, height, width)]], ["row"], ["column"], tmp_path / "g.png")
    box = box_of(read(tmp_path / "g.png"), red)
    assert box[2:] == (round(THUMBNAIL * height / width), THUMBNAIL)


def test_headings_make_room_above_their_rows(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 180, 30), (30, 30, 220)]
    rows = [[flat(colour)] for colour in colours]
    picture_grid(rows, ["a", "b", "c"], ["x"], tmp_path / "g.png", {2: "Heading"})
    image = read(tmp_path / "g.png")
    tops = [box_of(image, colour)[0] for colour in colours]
    gap = image[tops[1] + 128 : tops[2]]
    assert tops[2] - tops[1] > tops[1] - tops[0] + 15
    assert (gap < 150).all(-1).any()


def test_sheet_shows_clean_and_all_severities(tmp_path: Path) -> None:
    image = np.random.RandomState(0).randint(0, 256, (64, THUMBNAIL, 3)).astype(np.uint8)
    done: list[int] = []
    groups = {"digital": ("contrast", "brightness"), "noise": ("shot_noise",)}
    corruption_sheet(image, "aachen", tmp_path / "s.png", 7, groups, done.append)
    sheet = read(tmp_path / "s.png")
    clean = find(sheet, image)
    assert len(clean) == 3
    assert len({x for _, x in clean}) == 1
    for (top, _), name in zip(clean, ("contrast", "brightness", "shot_noise"), strict=True):
        lefts = []
        for severity in SEVERITIES:
            ((y, x),) = find(sheet, corrupt_frame(image, "aachen", name, severity, 7))
            assert y == top
            lefts.append(x)
        assert lefts == sorted(lefts)
        assert lefts[0] > clean[0][1]
    assert sum(done) == 15


def test_large_pictures_are_averaged_after_they_are_corrupted(tmp_path: Path) -> None:
    image = np.random.RandomState(0).randint(0, 256, (128, 2 * THUMBNAIL, 3)).astype(np.uint8)
    corruption_sheet(image, "a", tmp_path / "s.png", 0, {"noise": ["impulse_noise"]})
    large = corrupt_frame(image, "a", "impulse_noise", 5, 0).astype(np.float64)
    small = large.reshape(64, 2, THUMBNAIL, 2, 3).mean(axis=(1, 3))
    sheet = read(tmp_path / "s.png")
    last = sheet[:, -THUMBNAIL - 4 : -4]
    best = min(np.abs(last[y : y + 64] - small).max() for y in range(20, sheet.shape[0] - 63))
    assert best <= 1


def test_titles_are_for_people() -> None:
    titles = [title_of(name) for name in CORRUPTIONS]
    assert titles[0] == "Motion blur"
    assert "JPEG" in titles
    assert len(set(titles)) == sum(map(len, GROUPS.values()))
    assert not any("_" in title or not title[0].isupper() for title in titles)

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official
from PIL import Image

from robustseg.datasets.cityscapes import list_frames, load_sample
from robustseg.datasets.labels import (
    CLASS_NAMES,
    IGNORE,
    LABEL_TO_TRAIN,
    LABELS,
    NUM_CLASSES,
    PALETTE,
    TRAIN_TO_LABEL,
    colourise,
    foreign_id,
    occurring,
)
from robustseg.datasets.layout import find_root


def official_train(train_id: int) -> int:
    return IGNORE if train_id == -1 else train_id  # the licence plate has no train id at all


def test_the_table_is_the_official_one() -> None:
    ours = [(c.name, c.label_id, c.train_id, c.category, c.colour) for c in LABELS]
    theirs = [(c.name, c.id, official_train(c.trainId), c.category, c.color) for c in official]
    assert ours == theirs


def test_class_names_and_palette_are_in_train_id_order() -> None:
    by_train = {c.trainId: c for c in official if not c.ignoreInEval}
    assert len(by_train) == NUM_CLASSES == len(CLASS_NAMES)
    assert [by_train[i].name for i in range(19)] == list(CLASS_NAMES)
    assert [by_train[i].color for i in range(19)] == [tuple(row) for row in PALETTE.tolist()]
    assert PALETTE.dtype == np.uint8
    assert PALETTE.shape == (19, 3)


def test_label_ids_map_to_official_train_ids() -> None:
    expected = np.full(256, IGNORE)
    for c in official:
        expected[c.id] = official_train(c.trainId)  # -1 is the last entry, 255
    np.testing.assert_array_equal(LABEL_TO_TRAIN, expected)
    assert LABEL_TO_TRAIN.dtype == np.uint8


def test_train_ids_map_back() -> None:
    np.testing.assert_array_equal(LABEL_TO_TRAIN[TRAIN_TO_LABEL[:19]], np.arange(19))
    assert (TRAIN_TO_LABEL[19:] == 0).all()


@pytest.mark.parametrize("table", [PALETTE, LABEL_TO_TRAIN, TRAIN_TO_LABEL])
def test_tables_cannot_be_changed_by_accident(table: np.ndarray) -> None:
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


def test_colourise_paints_classes_and_leaves_ignored_black() -> None:
    label = np.array([[0, 13, IGNORE], [18, 10, 0]], dtype=np.uint8)
    road, car, bicycle, sky = (128, 64, 128), (0, 0, 142), (119, 11, 32), (70, 130, 180)
    picture = colourise(label)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [
        [list(road), list(car), [0, 0, 0]],
        [list(bicycle), list(sky), list(road)],
    ]
    picture[:] = 7  # a fresh picture, not a view of the table
    assert tuple(PALETTE[0]) == road


@pytest.mark.parametrize(
    ("values", "train_ids", "expected"),
    [
        ([0, 33, 255], False, None),
        ([0, 34, 255], False, 34),
        ([7, 40, 254], False, 254),
        ([0, 18, 255], True, None),
        ([0, 19], True, 19),
    ],
)
def test_foreign_id(values: list[int], train_ids: bool, expected: int | None) -> None:
    present = occurring(np.array([values], dtype=np.uint8))
    assert np.flatnonzero(present).tolist() == values
    assert foreign_id(present, train_ids) == expected


REAL = os.environ.get("ROBUSTSEG_REAL_DATA", "")


@pytest.mark.skipif(not REAL, reason="ROBUSTSEG_REAL_DATA is not set")
@pytest.mark.parametrize(
    ("name", "split", "count", "size"),
    [
        ("cityscapes_full", "val", 5, (1024, 2048)),
        ("cityscapes_full", "train", 8, (1024, 2048)),
        ("cityscapes_quarter", "val", 44, (256, 512)),
        ("cityscapes_quarter", "train", 119, (256, 512)),
    ],
)
def test_real_trees(name: str, split: str, count: int, size: tuple[int, int]) -> None:
    frames = list_frames(find_root(Path(REAL) / name, {}, Path.cwd()), split)
    assert len(frames) == count
    sample = load_sample(frames[-1])
    assert sample.image.shape == (*size, 3)
    with Image.open(frames[-1].label) as stored:
        train_of = {c.id: c.trainId for c in official}
        expected = np.vectorize(lambda i: train_of[i])(np.asarray(stored))
    np.testing.assert_array_equal(sample.label, expected)

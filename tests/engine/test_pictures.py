from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.corruptions.registry import corrupt_frame
from robustseg.corruptions.writer import plan_work, prepare_tree, write_set
from robustseg.datasets.cityscapes import load_sample
from robustseg.datasets.sample import Frame, Sample
from robustseg.engine.pictures import ComputedCells, DecodedSamples, StoredCells, ahead
from robustseg.errors import DataError
from robustseg.progress import Console
from robustseg.results import Cell

CELLS = [Cell("clean", 0), Cell("shot_noise", 2), Cell("fog", 5), Cell("jpeg_compression", 1)]


@pytest.fixture(scope="module")
def root_c(root: Path, frames: Sequence[Frame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root_c = tmp_path_factory.mktemp("set") / "cityscapes_c"
    for cell in CELLS[1:]:
        prepare_tree(root, root_c, [cell.corruption], [cell.severity], 7)
        plan = plan_work(root, root_c, frames, [cell.corruption], [cell.severity])
        write_set(plan, 7, 0, Console(quiet=True))
    return root_c


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_stored_and_computed_images_are_the_same(
    root: Path, root_c: Path, frames: Sequence[Frame], cell: Cell
) -> None:
    computed = ComputedCells(7, DecodedSamples())
    stored = StoredCells(root, root_c, DecodedSamples())
    for frame in frames:
        clean = load_sample(frame)
        expected = clean.image
        if cell.severity:
            expected = corrupt_frame(clean.image, frame.id, cell.corruption, cell.severity, 7)
            assert not np.array_equal(expected, clean.image)
        for sample in (computed.get(frame, cell), stored.get(frame, cell)):
            assert sample.frame == frame
            np.testing.assert_array_equal(sample.image, expected)
            np.testing.assert_array_equal(sample.label, clean.label)


def test_clean_images_stay_clean_after_corrupting(frames: Sequence[Frame]) -> None:
    cells = ComputedCells(0, DecodedSamples())
    before = cells.get(frames[0], Cell("clean", 0)).image.copy()
    for name in ("glass_blur", "saturate", "frost"):
        cells.get(frames[0], Cell(name, 5))
    np.testing.assert_array_equal(cells.get(frames[0], Cell("clean", 0)).image, before)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_order_is_that_of_the_frames(
    frames: Sequence[Frame], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ComputedCells(0, DecodedSamples())
    many = [frames[i % 3] for i in range(10)]
    real, delays = DecodedSamples.get, iter([0.03, 0.0, 0.02] * 4)

    def slow(self: DecodedSamples, frame: Frame) -> Sample:
        time.sleep(next(delays))
        return real(self, frame)

    monkeypatch.setattr(DecodedSamples, "get", slow)
    found = [sample.frame.id for sample in ahead(cells, many, Cell("clean", 0), workers)]
    assert found == [frame.id for frame in many]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_no_more_images_are_made_ahead_than_asked_for(
    frames: Sequence[Frame], workers: int
) -> None:
    made = []
    lock = threading.Lock()

    class Counting(ComputedCells):
        def get(self, frame: Frame, cell: Cell) -> Sample:
            with lock:
                made.append(frame.id)
            return super().get(frame, cell)

    cells = Counting(0, DecodedSamples())
    many = [frames[i % 3] for i in range(20)]
    images = ahead(cells, many, Cell("clean", 0), workers)
    for used in range(1, 6):
        next(images)
        time.sleep(0.01)
        assert len(made) <= used + workers
    images.close()  # type: ignore[attr-defined]
    assert len(made) < 20


def test_memory_is_bounded(frames: Sequence[Frame]) -> None:
    size = 64 * 128 * 4
    decoded = DecodedSamples(limit=2 * size + size // 2)
    samples = [decoded.get(frame) for frame in frames]
    assert decoded.used == 2 * size
    again = [decoded.get(frame) for frame in frames]
    assert [a is b for a, b in zip(samples, again, strict=True)] == [True, True, False]
    np.testing.assert_array_equal(samples[2].image, again[2].image)
    assert decoded.used == 2 * size


def test_memory_of_no_bytes_keeps_nothing(frames: Sequence[Frame]) -> None:
    decoded = DecodedSamples(limit=0)
    assert decoded.get(frames[0]) is not decoded.get(frames[0])
    assert decoded.used == 0


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_unreadable_image_surfaces_after_those_before_it(
    frames: Sequence[Frame], workers: int, tmp_path: Path
) -> None:
    broken = tmp_path / "broken_leftImg8bit.png"
    broken.write_bytes(frames[1].image.read_bytes()[:200])
    mixed = [frames[0], replace(frames[1], id="broken", image=broken), frames[2]]
    images = ahead(ComputedCells(0, DecodedSamples()), mixed, Cell("fog", 1), workers)
    assert next(images).frame == frames[0]
    with pytest.raises(DataError, match="truncated or damaged"):
        next(images)


def test_stored_image_of_another_size_is_refused(
    root: Path, frames: Sequence[Frame], tmp_path: Path
) -> None:
    stored = StoredCells(root, tmp_path, DecodedSamples())
    path = stored.path(frames[0], Cell("fog", 1))
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match="use images and labels of one size") as caught:
        stored.get(frames[0], Cell("fog", 1))
    assert str(path) in str(caught.value)


def test_missing_stored_image_is_named(root: Path, frames: Sequence[Frame], tmp_path: Path) -> None:
    stored = StoredCells(root, tmp_path, DecodedSamples())
    with pytest.raises(DataError, match=r"fog/1/leftImg8bit/val/.*No such file"):
        stored.get(frames[0], Cell("fog", 1))

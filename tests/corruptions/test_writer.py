from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.cli.main import main
from robustseg.corruptions import writer
from robustseg.corruptions.registry import corrupt_frame
from robustseg.corruptions.writer import Record, plan_work, prepare_tree, read_record, write_set
from robustseg.datasets.cityscapes import list_frames, load_image, load_sample
from robustseg.datasets.doctor import examine
from robustseg.datasets.sample import Frame
from robustseg.errors import DataError, SettingError
from robustseg.progress import Console

NAMES = ["shot_noise", "contrast"]
SEVERITIES = [1, 4]
QUIET = Console(quiet=True)


def write_pairs(root: Path, count: int, height: int = 64, width: int = 96) -> None:
    for number in range(count):
        rng = np.random.default_rng(number)
        city = ("aa", "bb")[number % 2]
        for part, suffix, shape, top in (
            ("leftImg8bit", "leftImg8bit", (height, width, 3), 256),
            ("gtFine", "gtFine_labelIds", (height, width), 34),
        ):
            folder = root / part / "val" / city
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, top, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{city}_{number:06d}_000019_{suffix}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pairs(tmp_path / "cityscapes", 3)
    return tmp_path / "cityscapes"


@pytest.fixture
def frames(root: Path) -> Sequence[Frame]:
    return list_frames(root, "val")


def write(
    root: Path,
    root_c: Path,
    workers: int = 0,
    names: Sequence[str] = NAMES,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
) -> list[str]:
    prepare_tree(root, root_c, names, severities, seed)
    plan = plan_work(root, root_c, list_frames(root, "val"), names, severities)
    return write_set(plan, seed, workers, QUIET)


def contents(root_c: Path) -> dict[str, bytes]:
    """Every image under its final name."""
    return {
        path.relative_to(root_c).as_posix(): path.read_bytes()
        for path in root_c.glob("*/*/leftImg8bit/**/*.png")
        if not path.name.startswith(".")
    }


def test_layout_and_pixels(root: Path, frames: Sequence[Frame], tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    assert write(root, root_c) == []
    assert set(contents(root_c)) == {
        f"{name}/{severity}/leftImg8bit/val/{city}/{city}_{number}_000019_leftImg8bit.png"
        for name in NAMES
        for severity in SEVERITIES
        for city, number in (("aa", "000000"), ("bb", "000001"), ("aa", "000002"))
    }
    for frame in frames:
        clean = load_image(frame.image)
        below = frame.image.relative_to(root)
        for name in NAMES:
            for severity in SEVERITIES:
                found = np.asarray(Image.open(root_c / name / str(severity) / below))
                expected = corrupt_frame(clean, frame.id, name, severity, 0)
                np.testing.assert_array_equal(found, expected)


def test_each_cell_is_a_data_set_of_its_own(
    root: Path, frames: Sequence[Frame], tmp_path: Path
) -> None:
    root_c = tmp_path / "deep" / "down" / "set"
    write(root, root_c)
    for name in NAMES:
        for severity in SEVERITIES:
            cell = root_c / name / str(severity)
            link = cell / "gtFine"
            assert link.is_symlink()
            assert not link.readlink().is_absolute()
            assert link.resolve() == (root / "gtFine").resolve()
            listed = list_frames(cell, "val")
            assert [f.id for f in listed] == [f.id for f in frames]
            for mine, clean in zip(listed, frames, strict=True):
                np.testing.assert_array_equal(load_sample(mine).label, load_sample(clean).label)
            assert not [f for f in examine(cell) if f.severity == "error"]


def test_links_survive_moving_both_and_are_mended_after_moving_one(
    root: Path, tmp_path: Path
) -> None:
    write(root, tmp_path / "cityscapes_c")
    (tmp_path / "elsewhere").mkdir()
    root = root.rename(tmp_path / "elsewhere" / "cityscapes")
    root_c = (tmp_path / "cityscapes_c").rename(tmp_path / "elsewhere" / "cityscapes_c")
    link = root_c / "contrast" / "4" / "gtFine"
    assert link.resolve() == root / "gtFine"
    root = root.rename(tmp_path / "renamed")
    assert not link.exists()
    assert write(root, root_c) == []
    assert link.resolve() == root / "gtFine"


def test_links_are_right_where_the_set_lies_behind_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "far").mkdir(parents=True)
    (tmp_path / "short").symlink_to(tmp_path / "disk" / "far")
    write(root, tmp_path / "short" / "set")
    link = tmp_path / "disk" / "far" / "set" / "contrast" / "1" / "gtFine"
    assert link.resolve() == root / "gtFine"


def test_files_that_are_there_are_kept(root: Path, tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    write(root, root_c)
    before = contents(root_c)
    lost = root_c / sorted(before)[5]
    lost.unlink()
    stamps = {path: (root_c / path).stat().st_mtime_ns for path in before if root_c / path != lost}
    plan = plan_work(root, root_c, list_frames(root, "val"), NAMES, SEVERITIES)
    assert [t.path for work in plan.work for t in work.targets] == [lost]
    write(root, root_c)
    assert contents(root_c) == before
    assert {path: (root_c / path).stat().st_mtime_ns for path in stamps} == stamps


def test_workers_do_not_change_bytes(root: Path, tmp_path: Path) -> None:
    write(root, tmp_path / "one", workers=1)
    write(root, tmp_path / "two", workers=2)
    one = contents(tmp_path / "one")
    assert len(one) == 12
    assert contents(tmp_path / "two") == one


def test_order_and_choice_of_cells_do_not_change_bytes(root: Path, tmp_path: Path) -> None:
    write(root, tmp_path / "all")
    write(root, tmp_path / "few", names=["contrast"], severities=[4])
    few = contents(tmp_path / "few")
    assert len(few) == 3
    assert few.items() <= contents(tmp_path / "all").items()


def test_another_seed_is_refused_and_nothing_is_touched(root: Path, tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    write(root, root_c, seed=3)
    assert read_record(root_c) == Record(3)
    before = contents(root_c)
    with pytest.raises(SettingError, match="seed 3"):
        write(root, root_c, seed=4, names=["fog"])
    assert contents(root_c) == before
    assert not (root_c / "fog").exists()
    assert read_record(root_c) == Record(3)


def test_set_of_other_origin_has_no_seed(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b""])
def test_damaged_record_is_named(root: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cityscapes_c.json").write_bytes(content)
    with pytest.raises(DataError, match=r"cityscapes_c\.json is .* give another --root-c"):
        write(root, tmp_path / "set")


def test_images_of_unknown_making_are_not_adopted(root: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / "fog" / "1").mkdir(parents=True)
    with pytest.raises(SettingError, match=r"holds fog but no cityscapes_c\.json"):
        write(root, tmp_path / "set")
    assert not (tmp_path / "set" / "cityscapes_c.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_source_is_named_and_the_rest_made(
    root: Path, frames: Sequence[Frame], tmp_path: Path, workers: int
) -> None:
    broken = frames[1].image
    broken.write_bytes(broken.read_bytes()[:1000])
    (failure,) = write(root, tmp_path / "set", workers=workers)
    assert failure.startswith(f"{broken}: is truncated or damaged")
    made = contents(tmp_path / "set")
    assert len(made) == 8
    assert not any(broken.name in name for name in made)


def test_full_disk_ends_in_one_line_and_keeps_finished_files(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(root, tmp_path / "whole")
    room = 5
    real = Path.write_bytes

    def fill(self: Path, content: bytes) -> int:
        nonlocal room
        if self.suffix == ".png":
            room -= 1
            if room < 0:
                real(self, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, content)

    root_c = tmp_path / "set"
    arguments = ["generate-c", "--root", str(root), "--root-c", str(root_c), "-q", "--workers", "0"]
    arguments += ["--corruptions", *NAMES, "--severities", "1", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("robustseg: error: no space left to write")
    assert err.count("\n") == 1
    expected = contents(tmp_path / "whole")
    partly = contents(root_c)
    assert len(partly) == 5
    assert partly.items() <= expected.items()
    assert not [p for p in root_c.rglob(".*") if p.is_file()]
    assert main(arguments) == 0
    assert contents(root_c) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_process_leaves_no_partial_file(tmp_path: Path, workers: int) -> None:
    root = tmp_path / "cityscapes"
    write_pairs(root, 4, 192, 384)
    names = ["gaussian_noise", "snow", "saturate"]
    command = [sys.executable, "-m", "robustseg", "generate-c", "--root", str(root), "-q"]
    command += ["--corruptions", *names, "--workers", str(workers)]
    root_c = tmp_path / "cityscapes_c"
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(contents(root_c)) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.Random(workers).uniform(0, 0.1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    write(root, tmp_path / "whole", names=names, severities=[1, 2, 3, 4, 5])
    expected = contents(tmp_path / "whole")
    partly = contents(root_c)
    assert 3 <= len(partly) < len(expected) == 60
    assert partly.items() <= expected.items()
    stamps = {path: (root_c / path).stat().st_mtime_ns for path in partly}
    write(root, root_c, names=names, severities=[1, 2, 3, 4, 5])
    assert contents(root_c) == expected
    assert {path: (root_c / path).stat().st_mtime_ns for path in stamps} == stamps


def test_free_space_is_that_of_a_folder_not_yet_made(tmp_path: Path) -> None:
    free = writer.free_bytes(tmp_path / "a" / "b")
    assert free == pytest.approx(writer.free_bytes(tmp_path), rel=0.2)
    assert not (tmp_path / "a").exists()

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.cli.main import main
from robustseg.corruptions import writer
from robustseg.corruptions.manifest import read_manifest
from robustseg.corruptions.registry import corrupt_frame
from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.corruptions.writer import (
    Record,
    Target,
    plan_work,
    prepare_tree,
    read_record,
    write_set,
)
from robustseg.datasets.cityscapes import list_frames, load_image, load_sample
from robustseg.datasets.doctor import examine
from robustseg.datasets.sample import Frame
from robustseg.errors import DataError, SettingError
from robustseg.progress import Console
from robustseg.shards import Shard

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


def tree(root_c: Path) -> dict[str, bytes]:
    """Everything in the set's folder, hidden files too; the labels are links."""
    return {
        path.relative_to(root_c).as_posix(): b"" if path.is_dir() else path.read_bytes()
        for path in root_c.rglob("*")
        if "gtFine" not in path.parts
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


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b"",
        b'{"schema": 1, "seed": 0, "definition": "x", "channel_order": "grb"}',
        b'{"schema": 99, "seed": 0, "definition": "x", "channel_order": "rgb"}',
    ],
)
def test_damaged_record_is_named(root: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cityscapes_c.json").write_bytes(content)
    with pytest.raises(DataError, match=r"cityscapes_c\.json is .* give another --root-c"):
        write(root, tmp_path / "set")


def test_images_of_unknown_making_are_not_adopted(root: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / "fog" / "1").mkdir(parents=True)
    with pytest.raises(SettingError, match=r"holds fog/1 but no cityscapes_c\.json"):
        write(root, tmp_path / "set")
    assert not (tmp_path / "set" / "cityscapes_c.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_unreadable_source_is_named_and_the_rest_made(
    root: Path, frames: Sequence[Frame], tmp_path: Path, workers: int, damage: str
) -> None:
    broken = frames[1].image
    root_c = tmp_path / "set"
    prepare_tree(root, root_c, NAMES, SEVERITIES, 0)
    plan = plan_work(root, root_c, frames, NAMES, SEVERITIES, workers=workers)
    if workers > 1:  # an image is two pieces of work, but one failure
        assert len(plan.work) == 6
    if damage == "truncated":
        broken.write_bytes(broken.read_bytes()[:1000])
    else:
        broken.unlink()
    (failure,) = write_set(plan, 0, workers, QUIET)
    expected = {"truncated": "is truncated or damaged", "gone": "cannot be read"}
    assert failure.startswith(f"{broken}: {expected[damage]}")
    assert failure.endswith("(4 files not made)")
    made = contents(root_c)
    assert len(made) == 8
    assert not any(broken.name in name for name in made)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_cannot_be_written_costs_itself_alone(
    root: Path, tmp_path: Path, workers: int
) -> None:
    root_c = tmp_path / "set"
    blocked = root_c / "contrast" / "4" / "leftImg8bit"
    blocked.parent.mkdir(parents=True)
    (root_c / "cityscapes_c.json").write_text(
        '{"schema": 1, "seed": 0, "definition": "imagecorruptions-1.1.2", "channel_order": "rgb"}'
    )
    blocked.write_text("a file where a folder should be")
    failures = write(root, root_c, workers)
    assert len(failures) == 3
    assert all(line.startswith(f"{blocked}/val/") for line in failures)
    assert len(contents(root_c)) == 9
    assert blocked.read_text() == "a file where a folder should be"


def test_a_full_disk_ends_the_run_early_and_keeps_finished_files(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["shot_noise", "contrast", "frost", "fog", "snow"]
    write(root, tmp_path / "whole", names=names)
    room = 5
    attempts = 0
    real = Path.write_bytes

    def fill(self: Path, content: bytes) -> int:
        nonlocal attempts
        if self.suffix == ".png":
            attempts += 1
            if attempts > room:
                real(self, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, content)

    root_c = tmp_path / "set"
    arguments = ["generate-c", "--root", str(root), "--root-c", str(root_c), "-q", "--workers", "0"]
    arguments += ["--corruptions", *names, "--severities", "1", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        assert main(arguments) == 1
    *failed, last = capsys.readouterr().err.splitlines()
    # not each of the 25 that are left is tried
    assert room < attempts <= room + 4
    assert len(failed) == attempts - room
    assert all(line.startswith(f"left out: {root_c}/") for line in failed)
    assert last.startswith(f"left out: 25 files of {root_c}: No space left on device")
    assert contents(root_c).items() <= contents(tmp_path / "whole").items()
    assert len(contents(root_c)) == 5
    assert not [p for p in root_c.rglob(".*") if p.is_file()]
    assert main(arguments) == 0
    assert tree(root_c) == tree(tmp_path / "whole")


def generate(root: Path, root_c: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``generate-c`` in a process group of its own."""
    command = [sys.executable, "-m", "robustseg", "generate-c", "--root", str(root), "-q"]
    command += ["--root-c", str(root_c), *options]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_kill_and_the_same_command_end_in_the_same_tree(tmp_path: Path, workers: int) -> None:
    root = tmp_path / "cityscapes"
    write_pairs(root, 4, 192, 384)
    names = ["gaussian_noise", "snow", "saturate"]
    options = ["--corruptions", *names, "--workers", str(workers)]
    root_c = tmp_path / "cityscapes_c"
    process = generate(root, root_c, *options)
    wait_until(lambda: len(contents(root_c)) >= 3, "three files")
    time.sleep(random.Random(workers).uniform(0, 0.1))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    write(root, tmp_path / "whole", names=names, severities=[1, 2, 3, 4, 5])
    expected = contents(tmp_path / "whole")
    partly = contents(root_c)
    assert 3 <= len(partly) < len(expected) == 60
    assert partly.items() <= expected.items()
    stamps = {path: (root_c / path).stat().st_mtime_ns for path in partly}
    again = generate(root, root_c, *options)
    assert again.communicate()[1] == ""
    assert again.returncode == 0
    assert {path: (root_c / path).stat().st_mtime_ns for path in stamps} == stamps
    assert "manifest.csv" in tree(root_c)
    assert tree(root_c) == tree(tmp_path / "whole")


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for child processes")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "cityscapes"
    write_pairs(root, 4, 192, 384)
    root_c = tmp_path / "cityscapes_c"
    options = ["--corruptions", "gaussian_noise", "snow", "saturate", "--workers", "2"]
    process = generate(root, root_c, *options)
    wait_until(lambda: len(contents(root_c)) >= 3, "three files")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    wait_until(lambda: not any(map(is_running, children)), "their end")
    process.communicate()
    again = generate(root, root_c, *options)
    again.communicate()
    assert again.returncode == 0
    write(root, tmp_path / "whole", 0, ["gaussian_noise", "snow", "saturate"], [1, 2, 3, 4, 5])
    assert tree(root_c) == tree(tmp_path / "whole")


def test_two_processes_on_one_set_do_not_harm_each_other(tmp_path: Path) -> None:
    root = tmp_path / "cityscapes"
    write_pairs(root, 4, 96, 160)
    root_c = tmp_path / "cityscapes_c"
    options = ["--corruptions", "snow", "contrast", "fog", "--workers", "0"]
    both = [generate(root, root_c, *options) for _ in range(2)]
    for process in both:
        _, err = process.communicate()
        assert (process.returncode, err) == (0, "")
    write(root, tmp_path / "whole", names=["snow", "contrast", "fog"], severities=[1, 2, 3, 4, 5])
    assert len(contents(root_c)) == 60
    assert tree(root_c) == tree(tmp_path / "whole")


def test_two_seeds_started_at_once_are_never_mixed(root: Path, tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    options = ["--corruptions", "contrast", "frost", "--workers", "0", "--seed"]
    both = {seed: generate(root, root_c, *options, str(seed)) for seed in (1, 2)}
    codes = {seed: (process.communicate(), process.returncode)[1] for seed, process in both.items()}
    assert sorted(codes.values()) == [0, 2]
    (winner,) = [seed for seed, code in codes.items() if code == 0]
    write(root, tmp_path / "whole", 0, ["contrast", "frost"], [1, 2, 3, 4, 5], seed=winner)
    assert tree(root_c) == tree(tmp_path / "whole")


def test_what_a_killed_run_left_is_removed_and_nothing_else(root: Path, tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    write(root, root_c)
    before = tree(root_c)
    below = root_c / "contrast" / "1" / "leftImg8bit" / "val" / "aa"
    left = below / ".aa_000000_000019_leftImg8bit-0123456789ab.png"
    left.write_bytes(b"part")
    (root_c / ".run-0123456789ab").mkdir()
    (root_c / ".run-0123456789ab" / "go").touch()
    (root_c / ".manifest-0123456789ab.csv").write_bytes(b"part")
    (root_c / "runs").mkdir()
    others = {
        below / ".notes.png": b"of the user",
        root_c / ".notes-0123456789ab.csv": b"of the user",
        root_c / "runs" / ".fog-1-0123456789ab.json": b"of another program",
    }
    for path, content in others.items():
        path.write_bytes(content)
    assert write(root, root_c) == []
    for path, content in others.items():
        assert path.read_bytes() == content
        path.unlink()
    (root_c / "runs").rmdir()
    assert tree(root_c) == before


def test_files_of_before_the_manifest_are_hashed_and_listed(root: Path, tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    write(root, root_c)
    listed = read_manifest(root_c)
    stamps = {path: (root_c / path).stat().st_mtime_ns for path in listed}
    (root_c / "manifest.csv").unlink()
    assert write(root, root_c) == []
    assert read_manifest(root_c) == {p: replace(e, versions="") for p, e in listed.items()}
    assert {path: (root_c / path).stat().st_mtime_ns for path in listed} == stamps


def test_a_damaged_file_of_before_the_manifest_is_named_not_replaced(
    root: Path, tmp_path: Path
) -> None:
    root_c = tmp_path / "set"
    write(root, root_c)
    (root_c / "manifest.csv").unlink()
    path = root_c / sorted(contents(root_c))[3]
    path.write_bytes(path.read_bytes()[:200])
    for _ in range(2):
        (failure,) = write(root, root_c, workers=2)
        assert failure.startswith(f"{path}: is truncated or damaged; remove it")
        assert path.stat().st_size == 200
        assert len(read_manifest(root_c)) == 11
    path.unlink()
    assert write(root, root_c) == []
    assert len(read_manifest(root_c)) == 12


def test_channels_in_reverse(root: Path, frames: Sequence[Frame], tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    prepare_tree(root, root_c, ["frost"], [3], 0, "bgr")
    plan = plan_work(root, root_c, frames, ["frost"], [3])
    assert write_set(plan, 0, 0, QUIET, "bgr") == []
    assert read_record(root_c) == Record(0, channel_order="bgr")
    assert {entry.channel_order for entry in read_manifest(root_c).values()} == {"bgr"}
    clean = load_image(frames[0].image)
    below = root_c / "frost" / "3" / frames[0].image.relative_to(root)
    found = np.asarray(Image.open(below))
    reverse = np.ascontiguousarray(clean[..., ::-1])
    np.testing.assert_array_equal(
        found[..., ::-1], corrupt_frame(reverse, frames[0].id, "frost", 3, 0)
    )
    assert (found != corrupt_frame(clean, frames[0].id, "frost", 3, 0)).any()
    with pytest.raises(SettingError, match=r"bgr, not .* rgb"):
        write(root, root_c, names=["frost"])


def some_frames(count: int) -> list[Frame]:
    names = [f"aa_{number:06d}_000019" for number in range(count)]
    folder = Path("root/leftImg8bit/val/aa")
    return [Frame(n, folder / f"{n}_leftImg8bit.png", Path(f"{n}.png")) for n in names]


def targets(images: int, shard: Shard, workers: int = 1) -> list[Target]:
    root, root_c = Path("root"), Path("no such set")
    plan = plan_work(root, root_c, some_frames(images), CORRUPTIONS, SEVERITIES, shard, workers)
    return [target for work in plan.work for target in work.targets]


@pytest.mark.parametrize("images", [1, 3, 17, 500])
@pytest.mark.parametrize("parts", [2, 3, 8, 100])
def test_parts_have_nothing_in_common_and_make_the_whole(images: int, parts: int) -> None:
    pieces = [targets(images, Shard(part, parts)) for part in range(1, parts + 1)]
    together = [target for piece in pieces for target in piece]
    assert len(together) == images * 16 * 2
    assert set(together) == set(targets(images, Shard()))
    if images * 16 >= parts:  # there is enough for all, and no part has twice the share
        share = images * 16 * 2 / parts
        assert max(map(len, pieces)) <= max(2 * share, 2)
        assert min(map(len, pieces)) > 0


def test_a_part_does_not_depend_on_what_is_there(root: Path, tmp_path: Path) -> None:
    root_c = tmp_path / "set"
    frames = list_frames(root, "val")

    def part(number: int) -> set[Path]:
        plan = plan_work(root, root_c, frames, NAMES, SEVERITIES, Shard(number, 2))
        return {t.path for work in plan.work for t in work.targets} | {t.path for t in plan.there}

    before = part(1), part(2)
    assert not before[0] & before[1]
    write(root, root_c, names=["contrast"], severities=[4])
    assert (part(1), part(2)) == before


@pytest.mark.parametrize(("images", "workers"), [(1, 2), (2, 2), (3, 8), (1, 64), (50, 2)])
def test_few_images_are_divided_between_workers(images: int, workers: int) -> None:
    root, root_c = Path("root"), Path("no such set")
    frames = some_frames(images)
    plan = plan_work(root, root_c, frames, CORRUPTIONS, SEVERITIES, workers=workers)
    assert len(plan.work) >= min(workers, images * 16)
    made = [target for work in plan.work for target in work.targets]
    assert len(made) == len(set(made)) == images * 16 * 2
    if images >= 4 * workers:
        assert len(plan.work) == images
    for work in plan.work:
        below = work.frame.image.relative_to(root)
        assert all(t.path == root_c / t.corruption / str(t.severity) / below for t in work.targets)


def test_free_space_is_that_of_a_folder_not_yet_made(tmp_path: Path) -> None:
    free = writer.free_bytes(tmp_path / "a" / "b")
    assert free == pytest.approx(writer.free_bytes(tmp_path), rel=0.2)
    assert not (tmp_path / "a").exists()

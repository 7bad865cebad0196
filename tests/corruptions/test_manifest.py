from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from robustseg.corruptions import png
from robustseg.corruptions.manifest import (
    Entry,
    Journal,
    Run,
    entries_so_far,
    library_versions,
    read_manifest,
    runs_of,
    settle,
    temporary_token,
)
from robustseg.corruptions.writer import plan_work, prepare_tree, write_set
from robustseg.datasets.cityscapes import list_frames
from robustseg.errors import DataError
from robustseg.progress import Console

COLUMNS = [
    "path",
    "sha256",
    "pixels_sha256",
    "corruption",
    "severity",
    "seed",
    "definition",
    "channel_order",
    "versions",
]


def write_pair(root: Path) -> None:
    for part, suffix, shape in (
        ("leftImg8bit", "leftImg8bit", (40, 56, 3)),
        ("gtFine", "gtFine_labelIds", (40, 56)),
    ):
        folder = root / part / "val" / "aa"
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 34, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"aa_000000_000019_{suffix}.png")


def write(root: Path, root_c: Path, names: tuple[str, ...] = ("frost", "contrast")) -> None:
    prepare_tree(root, root_c, names, [2, 5], 7)
    plan = plan_work(root, root_c, list_frames(root, "val"), names, [2, 5])
    assert write_set(plan, 7, 0, Console(quiet=True)) == []


@pytest.fixture
def root_c(tmp_path: Path) -> Path:
    write_pair(tmp_path / "city")
    write(tmp_path / "city", tmp_path / "set")
    return tmp_path / "set"


def make_entry(path: str = "fog/1/leftImg8bit/val/aa/x.png", content: bytes = b"") -> Entry:
    corruption, severity = path.split("/")[:2]
    digest = hashlib.sha256(content).hexdigest()
    return Entry(path, digest, "p" * 64, corruption, int(severity), 0, "d", "rgb", "v 1")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A set with a record and no file."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "cityscapes_c.json").write_text("{}")
    return folder


def put(root_c: Path, path: str, content: bytes = b"") -> Path:
    (root_c / path).parent.mkdir(parents=True, exist_ok=True)
    (root_c / path).write_bytes(content)
    return root_c / path


def test_rows_are_what_other_programs_compute(root_c: Path) -> None:
    with (root_c / "manifest.csv").open(newline="") as stream:
        head, *rows = csv.reader(stream)
    assert head == COLUMNS
    files = [p for p in root_c.glob("*/*/leftImg8bit/**/*.png")]
    assert [row[0] for row in rows] == sorted(p.relative_to(root_c).as_posix() for p in files)
    assert len(rows) == 4
    for path, sha256, pixels, corruption, severity, seed, definition, order, versions in rows:
        content = (root_c / path).read_bytes()
        assert sha256 == hashlib.sha256(content).hexdigest()
        decoded = np.asarray(Image.open(root_c / path))
        assert pixels == hashlib.sha256(decoded.tobytes()).hexdigest()
        assert path.startswith(f"{corruption}/{severity}/")
        assert (seed, definition, order) == ("7", "imagecorruptions-1.1.2", "rgb")
        assert f"numpy {np.__version__}" in versions
        assert f"robustseg {version('robustseg')}" in versions


def test_another_encoder_gives_other_bytes_of_the_same_pixels(
    root_c: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if png.load_fpng() is None:
        pytest.skip("fpng is not installed: there is one encoder only")
    monkeypatch.setattr(png, "load_fpng", lambda: None)
    write(tmp_path / "city", tmp_path / "other")
    mine, other = read_manifest(root_c), read_manifest(tmp_path / "other")
    assert list(mine) == list(other)
    for path, entry in mine.items():
        assert entry.pixels_sha256 == other[path].pixels_sha256
        assert entry.sha256 != other[path].sha256


def test_versions_name_what_is_installed() -> None:
    versions = dict(text.split(" ") for text in library_versions().split("; "))
    assert versions["numpy"] == np.__version__
    assert versions["pillow"] == version("pillow")
    assert versions.get("opencv-python", cv2.__version__).startswith(cv2.__version__)


def test_a_journal_that_is_cut_anywhere_gives_its_whole_lines(bare: Path) -> None:
    entries = [make_entry(f"fog/{n}/leftImg8bit/val/aa/ü, {n}.png") for n in range(1, 5)]
    for entry in entries:
        put(bare, entry.path)
    run = Run(bare, "0" * 12)
    run.folder.mkdir()
    (run.folder / "alive").touch()
    with run.journal() as journal:
        for entry in entries:
            journal.add(entry)
    (path,) = run.folder.glob("*.jsonl")
    whole = path.read_bytes()
    counts = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = list(run.entries())
        assert found == entries[: len(found)]
        counts.append(len(found))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 4)
    # what follows a cut line is not lost with it
    path.write_bytes(whole[: len(whole) // 2])
    with run.journal() as journal:
        journal.add(entries[3])
    assert list(run.entries())[-1] == entries[3]


def test_a_line_that_does_not_fit_on_the_disk_is_an_error(bare: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(OSError, match="space"):
        Journal(stream).add(make_entry())


def test_a_file_that_never_got_its_name_is_not_listed(bare: Path) -> None:
    there, gone = make_entry(), make_entry("fog/2/leftImg8bit/val/aa/x.png")
    put(bare, there.path)
    run, alive = Run.begin(bare)
    with alive, run.journal() as journal:
        journal.add(there)
        journal.add(gone)
    settle(bare, run)
    assert list(read_manifest(bare).values()) == [there]


def test_a_listed_file_stays_listed_when_it_is_gone(root_c: Path) -> None:
    before = read_manifest(root_c)
    (root_c / next(iter(before))).unlink()
    settle(root_c)
    assert read_manifest(root_c) == before


@pytest.mark.parametrize("last", [0, 1])
def test_of_two_entries_the_one_that_fits_the_file_is_kept(bare: Path, last: int) -> None:
    entries = [make_entry(content=b"one"), make_entry(content=b"two")]
    put(bare, entries[0].path, b"two")
    run, alive = Run.begin(bare)
    with alive, run.journal() as journal:
        journal.add(entries[1 - last])
        journal.add(entries[last])
    settle(bare, run)
    assert list(read_manifest(bare).values()) == [entries[1]]


def test_names_of_any_kind_survive(bare: Path) -> None:
    names = ["a,b.png", 'a"b.png', "ü.png", os.fsdecode(b"\xff.png")]
    entries = [make_entry(f"fog/1/leftImg8bit/val/aa/{name}") for name in names]
    run, alive = Run.begin(bare)
    with alive, run.journal() as journal:
        for entry in entries:
            put(bare, entry.path)
            journal.add(entry)
    settle(bare, run)
    assert sorted(read_manifest(bare).values()) == sorted(entries)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b"path,sha256\nx,y\n",
        (",".join(COLUMNS) + "\nfog/1/leftImg8bit/val/x.png,0,0,fog\n").encode(),
        (",".join(COLUMNS) + "\nfog/1/leftImg8bit/val/x.png,0,0,fog,one,0,d,rgb,\n").encode(),
        (",".join(COLUMNS) + "\nfog/1/../../../x.png,0,0,fog,1,0,d,rgb,\n").encode(),
        (",".join(COLUMNS) + '\n"fog/1').encode(),
        (",".join(COLUMNS) + "\n\n").encode(),
        (",".join(COLUMNS) + "\nfog/1/leftImg8bit/val/x.png,0,0,fog,1,0,d,rgb,numpy 2.").encode(),
    ],
)
def test_a_damaged_manifest_is_named_and_left_alone(bare: Path, content: bytes) -> None:
    (bare / "manifest.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.csv is damaged: move it away"):
        settle(bare)
    assert (bare / "manifest.csv").read_bytes() == content


HOLDER = """
import sys
from pathlib import Path
from robustseg.corruptions.manifest import Run
run, alive = Run.begin(Path(sys.argv[1]))
print(run.token, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(bare: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a run on the set."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(bare)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_files_of_a_living_process_are_left_alone_until_it_is_killed(
    bare: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.stdout is not None
    run = Run(bare, holder.stdout.readline().strip())
    entry = make_entry()
    put(bare, entry.path)
    with run.journal() as journal:
        journal.add(entry)
    temporary = put(bare, f"fog/1/leftImg8bit/val/aa/.x-{run.token}.png")
    orphan = put(bare, "fog/1/leftImg8bit/val/aa/.x-ffffffffffff.png")
    settle(bare)
    assert temporary.exists()
    assert not orphan.exists()
    assert runs_of(bare) == [run]
    assert run.is_alive()
    assert entries_so_far(bare) == {entry.path: entry}
    holder.kill()
    holder.wait()
    assert not run.is_alive()
    settle(bare)
    assert not temporary.exists()
    assert runs_of(bare) == []
    assert read_manifest(bare) == {entry.path: entry}


def test_settling_twice_changes_nothing(root_c: Path) -> None:
    path = root_c / "manifest.csv"
    content, stamp = path.read_bytes(), path.stat().st_mtime_ns
    settle(root_c)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, stamp)


def test_a_file_made_again_has_a_new_row(root_c: Path, tmp_path: Path) -> None:
    before = read_manifest(root_c)
    name = next(iter(before))
    text = (root_c / "manifest.csv").read_text()
    (root_c / "manifest.csv").write_text(text.replace(before[name].sha256, "0" * 64))
    assert read_manifest(root_c)[name] == replace(before[name], sha256="0" * 64)
    (root_c / name).unlink()
    write(tmp_path / "city", root_c)
    assert read_manifest(root_c) == before


@pytest.mark.parametrize(
    ("name", "token"),
    [
        (".aa_0_leftImg8bit-0123456789ab.png", "0123456789ab"),
        (".manifest-ffffffffffff.csv", "ffffffffffff"),
        ("aa-0123456789ab.png", None),
        (".aa-0123456789AB.png", None),
        (".aa-0123456789ab.png.part", None),
        (".notes.png", None),
    ],
)
def test_temporary_names(name: str, token: str | None) -> None:
    assert temporary_token(name) == token

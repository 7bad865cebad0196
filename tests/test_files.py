from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustseg.errors import first_line
from robustseg.files import (
    atomic_path,
    locked,
    new_token,
    set_aside,
    sha256_of,
    try_lock,
    write_bytes,
    write_once,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_block_writes_beside_and_the_file_appears_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "table.tar.png"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".png"
        assert not temporary.exists()
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["table.tar.png"]


def test_a_reader_sees_the_old_content_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
    assert path.read_text() == "half of the n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failure_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("part")
            raise error("disk full")

    with pytest.raises(error, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failure_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt"):
        _ = 1 / 0
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_no_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_failing_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt" / "occupied").mkdir(parents=True)
    with pytest.raises(OSError, match=r"a\.txt"):
        write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_write_bytes_and_text(tmp_path: Path) -> None:
    write_bytes(tmp_path / "b", b"\x00\xff\r\n")
    write_text(tmp_path / "t", "Zürich × 3\n")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff\r\n"
    assert (tmp_path / "t").read_bytes() == b"Z\xc3\xbcrich \xc3\x97 3\n"


def test_set_aside_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "snow-3.json"
    for number in range(1, 5):
        path.write_text(f"content {number}")
        assert set_aside(path) == tmp_path / f"snow-3.json.old{number}"
        assert not path.exists()
    contents = [(tmp_path / f"snow-3.json.old{n}").read_text() for n in range(1, 5)]
    assert contents == ["content 1", "content 2", "content 3", "content 4"]


def test_set_aside_fills_the_first_gap(tmp_path: Path) -> None:
    (tmp_path / "a.old1").write_text("one")
    (tmp_path / "a.old3").write_text("three")
    (tmp_path / "a").write_text("two")
    assert set_aside(tmp_path / "a").name == "a.old2"
    assert [(tmp_path / f"a.old{n}").read_text() for n in (1, 2, 3)] == ["one", "two", "three"]


def test_an_owner_is_told_from_the_temporary_name(tmp_path: Path) -> None:
    token = new_token()
    with atomic_path(tmp_path / "a.png", token) as temporary:
        assert temporary.name == f".a-{token}.png"
        temporary.touch()
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("links", [True, False])
def test_write_once_never_replaces(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "this file system has no links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "deep" / "record.json"
    assert write_once(path, "first ü")
    assert not write_once(path, "second")
    assert path.read_text(encoding="utf-8") == "first ü"
    assert names(path.parent) == ["record.json"]


def test_of_many_processes_one_writes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from robustseg.files import write_once; "
        "sys.stdin.read(); print(write_once(Path(sys.argv[1]), sys.argv[2]), flush=True)"
    )
    path = tmp_path / "record.json"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), f"content {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:  # all of them wait for this
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate()[0].strip() for process in processes]
    assert sorted(outputs) == ["False", "False", "False", "True"]
    assert path.read_text() == f"content {outputs.index('True')}"
    assert names(tmp_path) == ["record.json"]


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.touch()
    code = (
        "import sys; from pathlib import Path; from robustseg.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not try_lock(path)
        process.kill()
        process.wait()
        assert try_lock(path)
    with locked(path):
        assert not try_lock(path)
    assert try_lock(path)


def test_a_file_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    assert not try_lock(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError), locked(tmp_path / "nowhere"):
        pass


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # the example of FIPS 180-2, appendix B.1
    known = "ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 96177a9c b410ff61 f20015ad"
    assert sha256_of(path) == known.replace(" ", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\n one \ntwo"), "one "), (EOFError(), "EOFError"), (OSError(" "), "OSError")],
)
def test_the_first_line_of_an_error(error: Exception, line: str) -> None:
    assert first_line(error) == line

from __future__ import annotations

from pathlib import Path

import pytest

from robustseg.files import atomic_path, set_aside, write_bytes, write_text


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

"""Fetching a file over HTTP, against a server on this machine."""

from __future__ import annotations

import errno
import hashlib
import io
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from robustseg.models.download import FetchError, fetch_file
from robustseg.progress import Console

CONTENT = random.Random(0).randbytes(2_500_000)
HASH = hashlib.sha256(CONTENT).hexdigest()

Loopback = Any  # the fixture's class, which cannot be imported from a conftest


@pytest.fixture
def target(loopback: Loopback, tmp_path: Path) -> Path:
    loopback.files["/weights.pth"] = CONTENT
    return tmp_path / "cache" / "weights.pth"


def fetch(
    loopback: Loopback, target: Path, sha256: str = HASH[:8], timeout: float = 10.0
) -> tuple[str, str]:
    """Fetch; give the hash and what was said."""
    stream = io.StringIO()
    url = f"{loopback.url}/weights.pth"
    found = fetch_file(url, target, sha256, Console(stream), "fetching it", timeout)
    return found, stream.getvalue()


def part_of(target: Path) -> Path:
    return target.with_name("weights.pth.part")


def visible(target: Path) -> list[str]:
    return sorted(p.name for p in target.parent.iterdir() if not p.name.startswith("."))


def test_a_file_arrives_whole(loopback: Loopback, target: Path) -> None:
    found, said = fetch(loopback, target)
    assert found == HASH
    assert target.read_bytes() == CONTENT
    assert visible(target) == ["weights.pth"]
    assert loopback.asked == [("GET", "/weights.pth", "")]
    assert said.startswith("fetching it, MB: 2 done in ")


def test_a_file_that_is_there_is_not_asked_for(loopback: Loopback, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch(loopback, target)[0] == HASH
    assert loopback.asked == []
    target.write_bytes(CONTENT[:1000])  # the cache's own file, spoilt
    assert fetch(loopback, target)[0] == HASH
    assert target.read_bytes() == CONTENT


def test_a_wrong_hash_is_named_and_nothing_stays(loopback: Loopback, target: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(loopback, target, "0123abcd")
    assert str(caught.value) == (
        f"what came has a SHA-256 that starts with {HASH[:8]}, not 0123abcd, and was removed"
    )
    assert visible(target) == []


@pytest.mark.parametrize("places", [[1], [700_000], [65_536, 10, 1_000_000], [2_499_999]])
def test_a_cut_connection_is_resumed(loopback: Loopback, target: Path, places: list[int]) -> None:
    loopback.cuts = list(places)
    found, said = fetch(loopback, target)
    assert found == HASH
    assert target.read_bytes() == CONTENT
    starts = [sum(places[:n]) for n in range(1, len(places) + 1)]
    assert [wanted for _, _, wanted in loopback.asked] == ["", *(f"bytes={n}-" for n in starts)]
    assert f"the connection was lost after {starts[0]} of 2500000 bytes; going on" in said


def test_a_server_that_cannot_send_parts_sends_all_again(loopback: Loopback, target: Path) -> None:
    loopback.ranges = False
    loopback.cuts = [700_000]
    assert fetch(loopback, target)[0] == HASH
    assert target.read_bytes() == CONTENT
    assert [wanted for _, _, wanted in loopback.asked] == ["", "bytes=700000-"]


def test_what_came_is_kept_for_the_next_call(loopback: Loopback, target: Path) -> None:
    loopback.cuts = [700_000, 0]
    with pytest.raises(FetchError, match="lost after 700000 of 2500000 bytes"):
        fetch(loopback, target)
    assert visible(target) == ["weights.pth.part"]
    assert part_of(target).read_bytes() == CONTENT[:700_000]
    loopback.asked.clear()
    assert fetch(loopback, target)[0] == HASH
    assert loopback.asked == [("GET", "/weights.pth", "bytes=700000-")]
    assert visible(target) == ["weights.pth"]


@pytest.mark.parametrize("size", [500, 2_500_000, 3_000_000])
def test_a_part_of_another_file_is_given_up(loopback: Loopback, target: Path, size: int) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(bytes(size))
    assert fetch(loopback, target)[0] == HASH
    assert target.read_bytes() == CONTENT
    assert [wanted for _, _, wanted in loopback.asked] == [f"bytes={size}-", ""]


def test_a_part_that_was_whole_already(loopback: Loopback, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    assert fetch(loopback, target)[0] == HASH
    assert target.read_bytes() == CONTENT
    assert len(loopback.asked) == 1


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_is_named(loopback: Loopback, target: Path, status: int) -> None:
    loopback.refusals["/weights.pth"] = status
    with pytest.raises(FetchError, match=f"^the server answers {status} "):
        fetch(loopback, target)
    assert visible(target) == []
    assert len(loopback.asked) == 1


def test_a_server_that_says_nothing(loopback: Loopback, target: Path) -> None:
    loopback.stall = threading.Event()
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"^the server did not answer in time$"):
        fetch(loopback, target, timeout=0.3)
    assert time.monotonic() - started < 5


def test_no_server(loopback: Loopback, target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    loopback.url = f"http://127.0.0.1:{port}"
    with pytest.raises(FetchError, match=r"^no connection \(Connection refused\)$"):
        fetch(loopback, target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_no_trouble_of_the_network(loopback: Loopback, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(loopback, target)
    assert not isinstance(caught.value, FetchError)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(part_of(target)))


SCRIPT = """
import sys
from pathlib import Path
from robustseg.models.download import fetch_file
from robustseg.progress import Console
url, target, sha256 = sys.argv[1:]
print("ready", flush=True)
fetch_file(url, Path(target), sha256, Console(quiet=True), "")
"""


def test_two_processes_fetch_one_file_once(loopback: Loopback, target: Path) -> None:
    loopback.stall = threading.Event()
    command = [sys.executable, "-c", SCRIPT, f"{loopback.url}/weights.pth", str(target), HASH[:8]]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # both have asked, or one of them waits
    loopback.stall.set()
    for process in both:
        process.communicate(timeout=30)
    assert [process.returncode for process in both] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert visible(target) == ["weights.pth"]
    assert len(loopback.asked) == 1

"""Fetching one file over HTTP: it goes on where it was cut, and is checked by its hash."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robustseg import __version__
from robustseg.errors import CheckpointError
from robustseg.files import locked, sha256_of
from robustseg.progress import Console, Task

__all__ = ["ByteCount", "FetchError", "byte_task", "fetch_file"]

MEGABYTE = 10**6
CHUNK = 1 << 16
CUTS = 50
"""How often a connection may be lost while the file still grows."""


class FetchError(CheckpointError):
    """A file could not be fetched; the message is the reason, for a sentence around it."""


class ByteCount:
    """Counts bytes for a task that counts megabytes.

    Args:
        task: To be advanced.
        done: Bytes that were there before.
    """

    def __init__(self, task: Task, done: int = 0) -> None:
        self.task = task
        self.rest = done % MEGABYTE

    def add(self, count: int) -> None:
        """Count ``count`` bytes as received."""
        whole, self.rest = divmod(self.rest + count, MEGABYTE)
        if whole:
            self.task.advance(whole)


@contextmanager
def byte_task(console: Console, label: str, total: int, done: int = 0) -> Iterator[ByteCount]:
    """Show the progress of a file of ``total`` bytes, of which ``done`` are there."""
    with console.task(f"{label}, MB", total // MEGABYTE, done // MEGABYTE) as task:
        yield ByteCount(task, done)


@dataclass(frozen=True)
class _Transfer:
    """One file on its way."""

    url: str
    part: Path
    console: Console
    label: str
    timeout: float


def fetch_file(
    url: str,
    target: Path,
    sha256: str,
    console: Console,
    label: str,
    timeout: float = 30.0,
) -> str:
    """Fetch a file whole, or leave what came as ``<target>.part`` for the next call.

    Processes that want the same file wait for the first. Where the file system has no locks they
    may spoil each other's part, which the hash then shows.

    Args:
        url: Of the file.
        target: Where it goes; a file with the right hash is kept.
        sha256: The first hexadecimal digits of its hash; empty if they are not known.
        console: For progress.
        label: Of the progress.
        timeout: Seconds without any byte after which the connection counts as lost.

    Returns:
        The SHA-256 of the file.

    Raises:
        FetchError: The server cannot be reached or has no such file, the connection was lost
            before any byte came, or the hash is wrong.
        OSError: The file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    lock.touch()
    transfer = _Transfer(url, target.with_name(f"{target.name}.part"), console, label, timeout)
    with locked(lock):
        if target.is_file():
            found = sha256_of(target)
            if found.startswith(sha256):
                return found
        found = _fetch_part(transfer, sha256)
        transfer.part.replace(target)
    return found


def _fetch_part(transfer: _Transfer, sha256: str) -> str:
    """Bring the part to its full length and check it."""
    earlier = transfer.part.is_file() and transfer.part.stat().st_size > 0
    _receive_all(transfer)
    found = sha256_of(transfer.part)
    if not found.startswith(sha256) and earlier:
        # what an earlier call left may be of another file, or damaged: once more from the start
        transfer.part.unlink()
        _receive_all(transfer)
        found = sha256_of(transfer.part)
    if not found.startswith(sha256):
        transfer.part.unlink()
        raise FetchError(
            f"what came has a SHA-256 that starts with {found[: len(sha256)]}, not {sha256}, "
            "and was removed"
        )
    return found


def _receive_all(transfer: _Transfer) -> None:
    """Receive until the file is whole, as long as each connection brings it further."""
    longest = -1
    for _ in range(CUTS):
        reason = _receive(transfer)
        if not reason:
            return
        size = transfer.part.stat().st_size if transfer.part.exists() else 0
        if size <= max(longest, 0):
            break
        longest = size
        transfer.console.say(f"{transfer.label}: {reason}; going on")
    raise FetchError(reason)


def _receive(transfer: _Transfer) -> str:
    """Receive what one connection gives.

    Returns:
        Empty if the file is whole, else why it is not.
    """
    start = transfer.part.stat().st_size if transfer.part.exists() else 0
    try:
        response = _open(transfer, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing lies beyond the part: the hash will judge it
            return ""
        return f"the server answers {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        return _reason(error)
    with response:
        if start and not _continues(response, start):
            start = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else 0
        with byte_task(transfer.console, transfer.label, total, start) as count:
            return _copy(response, transfer.part, start, total, count)


def _open(transfer: _Transfer, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"robustseg/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(transfer.url, headers=headers)
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=transfer.timeout)
    return response


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and found is not None and int(found[1]) == start


def _copy(
    response: http.client.HTTPResponse, part: Path, start: int, total: int, count: ByteCount
) -> str:
    """Write what comes behind the first ``start`` bytes of the part; see ``_receive``."""
    received = start
    try:
        with part.open("ab" if start else "wb") as stream:
            while True:
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    return _reason(error)
                if not chunk:
                    break
                stream.write(chunk)
                received += len(chunk)
                count.add(len(chunk))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        error.filename = str(part)  # writes do not say which file failed
        raise
    lost = received < total
    return f"the connection was lost after {received} of {total} bytes" if lost else ""


def _reason(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return "the server did not answer in time"
    if isinstance(inner, OSError) and inner.strerror:
        return f"no connection ({inner.strerror})"
    return f"no connection ({str(inner).strip() or type(inner).__name__})"

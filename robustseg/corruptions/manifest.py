"""The list of a stored set's files with their hashes, and the journals it is made from.

Each process that writes images notes them in a journal of its own, a line before the file gets its
final name. ``settle`` merges the journals of runs that have ended into ``manifest.csv`` and removes
what they left behind; so a run may be killed at any moment, and several may work on one set.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import IO

from robustseg.corruptions.severity import SEVERITIES
from robustseg.datasets.layout import IMAGES
from robustseg.errors import DataError
from robustseg.files import locked, new_token, share_lock, try_lock, write_bytes
from robustseg.names import is_plain_name

__all__ = [
    "MANIFEST",
    "RECORD",
    "Entry",
    "Journal",
    "Run",
    "cells_of",
    "entries_so_far",
    "library_versions",
    "read_manifest",
    "runs_of",
    "settle",
    "sha256_of",
    "temporary_token",
]

RECORD = "cityscapes_c.json"
MANIFEST = "manifest.csv"
VERSIONED = ("robustseg", "numpy", "numba", "scipy", "opencv-python", "pillow", "fpng")
"""Distributions whose version can change an image or its file."""

_RUN = ".run-"
_TEMPORARY = re.compile(r"\..+-([0-9a-f]{12})\.(?:png|csv|json)")


@dataclass(frozen=True, order=True)
class Entry:
    """One file of a stored set.

    Attributes:
        path: Below the set's folder, with ``/``.
        sha256: Of the file, hexadecimal.
        pixels_sha256: Of the decoded uint8 RGB values, row by row: equal between encoders.
        corruption: Name.
        severity: 1-5.
        seed: Of the random streams.
        definition: Of the corruption.
        channel_order: In which the corruption was given the channels.
        versions: Of the libraries that made it; empty for a file that was found, not made.
    """

    path: str
    sha256: str
    pixels_sha256: str
    corruption: str
    severity: int
    seed: int
    definition: str
    channel_order: str
    versions: str = ""


COLUMNS = tuple(field.name for field in fields(Entry))


def sha256_of(content: bytes | memoryview) -> str:
    """Hash bytes: 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def library_versions() -> str:
    """Name the libraries that make an image, with their versions, in one text."""
    found = []
    for name in VERSIONED:
        with suppress(PackageNotFoundError):  # OpenCV has other names, fpng is not everywhere
            found.append(f"{name} {version(name)}")
    return "; ".join(found)


def read_manifest(root_c: Path) -> dict[str, Entry]:
    """Read the list of a set's files; empty if there is none yet.

    Returns:
        Path below the set's folder to entry.

    Raises:
        DataError: It is damaged.
    """
    path = root_c / MANIFEST
    if not path.exists():
        return {}
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(head) != COLUMNS or not text.endswith("\n"):
            raise ValueError(head)
        return {row[0]: _parse(row) for row in rows}
    except (ValueError, TypeError, IndexError, csv.Error) as error:
        raise DataError(
            f"{path} is damaged: move it away; 'robustseg generate-c' makes it anew from the files"
        ) from error


def _parse(row: Sequence[str]) -> Entry:
    path, sha256, pixels, corruption, severity, seed, *rest = row
    parts = path.split("/")
    if len(row) != len(COLUMNS) or parts[:2] != [corruption, severity] or ".." in parts:
        raise ValueError(row)
    if len(parts) < 5:  # corruption/severity/leftImg8bit/split/name
        raise ValueError(row)
    return Entry(path, sha256, pixels, corruption, int(severity), int(seed), *rest)


def _write_manifest(root_c: Path, entries: dict[str, Entry]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(attrgetter(*COLUMNS), sorted(entries.values())))
    # paths need not be UTF-8
    write_bytes(root_c / MANIFEST, text.getvalue().encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class Journal:
    """The files that one process has made, noted as it goes.

    Attributes:
        stream: Opened for appending, without a buffer.
    """

    stream: IO[bytes]

    def add(self, entry: Entry) -> None:
        """Note a file; to be done just before it gets its final name.

        Raises:
            OSError: The disk is full.
        """
        # a line that a kill or a full disk cut is no JSON, and the next one starts afresh
        line = f"\n{json.dumps(astuple(entry))}\n".encode()
        if self.stream.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read_journal(path: Path) -> Iterator[Entry]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:  # just settled by another process
        return
    for line in lines:
        with suppress(ValueError, TypeError):
            yield Entry(*json.loads(line))


@dataclass(frozen=True)
class Run:
    """One call of ``generate-c`` at work on a set, perhaps with several processes.

    Its folder holds the journals; ``alive``, whose lock its processes share; and ``go``, without
    which they end after the file at hand.

    Attributes:
        root_c: The set.
        token: Twelve hexadecimal digits, in the names of its temporary files.
    """

    root_c: Path
    token: str

    @property
    def folder(self) -> Path:
        """Where its journals are."""
        return self.root_c / f"{_RUN}{self.token}"

    @classmethod
    def begin(cls, root_c: Path) -> tuple[Run, IO[bytes]]:
        """Start a run on a set that has its record; to be given to ``settle`` at its end.

        Returns:
            The run, and a stream that holds it alive until it is closed.

        Raises:
            OSError: The folder cannot be written to.
        """
        run = cls(root_c, new_token())
        with locked(root_c / RECORD):  # no other process takes it for dead before it is locked
            run.folder.mkdir()
            for name in ("alive", "go"):
                (run.folder / name).touch()
            alive = (run.folder / "alive").open("rb")
            share_lock(alive)
        return run, alive

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """Open this process's journal and hold the run alive."""
        with (
            (self.folder / "alive").open("rb") as alive,
            (self.folder / f"{os.getpid()}.jsonl").open("ab", buffering=0) as stream,
        ):
            share_lock(alive)
            yield Journal(stream)

    def stop(self) -> None:
        """Tell all processes of this run to end after the file at hand."""
        # taking a file away works on a full disk too
        (self.folder / "go").unlink(missing_ok=True)

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called, in any process."""
        return not (self.folder / "go").exists()

    def is_alive(self) -> bool:
        """Whether a process of this run may be at work."""
        alive = self.folder / "alive"
        return alive.exists() and not try_lock(alive)

    def entries(self) -> Iterator[Entry]:
        """Read its journals; the newest entries of a process come last."""
        for path in sorted(self.folder.glob("*.jsonl")):
            yield from _read_journal(path)


def runs_of(root_c: Path) -> list[Run]:
    """List the runs that are at work on a set or were killed."""
    return [Run(root_c, p.name.removeprefix(_RUN)) for p in sorted(root_c.glob(f"{_RUN}*"))]


def temporary_token(name: str) -> str | None:
    """Give the owner's mark in the name of a temporary file; None if it is none."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else None


def cells_of(root_c: Path) -> list[str]:
    """List the folders ``<corruption>/<severity>`` of a set, with or without images in them."""
    if not root_c.is_dir():
        return []
    names = sorted(path.name for path in root_c.iterdir() if is_plain_name(path.name))
    cells = (f"{name}/{severity}" for name, severity in product(names, SEVERITIES))
    return [cell for cell in cells if (root_c / cell).is_dir()]


def entries_so_far(root_c: Path) -> dict[str, Entry]:
    """Read what is known of a set's files, from the manifest and from all journals.

    Raises:
        DataError: The manifest is damaged.
    """
    return _with_journals(root_c, read_manifest(root_c))


def _with_journals(root_c: Path, known: dict[str, Entry]) -> dict[str, Entry]:
    entries = dict(known)
    for run in runs_of(root_c):
        for entry in run.entries():
            path = root_c / entry.path
            if path.exists() and _is_newer(path, entry, entries.get(entry.path)):
                entries[entry.path] = entry
    return entries


def _is_newer(path: Path, entry: Entry, known: Entry | None) -> bool:
    """Choose between two entries of one file: two encoders, or made again after a deletion."""
    if known is None or known.sha256 == entry.sha256:
        return True
    return sha256_of(path.read_bytes()) == entry.sha256


def settle(root_c: Path, ended: Run | None = None) -> None:
    """Merge the journals into the manifest and remove what runs that have ended left behind.

    Args:
        root_c: A set that has its record.
        ended: A run of which the caller knows that it has ended.

    Raises:
        DataError: The manifest is damaged.
        OSError: The folder cannot be written to; nothing is lost.
    """
    with locked(root_c / RECORD):
        runs = runs_of(root_c)
        living = {run.token for run in runs if run != ended and run.is_alive()}
        known = read_manifest(root_c)
        entries = _with_journals(root_c, known)
        if entries != known:
            _write_manifest(root_c, entries)
        for path in _temporaries(root_c):
            token = temporary_token(path.name)
            if token is not None and token not in living:
                path.unlink(missing_ok=True)
        for run in runs:
            if run.token not in living:
                shutil.rmtree(run.folder)


def _temporaries(root_c: Path) -> Iterator[Path]:
    """Find temporary files where this program writes images, record and manifest, only there.

    Those beside the record are written under its lock, so that they have no owner now.
    """
    for name in (RECORD, MANIFEST):
        stem, suffix = name.rsplit(".", 1)
        yield from root_c.glob(f".{stem}-*.{suffix}")
    for cell in cells_of(root_c):
        for folder, _, names in os.walk(root_c / cell / IMAGES):
            yield from (Path(folder, name) for name in names)

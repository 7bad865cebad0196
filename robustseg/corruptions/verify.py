"""Compares a stored set with its manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from robustseg.corruptions.manifest import (
    MANIFEST,
    RECORD,
    Entry,
    cells_of,
    entries_so_far,
    runs_of,
    sha256_of,
    temporary_token,
)
from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.corruptions.writer import Record, read_record
from robustseg.datasets.cityscapes import BadFileError, list_frames, load_image
from robustseg.datasets.layout import IMAGES, LABELS
from robustseg.errors import DataError
from robustseg.processes import run_in_processes
from robustseg.progress import Console, counted

__all__ = ["Verdict", "verify_set"]

_REPEAT = "repeat 'robustseg generate-c'"
_LEFTOVER = "left by a run that was stopped: repeat 'robustseg generate-c', which removes it"


@dataclass(frozen=True)
class Verdict:
    """What became of comparing a set with its manifest.

    Attributes:
        files: How many files were read.
        images: How many clean images they come from.
        cells: How many corruptions and severities there are.
        listed: Whether there was a manifest to compare with.
        record: How the set says that it was made; None if it does not.
        at_work: How many runs are writing to it now; what they have not finished is passed over.
        problems: A line for each bad, missing or foreign file.
    """

    files: int
    images: int
    cells: int
    listed: bool
    record: Record | None
    at_work: int
    problems: tuple[str, ...]


def verify_set(root_c: Path, workers: int, console: Console, root: Path | None = None) -> Verdict:
    """Read every file of a stored set and compare it with what the manifest says.

    Missing is what is listed and not there, and an image in a cell of its split, where the images
    of a split are those listed in any of its cells and, if ``root`` is given, those of the clean
    set. Without a manifest it is only seen whether each file can be decoded.

    Args:
        root_c: The set.
        workers: Processes; 0 or 1 works in this one.
        console: For progress.
        root: The clean data set, all of whose images are expected in the splits that are there.

    Raises:
        DataError: There is no set, or its record or manifest is damaged.
    """
    record = read_record(root_c)
    entries = entries_so_far(root_c)
    if record is None and not entries and not cells_of(root_c):
        raise DataError(
            f"no corrupted set at {root_c}: give the folder that 'robustseg generate-c' made"
        )
    living = {run.token for run in runs_of(root_c) if run.is_alive()}
    found = list(_files(root_c, living))
    images = [name for name in found if name in entries or (not entries and _is_image(name))]
    problems = _read_all(root_c, images, entries, workers, console)
    expected = _expected(root_c, entries, root)
    problems += [f"missing: {name}" for name in sorted(expected - set(images))]
    others = sorted(set(found) - set(images))
    problems += filter(None, (_foreign(root_c, name, bool(entries)) for name in others))
    problems += _deviations(entries, record)
    empty = cells_of(root_c) if not images else []
    if empty:
        problems.append(f"missing: all images of {counted(len(empty), 'cell')}: {_REPEAT}")
    parts = [name.split("/", 2) for name in expected or images]
    return Verdict(
        files=len(images),
        images=len({below for _, _, below in parts}),
        cells=len({(corruption, severity) for corruption, severity, _ in parts}),
        listed=bool(entries),
        record=record,
        at_work=len(living),
        problems=tuple(problems),
    )


def _files(root_c: Path, living: set[str]) -> Iterator[str]:
    """List what a set holds beside record, manifest, labels and the files of runs at work."""
    for folder, folders, names in os.walk(root_c):
        below = Path(folder).relative_to(root_c)
        depth = len(below.parts)
        if depth == 2 and LABELS in folders:  # a link, or a copy of what it leads to
            folders.remove(LABELS)
        if depth == 0:
            runs = [name for name in folders if name.startswith(".run-")]
            folders[:] = [name for name in folders if name not in runs]
            yield from (name for name in runs if name.removeprefix(".run-") not in living)
            names = [name for name in names if name not in (RECORD, MANIFEST)]
        for name in names:
            if temporary_token(name) not in living:
                yield (below / name).as_posix()


def _is_image(name: str) -> bool:
    parts = name.split("/")
    return len(parts) > 3 and parts[2] == IMAGES and not parts[-1].startswith(".")


def _expected(root_c: Path, entries: dict[str, Entry], root: Path | None) -> set[str]:
    """Name every image of a split in every cell that the split has, or was meant to have."""
    images: dict[str, set[str]] = {}
    cells: dict[str, set[str]] = {}
    for entry in entries.values():
        cell = f"{entry.corruption}/{entry.severity}"
        below = entry.path.removeprefix(f"{cell}/")
        split = below.split("/")[1]
        images.setdefault(split, set()).add(below)
        cells.setdefault(split, set()).add(cell)
    # a run makes the folders of all its cells first, so one that was stopped leaves empty ones
    empty = set(cells_of(root_c)).difference(*cells.values())
    if root is not None:
        for split, known in images.items():
            known |= {f.image.relative_to(root).as_posix() for f in list_frames(root, split)}
    return {f"{c}/{i}" for split in images for c in cells[split] | empty for i in images[split]}


def _foreign(root_c: Path, name: str, listed: bool) -> str:
    """Say what a file is that is no image of the set; empty if nobody can tell."""
    path = root_c / name
    if path.name == LABELS and path.is_symlink():
        return f"bad: {name}: link that leads nowhere; repeat 'robustseg generate-c' to mend it"
    if path.name.startswith(".run-") or temporary_token(path.name):
        return f"foreign: {name}: {_LEFTOVER}"
    return f"foreign: {name}: not in {MANIFEST}" if listed else ""


def _deviations(entries: dict[str, Entry], record: Record | None) -> list[str]:
    """Name what was made in another way than the record says."""
    if record is None:
        return [f"missing: {RECORD}, which says how the set was made"] if entries else []
    made = {path: _how(entry, record) for path, entry in sorted(entries.items())}
    problems = [
        f"bad: {path}: made with {how}, but {RECORD} says {record}"
        for path, how in made.items()
        if how != str(record)
    ]
    versions: dict[str, set[str]] = {}
    for entry in entries.values():
        versions.setdefault(entry.corruption, set()).add(entry.definition)
    return problems + [
        f"bad: {name}: made with {' and with '.join(sorted(some))}: move it away and {_REPEAT}"
        for name, some in sorted(versions.items())
        if len(some) > 1
    ]


def _how(entry: Entry, record: Record) -> str:
    # The record states the definition of the sixteen; others have one of their own.
    definition = entry.definition if entry.corruption in CORRUPTIONS else record.definition
    return f"seed {entry.seed}, {definition}, {entry.channel_order}"


def _read_all(
    root_c: Path,
    names: Sequence[str],
    entries: dict[str, Entry],
    workers: int,
    console: Console,
) -> list[str]:
    pieces = [(name, entries.get(name)) for name in sorted(names)]
    problems = []
    with console.task(f"reading {root_c}", len(pieces)) as task:
        for (name, _), problem in run_in_processes(
            partial(_read_one, root_c), pieces, workers if pieces else 0
        ):
            task.advance()
            if problem:
                problems.append(f"bad: {name}: {problem}")
    return sorted(problems)


def _read_one(root_c: Path, piece: tuple[str, Entry | None]) -> str:
    """Say what is wrong with one file; empty if nothing is."""
    name, entry = piece
    path = root_c / name
    try:
        if entry is not None and sha256_of(path.read_bytes()) == entry.sha256:
            return ""
        pixels = load_image(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except BadFileError as error:
        return error.problem
    if entry is None:
        return ""
    if sha256_of(pixels.data) == entry.pixels_sha256:
        return f"other bytes than {MANIFEST} says, of the same pixels"
    return f"shows other pixels than {MANIFEST} says"

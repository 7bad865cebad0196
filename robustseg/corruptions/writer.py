"""Writes Cityscapes-C: one valid Cityscapes tree for each corruption and severity.

``<root_c>/<corruption>/<severity>/leftImg8bit/<split>/<city>/<name>_leftImg8bit.png``, with a
relative link to the clean set's ``gtFine`` beside ``leftImg8bit``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

from robustseg.corruptions.severity import CORRUPTIONS, DEFINITION
from robustseg.corruptions.png import encode_png
from robustseg.datasets.cityscapes import BadFileError, load_image
from robustseg.datasets.sample import Frame, ImageArray
from robustseg.errors import DataError, SettingError
from robustseg.files import write_bytes, write_text
from robustseg.processes import run_in_processes
from robustseg.progress import Console

__all__ = [
    "BYTES_PER_SAMPLE",
    "Record",
    "Work",
    "free_bytes",
    "plan_work",
    "prepare_tree",
    "read_record",
    "write_set",
]

RECORD = "cityscapes_c.json"
BYTES_PER_SAMPLE = 0.5
"""Size of a corrupted PNG over height x width x 3: 0.45 on average at 1024 x 2048, and a margin."""


@dataclass(frozen=True)
class Work:
    """The files to be made from one image for one corruption.

    Attributes:
        frame: The clean image.
        corruption: Name.
        targets: Severity and path of each file that is missing.
    """

    frame: Frame
    corruption: str
    targets: tuple[tuple[int, Path], ...]


def plan_work(
    root: Path,
    root_c: Path,
    frames: Sequence[Frame],
    corruptions: Sequence[str],
    severities: Sequence[int],
) -> list[Work]:
    """List what is missing, image by image.

    Files that exist are whole, since they are written atomically.
    """
    plan = []
    for frame in frames:
        below = frame.image.relative_to(root)
        for corruption in corruptions:
            paths = ((s, root_c / corruption / str(s) / below) for s in severities)
            targets = tuple((s, path) for s, path in paths if not path.exists())
            if targets:
                plan.append(Work(frame, corruption, targets))
    return plan


def prepare_tree(
    root: Path,
    root_c: Path,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int,
) -> str:
    """Make the folders, the links to ``gtFine``, and the record of how the set was made.

    Returns:
        Why the labels could not be linked; empty if they are.

    Raises:
        SettingError: The folder holds a set of another seed or definition, or of unknown making.
        DataError: The record is damaged.
        OSError: A folder cannot be made.
    """
    # looked for first: another process may be starting the same set at this moment
    strangers = [name for name in CORRUPTIONS if (root_c / name).exists()]
    wanted = Record(seed)
    found = read_record(root_c)
    if found is None and strangers:
        raise SettingError(
            f"{root_c} holds {strangers[0]} but no {RECORD} that says how it was made: "
            "give another --root-c, or move it away"
        )
    if found is None:
        content = {"schema": 1, **asdict(wanted)}
        write_text(root_c / RECORD, json.dumps(content, indent=1) + "\n")
    elif found != wanted:
        raise SettingError(
            f"{root_c} was made with {found}, not {wanted}: repeat those or give another --root-c"
        )
    cells = [root_c / c / str(s) for c in corruptions for s in severities]
    problems = [_link_labels(root / "gtFine", cell) for cell in cells]
    return next((problem for problem in problems if problem), "")


@dataclass(frozen=True)
class Record:
    """How a stored set was made: equal records mean equal images.

    Attributes:
        seed: Of the random streams.
        definition: Of the corruptions.
        channel_order: Of the images that the corruptions were given.
    """

    seed: int
    definition: str = DEFINITION
    channel_order: str = "rgb"

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.definition}, {self.channel_order}"


def read_record(root_c: Path) -> Record | None:
    """Read how a stored set was made; None if it was not made by ``generate-c``.

    Raises:
        DataError: The record is damaged.
    """
    path = root_c / RECORD
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Record(int(content["seed"]), content["definition"], content["channel_order"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged: give another --root-c, or move {root_c} away"
        ) from error


def _link_labels(labels: Path, cell: Path) -> str:
    """Link ``gtFine`` into a cell's folder, so that the cell is itself a data set."""
    cell.mkdir(parents=True, exist_ok=True)
    link = cell / "gtFine"
    if link.is_symlink() and not link.exists():
        link.unlink(missing_ok=True)  # the data set was moved
    if link.exists() or not labels.exists():
        return ""
    try:
        link.symlink_to(os.path.relpath(labels.resolve(), cell.resolve()), True)
    except FileExistsError:
        pass  # another process made it meanwhile
    except OSError as error:
        return f"labels are not linked into {cell.parent.parent}: {error.strerror or error}"
    return ""


def write_set(plan: Sequence[Work], seed: int, workers: int, console: Console) -> list[str]:
    """Make all files of a plan.

    Images that cannot be read are left out and named; the rest is made.

    Args:
        plan: From ``plan_work``.
        seed: Of the random streams.
        workers: Processes; 0 or 1 works in this one.
        console: For progress.

    Returns:
        One line for each image that could not be read.

    Raises:
        OSError: A file cannot be written, for want of space or rights; finished files are kept.
    """
    failures: dict[Path, str] = {}
    total = sum(len(work.targets) for work in plan)
    with console.task("writing corrupted images", total) as task:
        for work, problem in _run(plan, seed, workers):
            task.advance(len(work.targets), note=work.corruption)
            if problem:
                failures[work.frame.image] = problem
    return list(failures.values())


def _run(plan: Sequence[Work], seed: int, workers: int) -> Iterator[tuple[Work, str]]:
    make = partial(make_files, seed=seed)
    if workers > 1:
        yield from run_in_processes(make, plan, workers)
    else:
        yield from ((work, make(work)) for work in plan)


def make_files(work: Work, seed: int) -> str:
    """Make one image's missing files for one corruption.

    Args:
        work: What to make.
        seed: Of the random streams.

    Returns:
        Why the image could not be used; empty if all is well.

    Raises:
        DataError: The frost pictures are missing.
        OSError: A file cannot be written.
    """
    from robustseg.corruptions.registry import SMALLEST_SIDE, corrupt_frame

    frame = work.frame
    try:
        image = decode_once(frame.image)
    except BadFileError as error:
        return str(error)
    if min(image.shape[:2]) < SMALLEST_SIDE:
        return f"{frame.image}: smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels"
    for severity, path in work.targets:
        corrupted = corrupt_frame(image, frame.id, work.corruption, severity, seed)
        write_bytes(path, encode_png(corrupted))
    return ""


@lru_cache(maxsize=1)
def decode_once(path: Path) -> ImageArray:
    """Decode an image, or give it again if it was the last: plans go image by image."""
    return load_image(path)


def free_bytes(folder: Path) -> int:
    """Give the free space of the file system that a folder, perhaps not yet made, will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

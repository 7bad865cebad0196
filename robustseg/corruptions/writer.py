"""Writes Cityscapes-C: one valid Cityscapes tree for each corruption and severity.

``<root_c>/<corruption>/<severity>/leftImg8bit/<split>/<city>/<name>_leftImg8bit.png``, with a
relative link to the clean set's ``gtFine`` beside ``leftImg8bit``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from robustseg.corruptions.severity import CORRUPTIONS, DEFINITION
from robustseg.datasets.cityscapes import load_image
from robustseg.datasets.sample import Frame, ImageArray
from robustseg.errors import DataError, RobustsegError, SettingError
from robustseg.files import write_bytes, write_text
from robustseg.processes import run_in_processes
from robustseg.progress import Console

__all__ = ["BYTES_PER_SAMPLE", "Work", "plan_work", "prepare_tree", "stored_seed", "write_set"]

INFO = "cityscapes_c.json"
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
    """List what is missing; files that exist are whole, since they are written atomically."""
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
) -> None:
    """Make the folders, the links to ``gtFine``, and the file that says how the set was made.

    Raises:
        SettingError: The folder holds a set of another seed or definition.
    """
    facts = {"definition": DEFINITION, "seed": seed, "channel_order": "rgb"}
    found = _read_info(root_c)
    if found is None:
        _refuse_strangers(root_c)
        write_text(root_c / INFO, json.dumps({"schema": 1, **facts}, indent=1) + "\n")
    elif any(found.get(key) != value for key, value in facts.items()):
        stated = ", ".join(f"{key} {found.get(key)}" for key in facts)
        raise SettingError(
            f"{root_c} was made with {stated}: repeat those or give another --root-c"
        )
    for corruption in corruptions:
        for severity in severities:
            _link_labels(root / "gtFine", root_c / corruption / str(severity))


def _refuse_strangers(root_c: Path) -> None:
    """See that a set without a record is empty: its images could be of any seed."""
    strangers = [name for name in CORRUPTIONS if (root_c / name).exists()]
    if strangers:
        raise SettingError(
            f"{root_c} holds {strangers[0]} but no {INFO} that says how it was made: "
            "give another --root-c, or move it away"
        )


def stored_seed(root_c: Path) -> int | None:
    """Read the seed of a stored set; None if it was not made by ``generate-c``."""
    found = _read_info(root_c)
    seed = found.get("seed") if found else None
    return seed if isinstance(seed, int) else None


def _read_info(root_c: Path) -> dict[str, object] | None:
    path = root_c / INFO
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(
            f"{path} is damaged: give another --root-c, or move {root_c} away"
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} is not the record of a corrupted set: give another --root-c, "
            f"or move {root_c} away"
        )
    return content


def _link_labels(labels: Path, cell: Path) -> None:
    """Link ``gtFine`` into a cell's folder, so that the cell is itself a data set."""
    cell.mkdir(parents=True, exist_ok=True)
    link = cell / "gtFine"
    if link.is_symlink() and not link.exists():
        link.unlink(missing_ok=True)  # the data set was moved
    if link.is_symlink() or link.exists() or not labels.exists():
        return
    try:
        link.symlink_to(os.path.relpath(labels.resolve(), cell.resolve()), True)
    except FileExistsError:
        return  # another process made it meanwhile
    except OSError as error:
        raise RobustsegError(f"cannot link {link} to {labels}: {error.strerror}") from error


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
    if workers > 1:
        yield from run_in_processes(partial(make_files, seed=seed, decoded={}), plan, workers)
        return
    decoded: dict[Path, ImageArray] = {}
    for work in plan:
        yield work, make_files(work, seed, decoded)


def make_files(work: Work, seed: int, decoded: dict[Path, ImageArray]) -> str:
    """Make one image's files for one corruption.

    Args:
        work: What to make.
        seed: Of the random streams.
        decoded: Memory of the last decoded image, by path; changed.

    Returns:
        Why the image could not be read; empty if all is well.
    """
    from robustseg.corruptions.registry import corrupt_frame

    frame = work.frame
    try:
        if frame.image not in decoded:
            decoded.clear()
            decoded[frame.image] = load_image(frame.image)
        image = decoded[frame.image]
        for severity, path in work.targets:
            corrupted = corrupt_frame(image, frame.id, work.corruption, severity, seed)
            write_bytes(path, encode_png(corrupted))
    except DataError as error:
        return str(error)
    return ""


def encode_png(image: ImageArray) -> bytes:
    """Encode uint8 RGB (H, W, 3) as PNG with OpenCV, ten times as fast as Pillow."""
    from robustseg.corruptions.opencv import load_cv2

    cv2 = load_cv2()
    done, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise RobustsegError(f"OpenCV could not encode a PNG of {image.shape}")
    encoded: bytes = content.tobytes()
    return encoded


def free_bytes(folder: Path) -> int:
    """Give the free space of the file system that a folder, perhaps not yet made, will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

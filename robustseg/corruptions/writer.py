"""Writes Cityscapes-C: one valid Cityscapes tree for each corruption and severity.

``<root_c>/<corruption>/<severity>/leftImg8bit/<split>/<city>/<name>_leftImg8bit.png``, with a
relative link to the clean set's ``gtFine`` beside ``leftImg8bit``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.corruptions.entries import origin_of
from robustseg.corruptions.loading import load_corruptions
from robustseg.corruptions.making import Job, Target, Work, find_entry, make_files
from robustseg.corruptions.manifest import (
    RECORD,
    Run,
    cells_of,
    entries_so_far,
    library_versions,
    settle,
)
from robustseg.corruptions.severity import CORRUPTIONS, DEFINITION
from robustseg.datasets.cityscapes import load_image
from robustseg.datasets.sample import Frame
from robustseg.errors import DataError, SettingError
from robustseg.files import write_once
from robustseg.processes import run_in_processes
from robustseg.progress import Console, counted
from robustseg.shards import Shard

if TYPE_CHECKING:
    from robustseg.corruptions.registry import ChannelOrder

__all__ = [
    "Plan",
    "Record",
    "Target",
    "Work",
    "estimate",
    "free_bytes",
    "plan_work",
    "prepare_tree",
    "read_record",
    "write_set",
]

SCHEMA = 1
BYTES_PER_SAMPLE = 0.6
"""Size of a corrupted PNG over height x width x 3: 0.54 on average at 1024 x 2048, and a margin."""

BYTES_PER_SAMPLE_OF_SMALL = 0.8
"""The same below a megapixel: 0.73 at 128 x 256, where neighbouring pixels differ more."""

SECONDS_PER_MEGAPIXEL = 0.04
"""Time of one process for a corrupted image, a mean over the sixteen corruptions."""

SECONDS_TO_START = 2.0
"""Until the processes are up and have loaded the corruptions."""

PIECES_PER_WORKER = 4
"""Fewer pieces of work would leave workers idle at the end."""

IMAGES_PER_PART = 4
"""A run with fewer images for each part is divided by corruptions too, lest parts be unequal."""


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        root_c: The set.
        work: What is missing, image by image; few images are divided by corruptions as well.
        there: What is there already.
    """

    root_c: Path
    work: tuple[Work, ...]
    there: tuple[Target, ...]

    @property
    def missing(self) -> int:
        """How many files are to be made."""
        return sum(len(work.targets) for work in self.work)


def plan_work(
    root: Path,
    root_c: Path,
    frames: Sequence[Frame],
    corruptions: Sequence[str],
    severities: Sequence[int],
    shard: Shard = Shard(),  # noqa: B008
    workers: int = 1,
) -> Plan:
    """List what is missing, image by image.

    Files that exist are whole, since they are written atomically. A part is cut from the list of
    everything, whatever is missing, so that parts have nothing in common whenever they start.

    Args:
        root: The clean data set.
        root_c: The set.
        frames: The images.
        corruptions: Names.
        severities: Each 1-5.
        shard: Which part of it.
        workers: Processes that will share it.
    """
    wanted: dict[Frame, list[Target]] = {}
    for frame, corruption in _part(frames, corruptions, shard):
        below = frame.image.relative_to(root)
        wanted.setdefault(frame, []).extend(
            Target(corruption, s, root_c / corruption / str(s) / below) for s in severities
        )
    there: list[Target] = []
    work: list[Work] = []
    pieces = -(-PIECES_PER_WORKER * workers // max(len(wanted), 1)) if workers > 1 else 1
    for frame, targets in wanted.items():
        exists = {target: target.path.exists() for target in targets}
        there += [target for target in targets if exists[target]]
        work += _pieces(frame, [target for target in targets if not exists[target]], pieces)
    return Plan(root_c, tuple(work), tuple(there))


def _part(
    frames: Sequence[Frame], corruptions: Sequence[str], shard: Shard
) -> Sequence[tuple[Frame, str]]:
    """Cut a part: whole images where there are many, which are decoded by one part each."""
    if len(frames) >= IMAGES_PER_PART * shard.parts:
        return list(product(shard.of(frames), corruptions))
    pairs = list(product(frames, corruptions))
    # neighbours, since every n-th pair could be the same slow corruption each time
    start, end = (len(pairs) * i // shard.parts for i in (shard.part - 1, shard.part))
    return pairs[start:end]


def _pieces(frame: Frame, targets: Sequence[Target], count: int) -> Iterator[Work]:
    """Divide one image's files by corruption; each piece decodes the image once."""
    names = list(dict.fromkeys(target.corruption for target in targets))
    step = -(-len(names) // count) or 1
    for start in range(0, len(names), step):
        some = names[start : start + step]
        yield Work(frame, tuple(target for target in targets if target.corruption in some))


def estimate(plan: Plan, workers: int) -> tuple[float, float]:
    """Estimate the bytes and seconds that a plan will take, from the size of its first image.

    Returns:
        Both zero if there is nothing to make, or nothing to make it from.
    """
    for work in plan.work:
        try:
            size = load_image(work.frame.image).size
        except DataError:
            continue
        dense = BYTES_PER_SAMPLE if size > 3e6 else BYTES_PER_SAMPLE_OF_SMALL
        busy = max(1, min(workers, os.cpu_count() or 1))
        seconds = SECONDS_PER_MEGAPIXEL * size / 3e6 * plan.missing / busy
        return dense * size * plan.missing, seconds + SECONDS_TO_START
    return 0.0, 0.0


def prepare_tree(
    root: Path,
    root_c: Path,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int,
    channel_order: ChannelOrder = "rgb",
) -> str:
    """Make the folders, the links to ``gtFine``, and the record of how the set was made.

    Returns:
        Why the labels could not be linked; empty if they are.

    Raises:
        SettingError: The folder holds a set of another seed, definition or channel order, or of
            unknown making, or images of another version of a corruption.
        DataError: The record is damaged.
        OSError: A folder cannot be made.
    """
    # looked for first: another process may be starting a set here at this moment
    strangers = cells_of(root_c)
    wanted = Record(seed, channel_order=channel_order)
    found = read_record(root_c)
    if found is None and strangers:
        raise SettingError(
            f"{root_c} holds {strangers[0]} but no {RECORD} that says how it was made: "
            "give another --root-c, or move it away"
        )
    if found is None:
        content = {"schema": SCHEMA, **asdict(wanted)}
        write_once(root_c / RECORD, json.dumps(content, indent=1) + "\n")
        found = read_record(root_c)
    _refuse_other_versions(root_c, corruptions)
    if found != wanted:
        raise SettingError(
            f"{root_c} was made with {found}, not {wanted}: give the same --seed and "
            "--channel-order, or another --root-c"
        )
    cells = [root_c / c / str(s) for c in corruptions for s in severities]
    problems = [_link_labels(root / "gtFine", cell) for cell in cells]
    return next((problem for problem in problems if problem), "")


def _refuse_other_versions(root_c: Path, corruptions: Sequence[str]) -> None:
    """See that images of corruptions beyond the sixteen are of one version each."""
    further = {name: origin_of(name) for name in corruptions if name not in CORRUPTIONS}
    if not further:
        return
    for entry in entries_so_far(root_c).values():
        now = further.get(entry.corruption, entry.definition)
        if now != entry.definition:
            raise SettingError(
                f"{root_c / entry.corruption} was made with {entry.definition}, not {now}: move it "
                "away, or give another --root-c"
            )


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
    channel_order: ChannelOrder = "rgb"

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
        if content["schema"] != SCHEMA or content["channel_order"] not in ("rgb", "bgr"):
            raise ValueError(content)
        return Record(int(content["seed"]), content["definition"], content["channel_order"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged or of another version: give another --root-c, or move {root_c} away"
        ) from error


def _link_labels(labels: Path, cell: Path) -> str:
    """Link ``gtFine`` into a cell's folder, so that the cell is itself a data set."""
    link = cell / "gtFine"
    try:
        cell.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{cell} cannot be made: {error.strerror or error}"
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


def write_set(
    plan: Plan,
    seed: int,
    workers: int,
    console: Console,
    channel_order: ChannelOrder = "rgb",
) -> list[str]:
    """Make all files of a plan and list them in the manifest.

    What cannot be read or written is left out and named; the rest is made. When no file can be
    written any more, as on a full disk, the run ends; what is finished is kept.

    Args:
        plan: From ``plan_work``, after ``prepare_tree``.
        seed: Of the random streams.
        workers: Processes; 0 or 1 works in this one.
        console: For progress.
        channel_order: In which corruptions are given the channels.

    Returns:
        One line for each image that could not be read, each file that could not be written, and
        what was left for want of space.

    Raises:
        DataError: The manifest is damaged.
        OSError: The folder of the set cannot be written to.
    """
    settle(plan.root_c)
    failures: list[str] = []
    run, alive = Run.begin(plan.root_c)
    job = Job(run, seed, channel_order, library_versions())
    try:
        with alive:
            failures += _adopt(plan, job, workers, console)
            failures += _make(plan, job, workers, console)
    finally:
        failures += _settle(run)
    return failures


def _settle(run: Run) -> list[str]:
    try:
        settle(run.root_c, run)
    except OSError as error:  # the journals stay for the next call
        return [f"{run.root_c}: the manifest is not written: {error.strerror or error}"]
    return []


def _adopt(plan: Plan, job: Job, workers: int, console: Console) -> list[str]:
    """List files in the manifest that were there before it, hashed as they are."""
    listed = entries_so_far(plan.root_c)
    found = [t for t in plan.there if t.path.relative_to(plan.root_c).as_posix() not in listed]
    if not found:
        return []
    failures = []
    with job.run.journal() as journal, console.task("hashing files not listed", len(found)) as task:
        for _, entry in run_in_processes(partial(find_entry, job=job), found, workers):
            if isinstance(entry, str):
                failures.append(entry)
            else:
                journal.add(entry)
                task.advance()
    return failures


def _make(plan: Plan, job: Job, workers: int, console: Console) -> list[str]:
    if not plan.work:
        return []
    load_corruptions([t.corruption for work in plan.work for t in work.targets], console)
    failures: list[str] = []
    unusable: Counter[str] = Counter()
    hopeless = ""
    with console.task("writing corrupted images", plan.missing) as task:
        for work, made in run_in_processes(
            partial(make_files, job=job), plan.work, workers, job.run.stop
        ):
            task.advance(made.done, note=work.frame.id)
            failures += made.failures
            if made.unusable:  # the pieces of one image say the same
                unusable[made.unusable] += len(work.targets)
            if made.hopeless:
                hopeless = made.hopeless
                job.run.stop()
    failures += [f"{why} ({counted(n, 'file')} not made)" for why, n in unusable.items()]
    if hopeless:
        left = counted(plan.missing - task.done, "file")
        failures.append(
            f"{left} of {plan.root_c}: {hopeless}; mend that and repeat the command, it goes on"
        )
    return failures


def free_bytes(folder: Path) -> int:
    """Give the free space of the file system that a folder, perhaps not yet made, will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

"""Makes the corrupted files of one image; runs within the worker processes of ``generate-c``."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robustseg.corruptions.entries import origin_of
from robustseg.corruptions.manifest import Entry, Journal, Run, sha256_of
from robustseg.corruptions.png import encode_png
from robustseg.corruptions.severity import DEFINITION
from robustseg.datasets.cityscapes import BadFileError, load_image
from robustseg.datasets.sample import Frame, ImageArray
from robustseg.files import atomic_path

if TYPE_CHECKING:
    from robustseg.corruptions.registry import ChannelOrder

__all__ = ["Job", "Made", "Target", "Work", "find_entry", "make_files"]

AHEAD = 2  # images that wait to be written, 6 MB each at full size
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that every further file would meet as well."""


@dataclass(frozen=True)
class Target:
    """One file of the set.

    Attributes:
        corruption: Name.
        severity: 1-5.
        path: Where the file goes.
    """

    corruption: str
    severity: int
    path: Path


@dataclass(frozen=True)
class Work:
    """The files to be made from one image.

    Attributes:
        frame: The clean image.
        targets: What is missing, corruption by corruption.
    """

    frame: Frame
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Job:
    """What all pieces of work have in common.

    Attributes:
        run: Whose journals the files are noted in.
        seed: Of the random streams.
        channel_order: In which corruptions are given the channels.
        versions: Of the libraries, for the manifest.
    """

    run: Run
    seed: int
    channel_order: ChannelOrder
    versions: str

    def entry(self, target: Target, content: bytes, pixels: ImageArray, versions: str) -> Entry:
        """Describe a file for the manifest."""
        return Entry(
            target.path.relative_to(self.run.root_c).as_posix(),
            sha256_of(content),
            sha256_of(np.ascontiguousarray(pixels).data),
            target.corruption,
            target.severity,
            self.seed,
            origin_of(target.corruption) or DEFINITION,
            self.channel_order,
            versions,
        )


@dataclass(frozen=True)
class Made:
    """What became of a piece of work.

    Attributes:
        done: Files that are there now.
        failures: A line for each file that could not be written.
        hopeless: Why no further file can be written at all; empty if they can.
        unusable: Why nothing could be made of the image; empty if it could.
    """

    done: int = 0
    failures: tuple[str, ...] = ()
    hopeless: str = ""
    unusable: str = ""


def make_files(work: Work, job: Job) -> Made:
    """Make one image's missing files.

    The image is decoded once. Each corrupted image is encoded, hashed and written by a thread
    while the next is computed, so that neither waits for the disk. When the run is stopped, the
    files at hand are finished and the others left.

    Args:
        work: What to make.
        job: How to make it.

    Returns:
        What became of it.

    Raises:
        DataError: The frost pictures are missing.
    """
    from robustseg.corruptions.registry import SMALLEST_SIDE

    if job.run.stopped:
        return Made()
    try:
        image = load_image(work.frame.image)
    except BadFileError as error:
        return Made(unusable=str(error))
    if min(image.shape[:2]) < SMALLEST_SIDE:
        problem = f"smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels"
        return Made(unusable=f"{work.frame.image}: {problem}")
    try:
        with job.run.journal() as journal:
            return _gather(_write_each(work, image, job, journal))
    except OSError as error:  # of the journal itself
        return _gather([error])


def _gather(outcomes: Iterable[OSError | None]) -> Made:
    done = 0
    hopeless = ""
    failures = []
    for error in outcomes:
        if error is None:
            done += 1
            continue
        reason = error.strerror or str(error)
        failures.append(f"{error.filename}: {reason}")
        if error.errno in HOPELESS:
            hopeless = reason
    return Made(done, tuple(failures), hopeless)


def _write_each(
    work: Work, image: ImageArray, job: Job, journal: Journal
) -> Iterator[OSError | None]:
    """Corrupt and write; gives None for each file that is there, or why it is not.

    Ends early when no further file can be written.
    """
    waiting: deque[Future[OSError | None]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for target, pixels in _corrupt(work, image, job):
            if pixels is None:
                yield None
                continue
            waiting.append(pool.submit(_write, target, pixels, job, journal))
            if len(waiting) > AHEAD:
                error = waiting.popleft().result()
                yield error
                if error is not None and error.errno in HOPELESS:
                    break
        while waiting:
            yield waiting.popleft().result()


def _corrupt(work: Work, image: ImageArray, job: Job) -> Iterator[tuple[Target, ImageArray | None]]:
    """Corrupt the image for each target; None for those that another process made meanwhile."""
    from robustseg.corruptions.registry import frame_severities

    for name, group in groupby(work.targets, lambda target: target.corruption):
        targets = list(group)
        missing = [target for target in targets if not target.path.exists()]
        yield from ((target, None) for target in targets if target not in missing)
        severities = [target.severity for target in missing]
        made = frame_severities(image, work.frame.id, name, severities, job.seed, job.channel_order)
        for target in missing:
            if job.run.stopped:
                return
            yield target, next(made)


def _write(target: Target, pixels: ImageArray, job: Job, journal: Journal) -> OSError | None:
    """Write one file, noted in the journal before it has its final name."""
    content = encode_png(pixels)
    entry = job.entry(target, content, pixels, job.versions)
    try:
        with atomic_path(target.path, job.run.token) as temporary:
            temporary.write_bytes(content)
            journal.add(entry)
    except OSError as error:
        return error
    return None


def find_entry(target: Target, job: Job) -> Entry | str:
    """Describe a file that was there before and is in no list.

    Returns:
        Its entry, without versions; or in one line why it is no image.
    """
    try:
        pixels = load_image(target.path)
        return job.entry(target, target.path.read_bytes(), pixels, "")
    except BadFileError as error:
        problem = error.problem
    except OSError as error:
        problem = error.strerror or str(error)
    return f"{target.path}: {problem}; remove it and repeat the command to make it anew"

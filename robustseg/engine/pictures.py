"""Decoded and corrupted images, made ahead of the network that waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustseg.corruptions.entries import origin_of
from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.datasets.cityscapes import check_sizes, fingerprint, load_image, load_sample
from robustseg.datasets.sample import Frame, Sample
from robustseg.results import Cell

if TYPE_CHECKING:
    from robustseg.corruptions.registry import ChannelOrder

__all__ = ["ComputedCells", "DecodedSamples", "StoredCells", "ahead"]


class DecodedSamples:
    """A bounded memory of decoded images and labels.

    When it is full, further frames are decoded at each use: with a fixed order of frames keeping
    the first ones serves better than replacing the oldest, which would never be met again in time.

    Args:
        limit: Bytes of pixels that may be kept.
    """

    def __init__(self, limit: int = 4 << 30) -> None:
        self.limit = limit
        self.used = 0
        self.kept: dict[str, Sample] = {}

    def get(self, frame: Frame) -> Sample:
        """Give a frame's decoded image and label.

        Raises:
            DataError: A file is missing or unreadable, or sizes differ.
        """
        if frame.id in self.kept:
            return self.kept[frame.id]
        sample = load_sample(frame)
        size = sample.image.nbytes + sample.label.nbytes
        if self.used + size <= self.limit:
            self.used += size
            self.kept[frame.id] = sample
        return sample


class ComputedCells:
    """Images corrupted on the fly.

    Args:
        seed: Of the random streams.
        decoded: Where clean images come from.
        channel_order: Of the images that the corruptions are given.
    """

    def __init__(
        self, seed: int, decoded: DecodedSamples, channel_order: ChannelOrder = "rgb"
    ) -> None:
        self.seed = seed
        self.decoded = decoded
        self.channel_order: ChannelOrder = channel_order

    def origin(self, frames: Sequence[Frame], cell: Cell) -> str:
        """Say which version of a corruption makes a cell; empty if the protocol says it."""
        return origin_of(cell.corruption) if _is_beyond(cell) else ""

    def get(self, frame: Frame, cell: Cell) -> Sample:
        """Give a frame as it looks in a cell."""
        sample = self.decoded.get(frame)
        if cell.severity == 0:
            return sample
        # only cells that corrupt need OpenCV
        from robustseg.corruptions.registry import corrupt_frame

        image = corrupt_frame(
            sample.image,
            frame.id,
            cell.corruption,
            cell.severity,
            self.seed,
            self.channel_order,
        )
        return replace(sample, image=image)


def _is_beyond(cell: Cell) -> bool:
    return cell.severity > 0 and cell.corruption not in CORRUPTIONS


class StoredCells:
    """Images of a corrupted set on disk, with the labels of the clean set.

    Args:
        root: The clean data set.
        root_c: The corrupted set, ``<root_c>/<corruption>/<severity>/leftImg8bit/...``.
        decoded: Where clean images and labels come from.
    """

    def __init__(self, root: Path, root_c: Path, decoded: DecodedSamples) -> None:
        self.root = root
        self.root_c = root_c
        self.decoded = decoded

    def path(self, frame: Frame, cell: Cell) -> Path:
        """Name the file of a frame in a cell."""
        below = frame.image.relative_to(self.root)
        return self.root_c / cell.corruption / str(cell.severity) / below

    def origin(self, frames: Sequence[Frame], cell: Cell) -> str:
        """Say which files a cell is made of, if its corruption may have changed since."""
        if not _is_beyond(cell):
            return ""
        files = [replace(frame, image=self.path(frame, cell)) for frame in frames]
        return f"stored files {fingerprint(files)[:12]}"

    def get(self, frame: Frame, cell: Cell) -> Sample:
        """Give a frame as it looks in a cell."""
        sample = self.decoded.get(frame)
        if cell.severity == 0:
            return sample
        path = self.path(frame, cell)
        image = load_image(path)
        check_sizes(path, image, sample.label)
        return replace(sample, image=image)


def ahead(
    cells: ComputedCells | StoredCells, frames: Sequence[Frame], cell: Cell, workers: int
) -> Iterator[Sample]:
    """Make the images of a cell in order, ``workers`` of them ahead of the one in use.

    Threads suffice: decoding and the corruptions' inner loops release the interpreter lock.
    """
    if workers < 1:
        yield from (cells.get(frame, cell) for frame in frames)
        return
    waiting: deque[Future[Sample]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for frame in frames:
            waiting.append(pool.submit(cells.get, frame, cell))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

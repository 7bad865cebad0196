"""What training sees: numbered random crops, batches of them, and the weights of classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustseg.corruptions.opencv import load_cv2
from robustseg.datasets.labels import IGNORE, LABEL_TO_TRAIN, NUM_CLASSES
from robustseg.datasets.layout import TRAIN_SUFFIX
from robustseg.datasets.sample import Frame, ImageArray, LabelArray, Sample
from robustseg.engine.augment import fill_example
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe
from robustseg.errors import SettingError

__all__ = ["Crops", "Share", "batches", "class_weights", "stream"]

PURPOSES = ("order", "crop")


class Crops:
    """All training crops in their order; crop ``i`` is a function of the seed and ``i`` alone.

    Frames come in a new random order in every round over the data set. Several threads may ask at
    once; they share the memory of decoded images.

    Args:
        frames: The training images.
        recipe: Crop and augmentation.
        seed: Of orders and crops.
        decoded: Memory of decoded images.
    """

    def __init__(
        self, frames: Sequence[Frame], recipe: Recipe, seed: int, decoded: DecodedSamples
    ) -> None:
        self.frames = frames
        self.recipe = recipe
        self.seed = seed
        self.decoded = decoded
        self._order = lru_cache(4)(self._draw_order)
        self._sound: set[str] = set()

    def __len__(self) -> int:
        return self.recipe.iterations * self.recipe.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Make crop ``index``: uint8 RGB (3, h, w) and uint8 train ids (h, w)."""
        images, labels = _empty(1, self.recipe.crop, pin=False)
        self.fill(index, images[0].numpy(), labels[0].numpy())
        return images[0].permute(2, 0, 1), labels[0]

    def fill(self, index: int, pixels: ImageArray, ids: LabelArray) -> None:
        """Write crop ``index`` into arrays.

        Args:
            index: From 0.
            pixels: uint8 RGB (h, w, 3) of the recipe's crop size, filled.
            ids: uint8 train ids (h, w), filled.

        Raises:
            DataError: The image or label cannot be read.
        """
        sample = self._sample(self.frame(index))
        rng = stream(self.seed, "crop", index)
        fill_example(sample.image, sample.label, self.recipe, rng, pixels, ids)

    def frame(self, index: int) -> Frame:
        """Give the frame that crop ``index`` is cut from."""
        turn, place = divmod(index, len(self.frames))
        frame: Frame = self.frames[self._order(turn)[place]]
        return frame

    def _draw_order(self, turn: int) -> npt.NDArray[np.int64]:
        return stream(self.seed, "order", turn).permutation(len(self.frames))

    def _sample(self, frame: Frame) -> Sample:
        """Decode a frame; the faster way where it was found sound before and is not kept."""
        if frame.id in self._sound and frame.id not in self.decoded.kept:
            sample = _decode_again(frame)
            if sample is not None:
                return sample
        sample = self.decoded.get(frame)
        self._sound.add(frame.id)
        return sample


def _decode_again(frame: Frame) -> Sample | None:
    """Decode a frame of PNG files that was checked before; None where that fails.

    OpenCV decodes PNG to the same bytes as Pillow in less time, and without the interpreter's lock;
    but it takes any file, and its JPEG need not be Pillow's.
    """
    if {frame.image.suffix.lower(), frame.label.suffix.lower()} != {".png"}:
        return None
    cv2 = load_cv2()
    try:
        image = cv2.imdecode(_content(frame.image), cv2.IMREAD_COLOR)
        label = cv2.imdecode(_content(frame.label), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return None
    if image is None or label is None or label.shape != image.shape[:2]:
        return None
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    if not frame.label.name.endswith(TRAIN_SUFFIX):
        label = cv2.LUT(label, LABEL_TO_TRAIN)
    return Sample(frame, image, label)


def _content(path: Path) -> npt.NDArray[np.uint8]:
    return np.frombuffer(path.read_bytes(), np.uint8)


def stream(seed: int, purpose: str, number: int) -> np.random.RandomState:
    """Give the random stream of one numbered draw.

    Its key holds all three arguments side by side, so that no two draws share a stream; numpy
    freezes both the generator (Philox) and the distributions of ``RandomState`` for good.

    Args:
        seed: From 0 to 2**64 - 1.
        purpose: One of ``PURPOSES``.
        number: From 0 to 2**56 - 1.
    """
    key = np.array([seed, PURPOSES.index(purpose) << 56 | number], np.uint64)
    return np.random.RandomState(np.random.Philox(key=key))


@dataclass(frozen=True)
class Share:
    """The part of each batch that one process makes, and in how many pieces.

    Attributes:
        rank: Number of this process, from 0.
        world: How many processes share a batch.
        parts: Micro-batches that a process divides its share into.
    """

    rank: int = 0
    world: int = 1
    parts: int = 1

    def size(self, batch_size: int) -> int:
        """Give the number of crops in a micro-batch.

        Raises:
            SettingError: The batch cannot be divided evenly.
        """
        pieces = self.world * self.parts
        if batch_size % pieces:
            raise SettingError(
                f"batch_size {batch_size} cannot be divided by {self.world} processes x "
                f"{self.parts} accumulated parts: give --set batch_size={pieces} or a multiple"
            )
        return batch_size // pieces

    def first_crops(self, batch_size: int, start: int, stop: int) -> Iterator[int]:
        """Number the first crop of each micro-batch of the iterations from start to stop."""
        size = self.size(batch_size)
        for iteration in range(start, stop):
            for part in range(self.parts):
                yield iteration * batch_size + (part * self.world + self.rank) * size


def batches(
    crops: Crops, start: int, workers: int, share: Share | None = None, pin: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Load the batches from iteration ``start`` on, in order.

    Micro-batch m of rank r in iteration t holds the crops from t B + (m world + r) b on, where B is
    the batch size and b = B / (world parts): all ranks and parts together make the batch of one
    process.

    Args:
        crops: All crops.
        start: First iteration.
        workers: Threads that make crops ahead of their use; 0 makes them when they are asked for.
        share: What this process makes; by default whole batches.
        pin: Whether batches lie in page-locked memory, from which a GPU copies in the background.

    Yields:
        ``share.parts`` micro-batches an iteration: uint8 RGB (b, 3, h, w), channels-last in memory,
        and uint8 train ids (b, h, w).

    Raises:
        SettingError: The batch cannot be divided evenly.
        DataError: An image or label cannot be read.
    """
    share = share or Share()
    recipe = crops.recipe
    size = share.size(recipe.batch_size)
    firsts = share.first_crops(recipe.batch_size, start, recipe.iterations)
    if workers < 1:
        for first in firsts:
            images, labels = _empty(size, recipe.crop, pin)
            for place in range(size):
                crops.fill(first + place, images[place].numpy(), labels[place].numpy())
            yield images.permute(0, 3, 1, 2), labels
        return
    # threads share the decoded images, write into the batch itself, and spend most of their time
    # in code that has released the interpreter's lock
    pool = ThreadPoolExecutor(workers)
    waiting: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
    ahead = max(2, -(-2 * workers // size))
    try:
        for first in firsts:
            images, labels = _empty(size, recipe.crop, pin)
            tasks = [
                pool.submit(crops.fill, first + place, images[place].numpy(), labels[place].numpy())
                for place in range(size)
            ]
            waiting.append((images, labels, tasks))
            if len(waiting) > ahead:
                yield _finish(*waiting.popleft())
        while waiting:
            yield _finish(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _empty(size: int, crop: tuple[int, int], pin: bool) -> tuple[Tensor, Tensor]:
    images = torch.empty((size, *crop, 3), dtype=torch.uint8, pin_memory=pin)
    return images, torch.empty((size, *crop), dtype=torch.uint8, pin_memory=pin)


def _finish(images: Tensor, labels: Tensor, tasks: list[Future[None]]) -> tuple[Tensor, Tensor]:
    for task in tasks:
        task.result()
    return images.permute(0, 3, 1, 2), labels


def class_weights(frames: Sequence[Frame], decoded: DecodedSamples) -> Tensor:
    """Weigh classes by rarity, 1 / ln(1.02 + share of pixels) (arXiv 1606.02147, section 5.2).

    Returns:
        float32 (19,); a class that does not occur has the weight of a vanishing share.
    """
    counts = np.zeros(IGNORE + 1, np.int64)
    for frame in frames:
        counts += np.bincount(decoded.get(frame).label.ravel(), minlength=IGNORE + 1)
    share = counts[:NUM_CLASSES] / max(counts[:NUM_CLASSES].sum(), 1)
    return torch.from_numpy(1 / np.log(1.02 + share)).float()

"""What training sees: numbered random crops, batches of them, and the weights of classes."""

from __future__ import annotations

import re
import traceback
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustseg.datasets.labels import IGNORE, NUM_CLASSES
from robustseg.datasets.sample import Frame
from robustseg.engine.augment import random_example
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe
from robustseg.errors import DataError

__all__ = ["Crops", "batches", "class_weights"]


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """All training crops in their order; crop ``i`` is a function of the seed and ``i`` alone.

    Frames come in a new random order in every round over the data set.

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

    def __len__(self) -> int:
        return self.recipe.iterations * self.recipe.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Make crop ``index``: uint8 RGB (3, h, w) and int64 train ids (h, w)."""
        order = stream(self.seed, "order", index // len(self.frames)).permutation(len(self.frames))
        sample = self.decoded.get(self.frames[order[index % len(self.frames)]])
        rng = stream(self.seed, "crop", index)
        image, label = random_example(sample.image, sample.label, self.recipe, rng)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(label).long()


def stream(seed: int, purpose: str, number: int) -> np.random.RandomState:
    """Give the random stream of one numbered draw."""
    return np.random.RandomState(zlib.crc32(f"{seed}/{purpose}/{number}".encode()))


def batches(
    crops: Crops, start: int, batch_size: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Load the batches from iteration ``start`` on, in order.

    Args:
        crops: All crops.
        start: First iteration.
        batch_size: Crops in a batch.
        workers: Processes that make crops; 0 makes them in this one.

    Yields:
        uint8 RGB (N, 3, h, w) and int64 train ids (N, h, w).

    Raises:
        DataError: An image or label cannot be read, in its own words also from a worker.
    """
    numbers = range(start * batch_size, len(crops))
    loader = DataLoader(
        crops,
        batch_size=batch_size,
        sampler=numbers,
        num_workers=workers,
        # of its own, or each call would draw from the stream of dropout
        generator=torch.Generator(),
    )
    try:
        yield from loader
        return
    except DataError as error:
        # a worker's error comes back as the text of its traceback
        line = str(error).strip().splitlines()[-1]
        # its frames hold the loader, whose workers end at once only if it is freed at once
        traceback.clear_frames(error.__traceback__)
    raise DataError(re.sub(r"^[\w.]+Error: ", "", line))


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

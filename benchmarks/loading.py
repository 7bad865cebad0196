"""Times the loader of training crops beside a plain one, and on a GPU beside a network.

    python -m benchmarks.loading --root path/to/cityscapes
    python -m benchmarks.loading --root path/to/cityscapes --workers 1 2 4 8 16 --crops 256
    python -m benchmarks.loading --root path/to/cityscapes --device cuda --models segformer_b0

Printed are crops a second of 1024 x 1024 pixels with the SegFormer recipe, with nothing kept
("cold": each image is decoded again) and with all images kept ("kept"). One round over the images
comes before the clock runs.

The plain loader takes the steps in the order of their names: decode with Pillow, resize the whole
image and label with OpenCV, crop until no class fills too much, flip, distort in float32 with
OpenCV's HSV, pad. It runs in the worker processes of torch's DataLoader, as such loaders do, and
keeps no decoded images; it draws as often as ours, though not the same.

With ``--device cuda`` the last column is (steps a second with real loading) / (steps a second with
one batch that stays on the GPU), of a training step with AdamW under bf16 autocast.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from robustseg.datasets.cityscapes import list_frames
from robustseg.datasets.labels import IGNORE, LABEL_TO_TRAIN, NUM_CLASSES
from robustseg.datasets.sample import Frame, ImageArray, LabelArray
from robustseg.engine.crops import Crops, batches
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe, load_recipe
from robustseg.models.build import create_model


class PlainCrops(Dataset[tuple[Tensor, Tensor]]):
    """Training crops as a short script would make them."""

    def __init__(self, frames: Sequence[Frame], recipe: Recipe) -> None:
        self.frames = frames
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.iterations * self.recipe.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Make a crop: uint8 RGB (3, h, w) and int64 train ids (h, w)."""
        rng = np.random.RandomState(index)
        frame = self.frames[rng.randint(len(self.frames))]
        image = np.asarray(Image.open(frame.image).convert("RGB"))
        label: LabelArray = LABEL_TO_TRAIN[np.asarray(Image.open(frame.label))]
        factor = rng.uniform(*self.recipe.scale)
        size = (int(label.shape[1] * factor), int(label.shape[0] * factor))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        label = np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        image, label = self.crop(image, label, rng)
        if rng.uniform() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        image = distort_plainly(image, rng)
        below, right = (side - n for side, n in zip(self.recipe.crop, label.shape, strict=True))
        image = np.pad(image, ((0, below), (0, right), (0, 0)))
        label = np.pad(label, ((0, below), (0, right)), constant_values=IGNORE)
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.from_numpy(label.astype(np.int64))

    def crop(
        self, image: ImageArray, label: LabelArray, rng: np.random.RandomState
    ) -> tuple[ImageArray, LabelArray]:
        """Cut a part in which no class fills too much."""
        height, width = self.recipe.crop
        for _ in range(10):
            top = rng.randint(max(label.shape[0] - height, 0) + 1)
            left = rng.randint(max(label.shape[1] - width, 0) + 1)
            part = label[top : top + height, left : left + width]
            ids, counts = np.unique(part, return_counts=True)
            counts = counts[ids != IGNORE]
            if len(counts) > 1 and counts.max() / counts.sum() < self.recipe.cat_max_ratio:
                break
        return image[top : top + height, left : left + width], part


def distort_plainly(image: ImageArray, rng: np.random.RandomState) -> ImageArray:
    """Distort colours step by step in float32."""

    def change(values: ImageArray, factor: float, offset: float) -> ImageArray:
        changed = values.astype(np.float32) * np.float32(factor) + np.float32(offset)
        return np.asarray(np.clip(changed, 0, 255), np.uint8)

    if rng.randint(2):
        image = change(image, 1.0, rng.uniform(-32, 32))
    contrast_first = rng.randint(2)
    if contrast_first and rng.randint(2):
        image = change(image, rng.uniform(0.5, 1.5), 0.0)
    if rng.randint(2):
        hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.uint8)
        hsv[..., 1] = change(hsv[..., 1], rng.uniform(0.5, 1.5), 0.0)
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    if rng.randint(2):
        hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.uint8)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.randint(-18, 18)) % 180
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    if not contrast_first and rng.randint(2):
        image = change(image, rng.uniform(0.5, 1.5), 0.0)
    return image


def crops_a_second(loader: Iterable[tuple[Tensor, Tensor]], skip: int) -> float:
    """Time all batches but the first few, in which workers start."""
    batches_left = iter(loader)
    for _ in range(skip):
        next(batches_left)
    start, count = time.perf_counter(), 0
    for images, _ in batches_left:
        count += len(images)
    return count / (time.perf_counter() - start)


def measure(frames: Sequence[Frame], recipe: Recipe, workers: int, skip: int) -> None:
    """Print the line of a number of workers."""
    found = {}
    for name, limit in (("cold", 0), ("kept", 1 << 40)):
        crops = Crops(frames, recipe, 0, DecodedSamples(limit))
        for place in range(len(frames)):
            crops[place]
        found[name] = crops_a_second(batches(crops, 0, workers), skip)
    plain = DataLoader(PlainCrops(frames, recipe), recipe.batch_size, num_workers=workers)
    found["plain"] = crops_a_second(plain, skip)
    print(
        f"{workers:3} workers "
        + " ".join(f"{name} {rate:7.1f}/s" for name, rate in found.items())
        + f"  ratio cold {found['cold'] / found['plain']:.2f} "
        f"kept {found['kept'] / found['plain']:.2f}",
        flush=True,
    )


def training_step(name: str, device: torch.device) -> Callable[[Tensor, Tensor], None]:
    """Build a network and give one step of its training."""
    model = create_model(name, NUM_CLASSES).to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(model.normalise(images))
        loss = F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def measure_training(
    name: str, frames: Sequence[Frame], recipe: Recipe, workers: int, device: torch.device
) -> None:
    """Print how much of the rate with a fixed batch is left with real loading."""
    step = training_step(name, device)
    warm_up = 8

    def steps_a_second(loader: Iterator[tuple[Tensor, Tensor]]) -> float:
        for index, (images, labels) in enumerate(loader):
            if index == warm_up:
                torch.cuda.synchronize(device)
                start = time.perf_counter()
            step(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        torch.cuda.synchronize(device)
        return (recipe.iterations - warm_up) / (time.perf_counter() - start)

    crops = Crops(frames, recipe, 0, DecodedSamples(0))
    images, labels = next(islice(batches(crops, 0, workers), 1))
    fixed = images.to(device), labels.to(device)
    cached = steps_a_second(iter([fixed] * recipe.iterations))
    real = steps_a_second(batches(crops, 0, workers, pin=True))
    print(f"{name:14} {workers:3} workers {real:.2f} of {cached:.2f} steps/s: {real / cached:.3f}")


def main() -> None:
    """Print the lines of all numbers of workers, or of all models on a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--crops", type=int, default=64, help="that are timed (default: 64)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=["segformer_b0", "segformer_b5"])
    args = parser.parse_args()
    frames = list_frames(args.root, "train")
    for workers in args.workers:
        skip = 2 + 2 * workers // args.batch
        iterations = skip + args.crops // args.batch
        settings = [f"iterations={iterations}", f"batch_size={args.batch}"]
        recipe = load_recipe("segformer", settings)
        if args.device == "cpu":
            measure(frames, recipe, workers, skip)
            continue
        for name in args.models:
            measure_training(name, frames, recipe, workers, torch.device(args.device))


if __name__ == "__main__":
    main()

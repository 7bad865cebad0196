"""Times evaluation beside a plain loop over transformers' SegFormer with the same weights.

    pip install ".[bench]" && python -m benchmarks.evaluation

Both decode the same built-in scenes, run SegFormer-B0 on the whole image in float32 and count a
confusion matrix. The plain loop is what a user would write: one image at a time, processor, model,
upsampling to the image, argmax, numpy counting.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.peers import build_peer, with_weights_of
from robustseg.datasets.cityscapes import list_frames, load_sample
from robustseg.datasets.sample import Frame
from robustseg.datasets.streets import write_streets
from robustseg.engine.inference import Inference, confusion_matrix, predict_logits
from robustseg.models.base import SegmentationModel


def ours(
    model: SegmentationModel, frames: list[Frame]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Count with robustseg."""
    total = torch.zeros(19, 19, dtype=torch.int64)
    for frame in frames:
        sample = load_sample(frame)
        logits = predict_logits(model, sample.image, Inference("whole"))
        total += confusion_matrix(sample.label, logits.argmax(0), 19)
    return total.numpy()


def plain(
    model: torch.nn.Module, frames: list[Frame]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Count with a plain loop over transformers' network."""
    mean = np.array([123.675, 116.28, 103.53], np.float32)
    std = np.array([58.395, 57.12, 57.375], np.float32)
    total = np.zeros((19, 19), np.int64)
    for frame in frames:
        sample = load_sample(frame)
        pixels = torch.from_numpy(((sample.image - mean) / std).transpose(2, 0, 1)[None])
        with torch.no_grad():
            logits = model(pixel_values=pixels).logits
            size = sample.label.shape
            prediction = F.interpolate(logits, size, mode="bilinear").argmax(1)[0].numpy()
        counted = sample.label < 19
        np.add.at(total, (sample.label[counted], prediction[counted]), 1)
    return total


def main() -> None:
    """Print images a second of both, interleaved, and the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, default=[512, 1024])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    theirs = build_peer("transformers", "segformer_b0")
    mine = with_weights_of(theirs, "segformer_b0")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_streets(root, {"val": args.images}, args.size[0], args.size[1], seed=0)
        frames = list_frames(root)
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(args.repeats + 1):
            started = time.perf_counter()
            mine_counts = ours(mine, frames)
            between = time.perf_counter()
            their_counts = plain(theirs, frames)
            times["ours"].append(between - started)
            times["plain"].append(time.perf_counter() - between)
    moved = int(np.abs(mine_counts - their_counts).sum()) // 2
    medians = {name: float(np.median(seconds[1:])) for name, seconds in times.items()}
    for name, seconds in medians.items():
        print(f"{name:6} {args.images / seconds:6.2f} images a second")
    print(f"ratio {medians['plain'] / medians['ours']:.2f}, pixels counted elsewhere: {moved}")


if __name__ == "__main__":
    main()

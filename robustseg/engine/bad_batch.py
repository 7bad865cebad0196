"""What is kept of a batch whose loss was not finite."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image

from robustseg.engine.crops import Crops
from robustseg.files import atomic_path, set_aside, write_text

__all__ = ["report_batch"]


def report_batch(folder: Path, crops: Crops, iteration: int, loss: float) -> None:
    """Write the crops of one step as pictures, with ``batch.json`` that says what they are.

    Crops are a function of their number, so they are made once more.

    Args:
        folder: Made; one that is in the way is renamed.
        crops: Of the training.
        iteration: Of the step, counted from 1 as in ``log.csv``.
        loss: Of the whole batch.
    """
    if folder.exists():
        set_aside(folder)
    recipe = crops.recipe
    first = (iteration - 1) * recipe.batch_size
    numbers = range(first, first + recipe.batch_size)
    entries = []
    for number in numbers:
        image, label = crops[number]
        files = [f"crop-{number}.png", f"crop-{number}-train-ids.png"]
        for name, pixels in zip(files, (image.permute(1, 2, 0), label), strict=True):
            with atomic_path(folder / name) as temporary:
                Image.fromarray(pixels.contiguous().numpy()).save(temporary)
        found = torch.unique(label).tolist()
        frame = crops.frame(number).id
        entries.append({"crop": number, "frame": frame, "train_ids": found, "files": files})
    rate = recipe.learning_rate(iteration - 1)
    content = {
        "iteration": iteration,
        "loss": str(loss),
        "rate": rate,
        "seed": crops.seed,
        "crops": entries,
    }
    write_text(folder / "batch.json", json.dumps(content, indent=1))

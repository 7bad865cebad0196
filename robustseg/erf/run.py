"""Receptive fields of one network over a data set: computed once, stored raw, used again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from robustseg.datasets.cityscapes import fingerprint, load_image
from robustseg.datasets.sample import Frame
from robustseg.erf.gradients import (
    FieldMap,
    Origin,
    centre_crop,
    load_map,
    receptive_fields,
    save_map,
)
from robustseg.models.checkpoints import build_model
from robustseg.models.identity import Identity
from robustseg.progress import Console

__all__ = ["fields_of_model"]


def fields_of_model(
    name: str,
    network: Identity,
    frames: Sequence[Frame],
    taps: Sequence[str],
    side: int,
    device: torch.device,
    folder: Path,
    console: Console,
) -> dict[str, FieldMap]:
    """Give a network's maps; those that ``folder`` holds of the same origin are not made again.

    Args:
        name: The network's name in the zoo.
        network: What its checkpoint holds.
        frames: The images.
        taps: Of ``TAPS``.
        side: Of the centre crop in pixels.
        device: Where to compute.
        folder: Where raw maps are kept.
        console: For progress.

    Returns:
        Tap to float32 (S, S).

    Raises:
        CheckpointError: The checkpoint does not fit.
        DataError: An image cannot be read, or crops differ in size.
    """
    identity = fingerprint(frames)
    weights = network.checkpoint.sha256
    origins = {tap: Origin(name, tap, weights, len(frames), identity, side) for tap in taps}
    stored = {tap: load_map(folder, origin) for tap, origin in origins.items()}
    fields = {tap: field for tap, field in stored.items() if field is not None}
    missing = [tap for tap in taps if tap not in fields]
    if missing:
        model = build_model(network).to(device)
        images = (centre_crop(load_image(frame.image), side) for frame in frames)
        with console.task(f"receptive fields of {name}", len(frames)) as task:
            made = receptive_fields(model, images, missing, task)
        for tap, field in made.items():
            save_map(folder, origins[tap], field)
        fields.update(made)
    return fields

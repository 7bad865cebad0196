"""Effective receptive fields from input gradients (Luo et al., arXiv 1701.04128, section 3).

The map of a tap is the mean over images of |d a / d x|, summed over the three input channels, where
x is the normalised input and a the sum over channels of the rectified activation of the unit at the
centre, (h // 2, w // 2). Rectifying matters: stage outputs of SegFormer are layer-normed, so that
the plain sum over their channels hardly depends on the input.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustseg.datasets.sample import ImageArray
from robustseg.errors import DataError
from robustseg.files import atomic_path, set_aside
from robustseg.models.base import SegmentationModel
from robustseg.progress import Task

__all__ = ["TAPS", "FieldMap", "Origin", "centre_crop", "load_map", "receptive_fields", "save_map"]

TAPS = ("stage1", "stage2", "stage3", "stage4", "head")
"""Where fields are taken: the four encoder stages, and the logits before upsampling."""

FieldMap = npt.NDArray[np.float32]
"""float32 (S, S): mean gradient magnitude at each input pixel."""


@dataclass(frozen=True)
class Origin:
    """What a stored map was made from; a map of another origin is not used again.

    Attributes:
        model: Name in the zoo.
        tap: One of ``TAPS``.
        checkpoint: SHA-256 of the weights' file.
        images: How many images.
        fingerprint: Of the images' files.
        side: Of the square crop in pixels.
        reduction: Name of the definition.
    """

    model: str
    tap: str
    checkpoint: str
    images: int
    fingerprint: str
    side: int
    reduction: str = "relu-abs"


def centre_crop(image: ImageArray, side: int = 1024) -> ImageArray:
    """Cut the square of ``side`` pixels, or of the shorter side if that is less, at the centre.

    Args:
        image: uint8 RGB (H, W, 3).
        side: Wanted side in pixels.

    Returns:
        uint8 RGB (S, S, 3).
    """
    height, width = image.shape[:2]
    side = min(side, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def receptive_fields(
    model: SegmentationModel,
    images: Iterable[ImageArray],
    taps: Sequence[str],
    task: Task | None = None,
) -> dict[str, FieldMap]:
    """Average the gradient maps of several taps over images.

    The forward pass of an image is shared by its taps; gradients of weights are not computed.

    Args:
        model: In evaluation mode.
        images: uint8 RGB (S, S, 3), all of one size.
        taps: Of ``TAPS``.
        task: Told of each image.

    Returns:
        Tap to float32 (S, S).

    Raises:
        DataError: There is no image, or sizes differ.
    """
    device = next(model.parameters()).device
    totals = {tap: torch.zeros((), dtype=torch.float64, device=device) for tap in taps}
    size: tuple[int, ...] | None = None
    count = 0
    wanted_gradients = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(False)
    try:
        for image in images:
            if size is not None and image.shape != size:
                raise DataError(
                    f"images of {size[:2]} and {image.shape[:2]} pixels cannot be averaged"
                )
            size = image.shape
            pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
            for tap, field in _fields_of(model, pixels.permute(2, 0, 1)[None], taps).items():
                totals[tap] = totals[tap] + field
            count += 1
            if task is not None:
                task.advance()
    finally:
        for parameter, wanted in zip(model.parameters(), wanted_gradients, strict=True):
            parameter.requires_grad_(wanted)
    if not count:
        raise DataError("no image to take receptive fields from")
    return {tap: (total / count).float().cpu().numpy() for tap, total in totals.items()}


def _fields_of(model: SegmentationModel, pixels: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
    """Compute one image's maps, float64 (S, S)."""
    x = model.normalise(pixels).requires_grad_()
    activations = dict(zip(TAPS, model.stages(x), strict=False))
    if "head" in taps:
        activations["head"] = model.decode(list(activations.values()))
    fields = {}
    for tap in taps:
        activation = activations[tap]
        rows, columns = activation.shape[-2:]
        centre = activation[0, :, rows // 2, columns // 2].relu().sum()
        (gradient,) = torch.autograd.grad(centre, x, retain_graph=tap != taps[-1])
        fields[tap] = gradient[0].abs().sum(0).double()
    return fields


DAMAGED = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, struct.error),
    *(BadZipFile, TokenError, zlib.error),
)
"""What numpy raises on an archive with wrong bytes, by where they are."""


def map_path(folder: Path, origin: Origin) -> Path:
    """Name the file of a map."""
    return folder / f"{origin.model}-{origin.tap}.npz"


def save_map(folder: Path, origin: Origin, field: FieldMap) -> Path:
    """Write a raw map with its origin; a map of another origin in its place is set aside."""
    path = map_path(folder, origin)
    if path.exists():
        set_aside(path)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, field=field, origin=json.dumps(asdict(origin)))
    return path


def load_map(folder: Path, origin: Origin) -> FieldMap | None:
    """Read a raw map if it is there and of this very origin."""
    path = map_path(folder, origin)
    if not path.exists():
        return None
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as content:
            stored: Any = json.loads(str(content["origin"]))
            field: FieldMap = content["field"]
    except DAMAGED:
        return None
    return field if stored == asdict(origin) else None

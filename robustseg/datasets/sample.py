"""The unit of data that travels through the program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Frame", "ImageArray", "LabelArray", "Sample"]

ImageArray = npt.NDArray[np.uint8]
"""uint8 RGB (H, W, 3), 0-255."""

LabelArray = npt.NDArray[np.uint8]
"""uint8 train ids (H, W): 0-18, 255 = ignored."""


@dataclass(frozen=True)
class Frame:
    """One image of a data set and where its files are; nothing is read yet.

    Attributes:
        id: Name without suffix, such as ``frankfurt_000000_000294``; seeds the corruptions.
        image: Path of the PNG image.
        label: Path of the PNG with label ids (or train ids where only those exist).
    """

    id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Sample:
    """One decoded image with its label.

    Attributes:
        frame: Where it came from.
        image: uint8 RGB (H, W, 3).
        label: uint8 train ids (H, W), 255 = ignored.
    """

    frame: Frame
    image: ImageArray
    label: LabelArray

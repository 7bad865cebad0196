"""The Cityscapes classes: names, label ids, train ids, categories and colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustseg.datasets.sample import ImageArray, LabelArray

__all__ = [
    "CLASS_NAMES",
    "IGNORE",
    "LABELS",
    "LABEL_TO_TRAIN",
    "NUM_CLASSES",
    "PALETTE",
    "TRAIN_TO_LABEL",
    "LabelClass",
    "colourise",
    "foreign_id",
    "occurring",
]

IGNORE = 255
"""Train id of pixels that neither the loss nor the mIoU counts."""

NUM_CLASSES = 19
"""Number of classes that are trained and scored."""


@dataclass(frozen=True)
class LabelClass:
    """One row of the Cityscapes class definition (Cordts et al., CVPR 2016, Sec. 2.2).

    Attributes:
        name: Official name, such as ``traffic light``.
        label_id: Value in ``*_labelIds.png``, 0-33; -1 = never drawn.
        train_id: Value in ``*_labelTrainIds.png``, 0-18; 255 = ignored.
        category: One of the eight groups, such as ``vehicle``.
        colour: RGB, 0-255.
    """

    name: str
    label_id: int
    train_id: int
    category: str
    colour: tuple[int, int, int]


LABELS: tuple[LabelClass, ...] = (
    LabelClass("unlabeled", 0, 255, "void", (0, 0, 0)),
    LabelClass("ego vehicle", 1, 255, "void", (0, 0, 0)),
    LabelClass("rectification border", 2, 255, "void", (0, 0, 0)),
    LabelClass("out of roi", 3, 255, "void", (0, 0, 0)),
    LabelClass("static", 4, 255, "void", (0, 0, 0)),
    LabelClass("dynamic", 5, 255, "void", (111, 74, 0)),
    LabelClass("ground", 6, 255, "void", (81, 0, 81)),
    LabelClass("road", 7, 0, "flat", (128, 64, 128)),
    LabelClass("sidewalk", 8, 1, "flat", (244, 35, 232)),
    LabelClass("parking", 9, 255, "flat", (250, 170, 160)),
    LabelClass("rail track", 10, 255, "flat", (230, 150, 140)),
    LabelClass("building", 11, 2, "construction", (70, 70, 70)),
    LabelClass("wall", 12, 3, "construction", (102, 102, 156)),
    LabelClass("fence", 13, 4, "construction", (190, 153, 153)),
    LabelClass("guard rail", 14, 255, "construction", (180, 165, 180)),
    LabelClass("bridge", 15, 255, "construction", (150, 100, 100)),
    LabelClass("tunnel", 16, 255, "construction", (150, 120, 90)),
    LabelClass("pole", 17, 5, "object", (153, 153, 153)),
    LabelClass("polegroup", 18, 255, "object", (153, 153, 153)),
    LabelClass("traffic light", 19, 6, "object", (250, 170, 30)),
    LabelClass("traffic sign", 20, 7, "object", (220, 220, 0)),
    LabelClass("vegetation", 21, 8, "nature", (107, 142, 35)),
    LabelClass("terrain", 22, 9, "nature", (152, 251, 152)),
    LabelClass("sky", 23, 10, "sky", (70, 130, 180)),
    LabelClass("person", 24, 11, "human", (220, 20, 60)),
    LabelClass("rider", 25, 12, "human", (255, 0, 0)),
    LabelClass("car", 26, 13, "vehicle", (0, 0, 142)),
    LabelClass("truck", 27, 14, "vehicle", (0, 0, 70)),
    LabelClass("bus", 28, 15, "vehicle", (0, 60, 100)),
    LabelClass("caravan", 29, 255, "vehicle", (0, 0, 90)),
    LabelClass("trailer", 30, 255, "vehicle", (0, 0, 110)),
    LabelClass("train", 31, 16, "vehicle", (0, 80, 100)),
    LabelClass("motorcycle", 32, 17, "vehicle", (0, 0, 230)),
    LabelClass("bicycle", 33, 18, "vehicle", (119, 11, 32)),
    LabelClass("license plate", -1, 255, "vehicle", (0, 0, 142)),
)
"""All 35 classes in the order of the official definition."""

_TRAINED = sorted((c for c in LABELS if c.train_id != IGNORE), key=lambda c: c.train_id)

CLASS_NAMES: tuple[str, ...] = tuple(c.name for c in _TRAINED)
"""The 19 scored classes in train-id order: ``road`` is 0, ``bicycle`` is 18."""


def _lookup(pairs: dict[int, int], default: int) -> npt.NDArray[np.uint8]:
    table = np.full(256, default, dtype=np.uint8)
    table[list(pairs)] = list(pairs.values())
    table.setflags(write=False)
    return table


def _colours() -> npt.NDArray[np.uint8]:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:NUM_CLASSES] = [c.colour for c in _TRAINED]
    table.setflags(write=False)
    return table


LABEL_TO_TRAIN: npt.NDArray[np.uint8] = _lookup({c.label_id: c.train_id for c in _TRAINED}, IGNORE)
"""uint8 (256,), read-only: ``LABEL_TO_TRAIN[label_ids]`` are train ids; the rest is 255."""

TRAIN_TO_LABEL: npt.NDArray[np.uint8] = _lookup({c.train_id: c.label_id for c in _TRAINED}, 0)
"""uint8 (256,), read-only: train ids to label ids; what is no class becomes 0, ``unlabeled``."""

_COLOURS = _colours()

PALETTE: npt.NDArray[np.uint8] = _COLOURS[:NUM_CLASSES]
"""uint8 RGB (19, 3), read-only: the official colour of each train id."""


def colourise(label: LabelArray) -> ImageArray:
    """Paint a label map in the official colours.

    Args:
        label: uint8 train ids (H, W), 255 = ignored.

    Returns:
        uint8 RGB (H, W, 3); ignored pixels are black.
    """
    return np.take(_COLOURS, label, axis=0)


def occurring(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which values occur in a label: uint8 (H, W) to bool (256,)."""
    present = np.zeros(256, dtype=bool)
    present[ids] = True
    return present


def foreign_id(present: npt.NDArray[np.bool_], train_ids: bool) -> int | None:
    """Find a value that is no id.

    Args:
        present: bool (256,), which values occur in a label.
        train_ids: Whether the label holds train ids, not label ids.

    Returns:
        The largest value that is no id; None where all are. 255 passes: it is the ignored train
        id, and -1 (``license plate``) in 8 bits.
    """
    count = NUM_CLASSES if train_ids else sum(c.label_id >= 0 for c in LABELS)
    aliens = np.flatnonzero(present[count:IGNORE])
    return count + int(aliens[-1]) if aliens.size else None

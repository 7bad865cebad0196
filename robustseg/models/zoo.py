"""The networks by name, as data: importing this module loads no torch.

SegFormer sizes are those of the released code and checkpoints (embedding dimensions of Table 6;
MLP ratio 4 everywhere and depths 3, 4, 6, 3 and 3, 4, 18, 3 for B2 and B3, where the table prints
other values that do not give the published parameter counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustseg.names import select, unknown_name

__all__ = [
    "DEEPLAB_SPECS",
    "FAMILIES",
    "MODELS",
    "SEGFORMER_SPECS",
    "SUFFIXES",
    "DeepLabSpec",
    "Normalisation",
    "SegFormerSpec",
    "find_checkpoints",
    "get_spec",
    "select_models",
]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation that a network's input is normalised with, on a 0-255 scale."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
UNIT = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class SegFormerSpec:
    """One row of Table 6 of the SegFormer paper, as released.

    Attributes:
        label: Name in tables.
        dims: Embedding dimension C of each of the four stages.
        depths: Blocks L of each stage.
        decoder_dim: Channels C of the decoder.
        normalisation: Of the input.
    """

    label: str
    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_dim: int
    normalisation: Normalisation = IMAGENET


@dataclass(frozen=True)
class DeepLabSpec:
    """A DeepLabv3+ of the official TensorFlow form.

    Attributes:
        label: Name in tables, as Table 5 writes it.
        backbone: Name in timm.
        normalisation: Of the input.
    """

    label: str
    backbone: str
    normalisation: Normalisation = IMAGENET


SEGFORMER_SPECS: dict[str, SegFormerSpec] = {
    "segformer_b0": SegFormerSpec("SegFormer-B0", (32, 64, 160, 256), (2, 2, 2, 2), 256),
    "segformer_b1": SegFormerSpec("SegFormer-B1", (64, 128, 320, 512), (2, 2, 2, 2), 256),
    "segformer_b2": SegFormerSpec("SegFormer-B2", (64, 128, 320, 512), (3, 4, 6, 3), 768),
    "segformer_b3": SegFormerSpec("SegFormer-B3", (64, 128, 320, 512), (3, 4, 18, 3), 768),
    "segformer_b4": SegFormerSpec("SegFormer-B4", (64, 128, 320, 512), (3, 8, 27, 3), 768),
    "segformer_b5": SegFormerSpec("SegFormer-B5", (64, 128, 320, 512), (3, 6, 40, 3), 768),
}

DEEPLAB_SPECS: dict[str, DeepLabSpec] = {
    "dlv3p_mbv2": DeepLabSpec("DLv3+ (MBv2)", "mobilenetv2_100"),
    "dlv3p_r50": DeepLabSpec("DLv3+ (R50)", "resnet50"),
    "dlv3p_r101": DeepLabSpec("DLv3+ (R101)", "resnet101"),
    "dlv3p_x41": DeepLabSpec("DLv3+ (X41)", "xception41", UNIT),
    "dlv3p_x65": DeepLabSpec("DLv3+ (X65)", "xception65", UNIT),
    "dlv3p_x71": DeepLabSpec("DLv3+ (X71)", "xception71", UNIT),
}

MODELS: tuple[str, ...] = (*SEGFORMER_SPECS, *DEEPLAB_SPECS)
"""All names, in the order of lists and reports."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "segformer": tuple(SEGFORMER_SPECS),
    "deeplabv3plus": tuple(DEEPLAB_SPECS),
}
"""Group names that stand for several models on the command line."""


SUFFIXES = (".safetensors", ".pth", ".pt")
"""Of files that hold weights."""


def find_checkpoints(folder: Path) -> list[str]:
    """List the networks whose weights lie in ``folder`` as ``<name>.*``, in the zoo's order."""
    return [n for n in MODELS if any((folder / f"{n}{s}").is_file() for s in SUFFIXES)]


def get_spec(name: str) -> SegFormerSpec | DeepLabSpec:
    """Look a network up by its name.

    Raises:
        NameLookupError: No network has this name; the message suggests the nearest.
    """
    spec = SEGFORMER_SPECS.get(name) or DEEPLAB_SPECS.get(name)
    if spec is None:
        raise unknown_name(name, MODELS, "model")
    return spec


def select_models(wanted: Sequence[str]) -> list[str]:
    """Resolve names, families, patterns such as ``segformer_*`` and ``all`` to model names.

    Raises:
        NameLookupError: A name or pattern matches no network.
    """
    return select(wanted, MODELS, "model", FAMILIES)

"""The weights that others have published, as data: importing this module loads no torch.

Where they are, what they scored and how they were tested stands in ``data/published.csv``. The
first row of a network is the one that its bare name stands for where no weights are at hand.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Literal

from robustseg.errors import NameLookupError
from robustseg.models.own import OwnSpec
from robustseg.models.specs import UNIT, SegFormerSpec
from robustseg.models.zoo import base_name, get_spec

__all__ = [
    "Published",
    "default_variant",
    "implied",
    "published_encoder",
    "published_networks",
    "published_weights",
]

HUB = "https://huggingface.co"

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What a repository on Hugging Face may hold, in the order of preference."""


@dataclass(frozen=True)
class Published:
    """One set of published weights.

    Attributes:
        name: Of the network with its variant, or of the encoder.
        kind: Whole networks are trained on Cityscapes, encoders on ImageNet.
        origin: ``huggingface`` and ``url`` are fetched, ``hand`` cannot be.
        address: Repository on Hugging Face, address of the file, or of the page that links it.
        sha256: The first digits of the file's hash, or empty where nobody states them.
        miou: Single-scale mIoU in percent on Cityscapes val as published, or None.
        miou_ms_flip: The same with several scales and flips.
        inference: How the authors tested: ``slide``, ``whole``, or empty for encoders.
        window: Side of the sliding window in pixels; 0 for ``whole``.
        stride: Step of the window in pixels; 0 for ``whole``.
        licence: A key of ``LICENCES``.
    """

    name: str
    kind: Literal["network", "encoder"]
    origin: Literal["huggingface", "url", "hand"]
    address: str
    sha256: str
    miou: Decimal | None
    miou_ms_flip: Decimal | None
    inference: Literal["slide", "whole", ""]
    window: int
    stride: int
    licence: str

    @property
    def page(self) -> str:
        """Where a person finds the file."""
        return f"{HUB}/{self.address}" if self.origin == "huggingface" else self.address

    @property
    def tested(self) -> str:
        """The test mode in words; the images are 1024 x 2048 pixels."""
        if self.inference == "slide":
            return f"in windows of {self.window}x{self.window} at steps of {self.stride}"
        return "whole 1024x2048" if self.inference else ""

    def by_hand(self, folder: object) -> str:
        """Say what to download where, and where to put it.

        Args:
            folder: Where files named after networks lie.
        """
        if self.kind == "encoder":
            return f"download {' or '.join(HUB_FILES)} from {self.page} and give --init PATH"
        if self.origin == "huggingface":
            return (
                f"download {HUB_FILES[0]} from {self.page} and put it at "
                f"{folder}/{self.name}.safetensors ({HUB_FILES[1]}: {self.name}.pth)"
            )
        what = self.page
        if self.origin == "hand":
            label = get_spec(self.name).label.partition(" @")[0]
            what = f"the file of {label} for Cityscapes that is linked at {self.page}"
        return f"download {what} and put it at {folder}/{self.name}.pth"


@cache
def _table() -> dict[str, Published]:
    source = resources.files(__package__).joinpath("data/published.csv")
    rows = csv.DictReader(source.read_text(encoding="utf-8").splitlines())
    return {row["name"]: _read_row(row) for row in rows}


def _read_row(row: dict[str, str]) -> Published:
    def number(text: str) -> Decimal | None:
        return Decimal(text) if text else None

    return Published(
        name=row["name"],
        kind=row["kind"],  # type: ignore[arg-type]
        origin=row["origin"],  # type: ignore[arg-type]
        address=row["address"],
        sha256=row["sha256"],
        miou=number(row["miou"]),
        miou_ms_flip=number(row["miou_ms_flip"]),
        inference=row["inference"],  # type: ignore[arg-type]
        window=int(row["window"]),
        stride=int(row["stride"]),
        licence=row["licence"],
    )


def published_networks() -> list[Published]:
    """List the published weights of whole networks."""
    return [row for row in _table().values() if row.kind == "network"]


def default_variant(name: str) -> str | None:
    """Name the published variant that a network's name stands for.

    Args:
        name: A name of the zoo; one with a variant stands for itself.

    Returns:
        A name with a variant, or None where nobody published weights that can be read.

    Examples:
        >>> default_variant("dlv3p_r101"), default_variant("dlv3p_x65")
        ('dlv3p_r101@mmseg', None)
    """
    if "@" in name:
        return name if name in _table() else None
    return next((row.name for row in published_networks() if base_name(row.name) == name), None)


def published_weights(name: str) -> Published:
    """Look published weights up by their own name.

    Args:
        name: Of a network with its variant, or of an encoder, such as ``mit_b0``.

    Raises:
        NameLookupError: Nobody published such.
    """
    try:
        return _table()[name]
    except KeyError:
        raise NameLookupError(f"no published weights are known for {name}") from None


def published_encoder(name: str) -> Published:
    """Look up the ImageNet encoder that training of a network starts from.

    The SegFormer paper (section 4.1) and the DeepLabv3+ paper (section 4) start from encoders
    that were trained on ImageNet-1K.

    Args:
        name: A name of the zoo.

    Raises:
        NameLookupError: The network is unknown, or none of the zoo's.
    """
    spec = get_spec(name)
    if isinstance(spec, OwnSpec):
        raise NameLookupError(f"no published weights are known for the encoder of {name}")
    if isinstance(spec, SegFormerSpec):
        return published_weights(base_name(name).replace("segformer", "mit"))
    return published_weights(spec.backbone)


def implied(name: str) -> str:
    """Say which head, output stride and normalisation a network's name implies."""
    spec = get_spec(name)
    normalisation = "input in -1..1" if spec.normalisation == UNIT else "ImageNet normalisation"
    if isinstance(spec, OwnSpec):
        return f"from {spec.source}, {normalisation}"
    if isinstance(spec, SegFormerSpec):
        head = "mmsegmentation's head" if spec.head == "conv" else "the paper's head"
        return f"{head}, {normalisation}"
    return f"{spec.form.text}, output stride {spec.output_stride}, {normalisation}"

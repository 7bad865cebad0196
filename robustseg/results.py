"""The result store: ``<runs>/<protocol>/<model>/<corruption>-<severity>.json``, one file a cell.

A cell is model x corruption x severity; clean is severity 0. A file holds the raw confusion
matrix, everything that can change the number, and where it came from, so that any score can be
computed again and a result is never taken for one of other settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from robustseg.corruptions.severity import CORRUPTIONS, SEVERITIES
from robustseg.errors import DataError
from robustseg.files import set_aside, write_text
from robustseg.metrics.confusion import Confusion, mean_iou
from robustseg.names import is_plain_name
from robustseg.progress import counted

__all__ = [
    "CLEAN",
    "Cell",
    "CellResult",
    "ModelInfo",
    "Protocol",
    "ResultStore",
    "all_cells",
    "load_results",
    "read_result",
]

_T = TypeVar("_T")

SCHEMA = 1
CLEAN = "clean"
NO_CORRUPTIONS = (CLEAN, "all")
MOST_PIXELS = 2**53
"""Counts stay exact up to here; sums of larger ones could pass the range of int64."""


@dataclass(frozen=True, order=True)
class Cell:
    """One corruption at one severity; ``Cell("clean", 0)`` is the clean set."""

    corruption: str
    severity: int

    def __str__(self) -> str:
        return CLEAN if self.severity == 0 else f"{self.corruption} {self.severity}"


def all_cells(
    corruptions: Sequence[str] = CORRUPTIONS, severities: Sequence[int] = SEVERITIES
) -> list[Cell]:
    """List clean and every corruption at every severity, in the order of work."""
    return [Cell(CLEAN, 0), *[Cell(c, s) for c in corruptions for s in severities]]


@dataclass(frozen=True)
class Protocol:
    """All settings that can change a number, apart from the network and library versions.

    Attributes:
        data: Name of the data set's folder, for people.
        split: Such as ``val``.
        images: How many.
        limited: Whether ``--limit`` left images out: such results are samples.
        fingerprint: Of the files of images and labels.
        inference: ``slide`` or ``whole``.
        window: Side of the sliding window in pixels; 0 for ``whole``.
        stride: Step of the window in pixels; 0 for ``whole``.
        precision: ``fp32``.
        seed: Of the corruptions.
        definition: Of the corruptions.
        source: ``computed`` on the fly, ``stored`` for the same images from disk, or the
            fingerprint of a set of other making.
        channel_order: ``rgb`` or ``bgr``, as the corruptions were given the images; ``unknown``
            for a set of other making.
    """

    data: str
    split: str
    images: int
    limited: bool
    fingerprint: str
    inference: str
    window: int
    stride: int
    precision: str
    seed: int
    definition: str
    source: str
    channel_order: str = "rgb"

    @property
    def slug(self) -> str:
        """Name of the protocol's folder: readable, and different where any setting is."""
        facts = {**asdict(self), "data": ""}  # a folder may be renamed
        if self.channel_order == "rgb":
            del facts["channel_order"]  # so that results from before there was a choice are found
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        split = re.sub(r"[^\w.-]+", "-", self.split)
        return f"{split}-{self.inference}-{digest[:8]}"

    @property
    def title(self) -> str:
        """The settings in words, for captions."""
        how = (
            f"sliding window {self.window} x {self.window}, stride {self.stride}"
            if self.inference == "slide"
            else "whole image"
        )
        made = f"{self.definition}, seed {self.seed}"
        if self.definition == "unknown":
            made = "of unknown making"
        elif self.channel_order != "rgb":
            made += f", given {self.channel_order.upper()}"
        count = counted(self.images, "image") + (" (a sample)" if self.limited else "")
        return (
            f"{self.data} {self.split}, {count}, {how}, single scale, {self.precision}; "
            f"corruptions {made}, {self.source}"
        )


@dataclass(frozen=True)
class ModelInfo:
    """The network behind a result.

    Attributes:
        name: In the zoo; names the row's folder.
        label: In tables.
        checkpoint: SHA-256 of the weights' file.
        origin: Path of that file, for people.
        parameters: How many.
    """

    name: str
    label: str
    checkpoint: str
    origin: str
    parameters: int


@dataclass(frozen=True)
class CellResult:
    """What a result file holds.

    Attributes:
        protocol: Settings.
        model: Network.
        cell: Corruption and severity.
        confusion: int64 (K, K), rows true classes, columns predictions, over all images.
        versions: Library to version, for those that can change a number; for a cell beyond the
            sixteen also ``corruption <name>`` to where that corruption came from.
        provenance: Device, seconds and other facts that do not identify the result.
    """

    protocol: Protocol
    model: ModelInfo
    cell: Cell
    confusion: Confusion
    versions: dict[str, str]
    provenance: dict[str, str | float] = field(default_factory=dict)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur, 0-1."""
        return mean_iou(self.confusion)

    def same_settings(self, other: CellResult) -> str:
        """Say in what two results differ besides their numbers; empty if in nothing."""
        pairs = {
            "cell": (self.cell, other.cell),
            "model": (self.model.name, other.model.name),
            "settings": (self.protocol.slug, other.protocol.slug),
            "checkpoint": (self.model.checkpoint, other.model.checkpoint),
            **{
                f"version of {k}": (self.versions.get(k), other.versions.get(k))
                for k in sorted(self.versions.keys() | other.versions.keys())
            },
        }
        return ", ".join(name for name, (a, b) in pairs.items() if a != b)


class ResultStore:
    """The result files below one folder.

    Args:
        root: Usually ``./runs``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, protocol: Protocol, model: str, cell: Cell) -> Path:
        """Name the file of a cell."""
        return self.root / protocol.slug / model / f"{cell.corruption}-{cell.severity}.json"

    def write(self, result: CellResult) -> None:
        """Write a cell's file atomically."""
        path = self.path(result.protocol, result.model.name, result.cell)
        content = {
            "schema": SCHEMA,
            "miou": round(result.miou, 6) if not math.isnan(result.miou) else None,
            "cell": asdict(result.cell),
            "model": asdict(result.model),
            "protocol": asdict(result.protocol),
            "versions": result.versions,
            "provenance": result.provenance,
            "confusion": result.confusion.tolist(),
        }
        write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def usable(self, wanted: CellResult, move: bool = True) -> tuple[CellResult | None, str]:
        """Look for a finished result with the same settings, checkpoint and versions.

        A file that cannot be used is set aside under another name, never overwritten.

        Args:
            wanted: A result with an empty matrix that says what is looked for.
            move: Whether to set such a file aside; else it is only reported.

        Returns:
            The result, or None with the reason why the file found was set aside ("" if none was).
        """
        path = self.path(wanted.protocol, wanted.model.name, wanted.cell)
        if not path.exists():
            return None, ""
        try:
            found = read_result(path)
            difference = found.same_settings(wanted)
        except DataError as error:
            difference = str(error)
        else:
            if not difference:
                return found, ""
            difference = f"other {difference}"
        if move:
            set_aside(path)
        return None, f"{difference}; kept as *.old"


def load_results(root: Path) -> tuple[list[CellResult], list[str]]:
    """Read all results below a folder.

    Returns:
        The results, by path, and a line for each file that cannot be read.
    """
    results, damaged = [], []
    for path in sorted(root.glob("*/*/*-[0-5].json")):
        try:
            results.append(read_result(path))
        except DataError as error:
            damaged.append(str(error))
    return results, damaged


def read_result(path: Path) -> CellResult:
    """Read and check one result file.

    Raises:
        DataError: The file is truncated, of an unknown schema, or its numbers make no sense.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise DataError(
                f"{path} has schema {content['schema']}, this version reads {SCHEMA}: "
                "read it with the robustseg that wrote it"
            )
        return CellResult(
            protocol=_build(Protocol, {"channel_order": "rgb", **content["protocol"]}),
            model=_build(ModelInfo, content["model"]),
            cell=_cell(content["cell"]),
            confusion=_confusion(content["confusion"]),
            versions={str(k): str(v) for k, v in content["versions"].items()},
            provenance=dict(content["provenance"]),
        )
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not a whole result file ({type(error).__name__})") from error


def _build(kind: type[_T], content: dict[str, Any]) -> _T:
    """Make a dataclass from a JSON object, refusing missing, unknown and mistyped entries."""
    types = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    if set(content) != set(types):
        raise ValueError(f"entries {sorted(set(content) ^ set(types))}")
    for key, value in content.items():
        if type(value).__name__ != types[key]:
            raise TypeError(f"{key} is {type(value).__name__}")
        str(value).encode()  # half a surrogate pair could be read but never written
    return kind(**content)


def _cell(content: dict[str, Any]) -> Cell:
    cell = _build(Cell, content)
    known = cell == Cell(CLEAN, 0) or (
        # a result outlives the package that its corruption came from
        is_plain_name(cell.corruption)
        and cell.corruption not in NO_CORRUPTIONS
        and cell.severity in SEVERITIES
    )
    if not known:
        raise ValueError(f"no such cell: {cell}")
    return cell


def _confusion(content: list[list[int]]) -> Confusion:
    matrix = np.array(content)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind != "i":
        raise ValueError("confusion matrix")
    if matrix.min() < 0:
        raise ValueError("negative counts")
    if matrix.sum(dtype=np.float64) > MOST_PIXELS:
        raise ValueError("more pixels than can be counted")
    return matrix.astype(np.int64)

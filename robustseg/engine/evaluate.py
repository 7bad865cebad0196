"""Evaluation of networks on clean and corrupted images, cell by cell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from robustseg.corruptions.severity import DEFINITION
from robustseg.corruptions.writer import read_record
from robustseg.datasets.cityscapes import fingerprint
from robustseg.datasets.labels import NUM_CLASSES
from robustseg.datasets.sample import Frame
from robustseg.engine.inference import Inference, confusion_matrix, predict_logits
from robustseg.engine.pictures import ComputedCells, StoredCells, ahead
from robustseg.models.base import SegmentationModel
from robustseg.models.checkpoints import build_model
from robustseg.models.folding import prepare_for_inference
from robustseg.models.identity import Identity
from robustseg.models.own import OwnSpec
from robustseg.models.zoo import get_spec
from robustseg.progress import Console, Task
from robustseg.results import Cell, CellResult, ModelInfo, Protocol, ResultStore, all_cells

__all__ = [
    "Evaluation",
    "Plan",
    "library_versions",
    "load_models",
    "make_plan",
    "make_protocol",
    "missing_files",
    "stored_source",
]

VERSIONED = ("robustseg", "torch", "timm", "numpy", "numba", "scipy", "opencv-python", "pillow")
"""Distributions whose version can change a number."""


def make_protocol(
    data: str,
    split: str,
    frames: Sequence[Frame],
    limited: bool,
    inference: Inference,
    seed: int,
    source: str,
    definition: str = DEFINITION,
    channel_order: str = "rgb",
) -> Protocol:
    """Gather the settings that identify a result."""
    slide = inference.mode == "slide"
    return Protocol(
        data=data,
        split=split,
        images=len(frames),
        limited=limited,
        fingerprint=fingerprint(frames),
        inference=inference.mode,
        window=inference.window if slide else 0,
        stride=inference.stride if slide else 0,
        precision="fp32",
        seed=seed,
        definition=definition,
        source=source,
        channel_order=channel_order,
    )


@dataclass(frozen=True)
class Plan:
    """What is to be done: for each cell the results that are missing, with empty matrices.

    Attributes:
        todo: Cell to the models that lack it.
        finished: How many (model, cell) pairs are there already.
        notes: Why files were set aside, with the number of files for each reason.
    """

    todo: dict[Cell, list[CellResult]]
    finished: int
    notes: dict[str, int]

    @property
    def missing(self) -> int:
        """How many (model, cell) pairs are to be computed."""
        return sum(len(results) for results in self.todo.values())


def make_plan(
    store: ResultStore,
    protocol: Protocol,
    identities: Mapping[str, Identity],
    cells: Sequence[Cell],
    move: bool = True,
    origin: Callable[[Cell], str] = lambda cell: "",
) -> Plan:
    """Compare what is wanted with the result files that exist.

    Args:
        store: Where results are kept.
        protocol: The settings.
        identities: Model name, with the variant that the file holds, to what the file holds.
        cells: The cells wanted of each model.
        move: Whether to set files aside that cannot be used.
        origin: Says which version of a corruption makes a cell, where the protocol does not.

    Raises:
        PluginError: A corruption of another package cannot be imported.
    """
    libraries = library_versions()
    models = [_describe(name, identity) for name, identity in identities.items()]
    todo: dict[Cell, list[CellResult]] = {}
    finished = 0
    notes: Counter[str] = Counter()
    for cell in cells:
        made = origin(cell)
        versions = {**libraries, f"corruption {cell.corruption}": made} if made else libraries
        for model in models:
            wanted = CellResult(protocol, model, cell, _no_counts(), versions)
            found, note = store.usable(wanted, move)
            if note:
                notes[note] += 1
            if found:
                finished += 1
            else:
                todo.setdefault(cell, []).append(wanted)
    return Plan(todo, finished, dict(notes))


def library_versions() -> dict[str, str]:
    """Give the installed versions of the libraries that can change a number."""
    return {name: _version(name) for name in VERSIONED}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # OpenCV has distributions of other names
        return "not installed"


def _no_counts() -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)


def _describe(name: str, identity: Identity) -> ModelInfo:
    checkpoint, state = identity.checkpoint, identity.state
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(v.numel() for k, v in state.items() if not k.endswith(buffers))
    origin = str(checkpoint.path).encode(errors="replace").decode()  # paths need not be UTF-8
    return ModelInfo(name, get_spec(name).label, checkpoint.sha256, origin, count)


@dataclass(frozen=True)
class Evaluation:
    """Everything that stays the same from cell to cell.

    Attributes:
        frames: The images.
        pictures: Where a frame's look in a cell comes from.
        inference: Window and stride.
        store: Where results go.
        workers: Threads that make images ahead of the networks.
    """

    frames: Sequence[Frame]
    pictures: ComputedCells | StoredCells
    inference: Inference
    store: ResultStore
    workers: int = 1

    def run(self, plan: Plan, models: dict[str, SegmentationModel], console: Console) -> None:
        """Compute the missing cells and write each (model, cell) when it is whole.

        Each corrupted image is made once and shown to all models that lack the cell.

        Args:
            plan: From ``make_plan``.
            models: Name to network, in evaluation mode on the device to use.
            console: For progress.

        Raises:
            DataError: An image or label cannot be read; finished cells are kept.
        """
        passes = plan.missing * len(self.frames)
        if isinstance(self.pictures, ComputedCells):
            self._load_corruptions(plan, console)
        with (
            console.task("evaluating", passes) as task,
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            for cell, wanted in plan.todo.items():
                self._run_cell(cell, wanted, models, task)

    def _load_corruptions(self, plan: Plan, console: Console) -> None:
        names = [cell.corruption for cell in plan.todo if cell.severity]
        if names:
            from robustseg.corruptions.loading import load_corruptions  # needs OpenCV

            load_corruptions(names, console)

    def _run_cell(
        self,
        cell: Cell,
        wanted: list[CellResult],
        models: dict[str, SegmentationModel],
        task: Task,
    ) -> None:
        started = time.monotonic()
        names = [result.model.name for result in wanted]
        totals = dict.fromkeys(names, torch.zeros(()))
        for sample in ahead(self.pictures, self.frames, cell, self.workers):
            for name in names:
                logits = predict_logits(models[name], sample.image, self.inference)
                counts = confusion_matrix(sample.label, logits.argmax(0), NUM_CLASSES)
                totals[name] = counts + totals[name].to(counts)
                task.advance(note=str(cell))
        for result in wanted:
            name = result.model.name
            provenance: dict[str, str | float] = {
                "device": str(next(models[name].parameters()).device),
                "cell_seconds": round(time.monotonic() - started, 2),
            }
            confusion = totals[name].cpu().numpy()
            self.store.write(replace(result, confusion=confusion, provenance=provenance))


def load_models(
    identities: Mapping[str, Identity], plan: Plan, device: torch.device
) -> dict[str, SegmentationModel]:
    """Load the networks that still have work, onto the device, made ready to infer fast.

    Raises:
        CheckpointError: A checkpoint does not fit its network.
    """
    needed = {result.model.name for results in plan.todo.values() for result in results}
    models = {}
    for name, identity in identities.items():
        if name in needed:
            model = build_model(identity, NUM_CLASSES)
            # what a registered network does inside is its author's business
            registered = isinstance(get_spec(name), OwnSpec)
            models[name] = (model if registered else prepare_for_inference(model)).to(device)
    return models


def missing_files(
    frames: Sequence[Frame], stored: StoredCells, cells: Sequence[Cell]
) -> list[Path]:
    """List the files that a stored set lacks for some cells."""
    paths = (stored.path(f, c) for c in cells if c.severity for f in frames)
    return [p for p in paths if not p.is_file()]


def stored_source(stored: StoredCells, frames: Sequence[Frame]) -> tuple[int, str, str, str]:
    """Say what a stored set is, for the protocol.

    Returns:
        Seed, source, definition and channel order. The source is ``stored`` for a set whose record
        says that its images are those which would be computed; for a set of other making it holds
        a fingerprint of all its files.
    """
    record = read_record(stored.root_c)
    if record is not None and record.definition == DEFINITION:
        return record.seed, "stored", record.definition, record.channel_order
    files = [
        replace(frame, image=path)
        for cell in all_cells()
        for frame in frames
        if cell.severity and (path := stored.path(frame, cell)).is_file()
    ]
    return 0, f"stored by others ({fingerprint(files)[:12]})", "unknown", "unknown"

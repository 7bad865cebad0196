"""The whole job on built-in street scenes: train, corrupt, evaluate, report, receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robustseg.corruptions.registry import corrupt_frame
from robustseg.corruptions.severity import CORRUPTIONS, SEVERITIES
from robustseg.corruptions.writer import plan_work, prepare_tree, write_set
from robustseg.datasets.cityscapes import list_frames, load_sample
from robustseg.datasets.labels import colourise
from robustseg.datasets.sample import Frame, ImageArray
from robustseg.datasets.streets import write_streets
from robustseg.engine.evaluate import (
    Evaluation,
    load_models,
    make_plan,
    make_protocol,
)
from robustseg.engine.inference import Inference, predict_logits
from robustseg.engine.pictures import DecodedSamples, StoredCells
from robustseg.engine.recipes import load_recipe
from robustseg.engine.train import Paths, new_model, train
from robustseg.erf.figures import draw_fields
from robustseg.erf.gradients import TAPS
from robustseg.erf.run import fields_of_model
from robustseg.errors import DataError
from robustseg.models.checkpoints import build_model, read_checkpoint
from robustseg.models.identity import Identity, identify
from robustseg.models.zoo import get_spec
from robustseg.progress import Console
from robustseg.reports.page import FigureFile, write_report
from robustseg.reports.sheet import corruption_sheet, picture_grid
from robustseg.reports.table import Table, title_of
from robustseg.results import ResultStore, all_cells, load_results

__all__ = ["Demo", "Size", "run_demo"]

MODELS = ("segformer_b0", "dlv3p_mbv2")
REMARK = (
    "Both networks were trained for about a minute, from scratch, on scenes that this program "
    "drew: the numbers show that it works, not how good these networks are."
)

SHOWN = (("clean", 0), ("gaussian_noise", 3), ("motion_blur", 3), ("fog", 3), ("snow", 3))
"""Cells whose predictions the report shows."""


@dataclass(frozen=True)
class Size:
    """How much the demo does; the default takes a few minutes on two CPU cores.

    Attributes:
        height: Of the scenes in pixels.
        width: Of the scenes in pixels.
        training: Training scenes.
        validation: Validation scenes.
        overrides: Of the ``quick`` recipe.
    """

    height: int = 192
    width: int = 384
    training: int = 160
    validation: int = 10
    overrides: tuple[str, ...] = ("iterations=240",)


@dataclass(frozen=True)
class Demo:
    """Where the demo's files are and what it runs on.

    Attributes:
        output: Folder of everything.
        device: Of the networks.
        seed: Of scenes, weights and corruptions.
        workers: Processes or threads that make images.
        size: How much is done.
    """

    output: Path
    device: torch.device
    seed: int
    workers: int
    size: Size

    @property
    def root(self) -> Path:
        """The scenes, a valid ``--root``."""
        return self.output / "cityscapes"

    @property
    def root_c(self) -> Path:
        """The corrupted set beside them."""
        return self.output / "cityscapes_c"

    @property
    def report(self) -> Path:
        """The report's folder."""
        return self.output / "report"


def run_demo(demo: Demo, console: Console) -> Table:
    """Do the whole job; steps that an earlier call finished are not repeated.

    Returns:
        The report's table.
    """
    make_scenes(demo, console)
    networks = train_models(demo, console)
    frames = list_frames(demo.root, "val")
    build_set(demo, frames, console)
    evaluate_models(demo, frames, networks, console)
    figures = draw_figures(demo, frames, networks, console)
    results, _ = load_results(demo.output / "runs")
    return write_report(results, demo.report, figures=figures, remarks=[REMARK])


def make_scenes(demo: Demo, console: Console) -> None:
    """Render the street scenes; training and validation have no layout in common."""
    counts = {"train": demo.size.training, "val": demo.size.validation}
    with console.task("rendering street scenes", sum(counts.values())) as task:
        write_streets(
            demo.root,
            counts,
            demo.size.height,
            demo.size.width,
            demo.seed,
            on_done=task.advance,
            workers=demo.workers,
        )


def train_models(demo: Demo, console: Console) -> dict[str, Identity]:
    """Train the small SegFormer and the small DeepLabv3+ that are not trained yet."""
    recipe = load_recipe("quick", demo.size.overrides)
    frames = list_frames(demo.root, "train")
    networks = {}
    for name in MODELS:
        paths = Paths.below(demo.output / "checkpoints", name)
        if not paths.weights.exists():
            model = new_model(name, recipe, demo.seed, None).to(demo.device)
            train(name, model, frames, recipe, demo.seed, paths, 0, console)
        networks[name] = identify(read_checkpoint(paths.weights), name)
    return networks


def build_set(demo: Demo, frames: Sequence[Frame], console: Console) -> None:
    """Build Cityscapes-C from the validation scenes."""
    prepare_tree(demo.root, demo.root_c, CORRUPTIONS, SEVERITIES, demo.seed)
    plan = plan_work(demo.root, demo.root_c, frames, CORRUPTIONS, SEVERITIES)
    failures = write_set(plan, demo.seed, demo.workers, console)
    if failures:
        raise DataError(f"{failures[0]}; move {demo.output} and start anew")


def evaluate_models(
    demo: Demo, frames: Sequence[Frame], networks: dict[str, Identity], console: Console
) -> None:
    """Evaluate the networks on clean + 16 x 5."""
    store = ResultStore(demo.output / "runs")
    inference = Inference()
    pictures = StoredCells(demo.root, demo.root_c, DecodedSamples())
    protocol = make_protocol("street-scenes", "val", frames, False, inference, demo.seed, "stored")
    plan = make_plan(store, protocol, networks, all_cells())
    models = load_models(networks, plan, demo.device)
    Evaluation(frames, pictures, inference, store, demo.workers).run(plan, models, console)


def draw_figures(
    demo: Demo, frames: Sequence[Frame], networks: dict[str, Identity], console: Console
) -> list[FigureFile]:
    """Draw what the report shows beside the table."""
    sheet = demo.report / "corruptions.jpg"  # noise makes a PNG five times as large
    predictions = demo.report / "predictions.png"
    fields = demo.report / "erf.png"
    draw_sheet(demo, frames[0], sheet)
    draw_predictions(demo, frames[0], networks, predictions)
    draw_receptive_fields(demo, frames, networks, fields, console)
    return [
        FigureFile(
            "What the networks see",
            sheet,
            "A validation scene, clean and under the sixteen corruptions at severities 1 to 5.",
        ),
        FigureFile(
            "What they make of it",
            predictions,
            "Images, predictions and ground truth in Cityscapes colours.",
        ),
        FigureFile(
            "Effective receptive fields",
            fields,
            "How strongly each input pixel moves the unit at the centre, as in Figure 3 of the "
            "paper but by a definition of our own: see the documentation.",
        ),
    ]


def draw_sheet(demo: Demo, frame: Frame, path: Path) -> None:
    """Draw one scene under all corruptions."""
    image = load_sample(frame).image
    corruption_sheet(image, frame.id, path, demo.seed)


def draw_predictions(demo: Demo, frame: Frame, networks: dict[str, Identity], path: Path) -> None:
    """Draw one scene in a few cells, with each network's prediction."""
    sample = load_sample(frame)
    models = {n: build_model(c).to(demo.device) for n, c in networks.items()}
    columns: list[list[ImageArray]] = []
    for name, severity in SHOWN:
        image = sample.image
        if severity:
            image = corrupt_frame(image, frame.id, name, severity, demo.seed)
        predicted = [
            predict_logits(m, image, Inference()).argmax(0).cpu().numpy().astype(np.uint8)
            for m in models.values()
        ]
        columns.append([image, *map(colourise, predicted), colourise(sample.label)])
    heads = [f"{title_of(c)} {s}" if s else "Clean" for c, s in SHOWN]
    rows = ["Image", *(get_spec(n).label for n in models), "Ground truth"]
    picture_grid([list(row) for row in zip(*columns, strict=True)], rows, heads, path)


def draw_receptive_fields(
    demo: Demo,
    frames: Sequence[Frame],
    networks: dict[str, Identity],
    path: Path,
    console: Console,
) -> None:
    """Draw all taps of both networks."""
    side = min(demo.size.height, demo.size.width)
    fields = {}
    for name, network in networks.items():
        found = fields_of_model(
            name, network, frames, TAPS, side, demo.device, demo.output / "erf", console
        )
        fields.update({(name, tap): field for tap, field in found.items()})
    rows = [(name, get_spec(name).label) for name in networks]
    draw_fields(fields, rows, TAPS, len(frames), path)

"""Training curves: loss and rate, and validation mIoU, of one training or several."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from robustseg.files import atomic_path
from robustseg.reports.figures import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Training", "draw_curves", "read_training", "smoothed"]

GREY = "#666666"
WINDOW = 0.04
"""Share of the points that one point of the smoothed loss is the mean of."""


@dataclass(frozen=True)
class Training:
    """What a training's folder holds of its course; iterations beside values.

    Attributes:
        loss: Iterations and losses.
        rate: Iterations and base learning rates.
        miou: Iterations and validation mIoU in percent.
    """

    loss: tuple[list[int], list[float]]
    rate: tuple[list[int], list[float]]
    miou: tuple[list[int], list[float]]


def draw_curves(folders: Mapping[str, Path], output: Path) -> Figure:
    """Draw the curves of trainings into one figure, as PNG and as PDF.

    Args:
        folders: Label to the folder that holds ``log.csv`` and ``validation.csv``; what is missing
            there is left out.
        output: The PNG; the PDF goes beside it.

    Returns:
        The figure.
    """
    trainings = {label: read_training(folder) for label, folder in folders.items()}
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_loss(left, trainings)
    _draw_rates(left, trainings)
    _draw_miou(right, trainings)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        columns = min(len(labels), 4)
        place = "outside upper center"
        figure.legend(handles, labels, loc=place, ncols=columns, fontsize=8, frameon=False)
    for path in (output, output.with_suffix(".pdf")):
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=150)
    return figure


def read_training(folder: Path) -> Training:
    """Read the tables of a training; rows that a kill cut are left out."""
    log = folder / "log.csv"
    return Training(
        _column(log, "loss"), _column(log, "rate"), _column(folder / "validation.csv", "miou")
    )


def _column(path: Path, name: str) -> tuple[list[int], list[float]]:
    if not path.exists():
        return [], []
    places, values = [], []
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        rows = csv.DictReader(stream)
        for row in rows:
            try:
                value, place = float(row[name]), int(row["iteration"])
            except (KeyError, TypeError, ValueError):
                continue
            if math.isfinite(value):
                places.append(place)
                values.append(value)
    return places, values


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Average each value with its neighbours, as many on either side, fewer at the ends.

    Args:
        values: At even distances.
        width: Values in a mean, an odd number.

    Examples:
        >>> smoothed([3.0, 0.0, 0.0, 6.0], 3)
        [3.0, 1.0, 2.0, 6.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    reach = np.minimum(np.minimum(place, len(values) - 1 - place), width // 2)
    return ((sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1)).tolist()  # type: ignore[no-any-return]


def _draw_loss(axis: Axes, trainings: Mapping[str, Training]) -> None:
    averaged = False
    for number, (label, training) in enumerate(trainings.items()):
        places, losses = training.loss
        if not places:
            continue
        colour = COLOURS[number % len(COLOURS)]
        width = 2 * int(WINDOW * len(losses) / 2) + 1
        averaged = averaged or width > 1
        if width > 1:
            axis.plot(places, losses, color=colour, linewidth=0.6, alpha=0.3)
        marker = MARKERS[number % len(MARKERS)] if len(places) == 1 else ""
        axis.plot(
            places,
            smoothed(losses, width),
            color=colour,
            linewidth=1.5,
            marker=marker,
            markersize=4,
            label=label,
        )
    _style(axis, "Training loss" + (" (faint: each value)" if averaged else ""), "cross-entropy")
    if any(t.loss[0] for t in trainings.values()):
        axis.set_ylim(bottom=0)
    else:
        _say_nothing_here(axis)


def _draw_rates(axis: Axes, trainings: Mapping[str, Training]) -> None:
    """Draw the rates against an axis of their own, one line where all are alike."""
    drawn = {label: t.rate for label, t in trainings.items() if t.rate[0]}
    if not drawn:
        return
    alike = all(rate == next(iter(drawn.values())) for rate in drawn.values())
    beside = axis.twinx()
    for number, label in enumerate(trainings):
        if label not in drawn:
            continue
        colour = GREY if alike else COLOURS[number % len(COLOURS)]
        places, rates = drawn[label]
        marker = "x" if len(places) == 1 else ""
        beside.plot(
            places, rates, color=colour, linewidth=1, linestyle=":", marker=marker, markersize=4
        )
        if alike:
            break
    beside.set_ylim(bottom=0, top=1.05 * max(max(rates) for _, rates in drawn.values()) or 1)
    beside.set_ylabel("learning rate (dotted)", fontsize=9, color=GREY)
    beside.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    beside.yaxis.get_offset_text().set_fontsize(7)
    beside.tick_params(labelsize=7, colors=GREY)
    beside.spines[["top", "right"]].set_visible(False)


def _draw_miou(axis: Axes, trainings: Mapping[str, Training]) -> None:
    for number, (label, training) in enumerate(trainings.items()):
        places, values = training.miou
        axis.plot(
            places,
            values,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=3.5,
            linewidth=1.3,
            label=label,
        )
    _style(axis, "Validation", "mIoU (%)")
    if any(t.miou[0] for t in trainings.values()):
        axis.set_ylim(bottom=0)
    else:
        _say_nothing_here(axis)


def _style(axis: Axes, title: str, label: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.set_xlabel("iteration", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _thousands(value: float, _: object = None) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def _say_nothing_here(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    middle = {"ha": "center", "va": "center"}
    axis.text(0.5, 0.5, "no values", transform=axis.transAxes, color=GREY, fontsize=9, **middle)

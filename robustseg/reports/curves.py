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
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=min(len(labels), 4),
            fontsize=8,
            frameon=False,
        )
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
    """Average each value with up to ``width // 2`` neighbours on either side.

    Args:
        values: At even distances.
        width: Values in a mean, an odd number; near the ends fewer.

    Examples:
        >>> smoothed([3.0, 0.0, 0.0, 6.0], 3)
        [1.5, 1.0, 2.0, 3.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first = np.maximum(place - width // 2, 0)
    last = np.minimum(place + width // 2 + 1, len(values))
    means: list[float] = ((sums[last] - sums[first]) / (last - first)).tolist()
    return means


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
    """Draw the rates against an axis of their own, as shares of their peaks where these differ.

    Networks of both families learn at rates that are powers of ten apart: on one scale the lower
    ones would lie on the axis.
    """
    peaks = {label: max(t.rate[1]) or 1.0 for label, t in trainings.items() if t.rate[0]}
    if not peaks:
        return
    shared = len(set(peaks.values())) == 1
    courses = {
        label: (places, [rate / (1 if shared else peaks[label]) for rate in rates])
        for label, (places, rates) in ((label, trainings[label].rate) for label in peaks)
    }
    beside = axis.twinx()
    for number, (label, (places, rates)) in enumerate(_distinct(courses).items()):
        colour = GREY if number == 0 else COLOURS[list(trainings).index(label) % len(COLOURS)]
        marker = "x" if len(places) == 1 else ""
        beside.plot(places, rates, color=colour, linewidth=1, linestyle=":", marker=marker)
    beside.set_ylim(bottom=0, top=1.05 * max(max(rates) for _, rates in courses.values()) or 1)
    what = "learning rate" if shared else "learning rate / its peak"
    beside.set_ylabel(f"{what} (dotted)", fontsize=9, color=GREY)
    if shared:
        beside.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
        beside.yaxis.get_offset_text().set_fontsize(7)
    beside.tick_params(labelsize=7, colors=GREY)
    beside.spines[["top", "right"]].set_visible(False)


def _distinct(
    courses: Mapping[str, tuple[list[int], list[float]]],
) -> dict[str, tuple[list[int], list[float]]]:
    """Leave out courses that would lie on an earlier one, to what can be seen."""
    kept: dict[str, tuple[list[int], list[float]]] = {}
    for label, (places, values) in courses.items():
        if not any(
            places == others and np.allclose(values, theirs, rtol=2e-3, atol=0)
            for others, theirs in kept.values()
        ):
            kept[label] = places, values
    return kept


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
    axis.text(
        0.5,
        0.5,
        "no values",
        transform=axis.transAxes,
        color=GREY,
        fontsize=9,
        ha="center",
        va="center",
    )

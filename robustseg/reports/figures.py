"""Figures of the report: mIoU against severity, contact sheets, predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from robustseg.corruptions.severity import CORRUPTIONS, GROUPS, SEVERITIES
from robustseg.datasets.sample import ImageArray
from robustseg.files import atomic_path, write_text
from robustseg.reports.table import rows_of
from robustseg.results import CLEAN, CellResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["corruption_sheet", "draw_curves", "picture_grid", "severity_curves", "title_of"]

# Okabe and Ito's colours, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"
PLOTS = 4


def title_of(corruption: str) -> str:
    """Write a corruption's name for people: ``Motion blur``."""
    return "JPEG" if corruption == "jpeg_compression" else corruption.replace("_", " ").capitalize()


def severity_curves(
    results: Sequence[CellResult], path: Path, names: Sequence[str] = CORRUPTIONS
) -> None:
    """Draw mIoU against severity, one small plot a corruption, one line a model.

    Severity 0 is the clean set. The numbers are written beside the figure as CSV.

    Args:
        results: Of one protocol.
        path: PNG to write.
        names: The corruptions; results of others are left out.
    """
    kept = [r for r in results if r.cell.severity == 0 or r.cell.corruption in names]
    curves = _curves(kept)
    _save(draw_curves(curves, names), path)
    write_text(path.with_suffix(".csv"), _curve_csv(curves))


def draw_curves(
    curves: Mapping[str, Mapping[tuple[str, int], float]], names: Sequence[str] = CORRUPTIONS
) -> Figure:
    """Draw one plot a corruption, four in a row.

    Args:
        curves: Label to mIoU, 0-1, by corruption and severity.
        names: The corruptions.

    Returns:
        The figure; its axes share one scale that holds every point.
    """
    rows = -(-len(names) // PLOTS)
    figure = Figure(figsize=(9.5, 0.6 + 1.95 * rows), layout="constrained")
    axes = figure.subplots(rows, PLOTS, sharex=True, sharey=True, squeeze=False)
    for axis in axes.ravel()[len(names) :]:
        axis.set_visible(False)
    for axis, corruption in zip(axes.ravel(), names, strict=False):
        for number, (label, miou) in enumerate(curves.items()):
            points = [(s, miou[c]) for s, c in _severity_axis(corruption) if c in miou]
            axis.plot(
                [s for s, _ in points],
                [100 * value for _, value in points],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=3.5,
                linewidth=1.3,
                label=label,
            )
        _style(axis, title_of(corruption))
    groups = (
        [f"{group.capitalize()}\n" for group in GROUPS] if names == CORRUPTIONS else [""] * rows
    )
    for row, group in zip(axes, groups, strict=True):
        row[0].set_ylabel(f"{group}mIoU (%)", fontsize=9)
    for number in range(max(0, len(names) - PLOTS), len(names)):
        axes.ravel()[number].set_xlabel("severity (0 = clean)", fontsize=8)
        axes.ravel()[number].tick_params(labelbottom=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    # only now, since a limit set earlier would stop the scale from growing with later plots
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_xlim(-0.3, 5.3)
    return figure


def _style(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xticks(range(6))
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _severity_axis(corruption: str) -> list[tuple[int, tuple[str, int]]]:
    return [(0, (CLEAN, 0)), *((s, (corruption, s)) for s in SEVERITIES)]


def _curves(results: Sequence[CellResult]) -> dict[str, dict[tuple[str, int], float]]:
    """Give each row's mIoU by corruption and severity."""
    return {
        label: {(r.cell.corruption, r.cell.severity): r.miou for r in cells}
        for label, cells in rows_of(results).items()
    }


def _curve_csv(curves: Mapping[str, Mapping[tuple[str, int], float]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", "corruption", "severity", "miou_percent"])
    for label, miou in curves.items():
        for (corruption, severity), value in miou.items():
            writer.writerow([label, corruption, severity, f"{100 * value:.4f}"])
    return stream.getvalue()


def corruption_sheet(
    pictures: Mapping[tuple[str, int], ImageArray], path: Path, severities: Sequence[int]
) -> None:
    """Draw one image under all corruptions: rows of corruptions, columns of severities.

    Args:
        pictures: (corruption, severity) to uint8 RGB (H, W, 3).
        path: PNG to write.
        severities: The columns.
    """
    names = [c for c in CORRUPTIONS if (c, severities[0]) in pictures]
    grid = [[pictures[name, s] for s in severities] for name in names]
    picture_grid(
        grid, [title_of(name) for name in names], [f"severity {s}" for s in severities], path
    )


def picture_grid(
    pictures: Sequence[Sequence[ImageArray]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
) -> None:
    """Draw labelled rows and columns of pictures of one size.

    Args:
        pictures: uint8 RGB (H, W, 3) by row and column.
        rows: Labels at the left.
        columns: Labels at the top.
        path: PNG to write.
    """
    height, width = pictures[0][0].shape[:2]
    cell = 2.6
    size = (cell * len(columns) + 1.1, cell * height / width * len(rows) + 0.4)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=size, layout=layout)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            axis = axes[i, j]
            axis.imshow(picture, aspect="auto")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if i == 0:
                axis.set_title(columns[j], fontsize=9)
            if j == 0:
                axis.set_ylabel(rows[i], fontsize=9, rotation=0, ha="right", va="center")
    _save(figure, path, dpi=110)


def _save(figure: Figure, path: Path, dpi: int = 150) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)

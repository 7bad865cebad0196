"""Figures of the report: mIoU against severity."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from robustseg.corruptions.severity import CORRUPTIONS, GROUPS, SEVERITIES
from robustseg.files import atomic_path, write_text
from robustseg.reports.table import rows_of, title_of
from robustseg.results import CLEAN, CellResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves", "severity_curves"]

# Okabe and Ito's colours, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"
PLOTS = 4


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
    columns = min(PLOTS, max(2, len(names)))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(0.7 + 2.2 * columns, 0.6 + 1.95 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
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
    for number in range(max(0, len(names) - columns), len(names)):
        axes.ravel()[number].set_xlabel("severity (0 = clean)", fontsize=8)
        axes.ravel()[number].tick_params(labelbottom=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, fontsize=9, frameon=False
    )
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


def _save(figure: Figure, path: Path, dpi: int = 150) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)

"""Draws effective receptive fields: rows of models, columns of taps, as in SegFormer's Figure 3."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from robustseg.erf.gradients import FieldMap
from robustseg.files import atomic_path
from robustseg.progress import counted

__all__ = ["POWER", "display", "draw_fields"]

POWER = 0.25
"""Exponent of the display: gradients span orders of magnitude, and far context would be black."""

TITLES = {**{f"stage{i}": f"Stage-{i}" for i in (1, 2, 3, 4)}, "head": "Head"}


def display(field: FieldMap) -> npt.NDArray[np.float64]:
    """Scale a map for the eye: (value / maximum) ** 0.25, in 0-1."""
    peak = float(field.max())
    scaled = field.astype(np.float64) / peak if peak > 0 else np.zeros(field.shape)
    return np.asarray(scaled**POWER)


def draw_fields(
    fields: Mapping[tuple[str, str], FieldMap],
    models: Sequence[tuple[str, str]],
    taps: Sequence[str],
    images: int,
    path: Path,
) -> None:
    """Draw the maps of all models and taps, each scaled to its own maximum.

    Rows are models and columns taps; a single tap is drawn as a row of models.

    Args:
        fields: (model, tap) to map.
        models: Name and label of each model.
        taps: Of ``TAPS``.
        images: How many images the maps average, for the caption.
        path: PNG or PDF to write.
    """
    titles = [TITLES[tap] for tap in taps]
    labels = [label for _, label in models]
    grid = [[fields[name, tap] for tap in taps] for name, _ in models]
    if len(taps) == 1:
        titles, labels = labels, titles
        grid = [[row[0] for row in grid]]
    figure = Figure(figsize=(2.1 * len(titles) + 1.2, 2.15 * len(labels) + 0.9))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(labels), len(titles), squeeze=False)
    for row, row_axes in zip(grid, axes, strict=True):
        for field, axis in zip(row, row_axes, strict=True):
            picture = axis.imshow(display(field), cmap="magma", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
    for title, axis in zip(titles, axes[0], strict=True):
        axis.set_title(title, fontsize=10)
    for label, axis in zip(labels, axes[:, 0], strict=True):
        axis.set_ylabel(label, fontsize=10)
    bar = figure.colorbar(picture, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(f"(gradient / maximum)$^{{{POWER}}}$", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    side = grid[0][0].shape[0]
    caption = (
        f"Mean input gradient of the centre unit over {counted(images, 'image')}, "
        f"{side} x {side} centre crop"
    )
    figure.supxlabel(textwrap.fill(caption, 33 * len(titles) + 10), fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)

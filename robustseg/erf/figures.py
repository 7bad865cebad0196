"""Draws effective receptive fields: rows of models, columns of taps, as in SegFormer's Figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from robustseg.erf.gradients import FieldMap
from robustseg.files import atomic_path

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

    Args:
        fields: (model, tap) to map.
        models: Name and label of each row.
        taps: The columns.
        images: How many images the maps average, for the caption.
        path: PNG or PDF to write.
    """
    rows, columns = len(models), len(taps)
    figure = Figure(figsize=(2.1 * columns + 1.2, 2.15 * rows + 0.75), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for i, (name, label) in enumerate(models):
        for j, tap in enumerate(taps):
            axis = axes[i, j]
            picture = axis.imshow(display(fields[name, tap]), cmap="magma", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if i == 0:
                axis.set_title(TITLES[tap], fontsize=10)
            if j == 0:
                axis.set_ylabel(label, fontsize=10)
    bar = figure.colorbar(picture, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(f"(gradient / maximum)$^{{{POWER}}}$", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    side = next(iter(fields.values())).shape[0]
    caption = (
        f"Mean input gradient of the centre unit over {images} image{'s' * (images != 1)}, "
        f"{side} x {side} centre crop"
    )
    figure.supxlabel(caption, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)

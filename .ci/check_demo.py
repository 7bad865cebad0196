"""Checks that the networks of the demo learned and that corruption hurts them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from robustseg.metrics.confusion import class_iou, mean_iou
from robustseg.results import CellResult, load_results


def problems_of(model: str, results: list[CellResult]) -> list[str]:
    """List what is not as it should be for one network."""
    clean = next(r for r in results if r.cell.severity == 0)
    occurring = clean.confusion.sum(1)
    commonest = occurring.max() / occurring.sum() / np.count_nonzero(occurring)
    corrupted = float(np.mean([mean_iou(r.confusion) for r in results if r.cell.severity]))
    learned = int((class_iou(clean.confusion) > 0.05).sum())
    sys.stdout.write(
        f"{model}: clean {100 * clean.miou:.1f} %, corrupted {100 * corrupted:.1f} %, "
        f"commonest class alone {100 * commonest:.1f} %, {learned} classes above 5 %\n"
    )
    checks = {
        "81 cells": len(results) == 81,
        "clean mIoU at least three times that of the commonest class": clean.miou >= 3 * commonest,
        "ten classes above 5 %": learned >= 10,
        "corrupted below clean": corrupted < clean.miou,
    }
    return [f"{model}: not so: {name}" for name, holds in checks.items() if not holds]


def main(folder: Path) -> int:
    """Check one demo folder; 1 if something is not as it should be."""
    results, damaged = load_results(folder / "runs")
    problems = [f"damaged: {line}" for line in damaged]
    models = sorted({r.model.name for r in results})
    if len(models) != 2:
        problems.append(f"two networks expected, found {models}")
    for model in models:
        problems += problems_of(model, [r for r in results if r.model.name == model])
    for name in ("index.html", "table5.md", "table5.tex", "table5.csv", "erf.png"):
        if not (folder / "report" / name).is_file():
            problems.append(f"missing report/{name}")
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

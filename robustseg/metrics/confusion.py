"""Intersection over union from confusion matrices, as the official Cityscapes evaluator counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Confusion", "class_iou", "mean_iou"]

Confusion = npt.NDArray[np.int64]
"""int64 (K, K) pixel counts: rows are true classes, columns predictions; ignored pixels absent."""


def class_iou(confusion: Confusion) -> npt.NDArray[np.float64]:
    """Compute each class's IoU, TP / (TP + FP + FN).

    Args:
        confusion: int64 (K, K), summed over the whole data set.

    Returns:
        float64 (K,) in 0-1; nan for a class that neither occurs nor is predicted.

    Examples:
        >>> class_iou(np.array([[3, 1], [0, 0]])).tolist()
        [0.75, 0.0]
    """
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - hits
    iou = np.full(len(hits), np.nan)
    np.divide(hits, union, out=iou, where=union > 0)
    return iou


def mean_iou(confusion: Confusion) -> float:
    """Average ``class_iou`` over the classes that have one.

    Returns:
        0-1; nan if no class has one.
    """
    iou = class_iou(confusion)
    valid = iou[~np.isnan(iou)]
    return float(valid.mean()) if len(valid) else float("nan")

"""Random streams: each corrupted image has its own, whatever the order, workers or subset."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["random_stream"]


def random_stream(
    seed: int, image_id: str, corruption: str, severity: int
) -> np.random.RandomState:
    """Make the random stream of one corrupted image.

    The stream is numpy's legacy Mersenne Twister, as numpy freezes its output for good and the
    corruptions are defined on it. Its 32-bit seed is the first four bytes, little endian, of the
    SHA-256 of the UTF-8 text ``<seed>/<image_id>/<corruption>/<severity>``, which any language can
    recompute.

    Args:
        seed: The user's seed; another one gives another data set.
        image_id: Name of the image without suffix, such as ``frankfurt_000000_000294``.
        corruption: Name of the corruption.
        severity: 1-5.

    Returns:
        A fresh stream, equal for equal arguments on every machine.
    """
    key = f"{seed}/{image_id}/{corruption}/{severity}".encode()
    return np.random.RandomState(int.from_bytes(hashlib.sha256(key).digest()[:4], "little"))

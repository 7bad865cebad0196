"""Saves memory in inference: sums in place, and large maps one band of rows at a time.

A tensor of more than 32 MB is new memory from the operating system each time, which costs more
than most layers compute. Bands small enough for the C library to use their memory again take half
the time on a CPU, and the network's peak of memory falls with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["BAND_BYTES", "add", "bands", "by_bands", "can_use_bands"]

BAND_BYTES = 8 * 2**20
"""About how large the largest tensor of one band is."""


def can_use_bands(x: Tensor) -> bool:
    """Whether to work in bands: in plain inference on a CPU, in single or double precision.

    A network that is compiled, exported or traced must not keep the bands of one size, and
    gradients would keep every band's tensors alive.
    """
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.dtype in (torch.float32, torch.float64)
    )


def add(x: Tensor, y: Tensor) -> Tensor:
    """Add; in the memory of ``x``, which must be the caller's own, where no gradient is taken.

    Under autocast the two may differ in precision; the sum has the higher one.
    """
    if torch.is_grad_enabled() or x.dtype != y.dtype:
        return x + y
    return x.add_(y)


def bands(height: int, row_bytes: int, band_bytes: int = BAND_BYTES) -> Iterator[tuple[int, int]]:
    """Cut ``height`` rows into bands of about ``band_bytes``; give first and past-the-last rows."""
    rows = max(1, band_bytes // row_bytes)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def by_bands(
    function: Callable[[Tensor], Tensor], x: Tensor, expansion: int, band_bytes: int = BAND_BYTES
) -> Tensor:
    """Apply a function whose outputs depend on the pixel and its eight neighbours.

    Args:
        function: Maps (1, h, W, C) to the same shape and pads with what does not exist.
        x: (N, H, W, C).
        expansion: How many times larger than its input the function's largest tensor is.
        band_bytes: About how large that tensor may be.

    Returns:
        ``function(x)``, bit for bit where the layers below do the same sums in every band.
    """
    height = x.shape[1]
    out = torch.empty_like(x)
    row_bytes = x[0, 0].nbytes * expansion
    for image in range(x.shape[0]):
        for top, bottom in bands(height, row_bytes, band_bytes):
            # one row more on each side; at the image's border the function pads as it always does
            first = max(top - 1, 0)
            mixed = function(x[image : image + 1, first : bottom + 1])
            out[image, top:bottom] = mixed[0, top - first : bottom - first]
    return out

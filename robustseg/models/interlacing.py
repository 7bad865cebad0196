"""An atrous convolution as an ordinary one on coarser images.

At a rate r, pixels r apart meet one another and no others (section 3.1 of arXiv 1606.00915). So the
r x r images that take every r-th row and column of a map can each be convolved on their own.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["interlace", "separate"]


def separate(x: Tensor, rate: int, multiple: int = 1) -> Tensor:
    """Take a map apart into its rate x rate coarser images.

    Args:
        x: (N, H, W, C).
        rate: r.
        multiple: Rows and columns of the coarser images are padded to a multiple of this.

    Returns:
        (N * r * r, rows, columns, C); what is added at the bottom and on the right is 0.
    """
    if rate == multiple == 1:
        return x
    count, height, width, channels = x.shape
    step = rate * multiple
    x = F.pad(x, (0, 0, 0, -width % step, 0, -height % step))
    rows, columns = x.shape[1] // rate, x.shape[2] // rate
    if rate > 1:
        # the offsets inside a cell of rate x rate pixels become part of the batch
        x = x.reshape(count, rows, rate, columns, rate, channels).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(count * rate**2, rows, columns, channels)


def interlace(x: Tensor, rate: int, height: int, width: int) -> Tensor:
    """Put the coarser images together again: the inverse of ``separate``.

    Args:
        x: (N * r * r, rows, columns, C).
        rate: r.
        height: Of the map.
        width: Of the map.

    Returns:
        (N, height, width, C).
    """
    if rate > 1:
        count, rows, columns, channels = x.shape
        x = x.reshape(count // rate**2, rate, rate, rows, columns, channels)
        x = x.permute(0, 3, 1, 4, 2, 5)
        x = x.reshape(count // rate**2, rows * rate, columns * rate, channels)
    return x[:, :height, :width]

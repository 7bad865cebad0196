"""3 x 3 convolutions in fewer multiplications: Winograd's F(2 x 2, 3 x 3) (arXiv 1509.09308).

Four neighbouring outputs need 16 products instead of 36, and the sums around them cost little where
channels are many. The outputs are the same up to rounding, which is no larger than before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.bands import can_use_bands
from robustseg.models.interlacing import interlace, separate

__all__ = ["WinogradConv", "use_winograd"]

LEAST_CHANNELS = 256
"""From here on the products saved outweigh the sums added."""

FILTER = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
"""G of section 4.1."""


class WinogradConv(nn.Conv2d):
    """A dense 3 x 3 convolution that keeps the grid, at any atrous rate, for inference.

    Where tensors are not those of plain inference on a CPU it is the convolution it was made of.

    Args:
        conv: The convolution, whose weights are shared.

    Attributes:
        filters: Transformed weights (16, in_channels, out_channels), no part of the state.
    """

    filters: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        rate = conv.dilation[0]
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            3,
            padding=rate,
            dilation=rate,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.register_buffer("filters", transform_filters(conv.weight), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        if not can_use_bands(x):
            return super().forward(x)
        height, width, rate = x.shape[2], x.shape[3], self.dilation[0]
        tiles = to_tiles(separate(x.permute(0, 2, 3, 1), rate, multiple=2))
        products = torch.bmm(tiles.flatten(1, 3), self.filters)
        out = from_tiles(products.view(*tiles.shape[:-1], -1), self.bias)
        return interlace(out, rate, height, width).permute(0, 3, 1, 2)


def transform_filters(weight: Tensor) -> Tensor:
    """Give G g G^T of each filter, computed in double precision: (16, in, out)."""
    matrix = weight.new_tensor(FILTER, dtype=torch.float64)
    filters = torch.einsum("ak,oikl,bl->abio", matrix, weight.detach().double(), matrix)
    return filters.flatten(0, 1).to(weight.dtype).contiguous()


def to_tiles(x: Tensor) -> Tensor:
    """Give B^T d B of all 4 x 4 tiles d of an image; neighbours overlap by two (section 4.1).

    Args:
        x: (N, h, w, C), both sides even.

    Returns:
        (16, N, h / 2, w / 2, C).
    """
    count, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 1, 1, 1, 1))
    tiles = x.new_empty(4, 4, count, height // 2, width // 2, channels)
    rows = x.new_empty(count, height // 2, width + 2, channels)
    for row in range(4):
        _difference(row, [x[:, i : i + height : 2] for i in range(4)], rows)
        for column in range(4):
            d = [rows[:, :, i : i + width : 2] for i in range(4)]
            _difference(column, d, tiles[row, column])
    return tiles.flatten(0, 1)


def _difference(row: int, d: list[Tensor], out: Tensor) -> None:
    """Compute one row of B^T d."""
    if row == 0:
        torch.sub(d[0], d[2], out=out)
    elif row == 1:
        torch.add(d[1], d[2], out=out)
    elif row == 2:
        torch.sub(d[2], d[1], out=out)
    else:
        torch.sub(d[1], d[3], out=out)


def from_tiles(products: Tensor, bias: Tensor | None) -> Tensor:
    """Give A^T m A of the products m of all tiles, which is 2 x 2 outputs each (section 4.1).

    Args:
        products: (16, N, h / 2, w / 2, C); used up.
        bias: (C,), or None.

    Returns:
        (N, h, w, C).
    """
    m = products.view(4, 4, *products.shape[1:])
    _, _, count, tall, wide, channels = m.shape
    out = m.new_empty(count, 2 * tall, 2 * wide, channels)
    # of the first axis: 0 + 1 + 2 and 1 - 2 - 3, in the memory of 0 and 3
    rows = m[0].add_(m[1]).add_(m[2]), m[3].neg_().add_(m[1]).sub_(m[2])
    for i, row in enumerate(rows):
        if bias is not None:  # once in each of the two outputs
            row[0].add_(bias)
            row[3].sub_(bias)
        torch.add(row[0].add_(row[1]), row[2], out=out[:, i::2, 0::2])
        torch.sub(row[1].sub_(row[2]), row[3], out=out[:, i::2, 1::2])
    return out


def use_winograd(model: nn.Module) -> None:
    """Replace the wide 3 x 3 convolutions that keep the grid, for inference."""
    for name, conv in list(model.named_modules()):
        if (
            type(conv) is nn.Conv2d
            and conv.kernel_size == (3, 3)
            and conv.stride == (1, 1)
            and conv.groups == 1
            and conv.padding == conv.dilation
            and conv.dilation[0] == conv.dilation[1]
            and conv.padding_mode == "zeros"
            and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
        ):
            model.set_submodule(name, WinogradConv(conv))

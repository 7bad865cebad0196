"""The Mix Transformer (MiT) encoder of SegFormer (arXiv 2105.15203, section 3.1).

The residual stream is kept as (N, H, W, C): linear layers and norms act on the last dimension and
convolutions see a channels-last view of the same memory, so that no layer copies to change layout.
Parameter names are those of the released checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.models.bands import add, by_bands, can_use_bands
from robustseg.models.specs import Epsilons

__all__ = ["MixTransformer"]

HEADS = (1, 2, 5, 8)
"""Attention heads N of Table 6, the same in every size."""

REDUCTIONS = (8, 4, 2, 1)
"""Sequence reduction per axis in each stage; Table 6's R is its square."""

MLP_RATIO = 4
"""Expansion of the feed-forward layer in all released checkpoints."""

DEFAULT_EPSILONS = Epsilons()
"""Of the layer norms, as the authors' code has them."""


def conv_nhwc(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution to (N, H, W, C), giving (N, H', W', C')."""
    out: Tensor = conv(x.permute(0, 3, 1, 2))
    return out.permute(0, 2, 3, 1)


class OverlapPatchEmbed(nn.Module):
    """Overlapped patch merging (section 3.1): a strided convolution and a layer norm.

    K, S, P are 7, 4, 3 in the first stage and 3, 2, 1 in the others (Table 6).
    """

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int, eps: float) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to (N, H/stride, W/stride, dim)."""
        out: Tensor = self.norm(conv_nhwc(self.proj, x))
        return out


class EfficientSelfAttention(nn.Module):
    """Self-attention with reduced keys and values (equations 1 and 2).

    The sequence of keys and values is shortened by a strided convolution; queries are not.
    """

    def __init__(self, dim: int, heads: int, reduction: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        n, h, w, c = x.shape
        source = self.norm(conv_nhwc(self.sr, x)) if self.reduction > 1 else x
        query = self.q(x).view(n, h * w, self.heads, -1).transpose(1, 2)
        pairs = self.kv(source).reshape(n, -1, 2, self.heads, c // self.heads)
        key, value = pairs.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, h, w, c))
        return out


class DepthwiseConv(nn.Module):
    """The 3 x 3 depth-wise convolution that gives Mix-FFN its sense of position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        return conv_nhwc(self.dwconv, x)


class MixFFN(nn.Module):
    """Mix-FFN (equation 3): linear, depth-wise 3 x 3 convolution, GELU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.dwconv = DepthwiseConv(MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        return by_bands(self.mix, x, MLP_RATIO) if can_use_bands(x) else self.mix(x)

    def mix(self, x: Tensor) -> Tensor:
        """Apply the four layers; a pixel sees its eight neighbours."""
        out: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(x))))
        return out


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a residual branch for single images."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ...) to the same shape; the identity in evaluation mode."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class Block(nn.Module):
    """One transformer block: attention and Mix-FFN, each behind a layer norm, with residuals.

    Without gradients the residual is added in the memory of the branch's output: a forward hook
    on a branch that keeps its output must copy it.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        reduction: int,
        drop_path: float,
        epsilons: Epsilons = DEFAULT_EPSILONS,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, epsilons.block)
        self.attn = EfficientSelfAttention(dim, heads, reduction, epsilons.reduction)
        self.norm2 = nn.LayerNorm(dim, epsilons.block)
        self.mlp = MixFFN(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        x = add(self.drop_path(self.attn(self.norm1(x))), x)
        return add(self.drop_path(self.mlp(self.norm2(x))), x)


class MixTransformer(nn.Module):
    """The four-stage hierarchical encoder (section 3.1, Table 6).

    Args:
        dims: Embedding dimension of each stage.
        depths: Blocks of each stage.
        drop_path: Stochastic depth of the last block; it grows linearly from 0 at the first.
        epsilons: Of the layer norms.

    Attributes:
        channels: Channels of the four stages.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        drop_path: float = 0.1,
        epsilons: Epsilons = DEFAULT_EPSILONS,
    ) -> None:
        super().__init__()
        self.channels: list[int] = [*dims]
        last = max(sum(depths) - 1, 1)
        rates = iter(drop_path * i / last for i in range(sum(depths)))
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            before, kernel, stride = (dims[i - 1], 3, 2) if i else (3, 7, 4)
            embed = OverlapPatchEmbed(before, dim, kernel, stride, epsilons.patch_embed)
            blocks = [
                Block(dim, HEADS[i], REDUCTIONS[i], next(rates), epsilons) for _ in range(depth)
            ]
            self.add_module(f"patch_embed{i + 1}", embed)
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(dim, epsilons.stage))
        self.apply(initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to four features (N, C_i, H_i, W_i) at 1/4, 1/8, 1/16, 1/32."""
        features = []
        stream = x.permute(0, 2, 3, 1)
        for i in range(1, 5):
            stream = self.get_submodule(f"patch_embed{i}")(stream)
            for block in self.get_submodule(f"block{i}").children():
                stream = block(stream)
            stream = self.get_submodule(f"norm{i}")(stream)
            features.append(stream.permute(0, 3, 1, 2))
        return features


def initialise(module: nn.Module) -> None:
    """Initialise a layer as the transformer's authors do: truncated normal, fan-out for convs."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, (2.0 * module.groups / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

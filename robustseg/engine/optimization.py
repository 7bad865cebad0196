"""What one optimisation step is made of: the optimizer's groups, the loss, the random stream."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.datasets.labels import IGNORE
from robustseg.engine.recipes import Recipe
from robustseg.models.base import SegmentationModel
from robustseg.models.deeplabv3plus import DeepLabV3Plus

__all__ = ["build_optimizer", "counted_pixels", "seed_step", "set_rate", "summed_loss"]


def build_optimizer(
    model: SegmentationModel, recipe: Recipe, auxiliary: nn.Module | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer with the recipe's parameter groups.

    The head's rate is multiplied by ``head_lr_factor``. Unless the recipe decays norms, those of
    the encoder are free of decay; the head's are not, since the released SegFormer configuration
    names the whole head. Of DeepLabv3+ only dense kernels are decayed then, in the head too: the
    TensorFlow code regularises no norm, no bias and no depth-wise kernel.

    Args:
        model: The network.
        recipe: Optimizer, decay and the head's factor.
        auxiliary: An auxiliary head, which is treated like the head.
    """
    parts = [*model.head_modules, *([] if auxiliary is None else [auxiliary])]
    head = {id(p) for module in parts for p in module.parameters()}
    modules = [*model.modules(), *([] if auxiliary is None else auxiliary.modules())]
    free: set[int] = set()
    if not recipe.decay_norms:
        free = _not_dense(modules) if isinstance(model, DeepLabV3Plus) else _norms(modules) - head
    # a module may serve in two places
    parameters = {id(p): p for module in modules for p in module.parameters(recurse=False)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for key, parameter in parameters.items():
        factor = recipe.head_lr_factor if key in head else 1.0
        decay = 0.0 if key in free else recipe.weight_decay
        groups.setdefault((factor, decay), []).append(parameter)
    described = [
        {"params": members, "weight_decay": decay, "factor": factor}
        for (factor, decay), members in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(described, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(described, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def _norms(modules: list[nn.Module]) -> set[int]:
    kinds = nn.LayerNorm | nn.modules.batchnorm._BatchNorm
    return {id(p) for m in modules if isinstance(m, kinds) for p in m.parameters()}


def _not_dense(modules: list[nn.Module]) -> set[int]:
    dense = {
        id(m.weight)
        for m in modules
        if isinstance(m, nn.Conv2d) and not (m.groups > 1 and m.groups == m.in_channels)
    }
    return {id(p) for m in modules for p in m.parameters(recurse=False)} - dense


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group the base rate times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def summed_loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Sum the weighted cross-entropy over the pixels that are not ignored.

    Args:
        logits: Float (N, K, H, W); those of half precision are raised to float32.
        labels: int64 train ids (N, H, W); 255 is ignored.
        weights: Float (K,), or None.

    Returns:
        A scalar; 0 where every pixel is ignored.
    """
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if weights is not None:
        weights = weights.to(logits.dtype)
    if torch.are_deterministic_algorithms_enabled() and logits.is_cuda:
        # over images torch has no deterministic way on a GPU, over a list of pixels it has
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    return F.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")


def counted_pixels(labels: Tensor, weights: Tensor | None, over: str) -> Tensor:
    """Give what the sum of losses is divided by.

    Args:
        labels: uint8 or int64 train ids (N, H, W); 255 is ignored.
        weights: Float (K,), or None.
        over: ``all`` counts every pixel, the ignored ones too; ``counted`` those that are not
            ignored, each by its class's weight.

    Returns:
        A float64 scalar on the labels' device.
    """
    if over == "all":
        return torch.tensor(labels.numel(), dtype=torch.float64, device=labels.device)
    counted = labels != IGNORE
    if weights is None:
        return counted.sum().double()
    # a table with a zero for what is ignored leaves the sizes independent of the labels
    table = torch.zeros(IGNORE + 1, dtype=torch.float64, device=labels.device)
    table[: len(weights)] = weights.double()
    return table[labels.long()].sum()


def seed_step(seed: int, iteration: int, part: int, rank: int) -> None:
    """Seed torch's streams for one micro-batch, so that dropout is a function of its number."""
    words = np.random.SeedSequence([seed, iteration, part, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))

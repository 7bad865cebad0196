from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(scope="session")
def scramble_norms() -> Callable[[nn.Module], None]:
    """Give batch norms statistics and factors that matter, and leave the signal's size alone."""

    def scramble(module: nn.Module) -> None:
        generator = torch.Generator().manual_seed(7)
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                with torch.no_grad():
                    for value in (norm.running_mean, norm.bias):
                        value.copy_(0.2 * torch.randn(value.shape, generator=generator))
                    for value in (norm.running_var, norm.weight):
                        value.copy_(0.8 + 0.4 * torch.rand(value.shape, generator=generator))

    return scramble


@pytest.fixture(scope="session")
def random() -> Callable[..., Tensor]:
    """Draw normal numbers of a shape."""

    def draw(*shape: int, seed: int = 0) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture(scope="session")
def scramble() -> Callable[[nn.Module, int], None]:
    """Give every parameter and buffer of a module a value that matters, from a seed."""

    def scramble(module: nn.Module, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in [*module.named_parameters(), *module.named_buffers()]:
                if value.is_floating_point():
                    noise = torch.randn(value.shape, generator=generator)
                    if name.endswith("running_var"):
                        value.copy_(1 + noise.abs())
                    elif value.ndim > 1:
                        value.copy_(noise / value[0].numel() ** 0.5)
                    else:
                        value.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))

    return scramble

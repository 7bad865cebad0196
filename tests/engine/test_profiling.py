from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustseg.engine.profiling import count_macs, count_parameters, profile, seconds_per_image
from robustseg.models.base import SegmentationModel
from robustseg.models.specs import IMAGENET


class Tiny(SegmentationModel):
    def __init__(self) -> None:
        super().__init__(IMAGENET, 5)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.head = nn.Linear(4, 5)
        self.calls = 0

    def stages(self, x: Tensor) -> list[Tensor]:
        self.calls += 1
        return [self.conv(x)]

    def decode(self, features: list[Tensor]) -> Tensor:
        out: Tensor = self.head(features[-1].permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)

    @property
    def head_modules(self) -> list[nn.Module]:
        return [self.head]


def test_parameters_are_counted() -> None:
    assert count_parameters(Tiny()) == 3 * 4 * 9 + 4 * 5 + 5


def test_multiply_accumulates_are_counted_by_hand() -> None:
    pixels = 32 * 48
    assert count_macs(Tiny(), 64, 96) == pixels * (3 * 4 * 9) + pixels * (4 * 5)


def test_what_is_run_is_counted_beside_what_the_paper_writes() -> None:
    cost = profile("segformer_b0", 64, 128, torch.device("cpu"), False)
    # the decoder on grids of 512, 128, 32 and 8 pixels with 32, 64, 160 and 256 channels
    sizes = [(512, 32), (128, 64), (32, 160), (8, 256)]
    inputs = sum(pixels * channels for pixels, channels in sizes)
    textbook = inputs * 256 + 512 * 1024 * 256
    # the weights' products are taken at each call
    products = 256 * 256 * (32 + 64 + 160 + 256)
    assert cost.macs - cost.macs_composed == textbook - (inputs * 256 + products)


def test_counting_leaves_the_model_where_it_is() -> None:
    model = Tiny().train()
    count_macs(model, 64, 64)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert model.training


def test_timing_warms_up_once() -> None:
    model = Tiny().eval()
    assert seconds_per_image(model, 64, 64, repeats=2) > 0
    assert model.calls == 3


@pytest.mark.parametrize("timed", [False, True])
def test_cost_of_a_network(timed: bool) -> None:
    cost = profile("segformer_b0", 64, 64, torch.device("cpu"), timed)
    assert cost.model == "segformer_b0"
    assert 3.7e6 < cost.parameters < 3.8e6
    assert (cost.seconds is None) == (not timed)
    # four times the pixels cost more than four times as much: attention is quadratic
    assert profile("segformer_b0", 128, 128, torch.device("cpu"), False).macs > 4 * cost.macs

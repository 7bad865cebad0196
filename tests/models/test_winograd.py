from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustseg.models.build import create_model
from robustseg.models.folding import prepare_for_inference
from robustseg.models.winograd import WinogradConv, use_winograd

Scramble = Callable[[nn.Module], None]
Draw = Callable[..., Tensor]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rate", [1, 2, 4, 12])
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 5), (24, 25)])
def test_it_is_the_convolution(size: tuple[int, int], rate: int, bias: bool, random: Draw) -> None:
    conv = nn.Conv2d(5, 3, 3, padding=rate, dilation=rate, bias=bias).double()
    x = random(2, 5, *size).double()
    wanted = conv(x)
    fast = WinogradConv(conv)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), wanted, rtol=0, atol=1e-12)
        last = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(fast(last), wanted, rtol=0, atol=1e-12)


def test_single_precision_rounds_no_worse_than_the_convolution(random: Draw) -> None:
    conv = nn.Conv2d(256, 256, 3, padding=1)
    x = random(1, 256, 12, 20)
    with torch.no_grad():
        exact = copy.deepcopy(conv).double()(x.double())
        direct = float((conv(x) - exact).abs().max())
        found = float((WinogradConv(conv)(x) - exact).abs().max())
    assert found < 2 * direct


def test_with_gradients_and_in_half_precision_it_is_the_convolution_itself(random: Draw) -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1)
    fast, x = WinogradConv(conv), random(1, 8, 5, 7)
    assert torch.equal(fast(x), conv(x))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(x), conv(x))
    assert fast.state_dict().keys() == conv.state_dict().keys()


def test_only_wide_dense_convolutions_that_keep_the_grid_are_replaced() -> None:
    kept = [
        nn.Conv2d(256, 256, 3, padding=1, stride=2),
        nn.Conv2d(256, 256, 3, padding=2),
        nn.Conv2d(256, 256, 3, padding=1, groups=2),
        nn.Conv2d(256, 256, 3, padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(255, 256, 3, padding=1),
    ]
    network = nn.Sequential(*kept, nn.Conv2d(256, 256, 3, padding=2, dilation=2))
    use_winograd(network)
    assert [type(m) for m in network] == [*[nn.Conv2d] * len(kept), WinogradConv]


def test_a_prepared_network_uses_it_and_gives_the_same_logits(
    scramble_norms: Scramble, random: Draw
) -> None:
    model = create_model("dlv3p_r50").eval()
    scramble_norms(model)
    x = random(1, 3, 97, 131)
    ready = prepare_for_inference(model)
    assert sum(isinstance(m, WinogradConv) for m in ready.modules()) == 8
    with torch.no_grad():
        wanted, found = model.logits(x), ready.logits(x)
        moved = ready.double().logits(x.double())
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    assert float((moved - wanted).abs().max() / wanted.abs().max()) < 1e-5

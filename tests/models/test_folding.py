from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.folding import fold_batch_norms, prepare_for_inference
from robustseg.models.specs import IMAGENET

Scramble = Callable[[nn.Module], None]
Draw = Callable[..., Tensor]


def norms(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["dlv3p_mbv2", "dlv3p_mbv2@vainf", "dlv3p_x41@smp"])
def test_folding_removes_every_norm_and_changes_nothing(
    name: str, scramble_norms: Scramble, random: Draw
) -> None:
    model = create_model(name).eval()
    scramble_norms(model)
    model.double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = random(1, 3, 49, 65).double()
    with torch.no_grad():
        wanted = model.logits(x)
        folded = fold_batch_norms(model)
        found = folded.logits(x)
    assert norms(model)
    assert not norms(folded)
    # in double precision, so that only rounding can remain
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10 * float(wanted.abs().max()))
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_folding_in_single_precision_is_within_its_rounding(
    scramble_norms: Scramble, random: Draw
) -> None:
    model = create_model("dlv3p_mbv2").eval()
    scramble_norms(model)
    x = random(1, 3, 49, 65)
    with torch.no_grad():
        wanted = model.logits(x)
        found = fold_batch_norms(model).logits(x)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_training_mode_is_refused() -> None:
    with torch.device("meta"):
        model = create_model("dlv3p_mbv2")
    with pytest.raises(ValueError, match="call eval\\(\\) first"):
        fold_batch_norms(model)
    model.eval().head_modules[1].train()
    with pytest.raises(ValueError, match="call eval\\(\\) first"):
        fold_batch_norms(model)


class Tangle(SegmentationModel):
    """Convolutions and norms, of which only ``plain`` and ``last`` may be folded."""

    def __init__(self) -> None:
        super().__init__(IMAGENET, 4)
        # in another order than they run in
        self.last_norm = nn.BatchNorm2d(4)
        self.plain = nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 1)
        self.shared_norm = nn.BatchNorm2d(4)
        self.plain_norm = nn.BatchNorm2d(4)
        self.used = nn.Conv2d(4, 4, 1)
        self.used_norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 1)
        self.twice_norm = nn.BatchNorm2d(4)
        self.first_norm = nn.BatchNorm2d(3)
        self.last = nn.Conv2d(4, 4, 1, bias=False)

    def stages(self, x: Tensor) -> list[Tensor]:
        x = self.plain_norm(self.plain(self.first_norm(x)))
        x = self.shared_norm(self.shared(x)) + self.shared(x)
        raw = self.used(x)
        x = self.used_norm(raw) + raw
        x = self.twice_norm(self.twice_norm(self.twice(x)))
        return [self.last_norm(self.last(x)).relu()]

    def decode(self, features: list[Tensor]) -> Tensor:
        return features[0]

    @property
    def head_modules(self) -> list[nn.Module]:
        return []


def test_only_a_convolution_for_its_norm_alone_is_folded(
    scramble_norms: Scramble, random: Draw
) -> None:
    model = Tangle().eval()
    scramble_norms(model)
    x = random(2, 3, 5, 7)
    with torch.no_grad():
        folded = fold_batch_norms(model)
        torch.testing.assert_close(folded.logits(x), model.logits(x), rtol=1e-4, atol=1e-5)
    assert norms(folded) == ["shared_norm", "used_norm", "twice_norm", "first_norm"]


@pytest.mark.parametrize("name", ["segformer_b0", "dlv3p_mbv2@smp"])
def test_preparing_for_inference(name: str, scramble_norms: Scramble, random: Draw) -> None:
    model = create_model(name)
    scramble_norms(model)
    prepared = prepare_for_inference(model)
    assert model.training
    assert not any(module.training for module in prepared.modules())
    assert not any(p.requires_grad for p in prepared.parameters())
    assert prepared.name == name
    for module in prepared.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)
    x = random(1, 3, 64, 96)
    with torch.no_grad():
        wanted = model.eval()(x)
        for layout in (torch.contiguous_format, torch.channels_last):
            found = prepared(x.contiguous(memory_format=layout))
            assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5

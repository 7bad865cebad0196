"""What wrappers put before every name is taken off, unless the network's own names have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustseg.errors import CheckpointError
from robustseg.models import own
from robustseg.models.build import create_model
from robustseg.models.checkpoints import initialise, load_model, save_checkpoint
from robustseg.models.families.prefixes import unwrapped
from robustseg.models.identity import encoder_of, identify
from robustseg.models.own import register_model
from robustseg.models.reading import Checkpoint

Shapes = dict[str, list[int]]
Fill = Callable[[Shapes], Checkpoint]


@pytest.fixture
def outer(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a network all of whose names begin with ``model.``, as its builder wrote them."""

    class Outer(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Conv2d(3, num_classes, 1), nn.BatchNorm2d(num_classes))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.model(x)
            return out

    monkeypatch.setattr(own, "_registered", {})
    register_model("outer")(Outer)
    return "outer"


def given(state: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(Path("given.pth"), "0" * 64, state, {})


def with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{k}": v for k, v in state.items()}


def test_a_registered_network_whose_names_look_wrapped_loads_again(
    outer: str, tmp_path: Path
) -> None:
    model = create_model(outer, 4).eval()
    save_checkpoint(tmp_path / "m.safetensors", outer, model, {})
    torch.save(model.state_dict(), tmp_path / "m.pth")
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for path in sorted(tmp_path.iterdir()):
        with torch.no_grad():
            assert torch.equal(load_model(path, outer, 4)(x), model(x))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_a_registered_network_from_a_wrapped_one(outer: str, prefix: str) -> None:
    model = create_model(outer, 4)
    state = with_prefix(model.state_dict(), prefix)
    found = load_model(given(state), outer, 4).state_dict()
    assert all(torch.equal(found[k], v) for k, v in model.state_dict().items())
    initialise(create_model(outer, 4), given(state))
    del state[f"{prefix}model.0.bias"]
    with pytest.raises(
        CheckpointError, match=r"does not fit outer: \d+ missing \(such as model\.0"
    ):
        load_model(given(state), outer, 4)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module.", "net."]
)
@pytest.mark.parametrize("key", ["hf segformer_b0", "smp dlv3p_mbv2", "mmseg dlv3p_r50"])
def test_wrapped_networks_of_every_code_base(
    layouts: dict[str, Shapes], hollow: Fill, prefix: str, key: str
) -> None:
    checkpoint = hollow(layouts[key])
    wrapped = identify(given(with_prefix(checkpoint.state, prefix)))
    plain = identify(checkpoint)
    assert (wrapped.name, wrapped.dropped) == (plain.name, plain.dropped)
    assert list(wrapped.state) == list(plain.state)
    encoder, _ = encoder_of(given(with_prefix(checkpoint.state, prefix)))
    assert list(encoder) == list(encoder_of(checkpoint)[0])


def test_a_loss_with_weights_beside_a_network_of_lightning(
    layouts: dict[str, Shapes], hollow: Fill
) -> None:
    checkpoint = hollow(layouts["smp segformer_b0"])
    loss = {"criterion.weight": torch.ones(19)}
    found = identify(given({**loss, **with_prefix(checkpoint.state, "model.")}))
    assert found.name == "segformer_b0@smp"
    assert found.dropped == ("criterion.weight",)
    assert list(found.state) == list(identify(checkpoint).state)


def test_a_network_within_another_of_the_same_size_is_not_picked_out(
    layouts: dict[str, Shapes], hollow: Fill
) -> None:
    state = hollow(layouts["smp segformer_b0"]).state
    both = {**with_prefix(state, "model."), **with_prefix(state, "teacher.")}
    with pytest.raises(CheckpointError, match="holds no network of the zoo"):
        identify(given(both))


def test_names_that_lack_a_prefix_are_named_as_in_the_file() -> None:
    state = {f"module.model.{k}": torch.zeros(1) for k in range(40)}
    state |= {"module.loss.w": torch.zeros(1), "epoch": torch.zeros(1)}
    names = [(sorted(inner)[0], others) for inner, others in unwrapped(state)]
    assert names == [
        ("epoch", []),
        ("loss.w", ["epoch"]),
        ("0", ["epoch", "module.loss.w"]),
    ]


def test_the_reason_is_found_behind_a_prefix() -> None:
    state = {"module.sem_seg_head.predictor.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="this looks like a network of detectron2"):
        identify(given(state))

"""SegFormer-B0 trained by this package, and by transformers in a loop of plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustseg.engine.recipes import Recipe, load_recipe
from robustseg.engine.train import build_optimizer
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.identity import identify
from robustseg.models.mix_transformer import DropPath
from robustseg.models.reading import Checkpoint

STEPS = 20
WARM_UP = 5
RATE = 5e-4
SIZE = 64

Batch = tuple[Tensor, Tensor]


def data() -> list[Batch]:
    """Normalised images whose colours follow the classes, and labels with ignored pixels."""
    torch.manual_seed(1)
    colours = torch.randn(256, 3)
    batches = []
    for _ in range(STEPS):
        labels = torch.tensor([0, 1, 2, 10, 11, 13, 255])[torch.randint(7, (2, 4, 4))]
        labels = labels.repeat_interleave(SIZE // 4, 1).repeat_interleave(SIZE // 4, 2)
        images = colours[labels].permute(0, 3, 1, 2) + 0.3 * torch.randn(2, 3, SIZE, SIZE)
        batches.append((images, labels))
    return batches


def by_our_names(peer: nn.Module) -> Mapping[str, Tensor]:
    """Rename the peer's weights, as a checkpoint of it would be."""
    state = dict(peer.state_dict())
    return identify(Checkpoint(Path("peer"), "0" * 64, state, {}), "segformer_b0").state


@pytest.fixture
def recipe() -> Recipe:
    changes = [f"iterations={STEPS}", f"warmup_iterations={WARM_UP}", f"lr={RATE}"]
    return load_recipe("segformer", changes)


@pytest.fixture
def pair() -> tuple[SegmentationModel, nn.Module]:
    """Both networks with the same weights, in training mode without anything that is drawn."""
    transformers: Any = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model("segformer_b0@hf").train()
        config = transformers.SegformerConfig(
            num_labels=19,
            drop_path_rate=0.0,
            classifier_dropout_prob=0.0,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        peer = transformers.SegformerForSemanticSegmentation(config).train()
    for module in model.modules():
        if isinstance(module, DropPath | nn.Dropout | nn.Dropout2d):
            module.eval()
    model.load_state_dict(by_our_names(peer), strict=True)
    return model, peer


def train_ours(model: SegmentationModel, batches: list[Batch], recipe: Recipe) -> list[float]:
    optimizer = build_optimizer(model, recipe)
    losses = []
    for iteration, (images, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(iteration) * group["factor"]
        total = F.cross_entropy(model(images), labels, ignore_index=255, reduction="sum")
        loss = total / labels.numel()  # the recipe's loss_over = "all"
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_theirs(peer: nn.Module, batches: list[Batch]) -> list[float]:
    """The recipe from the paper and the released configuration, with no line of the package."""
    norms = {
        id(parameter)
        for module in peer.get_submodule("segformer").modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters()
    }
    encoder = list(peer.get_submodule("segformer").parameters())
    plain = [p for p in encoder if id(p) not in norms]
    free = [p for p in encoder if id(p) in norms]
    optimizer = torch.optim.AdamW(
        [
            {"params": plain, "weight_decay": 0.01},
            {"params": free, "weight_decay": 0.0},
            {"params": list(peer.get_submodule("decode_head").parameters()), "weight_decay": 0.01},
        ],
        lr=RATE,
    )
    losses = []
    for iteration, (images, labels) in enumerate(batches):
        rate = RATE * (1 - iteration / STEPS)
        if iteration < WARM_UP:
            rate *= 1 - (1 - iteration / WARM_UP) * (1 - 1e-6)
        for group, factor in zip(optimizer.param_groups, (1, 1, 10), strict=True):
            group["lr"] = factor * rate
        logits = peer(pixel_values=images).logits
        logits = F.interpolate(logits, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        each = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
        loss = each.mean()  # ignored pixels are zeros in it
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_twenty_steps_agree_in_double_precision(
    pair: tuple[SegmentationModel, nn.Module], recipe: Recipe
) -> None:
    model, peer = pair[0].double(), pair[1].double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [(images.double(), labels) for images, labels in data()]
    ours, theirs = train_ours(model, batches, recipe), train_theirs(peer, batches)
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert ours[-1] < 0.8 * ours[0]
    found = model.state_dict()
    for name, value in by_our_names(peer).items():
        # gradients that are zero but for rounding, as of a bias before a batch norm, need the atol
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8)
    moved = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
    assert len(moved) == len(before)


def test_five_steps_agree_in_single_precision(
    pair: tuple[SegmentationModel, nn.Module], recipe: Recipe
) -> None:
    batches = data()[:5]
    ours, theirs = train_ours(pair[0], batches, recipe), train_theirs(pair[1], batches)
    assert ours == pytest.approx(theirs, rel=1e-4)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from robustseg.datasets.sample import Frame
from robustseg.engine.auxiliary import Learner, build_auxiliary
from robustseg.engine.optimization import build_optimizer
from robustseg.engine.recipes import load_recipe
from robustseg.engine.train import Paths, new_model, train
from robustseg.errors import SettingError
from robustseg.progress import Console

RECIPE = load_recipe("quick", ["auxiliary=0.4", "iterations=1", "batch_size=2", "crop=[64, 64]"])


def test_head_reads_the_third_stage_and_is_trained_at_the_heads_rate() -> None:
    model = new_model("dlv3p_mbv2", RECIPE, 0, None)
    head = build_auxiliary(model, RECIPE, 0)
    assert head is not None
    learner = Learner(model, head).eval()
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        logits, extra = learner(images)
        x = model.normalise(images)
        assert torch.equal(logits, model(x))
        third = model.stages(x)[2]
        refined = F.conv2d(third, head.refine.get_parameter("0.weight"), padding=1)
        small = head.classify(F.relu(head.refine[1](refined)))
        expected = F.interpolate(
            small, size=(64, 96), mode="bilinear", align_corners=model.align_corners
        )
    torch.testing.assert_close(extra, expected)
    recipe = load_recipe("quick", ["auxiliary=0.4", "head_lr_factor=7.0"])
    groups = build_optimizer(model, recipe, head).param_groups
    factors = {id(p): group["factor"] for group in groups for p in group["params"]}
    assert {factors[id(p)] for p in head.parameters()} == {7.0}


def test_head_is_in_no_weights(training_frames: Sequence[Frame], tmp_path: Path) -> None:
    found = []
    for weight in (0.4, 0.0):
        recipe = load_recipe(
            "quick",
            [f"auxiliary={weight}", "iterations=1", "batch_size=2", "crop=[64, 64]"],
        )
        paths = Paths.below(tmp_path / str(weight), "dlv3p_mbv2")
        model = new_model("dlv3p_mbv2", recipe, 0, None)
        train("dlv3p_mbv2", model, training_frames, recipe, 0, paths, 0, Console(quiet=True))
        found.append(load_file(paths.weights))
    assert found[0].keys() == found[1].keys()
    assert not torch.equal(
        found[0]["backbone.body.conv_stem.weight"], found[1]["backbone.body.conv_stem.weight"]
    )


def test_other_networks_have_none() -> None:
    model = new_model("segformer_b0", RECIPE, 0, None)
    with pytest.raises(SettingError, match=r"for DeepLabv3\+ only: give --set auxiliary=0.0"):
        build_auxiliary(model, RECIPE, 0)

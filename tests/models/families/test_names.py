"""Every code base's names go over into own ones, one to one, for every network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from robustseg.errors import CheckpointError
from robustseg.models.build import create_model
from robustseg.models.families import FAMILIES
from robustseg.models.identity import encoder_of, identify
from robustseg.models.reading import Checkpoint
from robustseg.models.zoo import DEEPLAB_SPECS, MODELS, VARIANTS

Shapes = dict[str, list[int]]
Fill = Callable[[Shapes], Checkpoint]

BARE = [n for n in MODELS if n.startswith("segformer")]
CASES = [
    *[("nvlabs", name, name) for name in BARE],
    *[("hf", name, f"{name}@hf") for name in BARE],
    *[("hf5", name, f"{name}@hf") for name in (BARE[0], BARE[-1])],
    *[
        (name.partition("@")[2], name.partition("@")[0], name)
        for name in VARIANTS
        if "@hf" not in name
    ],
]
"""Code base, network, and name with variant, for all of the zoo."""

# from the papers' code and from the packages, with 19 classes and without auxiliary heads
MMSEG_PARAMETERS = {
    "mmseg segformer_b0": 3_720_051,
    "mmseg segformer_b1": 13_683_155,
    "mmseg segformer_b2": 24_728_019,
    "mmseg segformer_b3": 44_603_859,
    "mmseg segformer_b4": 61_374_419,
    "mmseg segformer_b5": 81_974_739,
    "mmseg dlv3p_r50": 43_589_878 - 2_364_691,
    "mmseg dlv3p_r101": 62_582_006 - 2_364_691,
    "mmseg dlv3p_mbv2": 15_244_374 - 226_579,
}


def own_shapes(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in create_model(name).state_dict().items()}


def test_all_variants_are_among_the_cases() -> None:
    assert {name for _, _, name in CASES} == {*BARE, *VARIANTS}


@pytest.mark.parametrize("key", MMSEG_PARAMETERS)
def test_lists_have_the_published_number_of_parameters(
    layouts: dict[str, Shapes], key: str
) -> None:
    buffers = re.compile(r"running_|num_batches")
    sizes = [math.prod(shape) for name, shape in layouts[key].items() if not buffers.search(name)]
    assert sum(sizes) == MMSEG_PARAMETERS[key]


@pytest.mark.parametrize(("family", "network", "name"), CASES)
def test_names_and_shapes_are_those_of_the_network(
    layouts: dict[str, Shapes], hollow: Fill, family: str, network: str, name: str
) -> None:
    # the multi-grid of the one at output stride 16 does not show
    asked = name if network == "dlv3p_r101_os16" else None
    identity = identify(hollow(layouts[f"{family} {network}"]), asked)
    assert identity.name == name
    assert identity.num_classes == 19
    assert {k: tuple(v.shape) for k, v in identity.state.items()} == own_shapes(name)
    unused = {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    assert set(identity.dropped) == (unused if family == "nvlabs" else set())


@pytest.mark.parametrize("network", ["segformer_b0", "dlv3p_mbv2", "dlv3p_r50"])
def test_heads_that_only_training_uses_are_dropped(
    layouts: dict[str, Shapes], hollow: Fill, network: str
) -> None:
    more = {"auxiliary_head.convs.0.conv.weight": [256, 1024, 3, 3]}
    identity = identify(hollow({**layouts[f"mmseg {network}"], **more}))
    assert identity.dropped == tuple(more)
    assert identity.state.keys() == own_shapes(f"{network}@mmseg").keys()


@pytest.mark.parametrize("network", BARE)
@pytest.mark.parametrize("family", ["nvlabs", "hf"])
def test_encoders_of_imagenet(
    layouts: dict[str, Shapes], hollow: Fill, family: str, network: str
) -> None:
    checkpoint = hollow(layouts[f"{family} encoder {network}"])
    state, notice = encoder_of(checkpoint)
    before = "backbone."
    wanted = {k: v for k, v in own_shapes(network).items() if k.startswith(before)}
    assert {before + k: tuple(v.shape) for k, v in state.items()} == wanted
    assert "no commercial use" in notice
    with pytest.raises(CheckpointError, match=f"an encoder of {network} without a head.*--init"):
        identify(checkpoint)


@pytest.mark.parametrize(
    ("family", "prefix"), [("hf", "segformer."), ("mmseg", "backbone."), ("smp", "encoder.")]
)
def test_encoders_without_the_prefix_that_they_have_in_whole_networks(
    layouts: dict[str, Shapes], hollow: Fill, family: str, prefix: str
) -> None:
    whole = layouts[f"{family} segformer_b2"]
    encoder = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
    state, _ = encoder_of(hollow(encoder))
    assert state.keys() == encoder_of(hollow(whole))[0].keys()


@pytest.mark.parametrize("network", [n for n in MODELS if n.startswith("dlv3p")])
def test_backbones_that_timm_publishes(network: str) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(DEEPLAB_SPECS[network].backbone).state_dict()
    state, notice = encoder_of(Checkpoint(Path("given.pth"), "0" * 64, backbone, {}))
    before = "backbone."
    wanted = {k: v for k, v in own_shapes(network).items() if k.startswith(before)}
    assert {before + k: tuple(v.shape) for k, v in state.items()} == wanted
    assert notice == ""


def test_every_file_is_known_to_one_code_base_alone(
    layouts: dict[str, Shapes], hollow: Fill
) -> None:
    for key, shapes in layouts.items():
        knowing = [family.title for family in FAMILIES if family.knows(hollow(shapes).state)]
        assert len(knowing) == 1, (key, knowing)

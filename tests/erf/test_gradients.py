from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from robustseg.datasets.sample import ImageArray
from robustseg.erf.gradients import (
    TAPS,
    Origin,
    centre_crop,
    load_map,
    receptive_fields,
    save_map,
)
from robustseg.errors import DataError
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.specs import Normalisation
from robustseg.progress import Task

SIDE = 32
UNIT = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Stack(SegmentationModel):
    """Stage k is k averaging 3 x 3 convolutions; the head is the average of the last stage."""

    def __init__(self) -> None:
        super().__init__(UNIT, 2)
        convs = [nn.Conv2d(3 if k == 0 else 1, 1, 3, padding=1, bias=False) for k in range(4)]
        for conv in convs:
            nn.init.constant_(conv.weight, 1 / 9)
        self.convs = nn.ModuleList(convs)

    def stages(self, x: Tensor) -> list[Tensor]:
        features = []
        for conv in self.convs:
            x = conv(x)
            features.append(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        assert len(features) == 4
        return features[3].mean((2, 3), keepdim=True).expand(-1, 2, 8, 8)

    @property
    def head_modules(self) -> list[nn.Module]:
        return []


def bright(value: int = 100, side: int = SIDE) -> ImageArray:
    return np.full((side, side, 3), value, np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_convolutions_give_a_profile_of_trinomial_coefficients(count: int) -> None:
    profile = np.ones(1)
    for _ in range(count):
        profile = np.convolve(profile, np.ones(3) / 3)
    expected = np.zeros((SIDE, SIDE))
    reach = slice(SIDE // 2 - count, SIDE // 2 + count + 1)
    expected[reach, reach] = 3 * np.outer(profile, profile)  # three channels of equal weight
    found = receptive_fields(Stack(), [bright()], [f"stage{count}"])
    assert list(found) == [f"stage{count}"]
    assert found[f"stage{count}"].dtype == np.float32
    np.testing.assert_allclose(found[f"stage{count}"], expected, rtol=1e-5, atol=1e-9)
    assert (found[f"stage{count}"] > 0).sum() == (2 * count + 1) ** 2


def test_global_average_gives_a_flat_map() -> None:
    found = receptive_fields(Stack(), [bright()], ["head"])["head"]
    inside = found[4:-4, 4:-4]  # four convolutions reach the zero padding
    # two classes, three channels, every unit has the same share
    np.testing.assert_allclose(inside, 2 * 3 / SIDE**2, rtol=1e-5)
    assert (found > 0).all()


def test_taps_together_are_the_taps_one_by_one() -> None:
    together = receptive_fields(Stack(), [bright()], TAPS)
    assert tuple(together) == TAPS
    for tap in TAPS:
        alone = receptive_fields(Stack(), [bright()], [tap])
        np.testing.assert_array_equal(together[tap], alone[tap])


class Pointwise(Stack):
    """A 1 x 1 network with signed weights and several channels."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(3, 2, 1, bias=False)
        weights = [[0.5, -0.25, 1.0], [-1.0, -1.0, -1.0]]
        with torch.no_grad():
            self.point.weight.copy_(torch.tensor(weights)[..., None, None])

    def stages(self, x: Tensor) -> list[Tensor]:
        return [self.point(x)] * 4


def test_pointwise_network_gives_one_pixel() -> None:
    found = receptive_fields(Pointwise(), [bright()], ["stage1"])["stage1"]
    expected = np.zeros((SIDE, SIDE))
    # the second unit is negative and rectified away; magnitudes of the first are summed
    expected[SIDE // 2, SIDE // 2] = 0.5 + 0.25 + 1.0
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradient_is_that_of_the_normalised_input() -> None:
    model = Pointwise()
    model.normalisation = Normalisation((1.0, 2.0, 3.0), (10.0, 20.0, 40.0))
    found = receptive_fields(model, [bright()], ["stage1"])["stage1"]
    assert found.max() == pytest.approx(1.75)


def test_dead_unit_has_an_empty_field() -> None:
    assert not receptive_fields(Stack(), [bright(0)], ["stage2"])["stage2"].any()


def test_map_is_the_average_over_images() -> None:
    live, dead = bright(), bright(0)
    one = receptive_fields(Stack(), [live], ["stage2"])["stage2"]
    four = receptive_fields(Stack(), iter([live, dead, dead, dead]), ["stage2"])["stage2"]
    np.testing.assert_allclose(four, one / 4, rtol=1e-6)


def double_input(images: Tensor) -> Tensor:
    """Normalise in float64, so that finite differences mean something."""
    return (images.double() - 116.0) / 58.0


def test_gradients_of_segformer_are_its_finite_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model("segformer_b0").double().eval()
    monkeypatch.setattr(model, "normalise", double_input)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    taps = ("stage1", "stage4", "head")
    fields = receptive_fields(model, [image], taps)
    x = double_input(torch.from_numpy(image).permute(2, 0, 1)[None])
    step = 1e-6

    @torch.no_grad()
    def activations(pixels: Tensor) -> dict[str, float]:
        stages = model.stages(pixels)
        tapped = {"stage1": stages[0], "stage4": stages[3], "head": model.decode(stages)}
        return {
            tap: float(a[0, :, a.shape[2] // 2, a.shape[3] // 2].clamp(min=0).sum())
            for tap, a in tapped.items()
        }

    for row, column in ((33, 33), (30, 36), (10, 50)):
        expected = dict.fromkeys(taps, 0.0)
        for channel in range(3):
            bump = torch.zeros_like(x)
            bump[0, channel, row, column] = step
            up, down = activations(x + bump), activations(x - bump)
            for tap in taps:
                expected[tap] += abs(up[tap] - down[tap]) / (2 * step)
        for tap in taps:
            assert fields[tap][row, column] == pytest.approx(expected[tap], rel=1e-4, abs=1e-9)
    assert fields["stage1"][33, 33] > 0
    assert fields["stage1"][10, 50] > 0  # attention sees everything
    assert fields["head"][10, 50] > 0


@pytest.mark.parametrize("fails", [False, True])
def test_weights_get_their_gradients_back(fails: bool) -> None:
    model = Stack()
    model.convs[1].requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    images = [bright(), bright(side=SIDE + 1)] if fails else [bright()]
    if fails:
        with pytest.raises(DataError, match="cannot be averaged"):
            receptive_fields(model, images, ["stage1"])
    else:
        receptive_fields(model, images, ["stage1"])
    assert [p.requires_grad for p in model.parameters()] == before == [True, False, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_no_image_is_an_error() -> None:
    with pytest.raises(DataError, match="no image"):
        receptive_fields(Stack(), [], ["stage1"])


def test_sizes_are_named_where_they_differ() -> None:
    with pytest.raises(DataError, match=r"\(32, 32\) and \(16, 16\)"):
        receptive_fields(Stack(), [bright(), bright(side=16)], ["stage1"])


def test_task_hears_of_each_image() -> None:
    heard: list[int] = []

    class Spy(Task):
        def advance(self, count: int = 1, note: str = "") -> None:
            heard.append(count)

    receptive_fields(Stack(), [bright()] * 3, ["stage1", "stage3"], Spy())
    assert heard == [1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "side", "corner", "found_side"),
    [
        ((64, 128), 32, (16, 48), 32),
        ((64, 128), 64, (0, 32), 64),
        ((64, 128), 1024, (0, 32), 64),
        ((65, 40), 31, (17, 4), 31),
    ],
)
def test_centre_crop(
    shape: tuple[int, int], side: int, corner: tuple[int, int], found_side: int
) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.stack([y, x, y], axis=2).astype(np.uint8)
    found = centre_crop(image, side)
    assert found.shape == (found_side, found_side, 3)
    assert tuple(found[0, 0, :2].tolist()) == corner


ORIGIN = Origin("segformer_b0", "stage4", "a" * 64, 10, "b" * 64, 1024)


def ramp() -> npt.NDArray[np.float32]:
    return (np.arange(36).reshape(6, 6) / 7).astype(np.float32)


def test_stored_map_comes_back_unchanged(tmp_path: Path) -> None:
    path = save_map(tmp_path / "maps", ORIGIN, ramp())
    found = load_map(tmp_path / "maps", ORIGIN)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, ramp())
    assert [p.name for p in path.parent.iterdir()] == ["segformer_b0-stage4.npz"]


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "c" * 64},
        {"images": 11},
        {"fingerprint": "c" * 64},
        {"side": 512},
        {"reduction": "abs"},
        {"tap": "stage3"},
        {"model": "segformer_b1"},
    ],
    ids=str,
)
def test_map_of_another_origin_is_not_used(tmp_path: Path, change: dict[str, object]) -> None:
    save_map(tmp_path, ORIGIN, ramp())
    assert load_map(tmp_path, replace(ORIGIN, **change)) is None  # type: ignore[arg-type]


def test_map_of_another_origin_is_set_aside(tmp_path: Path) -> None:
    old = save_map(tmp_path, ORIGIN, ramp()).read_bytes()
    other = replace(ORIGIN, checkpoint="c" * 64)
    save_map(tmp_path, other, ramp() + 1)
    assert (tmp_path / "segformer_b0-stage4.npz.old1").read_bytes() == old
    assert load_map(tmp_path, ORIGIN) is None
    found = load_map(tmp_path, other)
    assert found is not None
    np.testing.assert_array_equal(found, ramp() + 1)


@pytest.mark.parametrize("size", [0, 1, 100, -10])
def test_damaged_map_is_not_used(tmp_path: Path, size: int) -> None:
    path = save_map(tmp_path, ORIGIN, ramp())
    path.write_bytes(path.read_bytes()[:size])
    assert load_map(tmp_path, ORIGIN) is None


def test_map_with_flipped_bytes_is_not_used(tmp_path: Path) -> None:
    path = save_map(tmp_path, ORIGIN, np.random.default_rng(0).random((64, 64), np.float32))
    content = bytearray(path.read_bytes())
    for place in range(200, 260):
        content[place] ^= 0xFF
    path.write_bytes(content)
    assert load_map(tmp_path, ORIGIN) is None


def test_array_without_origin_is_not_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "segformer_b0-stage4.npz", field=ramp())
    assert load_map(tmp_path, ORIGIN) is None

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustseg.engine.inference import Inference, Window, confusion_matrix, predict_logits, windows
from robustseg.models.base import SegmentationModel
from robustseg.models.specs import Normalisation


def grid_starts(length: int, window: int, stride: int) -> list[int]:
    """The grid of mmsegmentation's sliding test, each start pulled back inside the image."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(i * stride, length - window), 0) for i in range(count)]


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    window=st.integers(4, 120),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_windows_are_those_of_the_grid_formula(
    height: int, width: int, window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window))
    found = windows(height, width, Inference("slide", window, stride))
    expected = [
        Window(top, min(top + window, height), left, min(left + window, width))
        for top in grid_starts(height, window, stride)
        for left in grid_starts(width, window, stride)
    ]
    assert found == expected
    covered = np.zeros((height, width), bool)
    for w in found:
        assert (w.bottom - w.top, w.right - w.left) == (min(window, height), min(window, width))
        covered[w.top : w.bottom, w.left : w.right] = True
    assert covered.all()


def test_windows_of_a_cityscapes_image() -> None:
    found = windows(1024, 2048, Inference())
    assert [(w.left, w.right) for w in found] == [(0, 1024), (768, 1792), (1024, 2048)]
    assert {(w.top, w.bottom) for w in found} == {(0, 1024)}


def test_whole_mode_has_one_window() -> None:
    assert windows(1024, 2048, Inference("whole")) == [Window(0, 1024, 0, 2048)]


class CropSensitive(SegmentationModel):
    """Logits that depend on the pixel, on the crop's content and on the place in the crop."""

    def __init__(self) -> None:
        super().__init__(Normalisation((10.0, 20.0, 30.0), (2.0, 4.0, 8.0)), 3)
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.batches: list[int] = []

    def stages(self, x: Tensor) -> list[Tensor]:
        return [x]

    def decode(self, features: list[Tensor]) -> Tensor:
        raise NotImplementedError

    @property
    def head_modules(self) -> list[nn.Module]:
        return []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        rows = torch.arange(x.shape[-2], dtype=x.dtype)[:, None]
        columns = torch.arange(x.shape[-1], dtype=x.dtype)[None]
        context = x.mean((1, 2, 3), keepdim=True)
        place = (rows * 0.3 - columns * 0.7)[None, None]
        return self.weight.view(1, 3, 1, 1) * (x + context) + place


def reference_logits(
    image: npt.NDArray[np.uint8], boxes: Sequence[tuple[int, int, int, int]]
) -> npt.NDArray[np.float64]:
    """Average over the boxes that hold a pixel, one pixel at a time."""
    normed = (image.astype(np.float64) - [10, 20, 30]) / [2, 4, 8]
    out = np.zeros((3, *image.shape[:2]))
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            held = [b for b in boxes if b[0] <= y < b[1] and b[2] <= x < b[3]]
            for c, weight in enumerate((1.0, -2.0, 0.5)):
                for top, bottom, left, right in held:
                    context = normed[top:bottom, left:right].mean()
                    place = 0.3 * (y - top) - 0.7 * (x - left)
                    out[c, y, x] += (weight * (normed[y, x, c] + context) + place) / len(held)
    return out


def test_sliding_logits_are_the_average_over_windows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), dtype=np.uint8)
    rows = [(0, 12), (5, 17), (8, 20)]
    columns = [(0, 12), (5, 17), (10, 22), (15, 27), (20, 32), (21, 33)]
    model = CropSensitive()
    found = predict_logits(model, image, Inference("slide", 12, 5))
    assert (found.dtype, found.shape) == (torch.float32, (3, 20, 33))
    expected = reference_logits(image, [(*r, *c) for r in rows for c in columns])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert sum(model.batches) == 18


@pytest.mark.parametrize("inference", [Inference("whole", 8, 8), Inference("slide", 64, 48)])
def test_image_within_one_window_is_seen_whole(inference: Inference) -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 33, 3), dtype=np.uint8)
    model = CropSensitive()
    found = predict_logits(model, image, inference)
    np.testing.assert_allclose(
        found.numpy(), reference_logits(image, [(0, 20, 0, 33)]), rtol=1e-4, atol=1e-4
    )
    assert model.batches == [1]
    assert not found.requires_grad


def test_count_pairs_counts_every_pixel_that_is_not_ignored() -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 19, (17, 23), dtype=np.uint8)
    label[rng.random(label.shape) < 0.3] = 255
    label[0, :5] = (19, 20, 100, 254, 255)
    prediction = rng.integers(0, 19, label.shape)
    expected = np.zeros((19, 19), np.int64)
    for true, predicted in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true < 19:
            expected[true, predicted] += 1
    found = confusion_matrix(label, torch.from_numpy(prediction), 19)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), expected)


def test_count_pairs_of_an_ignored_image_is_zero() -> None:
    label = np.full((4, 4), 255, np.uint8)
    found = confusion_matrix(label, torch.zeros(4, 4, dtype=torch.int64), 19)
    assert found.shape == (19, 19)
    assert not found.any()

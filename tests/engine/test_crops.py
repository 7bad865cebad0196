from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustseg.datasets.cityscapes import load_sample
from robustseg.datasets.sample import Frame, Sample
from robustseg.engine import crops as crops_module
from robustseg.engine.crops import PURPOSES, Crops, Share, batches, stream
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.recipes import Recipe, load_recipe
from robustseg.errors import DataError, SettingError


def small_recipe(*overrides: str) -> Recipe:
    usual = ("iterations=3", "batch_size=8", "crop=[64, 64]")
    return load_recipe("segformer", [*usual, *overrides])


def make(frames: Sequence[Frame], *overrides: str, limit: int = 1 << 30) -> Crops:
    return Crops(frames, small_recipe(*overrides), 0, DecodedSamples(limit))


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (1, 4), (2, 2), (4, 2)])
def test_shares_together_make_the_batch_of_one_process(
    training_frames: Sequence[Frame], world: int, parts: int
) -> None:
    crops = make(training_frames)
    whole = list(batches(crops, 1, 0))
    assert len(whole) == 2
    shares = [list(batches(crops, 1, 0, Share(r, world, parts))) for r in range(world)]
    for iteration, (images, labels) in enumerate(whole):
        pieces = [shares[r][iteration * parts + m] for m in range(parts) for r in range(world)]
        assert all(len(piece[0]) == 8 // (world * parts) for piece in pieces)
        assert torch.equal(torch.cat([piece[0] for piece in pieces]), images)
        assert torch.equal(torch.cat([piece[1] for piece in pieces]), labels)
    assert all(len(share) == 2 * parts for share in shares)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
def test_every_crop_is_made_once(size: int, world: int, parts: int, start: int) -> None:
    batch = size * world * parts
    made: list[int] = []
    for rank in range(world):
        for first in Share(rank, world, parts).first_crops(batch, start, start + 3):
            made.extend(range(first, first + size))
    assert sorted(made) == list(range(start * batch, (start + 3) * batch))


def test_batch_that_cannot_be_divided_is_refused(training_frames: Sequence[Frame]) -> None:
    with pytest.raises(SettingError, match="batch_size 8 cannot be divided by 3 processes x 1"):
        next(batches(make(training_frames), 0, 0, Share(0, 3)))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_the_crops(training_frames: Sequence[Frame], workers: int) -> None:
    crops = make(training_frames)
    alone = list(batches(crops, 0, 0))
    helped = list(batches(make(training_frames, limit=0), 0, workers))
    assert len(alone) == len(helped) == 3
    for i, ((images, labels), (images2, labels2)) in enumerate(zip(alone, helped, strict=True)):
        assert torch.equal(images, images2)
        assert torch.equal(labels, labels2)
        assert torch.equal(images[1], crops[8 * i + 1][0])
        assert torch.equal(labels[1], crops[8 * i + 1][1])


def test_batches_are_bytes_and_channels_last(training_frames: Sequence[Frame]) -> None:
    images, labels = next(batches(make(training_frames), 0, 0))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.uint8)
    assert (images.shape, labels.shape) == ((8, 3, 64, 64), (8, 64, 64))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_workers_stay_a_bounded_way_ahead(training_frames: Sequence[Frame]) -> None:
    made: deque[int] = deque()

    class Counting(Crops):
        def fill(self, index: int, pixels: object, ids: object) -> None:
            made.append(index)

    recipe = small_recipe("iterations=100", "batch_size=2")
    loader = batches(Counting(training_frames, recipe, 0, DecodedSamples()), 0, 2)
    list(islice(loader, 5))
    loader.close()  # type: ignore[attr-defined]
    assert 10 <= len(made) <= 2 * (5 + 3)


def test_crops_are_a_function_of_seed_and_number(training_frames: Sequence[Frame]) -> None:
    one, two = make(training_frames), make(training_frames, limit=0)
    assert len(one) == 24
    forward = [one[i] for i in range(24)]
    for i in reversed(range(24)):
        assert all(torch.equal(a, b) for a, b in zip(two[i], forward[i], strict=True))
    assert not torch.equal(forward[0][0], forward[1][0])
    other = Crops(training_frames, small_recipe(), 1, DecodedSamples())
    assert not torch.equal(other[0][0], forward[0][0])


def test_each_round_shows_every_image_once(training_frames: Sequence[Frame]) -> None:
    asked: list[str] = []

    class Spy(DecodedSamples):
        def get(self, frame: Frame) -> Sample:
            asked.append(frame.id)
            return super().get(frame)

    crops = Crops(training_frames, small_recipe("iterations=10"), 0, Spy())
    for i in range(80):
        crops[i]
    rounds = [tuple(asked[i : i + 4]) for i in range(0, 80, 4)]
    assert all(sorted(r) == sorted(f.id for f in training_frames) for r in rounds)
    assert len(set(rounds)) > 5


def test_frames_that_are_not_kept_are_decoded_again_to_the_same(
    training_frames: Sequence[Frame],
) -> None:
    found = crops_module._decode_again(training_frames[0])
    expected = load_sample(training_frames[0])
    assert found is not None
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.label, expected.label)


def test_frame_that_vanishes_later_is_named(
    training_frames: Sequence[Frame], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(training_frames[0].image.read_bytes())
    crops = make([replace(training_frames[0], image=copy)], limit=0)
    crops[0]
    copy.unlink()
    with pytest.raises(DataError, match=r"copy\.png: cannot be read"):
        crops[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_image_is_named_in_one_line(
    training_frames: Sequence[Frame], tmp_path: Path, workers: int
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(training_frames[0].image.read_bytes()[:300])
    crops = make([replace(training_frames[0], image=broken)])
    with pytest.raises(DataError) as caught:
        list(batches(crops, 0, workers))
    assert str(caught.value).startswith(f"{broken}: is truncated or damaged; copy")
    assert "\n" not in str(caught.value)


def keys(draws: Sequence[tuple[int, str, int]]) -> list[bytes]:
    return [stream(*draw).bytes(16) for draw in draws]


def test_streams_of_different_draws_differ() -> None:
    numbers = (0, 1, 2, 255, 256, 2**32, 2**56 - 1)
    draws = [(s, p, n) for s in (0, 1, 2**32, 2**64 - 1) for p in PURPOSES for n in numbers]
    assert len(set(keys(draws))) == len(draws)
    assert keys(draws) == keys(draws)


def test_many_crops_of_a_long_training_have_streams_of_their_own() -> None:
    # 32-bit seeds would make about 116 of a million numbers coincide, of 40,000 still 0.2
    firsts = {stream(0, "crop", n).bytes(8) for n in range(20_000)}
    assert len(firsts) == 20_000


def test_values_of_a_stream_are_frozen() -> None:
    # a stopped training must go on in the same order under later versions
    assert stream(3, "order", 5).randint(1000, size=5).tolist() == [187, 201, 623, 333, 926]

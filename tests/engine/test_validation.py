from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from robustseg.datasets.cityscapes import load_sample
from robustseg.datasets.sample import Frame
from robustseg.engine.crops import Share
from robustseg.engine.inference import Inference
from robustseg.engine.pictures import DecodedSamples
from robustseg.engine.validation import validate
from robustseg.errors import DataError
from robustseg.models.base import SegmentationModel
from robustseg.models.checkpoints import Checkpoint, load_model

WHOLE = Inference("whole")


def by_hand(model: SegmentationModel, frames: Sequence[Frame]) -> list[list[int]]:
    """Count pixel by pixel."""
    counts = [[0] * 19 for _ in range(19)]
    for frame in frames:
        sample = load_sample(frame)
        image = torch.from_numpy(sample.image.copy()).permute(2, 0, 1)[None]
        with torch.no_grad():
            found = model(model.normalise(image)).argmax(1)[0].numpy()
        for truth, prediction in zip(sample.label.flat, found.flat, strict=True):
            if truth != 255:
                counts[truth][prediction] += 1
    return counts


@pytest.fixture
def model(checkpoint: Checkpoint) -> SegmentationModel:
    return load_model(checkpoint, "segformer_b0")


def test_counts_are_those_of_every_pixel(model: SegmentationModel, frames: Sequence[Frame]) -> None:
    expected = by_hand(model.eval(), frames)
    # in training mode dropout and batch statistics would give others
    found = validate(model.train(), frames, DecodedSamples(), WHOLE, Share())
    assert found.dtype == torch.int64
    assert found.tolist() == expected
    assert np.count_nonzero(found) > 20


def test_each_module_gets_its_mode_back(model: SegmentationModel, frames: Sequence[Frame]) -> None:
    model.train()
    frozen = model.get_submodule("decode_head")
    frozen.eval()
    before = {name: module.training for name, module in model.named_modules()}
    stream = torch.get_rng_state()
    validate(model, frames[:1], DecodedSamples(), WHOLE, Share())
    assert {name: module.training for name, module in model.named_modules()} == before
    assert set(before.values()) == {True, False}
    assert torch.equal(torch.get_rng_state(), stream)


def test_the_mode_comes_back_after_an_error(
    model: SegmentationModel, frames: Sequence[Frame], tmp_path: Path
) -> None:
    missing = Frame("x", tmp_path / "x.png", tmp_path / "y.png")
    model.train()
    with pytest.raises(DataError):
        validate(model, [frames[0], missing], DecodedSamples(), WHOLE, Share())
    assert all(module.training for module in model.modules())


def counted_by_one_of_two(
    rank: int, checkpoint: Checkpoint, frames: Sequence[Frame], folder: Path
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    found = validate(
        load_model(checkpoint, "segformer_b0"), frames, DecodedSamples(), WHOLE, Share(rank, 2)
    )
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_count_what_one_does(
    checkpoint: Checkpoint, model: SegmentationModel, frames: Sequence[Frame], tmp_path: Path
) -> None:
    expected = validate(model, frames, DecodedSamples(), WHOLE, Share())
    given = (checkpoint, frames, tmp_path)
    start_processes(  # type: ignore[no-untyped-call]
        counted_by_one_of_two, given, nprocs=2, start_method="fork", join=True, daemon=False
    )
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), expected)

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from robustseg.models.bands import add, bands, by_bands, can_use_bands
from robustseg.models.mix_transformer import MixFFN
from robustseg.models.segformer import SegFormer
from robustseg.models.specs import SegFormerSpec

TINY = SegFormerSpec("tiny", (8, 16, 20, 16), (1, 2, 1, 1), 24)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("height", [1, 2, 7, 24])
@pytest.mark.parametrize("band_bytes", [1, 100, 250, 10**6])
def test_bands_cover_each_row_once(height: int, band_bytes: int) -> None:
    cut = list(bands(height, row_bytes=50, band_bytes=band_bytes))
    assert [row for top, bottom in cut for row in range(top, bottom)] == list(range(height))
    assert max(bottom - top for top, bottom in cut) <= max(1, band_bytes // 50)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("height", [1, 2, 11])
def test_mix_ffn_in_bands(rows: int, height: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ffn = MixFFN(6)
    x = random(2, height, 5, 6)
    with torch.no_grad():
        wanted = ffn.mix(x)
        found = by_bands(ffn.mix, x, expansion=4, band_bytes=rows * 5 * 6 * 4 * 4)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_no_function_sees_more_than_a_band_and_its_neighbours() -> None:
    seen: list[tuple[int, ...]] = []

    def note(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return x

    x = random(2, 10, 3, 1)
    assert torch.equal(by_bands(note, x, expansion=1, band_bytes=4 * 3 * 4), x)
    assert seen == 2 * [(1, 5, 3, 1), (1, 6, 3, 1), (1, 3, 3, 1)]


def test_bands_are_for_inference_in_full_precision() -> None:
    x = random(1, 2, 2, 1)
    assert not can_use_bands(x)
    with torch.no_grad():
        assert can_use_bands(x)
        assert can_use_bands(x.double())
        assert not can_use_bands(x.bfloat16())
        assert not can_use_bands(x.to("meta"))
        with torch.autocast("cpu"):
            assert not can_use_bands(x)
    with torch.inference_mode():
        assert can_use_bands(x)


def test_a_sum_is_in_place_only_where_nothing_else_needs_the_memory() -> None:
    x, y = random(3), random(3, seed=1)
    wanted = x + y
    kept = x.clone()
    assert torch.equal(add(x, y), wanted)
    assert torch.equal(x, kept)
    with torch.no_grad():
        low = add(x.bfloat16(), y)
        assert low.dtype == torch.float32
        found = add(x, y)
    assert found is x
    assert torch.equal(x, wanted)


def test_a_traced_network_takes_other_sizes_and_batches() -> None:
    """Bands of one size, frozen into a trace, would leave the rest of a larger map as it was."""
    model = SegFormer(TINY, 19).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its tracer old
        traced = torch.jit.trace(model, torch.zeros(1, 3, 64, 64), check_trace=False)  # type: ignore[no-untyped-call]
        for shape in ((2, 3, 64, 64), (1, 3, 96, 128)):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(traced(x), model(x), rtol=1e-4, atol=1e-5)

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robustseg.corruptions import png
from robustseg.datasets.sample import ImageArray

Encoder = Callable[[ImageArray], bytes]

ENCODERS: list[Encoder] = [png.encode_png, png.encode_with_opencv]
if png.load_fpng():
    ENCODERS.append(png.encode_with_fpng)

KINDS = ("noise", "black", "white", "columns", "blocks", "few colours")


def picture(kind: str, height: int, width: int, seed: int = 0) -> ImageArray:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    pictures: dict[str, ImageArray] = {
        "noise": noise,
        "black": np.zeros_like(noise),
        "white": np.full_like(noise, 255),
        "columns": np.stack([x, x // 2, 255 - x], -1).astype(np.uint8),
        "blocks": noise[y // 7, x // 9],
        "few colours": noise % 2 * 255,
    }
    return pictures[kind]


def assert_holds(content: bytes, image: ImageArray) -> None:
    """It is a PNG of 8-bit RGB and two readers see these pixels."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content[24:29] == bytes([8, 2, 0, 0, 0])  # depth, colour type RGB, no interlacing
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(opened), image)
    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1], image)


@pytest.fixture
def no_fpng(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where fpng is not installed."""
    monkeypatch.setitem(sys.modules, "fpng", None)
    png.load_fpng.cache_clear()
    yield
    png.load_fpng.cache_clear()


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(33, 47), (32, 32), (64, 96), (40, 4097)])
def test_readers_see_the_pixels(encode: Encoder, kind: str, size: tuple[int, int]) -> None:
    image = picture(kind, *size)
    assert_holds(encode(image), image)


@pytest.mark.parametrize("encode", ENCODERS)
@given(
    kind=st.sampled_from(KINDS),
    height=st.integers(1, 70),
    width=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=150)
def test_any_size(encode: Encoder, kind: str, height: int, width: int, seed: int) -> None:
    image = picture(kind, height, width, seed)
    assert_holds(encode(image), image)


@pytest.mark.parametrize("encode", ENCODERS)
def test_views_of_any_layout_and_their_owner_are_left_alone(encode: Encoder) -> None:
    image = picture("noise", 50, 61)
    for view in (image[..., ::-1], image[::2, 1::3], image[:, ::-1]):
        before = view.copy()
        assert_holds(encode(view), before)
        np.testing.assert_array_equal(view, before)


@pytest.mark.skipif(
    sys.platform != "linux" or png.load_fpng() is None, reason="a wheel of fpng is on Linux x86_64"
)
def test_the_fast_encoder_is_used_where_it_is_installed() -> None:
    image = picture("blocks", 40, 50)
    assert png.encode_png(image) == png.encode_with_fpng(image) != png.encode_with_opencv(image)


@pytest.mark.usefixtures("no_fpng")
def test_opencv_stands_in_for_it() -> None:
    image = picture("blocks", 40, 50)
    assert png.load_fpng() is None
    assert png.encode_png(image) == png.encode_with_opencv(image)

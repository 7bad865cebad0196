from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import robustseg.corruptions
from robustseg.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corrupt_frame,
    corrupt_severities,
    random_stream,
)
from robustseg.corruptions.registry import FUNCTIONS
from robustseg.datasets.sample import ImageArray
from robustseg.errors import DataError, NameLookupError, SettingError

IMAGES = arrays.arrays(np.uint8, st.tuples(st.integers(32, 48), st.integers(32, 48), st.just(3)))
NAMES = st.sampled_from(CORRUPTIONS)
LEVELS = st.sampled_from(SEVERITIES)
SEEDS = st.integers(0, 2**32 - 1)


def stripes(height: int = 64, width: int = 80) -> ImageArray:
    y, x = np.mgrid[:height, :width]
    planes = (3 * x + (y // 8) * 40, 5 * y + (x // 10) * 31, (x * y) // 7 + 11 * (x // 16))
    image = (np.stack(planes, axis=-1) % 256).astype(np.uint8)
    image[: height // 6, : 3 * width // 10] = 255
    return image


SIZES = ((64, 80), (33, 47), (97, 203), (1024, 2048))

# For each size the first 16 digits of the SHA-256 of severities 1-5 one after the other, seed 0.
# The original code gave the first column. The code that made the others met every digest that had
# been recorded from the original at six sizes, of full size too.
GOLDEN: dict[str, tuple[str, str, str, str]] = {
    "motion_blur": ("12c849100523fbd3", "7ebb4584f81a3696", "3d6c630d886eddda", "388540852b774bbe"),
    "defocus_blur": (
        "7932e09325bc4277",
        "141ce6ba3ae1ddb8",
        "01a42e1cc14ee243",
        "bfda12c110aa9796",
    ),
    "glass_blur": ("a881879281d7ef13", "b933d46b72a3346e", "50844ff924275746", "a0ac27069b749190"),
    "gaussian_blur": (
        "511fbb3919fa16e9",
        "4ef6023c32773490",
        "2362c28c44ca5715",
        "92d64b738be9fcc8",
    ),
    "gaussian_noise": (
        "518def74b6a5eace",
        "aabbc6730e9da3b5",
        "a5efd4a7734c3668",
        "3df724ddc4c4a8f4",
    ),
    "impulse_noise": (
        "308555f01dbbe19b",
        "9bc5b0fd844fff10",
        "63c671a45b0642db",
        "ef09ac51dd59f4cb",
    ),
    "shot_noise": ("cf50bf7bd6eabad4", "143b4fa90f67730d", "f6958881a3edac88", "ecda1d9f4393e139"),
    "speckle_noise": (
        "c6279d72e7dba89f",
        "fea4472884653895",
        "4fa0adb779a39747",
        "91426f370f07bbe6",
    ),
    "brightness": ("caa8231f64b4eb19", "948ba44f935934bb", "b6a1b892b2d11c76", "fe5702a25aef081a"),
    "contrast": ("fa8efdea8fc488cf", "fefe7696f7228b46", "5398b198f3d3425f", "072d4798c28e8da7"),
    "saturate": ("740e170f5dd3010d", "7e39598bc906a440", "1abf9d54a7af5ad2", "864992cc5498172d"),
    "jpeg_compression": (
        "68640b0f12fc0aaa",
        "8b41f4354bfaf149",
        "2ca3ab23f014f42a",
        "dc4b3b78ad609114",
    ),
    "snow": ("3c47eab377fc5f6a", "3fff3495a51b9dea", "2e39e2f8f89e763e", "e7c3142857d1d233"),
    "spatter": ("93a423835b928615", "d14348de8d024c54", "5548a296807c5567", "dd3f0ce0a3f37068"),
    "fog": ("b6d3d0f601149680", "63583f24f2726680", "23c3547cf746fe98", "433f09c686ea6de9"),
    "frost": ("65e2f01bbbf9325c", "46f37f05f2af2119", "6b8cbb86a234e28e", "181cd80c06b06c76"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_bytes_are_the_same_on_every_machine(name: str, size: tuple[int, int]) -> None:
    digest = hashlib.sha256()
    image = stripes(*size)
    for severity in SEVERITIES:
        digest.update(corrupt(image, name, severity, np.random.RandomState(0)).tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[name][SIZES.index(size)]


def test_layout_in_memory_and_protection_do_not_matter() -> None:
    image = stripes()
    wanted = corrupt(image, "motion_blur", 2, np.random.RandomState(0))
    turned = np.asfortranarray(image)
    frozen = image.copy()
    frozen.flags.writeable = False
    for same in (turned, frozen, image[::-1][::-1], image[..., ::-1][..., ::-1]):
        found = corrupt(same, "motion_blur", 2, np.random.RandomState(0))
        np.testing.assert_array_equal(found, wanted)


def test_streams_must_be_as_many_as_severities() -> None:
    with pytest.raises(SettingError, match="2 severities need as many streams, got 1"):
        list(corrupt_severities(stripes(), "fog", [1, 2], [np.random.RandomState(0)]))


@given(image=IMAGES, name=NAMES, severity=LEVELS, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_pure_function(image: ImageArray, name: str, severity: int, seed: int) -> None:
    before = image.copy()
    np.random.seed(1)
    first = corrupt(image, name, severity, np.random.RandomState(seed))
    np.random.seed(2)
    state: Any = np.random.get_state()
    second = corrupt(image, name, severity, np.random.RandomState(seed))
    state_after: Any = np.random.get_state()
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert first.flags.writeable
    assert not np.shares_memory(first, image)
    assert np.array_equal(first, second)
    assert np.array_equal(image, before)
    assert np.array_equal(state[1], state_after[1])
    assert state[2] == state_after[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_layout_in_memory_does_not_matter(name: str, blocks: ImageArray) -> None:
    column_major = np.asfortranarray(blocks)
    mirrored_twice = blocks[:, ::-1].copy()[:, ::-1]
    blocks.flags.writeable = False
    expected = corrupt(blocks, name, 2, np.random.RandomState(4))
    for other in (column_major, mirrored_twice):
        assert np.array_equal(corrupt(other, name, 2, np.random.RandomState(4)), expected)


@pytest.mark.parametrize("name", ["motion_blur", "glass_blur", "snow", "spatter", "fog", "frost"])
def test_random_corruptions_depend_on_the_stream(name: str, blocks: ImageArray) -> None:
    first, second = (corrupt(blocks, name, 3, np.random.RandomState(s)) for s in (1, 2))
    assert (first != second).mean() > 0.01


@pytest.mark.parametrize(
    "name",
    ["defocus_blur", "gaussian_blur", "brightness", "contrast", "saturate", "jpeg_compression"],
)
def test_fixed_corruptions_draw_nothing(name: str, blocks: ImageArray) -> None:
    stream = np.random.RandomState(5)
    corrupt(blocks, name, 3, stream)
    assert stream.randint(2**31) == np.random.RandomState(5).randint(2**31)


@pytest.mark.parametrize(
    "name",
    [
        "motion_blur",
        "defocus_blur",
        "gaussian_blur",
        "gaussian_noise",
        "impulse_noise",
        "shot_noise",
        "speckle_noise",
        "brightness",
        "contrast",
        "fog",
    ],
)
def test_higher_severity_changes_more(name: str, blocks: ImageArray) -> None:
    changes = [
        np.abs(corrupt(blocks, name, s, np.random.RandomState(2)).astype(int) - blocks).mean()
        for s in SEVERITIES
    ]
    assert changes == sorted(changes)
    assert changes[-1] > 1.3 * changes[0]


def test_frame_uses_its_own_stream(blocks: ImageArray) -> None:
    made = corrupt_frame(blocks, "aachen_000001_000019", "fog", 2, seed=6)
    stream = random_stream(6, "aachen_000001_000019", "fog", 2)
    assert np.array_equal(made, corrupt(blocks, "fog", 2, stream))
    other = corrupt_frame(blocks, "aachen_000002_000019", "fog", 2, seed=6)
    assert not np.array_equal(made, other)


def test_functions_are_the_sixteen_in_order() -> None:
    assert tuple(FUNCTIONS) == CORRUPTIONS
    assert all(function.__name__ == name for name, function in FUNCTIONS.items())


def test_unknown_name_gets_a_suggestion(blocks: ImageArray) -> None:
    with pytest.raises(NameLookupError, match=r"'motion_blurr'.*motion_blur"):
        corrupt(blocks, "motion_blurr", 1, np.random.RandomState(0))


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, True, "3", None])
def test_bad_severity(blocks: ImageArray, severity: int) -> None:
    with pytest.raises(SettingError, match=f"from 1 to 5, got {severity!r}"):
        corrupt(blocks, "fog", severity, np.random.RandomState(0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_functions_check_the_severity_themselves(blocks: ImageArray, name: str) -> None:
    # A plain table lookup would take 0 for the last entry, severity 5.
    with pytest.raises(SettingError, match="got 0"):
        FUNCTIONS[name](blocks, 0, np.random.RandomState(0))


@pytest.mark.parametrize("severity", [np.int64(3), np.uint8(3)])
def test_numpy_integers_are_integers(blocks: ImageArray, severity: int) -> None:
    made = corrupt(blocks, "contrast", severity, np.random.RandomState(0))
    assert np.array_equal(made, corrupt(blocks, "contrast", 3, np.random.RandomState(0)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((40, 40, 3)), r"got float64 \(40, 40, 3\)"),
        (np.zeros((40, 40), np.uint8), r"got uint8 \(40, 40\)"),
        (np.zeros((40, 40, 4), np.uint8), r"got uint8 \(40, 40, 4\)"),
        (np.zeros((3, 40, 40), np.uint8), r"got uint8 \(3, 40, 40\)"),
        (np.zeros((31, 40, 3), np.uint8), "at least 32 x 32 pixels, got 31 x 40"),
        (np.zeros((40, 31, 3), np.uint8), "at least 32 x 32 pixels, got 40 x 31"),
        ([[0]], "got list"),
    ],
)
def test_bad_image(image: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        corrupt(image, "fog", 1, np.random.RandomState(0))


def test_public_names_are_functions_even_after_their_modules_are_loaded() -> None:
    for name in robustseg.corruptions.__all__:
        assert not isinstance(getattr(robustseg.corruptions, name), type(sys))
    assert callable(robustseg.corruptions.corrupt)
    assert set(robustseg.corruptions.__all__) <= set(dir(robustseg.corruptions))


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'corupt'"):
        _ = robustseg.corruptions.corupt


def test_names_and_constants_load_nothing_heavy() -> None:
    script = (
        "import sys, robustseg.corruptions.severity;"
        "from robustseg.corruptions import CORRUPTIONS;"
        "print([m for m in ('numpy', 'cv2', 'scipy', 'PIL', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_functions_load_no_opencv_before_it_is_needed() -> None:
    script = (
        "import sys, numpy as np; from robustseg.corruptions import corrupt;"
        "corrupt(np.zeros((32, 32, 3), np.uint8), 'fog', 1, np.random.RandomState(0));"
        "print('cv2' in sys.modules, 'imagecorruptions' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_together_are_those_one_by_one(name: str) -> None:
    order = [4, 1, 5, 2, 3, 1]
    streams = [np.random.RandomState(s) for s in order]
    together = list(corrupt_severities(stripes(), name, order, streams))
    for severity, stream, found in zip(order, streams, together, strict=True):
        alone = np.random.RandomState(severity)
        np.testing.assert_array_equal(found, corrupt(stripes(), name, severity, alone))
        assert stream.randint(1 << 30) == alone.randint(1 << 30)


@pytest.mark.parametrize("name", ["gaussian_noise", "frost", "jpeg_compression", "saturate"])
def test_bgr_is_what_a_script_that_reads_with_opencv_makes(name: str) -> None:
    stream = random_stream(3, "a", name, 4)
    as_opencv_reads = np.ascontiguousarray(stripes()[..., ::-1])
    as_opencv_writes = corrupt(as_opencv_reads, name, 4, stream)
    found = corrupt_frame(stripes(), "a", name, 4, 3, channel_order="bgr")
    np.testing.assert_array_equal(found[..., ::-1], as_opencv_writes)
    assert (found != corrupt_frame(stripes(), "a", name, 4, 3)).any()

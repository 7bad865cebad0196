"""Zoom, elastic and pixelate against the original code, and against its recorded output."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from robustseg.corruptions import SEVERITIES, corrupt
from robustseg.datasets.sample import ImageArray

Original = Callable[[ImageArray, str, int, int], ImageArray]
NAMES = ("zoom_blur", "elastic_transform", "pixelate")


def reference_picture(height: int, width: int, seed: int) -> ImageArray:
    """Flat blocks, a ramp, noise, pure black and white."""
    stream = np.random.RandomState(seed)
    rows, columns = -(-height // 8), -(-width // 8)
    blocks = stream.randint(0, 256, (rows, columns, 3)).repeat(8, 0).repeat(8, 1)
    ramp = (np.arange(width) * 255 // (width - 1))[None, :, None]
    grain = stream.randint(-20, 21, (height, width, 3))
    picture = np.clip((blocks[:height, :width] + ramp) // 2 + grain, 0, 255)
    picture[: height // 8, : width // 4] = 255
    picture[-(height // 8) :, -(width // 4) :] = 0
    image: ImageArray = picture.astype(np.uint8)
    return image


# What imagecorruptions 1.1.2 made of these pictures with numpy 1.23, SciPy 1.10, scikit-image 0.18
# and Pillow 10.4: the beginning of the SHA-256 for severity 1 to 5.
RECORDED = {
    ("zoom_blur", 33, 47, 7): "2d5c8884 77b08ce3 89790fef 38266c94 099b5328",
    ("elastic_transform", 33, 47, 7): "d74eaf36 54676658 98054fc3 63d62205 7de7a86d",
    ("pixelate", 33, 47, 7): "d3051a5b 445dcd5d 12494158 a209bbbd e835dc2f",
    ("zoom_blur", 64, 64, 7): "a17a1412 2596aa75 11765e50 0b2acb1b e9957c40",
    ("elastic_transform", 64, 64, 7): "d9c8efa1 bae145c8 a31f1e6d 4db5cd5b 05d5b0a5",
    ("pixelate", 64, 64, 7): "b81b5849 cdb505dd 64d17669 55c746bb 37c7d980",
    ("zoom_blur", 97, 203, 7): "175b8df8 0fd6a13a 53d68d68 1472b6b6 72cec120",
    ("elastic_transform", 97, 203, 7): "25fe8a87 edb2ace5 eded66a3 7108bce7 3fcdb5b2",
    ("pixelate", 97, 203, 7): "9db4a448 c39c7637 ca898134 ca6c49e8 48dbd890",
    ("zoom_blur", 128, 256, 7): "63d7b054 83b3500b 7d449c5c 29530c99 4c00cd8d",
    ("elastic_transform", 128, 256, 7): "b572fe4e d46ac1af 3d8b179c 0400723b 497c2a34",
    ("pixelate", 128, 256, 7): "00fc9592 32a383e6 16b4f500 cbb3a7ea 1ea294f4",
}


@pytest.mark.parametrize(("name", "height", "width", "seed"), list(RECORDED))
def test_equals_the_recorded_output(name: str, height: int, width: int, seed: int) -> None:
    image = reference_picture(height, width, seed)
    found = []
    for severity in SEVERITIES:
        stream = np.random.RandomState(1000 * seed + severity)
        made = corrupt(image, name, severity, stream)
        found.append(hashlib.sha256(made.tobytes()).hexdigest()[:8])
    assert found == RECORDED[name, height, width, seed].split()


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_original(
    original: Original, picture: ImageArray, name: str, severity: int
) -> None:
    theirs = original(picture, name, severity, 17)
    ours = corrupt(picture, name, severity, np.random.RandomState(17))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_pure_function(name: str, blocks: ImageArray) -> None:
    before = blocks.copy()
    made = [corrupt(blocks, name, 3, np.random.RandomState(1)) for _ in range(2)]
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(blocks, before)
    assert (made[0] != blocks).mean() > 0.2

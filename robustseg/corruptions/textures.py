"""The photographs of frost, read from the installed ``imagecorruptions``.

They come without a known author, so robustseg does not ship them. Only the picture files are used:
the module ``imagecorruptions`` itself is not imported, as it no longer loads with current
setuptools.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from robustseg.corruptions.cubic import enlarge_cubic
from robustseg.datasets.sample import ImageArray
from robustseg.errors import DataError, RobustsegError

__all__ = ["FROST_DIGESTS", "LAYER_DIGESTS", "frost_folder", "frost_layer", "frost_picture"]

FROST_DIGESTS: dict[str, str] = {
    "frost1.png": "d425da47a6c26b225cbbb9855be0f40b42fbfc04a82d5ababdd9dee401fc0586",
    "frost2.png": "7fa31bc73f188ddd16a9b378ed451f5f4d643d09bb8a23b53b34b9da9b6c6881",
    # The same picture again in the original package, which so draws it twice as often.
    "frost3.png": "7fa31bc73f188ddd16a9b378ed451f5f4d643d09bb8a23b53b34b9da9b6c6881",
    "frost4.jpg": "7513e57763358ea3ace8aad8c437dfbbcefe18a1db454cf80f70d151b83477f3",
    "frost5.jpg": "e705884630444b769d0618bbf7eedb618072c448e53e5e9953127f536095fffb",
}
"""File name to the SHA-256 of its decoded uint8 RGB pixels. frost6.jpg is never drawn."""


def frost_folder() -> Path:
    """Find the folder of the photographs without importing the package that holds it.

    Returns:
        The folder ``frost`` of the installed ``imagecorruptions``.

    Raises:
        DataError: The package is not installed.
    """
    spec = importlib.util.find_spec("imagecorruptions")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "frost needs the photographs of the package imagecorruptions, which is not installed: "
            "`pip install imagecorruptions==1.1.2`"
        )
    return Path(spec.submodule_search_locations[0]) / "frost"


@functools.lru_cache(maxsize=len(FROST_DIGESTS))
def frost_picture(name: str) -> ImageArray:
    """Decode one photograph and check that it is the one of the definition.

    Args:
        name: A key of ``FROST_DIGESTS``.

    Returns:
        uint8 RGB (H, W, 3), read-only.

    Raises:
        DataError: The file is missing, unreadable or another picture.
    """
    path = frost_folder() / name
    try:
        with Image.open(path) as file:
            picture = np.array(file.convert("RGB"))
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the photograph of frost ({error.strerror or error}): {_REMEDY}"
        ) from error
    found = hashlib.sha256(picture.tobytes()).hexdigest()
    if found != FROST_DIGESTS[name]:
        raise DataError(
            f"{path}: is not the photograph of the definition (SHA-256 of its pixels is "
            f"{found[:16]}..., expected {FROST_DIGESTS[name][:16]}...): {_REMEDY}"
        )
    picture.flags.writeable = False
    return picture


_making = threading.Lock()


def frost_layer(name: str, height: int, width: int) -> ImageArray:
    """Enlarge a photograph to cover an image with a tenth to spare, and check what comes out.

    Args:
        name: A key of ``FROST_DIGESTS``.
        height: Of the image.
        width: Of the image.

    Returns:
        uint8 RGB (more than height, more than width, 3), read-only.

    Raises:
        DataError: The file is missing, unreadable or another picture.
        RobustsegError: This processor made other bytes than those of the definition.
    """
    if (name, height, width) not in LAYER_DIGESTS:
        _enlarged(*SAMPLE)  # shows that sizes without a digest will be right as well
    with _making:  # threads that start together would each make it
        return _enlarged(name, height, width)


@functools.lru_cache(maxsize=len(FROST_DIGESTS) + 1)
def _enlarged(name: str, height: int, width: int) -> ImageArray:
    picture = frost_picture(name)
    scale = 1.1 * max(1.0, height / picture.shape[0], width / picture.shape[1])
    size = (math.ceil(picture.shape[0] * scale), math.ceil(picture.shape[1] * scale))
    layer = enlarge_cubic(picture.copy(), *size)
    expected = LAYER_DIGESTS.get((name, height, width))
    found = hashlib.sha256(layer.data).hexdigest()
    if expected not in (None, found):
        raise RobustsegError(
            f"the layer of {name} for {height} x {width} is not that of the definition on this "
            f"machine (SHA-256 {found[:16]}..., expected {(expected or '')[:16]}...): its images "
            "would not compare with others; leave frost out and report the processor"
        )
    layer.flags.writeable = False
    return layer


SAMPLE = ("frost2.png", 128, 256)

LAYER_DIGESTS: dict[tuple[str, int, int], str] = {
    SAMPLE: "18a59c2bff9cdf7ec4485b302e13f949a2604f14a9171c00fb03f4bd0e99d614",
    ("frost1.png", 1024, 2048): "6103b9acfbc70d21b60a2ac9aa2c009c0068fc6379564c7a55008a3dcc45bb3f",
    ("frost2.png", 1024, 2048): "a09d8b19f0544fc485ac6a43f85d5efb0d245d936cec25ad5a9031217ad778ef",
    ("frost3.png", 1024, 2048): "a09d8b19f0544fc485ac6a43f85d5efb0d245d936cec25ad5a9031217ad778ef",
    ("frost4.jpg", 1024, 2048): "05eaef1aaa5dbbe678a51c65da3e6064d4d7d48ecd558c10d451631c87274524",
    ("frost5.jpg", 1024, 2048): "dd1358412ad1ba43ba2083d9c9fa95195a38a0022b55265867ab866c07f4b8d4",
}
"""Picture, height and width of the image to the SHA-256 of the enlarged picture's bytes."""

_REMEDY = "`pip install --force-reinstall imagecorruptions==1.1.2`"

"""The photographs of frost, read from the installed ``imagecorruptions``.

They come without a known author, so robustseg does not ship them. Only the picture files are used:
the module ``imagecorruptions`` itself is not imported, as it no longer loads with current
setuptools.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from robustseg.datasets.sample import ImageArray
from robustseg.errors import DataError

__all__ = ["FROST_DIGESTS", "frost_folder", "frost_picture"]

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
            f"{path}: cannot read the photograph of frost ({error}): {_REMEDY}"
        ) from error
    found = hashlib.sha256(picture.tobytes()).hexdigest()
    if found != FROST_DIGESTS[name]:
        raise DataError(
            f"{path}: is not the photograph of the definition (SHA-256 of its pixels is "
            f"{found[:16]}..., expected {FROST_DIGESTS[name][:16]}...): {_REMEDY}"
        )
    picture.flags.writeable = False
    return picture


_REMEDY = "`pip install --force-reinstall imagecorruptions==1.1.2`"

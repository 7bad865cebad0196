"""The original functions of imagecorruptions 1.1.2, and pictures to compare on."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from robustseg.datasets.sample import ImageArray

Floats = npt.NDArray[np.floating[Any]]
Original = Callable[[ImageArray, str, int, int], ImageArray]


class Overlay(types.ModuleType):
    """A module with some names replaced, to be seen by one other module only."""

    def __init__(self, base: object, **replaced: object) -> None:
        super().__init__("overlay")
        self.__dict__.update(replaced, base=base)

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["base"], name)


def resource_filename(package: str, path: str) -> str:
    spec = importlib.util.find_spec(package.partition(".")[0])
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return str(Path(spec.submodule_search_locations[0]) / path)


def salt_and_pepper(
    image: npt.NDArray[np.float64], mode: str, amount: float
) -> npt.NDArray[np.float64]:
    """As scikit-image did it until 0.18: on numpy's global stream, one choice a channel value."""
    assert mode == "s&p"
    out = image.copy()
    flipped = np.random.choice([True, False], size=image.shape, p=[amount, 1 - amount])
    salted = np.random.choice([True, False], size=image.shape, p=[0.5, 0.5])
    out[flipped & salted] = 1
    out[flipped & ~salted] = 0
    return out


def mend(module: types.ModuleType) -> None:
    """Restore, inside the original module only, what newer libraries have taken away."""
    gaussian = module.gaussian

    def old_gaussian(
        image: Floats, sigma: float, multichannel: bool = False, **settings: object
    ) -> Floats:
        channels = -1 if multichannel else None
        smoothed: Floats = gaussian(image, sigma=sigma, channel_axis=channels, **settings)
        return smoothed

    util = Overlay(module.sk.util, random_noise=salt_and_pepper)
    module.__dict__.update(
        gaussian=old_gaussian,
        np=Overlay(module.np, float_=np.float64),
        sk=Overlay(module.sk, util=util),
    )


def load_original() -> Original:
    """Load the original code; the function takes ``(image, name, severity, seed)``."""
    packaging = types.ModuleType("pkg_resources")
    packaging.__dict__["resource_filename"] = resource_filename
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "pkg_resources", packaging)
        for name in ("imagecorruptions", "imagecorruptions.corruptions"):
            patch.delitem(sys.modules, name, raising=False)
        package = importlib.import_module("imagecorruptions")
        mend(sys.modules["imagecorruptions.corruptions"])
        for name in ("imagecorruptions", "imagecorruptions.corruptions"):
            del sys.modules[name]

    def corrupt(image: ImageArray, name: str, severity: int, seed: int) -> ImageArray:
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                corrupted: ImageArray = package.corrupt(
                    image, corruption_name=name, severity=severity
                )
        finally:
            np.random.set_state(state)
        return corrupted

    return corrupt


@pytest.fixture(scope="session")
def original() -> Original:
    return load_original()


def make_picture(height: int, width: int, seed: int) -> ImageArray:
    """Coloured blocks on a ramp with some grain, and a white and a black corner."""
    rng = np.random.RandomState(seed)
    blocks = rng.randint(0, 256, (height // 12 + 1, width // 12 + 1, 3))
    blocks = blocks.repeat(12, axis=0).repeat(12, axis=1)[:height, :width]
    ramp = np.linspace(0, 255, height)[:, None, None]
    mixed = 0.6 * blocks + 0.4 * ramp + rng.normal(0, 8, (height, width, 3))
    picture = np.clip(mixed, 0, 255).astype(np.uint8)
    picture[: height // 6, : width // 3] = 255
    picture[-(height // 6) :, -(width // 3) :] = 0
    return picture


PICTURES: dict[str, ImageArray] = {
    "blocks": make_picture(64, 96, seed=3),
    "odd": make_picture(97, 131, seed=4),
    "small": make_picture(32, 33, seed=5),
    "flat": np.full((48, 64, 3), (90, 131, 17), np.uint8),
    "black": np.zeros((40, 56, 3), np.uint8),
    "white": np.full((40, 56, 3), 255, np.uint8),
}


@pytest.fixture(params=list(PICTURES))
def picture(request: pytest.FixtureRequest) -> ImageArray:
    return PICTURES[request.param].copy()


@pytest.fixture
def blocks() -> ImageArray:
    return PICTURES["blocks"].copy()

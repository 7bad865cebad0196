from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from robustseg.corruptions import textures
from robustseg.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "frost"
    shutil.copytree(textures.frost_folder(), copy)
    monkeypatch.setattr(textures, "frost_folder", lambda: copy)
    textures.frost_picture.cache_clear()
    return copy


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("frost1.png", (600, 900, 3)),
        ("frost2.png", (315, 560, 3)),
        ("frost3.png", (315, 560, 3)),
        ("frost4.jpg", (350, 527, 3)),
        ("frost5.jpg", (495, 660, 3)),
    ],
)
def test_pictures_are_those_of_the_definition(name: str, shape: tuple[int, ...]) -> None:
    picture = textures.frost_picture(name)
    assert picture.shape == shape
    assert picture.dtype == np.uint8
    assert not picture.flags.writeable


def test_two_names_show_the_same_picture() -> None:
    second, third = (textures.frost_picture(f"frost{i}.png") for i in (2, 3))
    assert np.array_equal(second, third)


def test_missing_picture(folder: Path) -> None:
    (folder / "frost4.jpg").unlink()
    with pytest.raises(DataError, match=r"frost4\.jpg: cannot read.*pip install"):
        textures.frost_picture("frost4.jpg")


def test_damaged_picture(folder: Path) -> None:
    (folder / "frost1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"frost1\.png: cannot read"):
        textures.frost_picture("frost1.png")


def test_wrong_picture(folder: Path) -> None:
    shutil.copy(folder / "frost6.jpg", folder / "frost5.jpg")
    with pytest.raises(DataError, match=r"frost5\.jpg: is not the photograph.*expected e705884630"):
        textures.frost_picture("frost5.jpg")


def test_package_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install imagecorruptions==1\.1\.2"):
        textures.frost_folder()

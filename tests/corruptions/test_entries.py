from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robustseg import plugins
from robustseg.corruptions import CORRUPTIONS, GROUPS, corrupt, corrupt_frame, entries, register
from robustseg.corruptions.entries import (
    corruption_groups,
    find_entry,
    further_entries,
    origin_of,
)
from robustseg.corruptions.severity import EXTRA
from robustseg.datasets.sample import ImageArray
from robustseg.errors import NameLookupError, PluginError, RobustsegError
from robustseg.plugins import use_plugins

Install = Callable[..., Path]


def negative(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    made: ImageArray = 255 - image
    return made


def shifted(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
    return np.roll(image, severity + rng.randint(100), axis=1)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what other tests have registered or installed, and leave nothing behind."""
    monkeypatch.setattr(entries, "_registered", {})
    monkeypatch.setenv(plugins.PLUGINS, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    entries._installed_entries.cache_clear()
    yield
    entries._installed_entries.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution of one module on the path."""

    def put(
        points: str,
        code: str = "",
        module: str = "haze",
        name: str = "haze-tools",
        version: str = "1",
    ) -> Path:
        site = tmp_path / name
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[robustseg.corruptions]\n{points}\n")
        (site / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        entries._installed_entries.cache_clear()
        return site

    return put


def error_of(action: Callable[[], object]) -> str:
    with pytest.raises(PluginError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_own_further_corruptions(blocks: ImageArray) -> None:
    assert tuple(further_entries()) == EXTRA
    assert corruption_groups() == {**GROUPS, "all": CORRUPTIONS, "extra": EXTRA}
    for name in EXTRA:
        assert find_entry(name).load().__name__ == name
        assert corrupt(blocks, name, 3, np.random.RandomState(0)).shape == blocks.shape
        assert origin_of(name)
    assert {origin_of(name) for name in CORRUPTIONS} == {""}


def test_a_decorated_function_is_a_corruption(blocks: ImageArray) -> None:
    assert register(definition="first")(negative) is negative
    register("moved", group="geometry")(shifted)
    np.testing.assert_array_equal(
        corrupt(blocks, "negative", 1, np.random.RandomState(0)), 255 - blocks
    )
    assert corruption_groups()["custom"] == ("negative",)
    assert corruption_groups()["geometry"] == ("moved",)
    assert corruption_groups()["all"] == CORRUPTIONS
    assert origin_of("negative") == f"{__name__}.negative, first"


def test_the_stream_is_that_of_seed_image_name_and_severity(blocks: ImageArray) -> None:
    register("moved")(shifted)
    # SHA-256 of "7/aachen/moved/4" begins with these bytes, least significant first
    seed = int.from_bytes(bytes.fromhex("2c05cda9"), "little")
    expected = np.roll(blocks, 4 + np.random.RandomState(seed).randint(100), axis=1)
    np.testing.assert_array_equal(corrupt_frame(blocks, "aachen", "moved", 4, 7), expected)


def test_channels_are_reversed_for_a_custom_corruption_too(blocks: ImageArray) -> None:
    def first_only(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
        image[..., 1:] = 0
        return image

    register()(first_only)
    before = blocks.copy()
    made = corrupt_frame(blocks, "a", "first_only", 1, 0, "bgr")
    np.testing.assert_array_equal(made[..., 2], blocks[..., 2])
    assert not made[..., :2].any()
    np.testing.assert_array_equal(blocks, before)


def test_a_changed_source_is_another_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        "from robustseg.corruptions import register\n@register()\ndef dim(i, s, r): return i // 2\n"
    )
    origins = []
    for text in (code, code, code.replace("// 2", "// 3")):
        Path("dimming.py").write_text(text)
        sys.modules.pop("dimming", None)
        use_plugins(["dimming"])
        origins.append(origin_of("dim"))
    sys.modules.pop("dimming", None)
    assert origins[0] == origins[1] != origins[2]
    assert all(origin.startswith("dimming.dim, source ") for origin in origins)


def test_an_entry_point_is_listed_without_importing_it(install: Install) -> None:
    install("haze = haze:make", "raise SystemExit('imported')", version="1.2")
    assert find_entry("haze").source == "haze-tools 1.2"
    assert corruption_groups()["custom"] == ("haze",)
    assert "haze" not in sys.modules


def test_an_entry_point_is_a_corruption(install: Install, blocks: ImageArray) -> None:
    install("haze = haze:make", "def make(image, severity, rng): return image // severity")
    made = corrupt(blocks, "haze", 5, np.random.RandomState(0))
    np.testing.assert_array_equal(made, blocks // 5)
    assert origin_of("haze") == "haze-tools 1"


def test_a_function_may_have_both(install: Install, blocks: ImageArray) -> None:
    install(
        "haze = haze:haze",
        "from robustseg.corruptions import register\n"
        "@register(definition='thick')\n"
        "def haze(image, severity, rng): return image // 2\n",
    )
    assert origin_of("haze") == "haze-tools 1, thick"
    assert list(further_entries()) == [*EXTRA, "haze"]
    made = corrupt(blocks, "haze", 1, np.random.RandomState(0))
    np.testing.assert_array_equal(made, blocks // 2)


@pytest.mark.parametrize(
    "name",
    ["Haze", "2haze", "ha-ze", "ha ze", "../haze", "clean", "all", "noise", "custom", "extra"],
)
def test_names_that_are_not_allowed(name: str, install: Install) -> None:
    assert repr(name) in error_of(lambda: register(name)(negative))
    if " " not in name:
        install(f"{name} = haze:make")
        assert "of haze-tools 1" in error_of(further_entries)


@pytest.mark.parametrize("group", ["Noise", "noise", "extra", "all", "clean", "fog", "../x", ""])
def test_groups_that_are_not_allowed(group: str) -> None:
    assert f"group {group!r}" in error_of(lambda: register(group=group)(negative))


@pytest.mark.parametrize("name", ["fog", "pixelate"])
def test_names_that_robustseg_has_taken(name: str, install: Install) -> None:
    assert "taken by robustseg" in error_of(lambda: register(name)(negative))
    install(f"{name} = haze:make")
    assert "taken by robustseg" in error_of(further_entries)


def test_names_that_others_have_taken(install: Install) -> None:
    register("haze")(negative)
    register("haze")(negative)
    text = error_of(lambda: register("haze")(shifted))
    assert "negative" in text
    assert "shifted" in text
    install("haze = haze:make", "def make(image, severity, rng): return image")
    assert "taken by haze-tools 1" in error_of(further_entries)
    entries._registered.clear()
    install("haze = fog:make", module="fog", name="other-haze")
    assert "haze-tools 1" in (text := error_of(further_entries))
    assert "other-haze 1" in text


def test_a_group_and_a_corruption_of_one_name() -> None:
    register("wet")(negative)
    register("rain", group="wet")(shifted)
    assert "'wet' has the name of a group" in error_of(further_entries)


@pytest.mark.parametrize(
    ("points", "code", "message"),
    [
        ("haze = haze:make", "import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("haze = haze:make", "1 / 0", "ZeroDivisionError"),
        ("haze = haze:make", "def haze(): ...", "AttributeError"),
        ("haze = haze:make", "make = 3", "haze:make is int, not a function"),
    ],
)
def test_a_package_that_cannot_be_used(
    points: str, code: str, message: str, install: Install, blocks: ImageArray
) -> None:
    install(points, code)
    text = error_of(lambda: corrupt(blocks, "haze", 1, np.random.RandomState(0)))
    assert text.startswith("corruption 'haze' of haze-tools 1")
    assert message in text
    # it is in nobody else's way
    assert corrupt(blocks, "contrast", 1, np.random.RandomState(0)).shape == blocks.shape


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType"),
        ([1], "returned list"),
        (np.zeros((64, 96, 3)), r"returned float64 (64, 96, 3) for an image uint8 (64, 96, 3)"),
        (np.zeros((64, 96), np.uint8), "returned uint8 (64, 96) for"),
        (np.zeros((96, 64, 3), np.uint8), "returned uint8 (96, 64, 3) for"),
    ],
)
def test_what_a_function_returns_is_checked(
    returned: object, message: str, blocks: ImageArray
) -> None:
    register("odd")(lambda image, severity, rng: returned)  # type: ignore[type-var]
    text = error_of(lambda: corrupt(blocks, "odd", 1, np.random.RandomState(0)))
    assert text.startswith("corruption 'odd' of ")
    assert message in text


def test_what_a_function_raises_is_one_line(blocks: ImageArray) -> None:
    def failing(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
        raise KeyError("haze")

    register()(failing)
    text = error_of(lambda: corrupt(blocks, "failing", 2, np.random.RandomState(0)))
    assert "failed at severity 2 (KeyError: 'haze')" in text


def test_a_function_cannot_spoil_its_image_nor_later_results(blocks: ImageArray) -> None:
    kept = np.full_like(blocks, 9)
    kept.flags.writeable = False

    def careless(image: ImageArray, severity: int, rng: np.random.RandomState) -> ImageArray:
        image[:] = 0
        return kept if severity == 1 else image[:, ::-1]

    register()(careless)
    before = blocks.copy()
    made = corrupt(blocks, "careless", 1, np.random.RandomState(0))
    made[:] = 1
    assert (kept == 9).all()
    np.testing.assert_array_equal(blocks, before)
    assert corrupt(blocks, "careless", 2, np.random.RandomState(0)).flags.c_contiguous


def test_unknown_names_are_answered_with_custom_ones_too() -> None:
    register("drizzle")(negative)
    with pytest.raises(NameLookupError, match="did you mean drizzle"):
        find_entry("drizle")


@pytest.mark.parametrize(
    ("module", "message"),
    [("nowhere_at_all", "No module named"), ("broken_plugin", "SyntaxError"), ("a.py", "a")],
)
def test_a_plugin_that_cannot_be_imported(
    module: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken_plugin.py").write_text("def (:")
    text = error_of(lambda: use_plugins([module]))
    assert text.startswith(f"plugin {module!r} cannot be imported")
    assert message in text


def test_plugins_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from robustseg.corruptions import register\n@register()\ndef dim(i, s, r): return i // 2\n"
    )
    script = "from robustseg.corruptions.entries import further_entries; print(*further_entries())"
    folders = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {plugins.PLUGINS: " mine ,mine", "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [*EXTRA, "dim"]


def test_plugins_of_the_environment_lie_in_the_working_folder_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from robustseg.corruptions import register\n@register()\ndef dim(i, s, r): return i // 2\n"
    )
    script = "from robustseg.corruptions.entries import further_entries; print(*further_entries())"
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "run.py").write_text(script)
    done = subprocess.run(
        # like an installed command, whose folder is not the working one
        [sys.executable, "script/run.py"],
        env={**os.environ, plugins.PLUGINS: "mine"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [*EXTRA, "dim"]


def test_listing_names_loads_nothing_heavy() -> None:
    script = (
        "import sys; from robustseg.corruptions.entries import corruption_groups;"
        "corruption_groups(); print([m for m in ('numpy', 'cv2', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_plugin_errors_are_the_users() -> None:
    assert issubclass(PluginError, RobustsegError)

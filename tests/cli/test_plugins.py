"""A package with a corruption of its own, installed and used as a user would."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.datasets.sample import ImageArray
from robustseg.results import CellResult, load_results

Run = Callable[..., subprocess.CompletedProcess[str]]

HAZE = """
import numpy as np

def haze(image, severity, rng):
    thickness = rng.randint(10, 40) * severity
    image //= 2  # a careless author: nobody else may see this
    return np.minimum(image + thickness, 255).astype(np.uint8)
"""

DECORATED = """
from robustseg.corruptions import register

@register(group="mirrors", definition="1")
def negative(image, severity, rng):
    return 255 - image
"""

EVALUATE = ("evaluate", "--models", "segformer_b0", "--device", "cpu", "-q")
FEW = ("--corruptions", "haze", "contrast", "--severities", "1", "2")


def write_package(site: Path, version: str) -> None:
    """Install ``haze-tools``: a module and the metadata that pip would leave."""
    for old in site.glob("*.dist-info/*"):
        old.unlink()
    for folder in site.glob("*.dist-info"):
        folder.rmdir()
    info = site / f"haze_tools-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: haze-tools\nVersion: {version}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        "[robustseg.corruptions]\nhaze = haze_tools:haze\n", encoding="utf-8"
    )
    (site / "haze_tools.py").write_text(HAZE, encoding="utf-8")


@pytest.fixture
def site(place: Path) -> Path:
    site = place / "site"
    write_package(site, "1.2")
    return site


@pytest.fixture
def command(place: Path) -> Run:
    """Run the real command in a process of its own, with some folders to import from."""

    def run(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        # not the folder of the package: of an installed one it holds more than packages
        folders = [str(folder) for folder in (path, os.environ.get("PYTHONPATH")) if folder]
        # -P: the installed command does not import from the working folder either
        return subprocess.run(
            [sys.executable, "-P", "-m", "robustseg", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)},
            capture_output=True,
            text=True,
        )

    return run


def pictures(root_c: Path, corruption: str, severity: int) -> dict[str, ImageArray]:
    found = {}
    for path in (root_c / corruption / str(severity)).glob("leftImg8bit/*/*/*.png"):
        with Image.open(path) as image:
            found[path.stem.removesuffix("_leftImg8bit")] = np.asarray(image)
    return found


def by_cell(place: Path, source: str) -> dict[str, CellResult]:
    results, damaged = load_results(place / "runs")
    assert not damaged
    return {str(r.cell): r for r in results if r.protocol.source == source}


def test_an_installed_package_in_every_command(place: Path, site: Path, command: Run) -> None:
    done = command("generate-c", *FEW, "--workers", "2", "-q", path=site)
    assert (done.returncode, done.stderr) == (0, "")
    clean = place / "cityscapes/leftImg8bit/val/aa"
    for severity in (1, 2):
        made = pictures(place / "cityscapes_c", "haze", severity)
        assert len(made) == 2
        for name, picture in made.items():
            digest = hashlib.sha256(f"0/{name}/haze/{severity}".encode()).digest()
            stream = np.random.RandomState(int.from_bytes(digest[:4], "little"))
            with Image.open(clean / f"{name}_leftImg8bit.png") as image:
                half = np.asarray(image).astype(int) // 2
            wanted = np.minimum(half + stream.randint(10, 40) * severity, 255)
            np.testing.assert_array_equal(picture, wanted)

    done = command(*EVALUATE, *FEW, path=site)
    assert (done.returncode, done.stderr) == (0, "")
    assert "haze" in done.stdout.split("Beyond the sixteen")[1]
    done = command(*EVALUATE, *FEW, "--root-c", "cityscapes_c", path=site)
    assert (done.returncode, done.stderr) == (0, "")
    computed, stored = by_cell(place, "computed"), by_cell(place, "stored")
    assert set(computed) == set(stored) == {"clean", "haze 1", "haze 2", "contrast 1", "contrast 2"}
    for cell, result in computed.items():
        np.testing.assert_array_equal(result.confusion, stored[cell].confusion)
    assert not np.array_equal(computed["haze 1"].confusion, computed["clean"].confusion)
    assert computed["haze 1"].versions["corruption haze"] == "haze-tools 1.2"
    assert re.match(r"stored files [0-9a-f]{12}$", stored["haze 1"].versions["corruption haze"])
    assert not any("corruption" in key for key in computed["contrast 1"].versions)

    # another version of the package: its cells are computed anew, the rest is kept
    write_package(site, "1.3")
    done = command(*EVALUATE[:-1], *FEW, path=site)
    assert "not used: 2 results: other version of corruption haze; kept as *.old" in done.stderr
    assert "2 cells to do, 3 finished" in done.stderr
    assert by_cell(place, "computed")["haze 2"].versions["corruption haze"] == "haze-tools 1.3"

    # the package is gone: what was measured is still shown, and only the name is unknown
    done = command("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert "haze" in done.stdout.split("Beyond the sixteen")[1]
    assert "haze-tools 1.3" in (place / "report/index.html").read_text(encoding="utf-8")
    done = command("list", "results")
    assert "3 of 81 cells, 2 beyond" in done.stdout
    done = command(*EVALUATE, *FEW)
    assert done.returncode == 2
    assert done.stderr.startswith("robustseg: error: unknown corruption 'haze'")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_module_of_the_working_folder(workers: str, place: Path, command: Run) -> None:
    (place / "my_corruptions.py").write_text(DECORATED, encoding="utf-8")
    arguments = ("generate-c", "--severities", "3", "--workers", workers, "-q")
    done = command(*arguments, "--plugin", "my_corruptions", "--corruptions", "mirrors")
    assert (done.returncode, done.stderr) == (0, "")
    made = pictures(place / "cityscapes_c", "negative", 3)
    assert len(made) == 2
    for name, picture in made.items():
        with Image.open(place / f"cityscapes/leftImg8bit/val/aa/{name}_leftImg8bit.png") as image:
            np.testing.assert_array_equal(picture, 255 - np.asarray(image))
    done = command(*arguments, "--corruptions", "negative")
    assert done.returncode == 2
    assert "unknown corruption 'negative'" in done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('no licence')", "cannot be imported (ValueError: no licence)"),
        ("def haze(i, s, r): return i / 2", "returned float64 (64, 128, 3) for an image"),
        ("def haze(i, s, r): return i[s:]", "returned uint8 (63, 128, 3) for an image"),
        ("def haze(i, s, r): raise OSError('no map')", "failed at severity 1 (OSError: no map)"),
    ],
)
def test_a_bad_package_is_one_line(
    code: str, message: str, workers: str, site: Path, command: Run
) -> None:
    (site / "haze_tools.py").write_text(code, encoding="utf-8")
    done = command("generate-c", *FEW, "--workers", workers, "-q", path=site)
    assert done.returncode == 2
    assert done.stderr.startswith("robustseg: error: corruption 'haze' of haze-tools 1.2")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_broken_package_is_not_in_the_way_of_the_sixteen(
    place: Path, site: Path, command: Run
) -> None:
    info = next(site.glob("*.dist-info"))
    (info / "entry_points.txt").write_text("[robustseg.corruptions]\nfog = haze_tools:haze\n")
    done = command("generate-c", "--corruptions", "digital", "--dry-run", path=site)
    assert done.returncode == 0
    assert "40 images" in done.stderr
    done = command("generate-c", "--corruptions", "pixelate", "--dry-run", path=site)
    assert done.returncode == 2
    assert "the name is taken by robustseg" in done.stderr


def test_listing_says_whose_it_is_and_imports_nothing(site: Path, command: Run) -> None:
    (site / "haze_tools.py").write_text("raise SystemExit(3)", encoding="utf-8")
    done = command("list", "corruptions", path=site)
    assert done.returncode == 0
    assert done.stdout.endswith("custom:\n  haze\n    from haze-tools 1.2\n")


def test_the_example_of_the_documentation(place: Path, command: Run) -> None:
    text = (Path(__file__).parents[2] / "docs/own-corruption.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (shell,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    (place / "my_corruptions.py").write_text(code, encoding="utf-8")
    lines = [line.split("#")[0].split() for line in shell.splitlines()]
    assert [line[1] for line in lines] == ["list", "generate-c", "evaluate", "report"]
    for line in lines:
        done = command(*line[1:])
        assert done.returncode == 0, done.stderr
    assert (place / "dust.png").exists()
    specks = [
        (picture == 110).all(-1).sum()
        for severity in (1, 5)
        for picture in pictures(place / "cityscapes_c", "dust", severity).values()
    ]
    assert len(specks) == 4
    assert 0 < max(specks[:2]) < min(specks[2:])
    assert "dust" in done.stdout.split("Beyond the sixteen")[1]


def test_a_stored_set_keeps_to_one_version(place: Path, command: Run) -> None:
    plugin = place / "my_corruptions.py"
    arguments = ("--plugin", "my_corruptions", "--corruptions", "grey", "--workers", "0", "-q")

    def write(version: int) -> None:
        plugin.write_text(
            "from robustseg.corruptions import register\n\n"
            f"@register(definition='{version}')\n"
            f"def grey(image, severity, rng):\n    return image * 0 + {version}\n",
            encoding="utf-8",
        )

    write(1)
    assert command("generate-c", *arguments).returncode == 0
    made = sorted((place / "cityscapes_c" / "grey").rglob("*.png"))
    made[0].unlink()
    write(2)
    done = command("generate-c", *arguments)
    assert done.returncode == 2
    assert "grey was made with my_corruptions.grey, 1, not my_corruptions.grey, 2" in done.stderr
    assert not made[0].exists()
    (place / "cityscapes_c" / "manifest.csv").write_text(
        (place / "cityscapes_c" / "manifest.csv").read_text().replace("grey, 1", "grey, 3", 1)
    )
    done = command("check", "--root-c", "cityscapes_c", "-q")
    assert done.returncode == 1
    assert (
        "bad: grey: made with my_corruptions.grey, 1 and with my_corruptions.grey, 3" in done.stdout
    )


def test_the_example_of_a_network_in_the_documentation(place: Path, command: Run) -> None:
    text = (Path(__file__).parents[2] / "docs/own-model.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (shell,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    (place / "my_models.py").write_text(code, encoding="utf-8")
    lines = [line.split("#")[0].split() for line in shell.splitlines()]
    assert [line[1] for line in lines] == ["train", "evaluate", "report"]
    few = {
        "train": ("--set", "iterations=2", "crop=[64,64]", "batch_size=2", "--workers", "0"),
        "evaluate": ("--clean-only",),
    }
    for line in lines:
        done = command(*line[1:], *few.get(line[1], ()))
        assert done.returncode == 0, done.stderr
    assert "Tiny" in done.stdout
    assert (place / "checkpoints" / "tiny.safetensors").is_file()
    results = by_cell(place, "computed")
    assert [r.model.label for r in load_results(place / "runs")[0]] == ["SegFormer-B0", "Tiny"]
    assert results["clean"].confusion.sum() > 0
    done = command("evaluate", "--models", "tiny", "--clean-only")
    assert done.returncode == 2
    assert "unknown model 'tiny'" in done.stderr

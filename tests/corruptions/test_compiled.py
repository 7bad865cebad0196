"""The cache of machine code: never stale, never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import robustseg

SCRIPT = """
import numpy as np
from robustseg.corruptions import corrupt
image = np.full((32, 32, 3), 100, np.uint8)
print(int(corrupt(image, "brightness", 1, np.random.RandomState(0)).max()))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, to be edited."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(robustseg.__file__).parent, tmp_path / "robustseg", ignore=ignored)
    return tmp_path / "robustseg"


def run(package: Path, **variables: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=package.parent,
        env={**inherited, "PYTHONPATH": str(package.parent), **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def machine_code(package: Path) -> list[Path]:
    return sorted((package / "corruptions" / "__pycache__").glob("*.nb[ic]"))


def test_code_is_kept_and_renewed_when_a_function_in_another_file_changes(package: Path) -> None:
    assert run(package) == "125"
    kept = {path: path.stat().st_mtime_ns for path in machine_code(package)}
    assert any("hsv" in path.name for path in kept)
    assert run(package) == "125"
    assert {path: path.stat().st_mtime_ns for path in machine_code(package)} == kept
    pixels = package / "corruptions" / "pixels.py"
    source = pixels.read_text()
    assert source.count("* 255.0))") == 1
    pixels.write_text(source.replace("* 255.0))", "* 100.0))"))
    assert run(package) == "49"


def test_damaged_code_is_compiled_anew(package: Path) -> None:
    assert run(package) == "125"
    for number, path in enumerate(machine_code(package)):
        path.write_bytes(path.read_bytes()[: 100 * (number % 2)])
    assert run(package) == "125"
    mended = {path: path.stat().st_mtime_ns for path in machine_code(package)}
    assert run(package) == "125"
    assert {path: path.stat().st_mtime_ns for path in machine_code(package)} == mended


def test_a_cache_that_cannot_be_written_is_done_without(package: Path) -> None:
    # As on a full disk: the folder is there and takes no file.
    assert run(package, NUMBA_CACHE_DIR="/proc/self") == "125"


def test_loops_run_without_the_compiler_too(package: Path) -> None:
    assert run(package, NUMBA_DISABLE_JIT="1") == "125"
    assert not machine_code(package)

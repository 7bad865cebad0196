from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from robustseg.cli.generate_c import default_root_c

Outcome = tuple[int, str, str]
Robustseg = Callable[..., Outcome]
Start = Callable[[Sequence[str]], subprocess.Popen[str]]

FEW = ("--corruptions", "contrast", "blur", "--severities", "5", "1", "5", "--workers", "0")


def images(root_c: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root_c).as_posix(): path.read_bytes()
        for path in root_c.glob("*/*/leftImg8bit/**/*.png")
        if not path.name.startswith(".")
    }


def everything(root_c: Path) -> dict[str, bytes]:
    """Every file of the set, hidden ones too; the labels are links."""
    found = [p for p in root_c.rglob("*") if "gtFine" not in p.parts and p.is_file()]
    return {p.relative_to(root_c).as_posix(): p.read_bytes() for p in found}


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("cityscapes", "here/cityscapes_c"),
        ("./cityscapes/", "here/cityscapes_c"),
        (".", "here_c"),
        ("..", "{base}_c"),
        ("cityscapes/..", "here_c"),
        ("{base}/data/cityscapes/", "data/cityscapes_c"),
        ("link", "here/link_c"),
    ],
)
def test_set_goes_beside_its_root(
    root: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    here = base / "here"
    (here / "cityscapes").mkdir(parents=True)
    (base / "data" / "cityscapes").mkdir(parents=True)
    (here / "link").symlink_to(base / "data" / "cityscapes")
    monkeypatch.chdir(here)
    given = Path(root.format(base=base))
    wanted = base / expected.format(base=base)
    for found in (default_root_c(given), default_root_c(here / given)):
        assert Path(os.path.normpath(here / found)) == Path(os.path.normpath(wanted))


def test_set_is_written_and_repeated(place: Path, robustseg: Robustseg) -> None:
    code, out, err = robustseg("generate-c", "--root", "cityscapes", *FEW)
    assert (code, out) == (0, f"{place / 'cityscapes_c'}\n")
    made = images(place / "cityscapes_c")
    assert len(made) == 2 * 5 * 2
    assert {"/".join(name.split("/")[:2]) for name in made} == {
        f"{name}/{severity}"
        for name in ("contrast", "motion_blur", "defocus_blur", "glass_blur", "gaussian_blur")
        for severity in (1, 5)
    }
    assert "20 images (2 x 5 corruptions x 2 severities), 0 there, 20 to make" in err
    _, _, err = robustseg("generate-c", "--root", "cityscapes", *FEW)
    assert "20 there, 0 to make" in err
    assert images(place / "cityscapes_c") == made


def test_dry_run_writes_nothing(place: Path, robustseg: Robustseg) -> None:
    before = sorted(place.rglob("*"))
    code, out, err = robustseg("generate-c", "--dry-run")
    assert (code, out) == (0, "")
    assert re.search(r"160 images .* 160 to make, about [\d.]+ MB and [\d.]+ s", err)
    assert sorted(place.rglob("*")) == before


def test_shards_make_the_whole(place: Path, robustseg: Robustseg) -> None:
    for part in ("1/3", "2/3", "3/3"):
        code, _, _ = robustseg("generate-c", *FEW, "--root-c", "parts", "--shard", part, "-q")
        assert code == 0
    robustseg("generate-c", *FEW, "--root-c", "whole", "-q")
    assert everything(place / "parts") == everything(place / "whole")


def test_the_environment_gives_the_part_and_an_option_wins(
    place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        code, _, err = robustseg("generate-c", *FEW, "--root-c", "parts")
        assert code == 0
        assert err.splitlines()[0] == f"part {int(rank) + 1} of 2, as torchrun says"
        assert "10 of 20 images (2 x 5 corruptions x 2 severities), 0 there, 10 to make" in err
    code, _, err = robustseg("generate-c", *FEW, "--root-c", "whole", "--shard", "1/1")
    assert code == 0
    assert "part" not in err
    assert everything(place / "parts") == everything(place / "whole")
    _, _, err = robustseg("generate-c", *FEW, "--root-c", "whole", "--shard", "2/5")
    assert err.splitlines()[0] == "part 2 of 5, as --shard says"
    monkeypatch.setenv("RANK", "2")
    code, _, err = robustseg("generate-c", *FEW, "--root-c", "parts")
    assert (code, err.count("\n")) == (2, 1)
    assert "RANK=2 is not below WORLD_SIZE=2" in err


def test_channel_order_is_recorded_and_kept(place: Path, robustseg: Robustseg) -> None:
    few = ("--corruptions", "frost", "--workers", "0")
    assert robustseg("generate-c", *few, "--channel-order", "bgr")[0] == 0
    record = json.loads((place / "cityscapes_c" / "cityscapes_c.json").read_text())
    assert record["channel_order"] == "bgr"
    before = everything(place / "cityscapes_c")
    assert robustseg("generate-c", *few)[0] == 0  # goes on as it was begun
    assert everything(place / "cityscapes_c") == before
    code, _, err = robustseg("generate-c", *few, "--channel-order", "rgb")
    assert code == 2
    assert "bgr, not seed 0, imagecorruptions-1.1.2, rgb: give the same --seed" in err
    assert everything(place / "cityscapes_c") == before


def test_unreadable_image_is_left_out_with_code_one(place: Path, robustseg: Robustseg) -> None:
    broken = next((place / "cityscapes/leftImg8bit/val/aa").iterdir())
    broken.write_bytes(broken.read_bytes()[:100])
    code, _, err = robustseg("generate-c", *FEW)
    assert code == 1
    assert f"left out: {broken}: is truncated or damaged" in err
    # also where progress is not wanted
    assert robustseg("generate-c", *FEW, "-q")[2].startswith(f"left out: {broken}: is truncated")
    assert len(images(place / "cityscapes_c")) == 10


def test_another_seed_is_refused(place: Path, robustseg: Robustseg) -> None:
    robustseg("generate-c", *FEW)
    before = images(place / "cityscapes_c")
    code, _, err = robustseg("generate-c", *FEW, "--seed", "1", "-q")
    assert code == 2
    assert err.startswith("robustseg: error: ")
    assert "seed 0" in err
    assert images(place / "cityscapes_c") == before


def test_too_little_space_is_said_before_the_work(
    place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustseg.corruptions.writer.free_bytes", lambda folder: 1000)
    code, _, err = robustseg("generate-c", "-q")
    assert code == 2
    assert "evaluate corrupts on the fly" in err
    assert not (place / "cityscapes_c").exists()


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_interrupt_ends_with_130_and_keeps_files(
    delay: float, times: int, place: Path, robustseg: Robustseg, start: Start
) -> None:
    process = start(["generate-c", "--workers", "2"])
    assert process.stderr is not None
    process.stderr.readline()  # says what is to do; then workers start
    time.sleep(delay)
    for _ in range(times):  # an impatient user must not leave processes that wait for ever
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("robustseg: interrupted: what was finished is kept")
    assert "Traceback" not in err
    partly = images(place / "cityscapes_c")
    assert len(partly) < 160
    assert robustseg("generate-c", "-q", "--workers", "0")[0] == 0
    whole = images(place / "cityscapes_c")
    assert len(whole) == 160
    assert partly.items() <= whole.items()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_after_an_interrupt_all_that_is_there_is_listed(
    workers: str, place: Path, start: Start, robustseg: Robustseg
) -> None:
    root_c = place / "cityscapes_c"
    for path in place.glob("cityscapes/*/val/aa/*.png"):  # large enough not to be done too soon
        with Image.open(path) as image:
            larger = image.resize((512, 256), Image.Resampling.NEAREST)
        larger.save(path)
    process = start(["generate-c", "-q", "--workers", workers])
    deadline = time.monotonic() + 30
    while len(images(root_c)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    found = everything(root_c)
    assert set(found) - set(images(root_c)) == {"cityscapes_c.json", "manifest.csv"}
    rows = found["manifest.csv"].decode().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == sorted(images(root_c))
    assert 3 <= len(rows) < 160
    # an image with all its files is one piece of work, but not one that has to be waited for
    assert robustseg("check", "--root-c", "cityscapes_c", "-q", "--workers", "0")[0] == 1
    assert robustseg("generate-c", "-q", "--workers", "0")[0] == 0
    assert robustseg("check", "--root-c", "cityscapes_c", "-q", "--workers", "0")[0] == 0

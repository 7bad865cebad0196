"""``list``, ``profile``, ``check``, ``report`` and ``erf``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg.corruptions.severity import CORRUPTIONS, EXTRA
from robustseg.engine.recipes import RECIPES

Outcome = tuple[int, str, str]
Robustseg = Callable[..., Outcome]

EVALUATE = ("evaluate", "--models", "segformer_b0", "--device", "cpu", "-q")


def test_list_corruptions_names_each_once(robustseg: Robustseg) -> None:
    code, out, _ = robustseg("list", "corruptions")
    assert code == 0
    names = [line.strip() for line in out.splitlines() if line.strip() in (*CORRUPTIONS, *EXTRA)]
    assert names == [*CORRUPTIONS, *EXTRA]
    assert sum(line.startswith("    ") for line in out.splitlines()) == 5 * 20
    groups = [line for line in out.splitlines() if not line.startswith(" ")]
    assert groups == ["blur:", "noise:", "digital:", "weather:", "extra:"]


def test_list_some_corruptions(robustseg: Robustseg) -> None:
    _, out, _ = robustseg("list", "corruptions", "--corruptions", "pixelate", "fog")
    assert [line for line in out.splitlines() if not line.startswith("    ")] == [
        *("weather:", "  fog", "extra:", "  pixelate")
    ]
    assert "scale 0.25" in out


def test_listing_corruptions_loads_no_libraries() -> None:
    script = (
        "import sys; from robustseg.cli.main import main; main(['list', 'corruptions']);"
        "print([m for m in ('numpy', 'cv2', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_contact_sheet_of_the_built_in_scene(place: Path, robustseg: Robustseg) -> None:
    code, out, _ = robustseg("list", "corruptions", "--sheet", "new/sheet.png")
    assert (code, out) == (0, "new/sheet.png\n")
    with Image.open("new/sheet.png") as sheet:
        assert 6 * 256 < sheet.width < 6 * 256 + 250
        assert 16 * 128 < sheet.height < 16 * 128 + 300
    before = (place / "new/sheet.png").read_bytes()
    code, _, err = robustseg("list", "corruptions", "--sheet", "new/sheet.png")
    assert code == 2
    assert err == (
        "robustseg: error: new/sheet.png exists and is not overwritten: move it, or name another\n"
    )
    assert (place / "new/sheet.png").read_bytes() == before


def test_contact_sheet_of_an_image_shows_what_is_generated(
    place: Path, robustseg: Robustseg
) -> None:
    few = ("--corruptions", "pixelate", "--seed", "3")
    image = "cityscapes/leftImg8bit/val/aa/aa_000001_000019_leftImg8bit.png"
    command = ("list", "corruptions", *few, "--image", image, "--sheet")
    assert robustseg(*command, "sheet.png")[0] == 0
    assert robustseg("generate-c", *few, "-q", "--workers", "0")[0] == 0
    with Image.open("sheet.png") as sheet:
        pixels = np.asarray(sheet)
    stored = place / "cityscapes_c/pixelate/5/leftImg8bit/val/aa" / Path(image).name
    with Image.open(stored) as made:
        twice = np.asarray(made).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(pixels[-132:-4, -260:-4], twice)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("corruptions", "--sheet", "s.gif"), "must end in .png or .jpg"),
        (("corruptions", "--image", "a.png"), "give --sheet FILE too"),
        (("corruptions", "--sheet", "s.png", "--image", "none.png"), "none.png"),
        (("corruptions", "--sheet", "s.png", "--corruptions", "fogg"), "did you mean fog"),
        (("models", "--sheet", "s.png"), "are for 'list corruptions'"),
        (("corruptions", "--plugin", "no_such_module"), "cannot be imported"),
    ],
)
def test_sheets_that_cannot_be_drawn(
    arguments: tuple[str, ...], message: str, place: Path, robustseg: Robustseg
) -> None:
    code, out, err = robustseg("list", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("robustseg: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(place.glob("s.*"))


def test_list_recipes(robustseg: Robustseg) -> None:
    code, out, _ = robustseg("list", "recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(RECIPES)


def test_list_results(place: Path, robustseg: Robustseg) -> None:
    assert robustseg("list", "results")[1] == "no results in runs\n"
    robustseg(*EVALUATE, "--corruptions", "fog", "--severities", "1")
    _, out, _ = robustseg("list", "results")
    assert "segformer_b0   2 of 81 cells" in out
    next(place.glob("runs/*/*/fog-1.json")).write_text("{")
    _, out, _ = robustseg("list", "results")
    assert "1 of 81 cells" in out
    assert "damaged: " in out


def test_profile_prints_a_line_for_each_model(robustseg: Robustseg) -> None:
    command = ("profile", "--models", "segformer_b0", "dlv3p_mbv2", "--size", "64", "128", "-q")
    code, out, err = robustseg(*command)
    assert (code, err) == (0, "")
    head, first, second = out.splitlines()
    assert "GMAC 64 x 128" in head
    assert first.split()[0] == "segformer_b0"
    assert 3.7e6 < int(first.split()[1].replace(",", "")) < 3.8e6
    assert head.split()[-2:] == ["as", "run"]
    paper, as_run = (float(number) for number in first.split()[2:4])
    assert 0 < as_run < paper
    assert second.split()[0] == "dlv3p_mbv2"
    assert second.split()[2] == second.split()[3]
    code, out, _ = robustseg(*command[:3], "--size", "64", "64", "-q", "--time", "--device", "cpu")
    assert code == 0
    assert "seconds on cpu" in out
    assert float(out.splitlines()[1].split()[-1]) >= 0


def test_check_of_a_good_set(place: Path, robustseg: Robustseg) -> None:
    code, out, _ = robustseg("check", "--root", "cityscapes")
    assert code == 0
    assert "val: 2 images, 2 labels" in out
    assert out.splitlines()[-1] == "cityscapes is a valid data set"


@pytest.mark.parametrize("damage", ["truncated", "unlabelled"])
def test_check_of_a_broken_set(damage: str, place: Path, robustseg: Robustseg) -> None:
    image = place / "cityscapes/leftImg8bit/val/aa/aa_000000_000019_leftImg8bit.png"
    label = place / "cityscapes/gtFine/val/aa/aa_000000_000019_gtFine_labelIds.png"
    if damage == "truncated":
        image.write_bytes(image.read_bytes()[:100])
    else:
        label.unlink()
    code, out, err = robustseg("check", "--root", "cityscapes", "-q")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1] == "1 error in cityscapes"
    assert image.name in out


def test_check_of_nothing_is_one_line(place: Path, robustseg: Robustseg) -> None:
    (place / "empty").mkdir()
    for root in ("nowhere", "empty"):
        code, out, err = robustseg("check", "--root", root)
        assert (code, out) == (2, "")
        assert err.startswith(f"robustseg: error: no data set at {root}")
        assert err.count("\n") == 1


def test_check_takes_the_root_of_the_environment(
    place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert robustseg("check", "-q")[0] == 0
    monkeypatch.setenv("CITYSCAPES_DATASET", "")  # as good as not set
    assert robustseg("check", "-q")[0] == 0
    monkeypatch.setenv("CITYSCAPES_DATASET", str(place / "nowhere"))
    assert robustseg("check", "-q")[0] == 2
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("CITYSCAPES_DATASET", "~/cityscapes")
    assert robustseg("check", "-q")[0] == 0


@pytest.fixture
def root_c(place: Path, robustseg: Robustseg) -> Path:
    """A set of 2 images x 3 cells."""
    few = ("--corruptions", "frost", "--severities", "1", "2", "3", "--workers", "0", "-q")
    assert robustseg("generate-c", *few)[0] == 0
    return place / "cityscapes_c"


NAME = "leftImg8bit/val/aa/aa_000001_000019_leftImg8bit.png"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_check_of_a_whole_corrupted_set(workers: str, root_c: Path, robustseg: Robustseg) -> None:
    code, out, err = robustseg("check", "--root-c", "cityscapes_c", "--workers", workers)
    assert code == 0
    assert out.splitlines() == [
        "cityscapes_c: 6 files of seed 0, imagecorruptions-1.1.2, rgb",
        "cityscapes_c is whole: 2 images in 3 cells",
    ]
    assert err.startswith("reading cityscapes_c: 6 done")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_check_names_each_bad_missing_and_foreign_file(
    workers: str, root_c: Path, robustseg: Robustseg
) -> None:
    one, two, three = (root_c / "frost" / s / NAME for s in "123")
    content = one.read_bytes()
    one.write_bytes(content[: len(content) // 2])
    two.unlink()
    Image.fromarray(255 - np.asarray(Image.open(three))).save(three)
    again = root_c / "frost/1/leftImg8bit/val/aa/aa_000000_000019_leftImg8bit.png"
    Image.open(again).save(again)  # Pillow's bytes for the same pixels
    (root_c / "fog").mkdir()
    (root_c / "fog" / "notes.txt").touch()
    (root_c / "frost/1/leftImg8bit/val/aa/.x-0123456789ab.png").touch()
    (root_c / ".run-0123456789ab").mkdir()
    (root_c / "frost/2/gtFine").unlink()
    (root_c / "frost/2/gtFine").symlink_to("nowhere")
    code, out, err = robustseg("check", "--root-c", "cityscapes_c", "--workers", workers, "-q")
    assert (code, err) == (1, "")
    left = "left by a run that was stopped: repeat 'robustseg generate-c', which removes it"
    assert out.splitlines() == [
        "cityscapes_c: 5 files of seed 0, imagecorruptions-1.1.2, rgb",
        f"bad: {again.relative_to(root_c)}: other bytes than manifest.csv says, of the same pixels",
        f"bad: frost/1/{NAME}: is truncated or damaged",
        f"bad: frost/3/{NAME}: shows other pixels than manifest.csv says",
        f"missing: frost/2/{NAME}",
        f"foreign: .run-0123456789ab: {left}",
        "foreign: fog/notes.txt: not in manifest.csv",
        f"foreign: frost/1/leftImg8bit/val/aa/.x-0123456789ab.png: {left}",
        "bad: frost/2/gtFine: link that leads nowhere; repeat 'robustseg generate-c' to mend it",
        "8 problems in cityscapes_c",
    ]


def test_check_expects_every_image_in_every_cell(
    root_c: Path, place: Path, robustseg: Robustseg
) -> None:
    few = ("--corruptions", "fog", "--severities", "4", "--workers", "0", "-q", "--limit", "1")
    assert robustseg("generate-c", *few)[0] == 0
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "-q")
    assert code == 1
    assert out.splitlines()[1:] == [f"missing: fog/4/{NAME}", "1 problem in cityscapes_c"]


def test_check_expects_every_image_of_the_clean_set_if_told(
    place: Path, robustseg: Robustseg
) -> None:
    few = ("--corruptions", "fog", "--severities", "4", "--workers", "0", "-q", "--limit", "1")
    assert robustseg("generate-c", *few)[0] == 0
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "-q")
    assert code == 0
    assert out.splitlines()[-1] == "cityscapes_c is whole: 1 image in 1 cell"
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "--root", "cityscapes", "-q")
    assert code == 1
    assert out.splitlines()[-2:] == [f"missing: fog/4/{NAME}", "1 problem in cityscapes_c"]


@pytest.mark.parametrize("change", ["seed", "definition", "gone"])
def test_check_of_a_set_whose_record_is_another(
    change: str, root_c: Path, robustseg: Robustseg
) -> None:
    record = root_c / "cityscapes_c.json"
    if change == "gone":
        record.unlink()
    else:
        content = json.loads(record.read_text())
        record.write_text(json.dumps(content | {change: {"seed": 5, "definition": "x"}[change]}))
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "-q")
    assert code == 1
    lines = out.splitlines()
    if change == "gone":
        assert lines[0] == "missing: cityscapes_c.json, which says how the set was made"
        return
    made = "made with seed 0, imagecorruptions-1.1.2, rgb, but cityscapes_c.json says"
    assert sum(made in line for line in lines) == 6
    assert lines[-1] == "6 problems in cityscapes_c"


def test_check_of_a_set_without_manifest_sees_what_can_be_read(
    root_c: Path, robustseg: Robustseg
) -> None:
    (root_c / "manifest.csv").unlink()
    (root_c / "README").touch()
    note = "no manifest.csv: only seen whether each file can be read; generate-c adds one"
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "-q")
    assert code == 0
    assert out.splitlines()[1:] == [note, "cityscapes_c is whole: 2 images in 3 cells"]
    (root_c / "frost/2" / NAME).write_bytes(b"")
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "-q")
    assert code == 1
    bad = f"bad: frost/2/{NAME}: is empty (0 bytes)"
    assert out.splitlines()[1:] == [bad, note, "1 problem in cityscapes_c"]


def test_check_of_a_set_without_images_is_a_problem(place: Path, robustseg: Robustseg) -> None:
    for severity in range(1, 6):
        (place / "cityscapes_c" / "fog" / str(severity)).mkdir(parents=True)
    code, out, _ = robustseg("check", "--root-c", "cityscapes_c", "-q")
    assert code == 1
    assert "missing: all images of 5 cells: repeat 'robustseg generate-c'" in out


def test_check_of_no_corrupted_set_is_one_line(
    place: Path, robustseg: Robustseg, tmp_path: Path
) -> None:
    for folder in ("nowhere", "cityscapes"):
        code, out, err = robustseg("check", "--root-c", folder)
        assert (code, out) == (2, "")
        assert err.startswith(f"robustseg: error: no corrupted set at {folder}: give the folder")
        assert err.count("\n") == 1


def test_check_of_a_damaged_manifest_is_one_line(root_c: Path, robustseg: Robustseg) -> None:
    (root_c / "manifest.csv").write_text("path\n")
    for command in (("check", "--root-c", "cityscapes_c"), ("generate-c", "-q")):
        code, out, err = robustseg(*command)
        assert (code, out) == (2, "")
        assert "manifest.csv is damaged: move it away" in err.splitlines()[-1]
    assert (root_c / "manifest.csv").read_text() == "path\n"


def test_check_of_both_sets(root_c: Path, place: Path, robustseg: Robustseg) -> None:
    command = ("check", "--root", "cityscapes", "--root-c", "cityscapes_c", "-q")
    code, out, _ = robustseg(*command)
    assert code == 0
    assert "cityscapes is a valid data set" in out
    assert out.splitlines()[-1] == "cityscapes_c is whole: 2 images in 3 cells"
    (place / "cityscapes/leftImg8bit/val/aa/aa_000001_000019_leftImg8bit.png").write_bytes(b"")
    assert robustseg(*command)[0] == 1


def test_report_of_results(place: Path, robustseg: Robustseg) -> None:
    robustseg(*EVALUATE, "--corruptions", "fog")
    code, out, err = robustseg("report", "-q")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "report/index.html"
    assert "SegFormer-B0" in out
    names = {"index.html", "table5.md", "table5.tex", "table5.csv"}
    assert names <= {path.name for path in (place / "report").iterdir()}
    assert "SegFormer-B0" in (place / "report" / "index.html").read_text()


def test_report_leaves_out_damaged_results(place: Path, robustseg: Robustseg) -> None:
    robustseg(*EVALUATE, "--corruptions", "fog")
    damaged = next(place.glob("runs/*/*/fog-3.json"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    code, out, err = robustseg("report")
    assert code == 0
    (line,) = [line for line in err.splitlines() if line.startswith("left out: ")]
    assert "fog-3.json is not a whole result file" in line
    assert damaged.exists()
    assert "SegFormer-B0" in out


def test_report_of_damaged_results_alone(place: Path, robustseg: Robustseg) -> None:
    folder = place / "runs" / "protocol" / "segformer_b0"
    folder.mkdir(parents=True)
    (folder / "clean-0.json").write_text("")
    code, out, err = robustseg("report")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("robustseg: error: no results in runs")
    assert not (place / "report").exists()


def test_report_names_a_missing_figure(place: Path, robustseg: Robustseg) -> None:
    robustseg(*EVALUATE, "--clean-only")
    code, _, err = robustseg("report", "--figures", "nowhere.png")
    assert (code, err) == (2, "robustseg: error: no PNG file: nowhere.png\n")


def test_receptive_fields_are_drawn_and_stored(place: Path, robustseg: Robustseg) -> None:
    command = ("erf", "--stage", "4", "head", "--crop", "64", "--device", "cpu")
    code, out, err = robustseg(*command)
    assert (code, out) == (0, "erf/erf-stage4-head.png\n")
    assert "segformer_b0: stage4, head over 2 images" in err
    maps = ["segformer_b0-head.npz", "segformer_b0-stage4.npz"]
    assert sorted(path.name for path in (place / "erf").glob("*.npz")) == maps
    stamps = {name: (place / "erf" / name).stat().st_mtime_ns for name in maps}
    # a cut archive is made again, the whole one is used again
    (place / "erf" / maps[0]).write_bytes((place / "erf" / maps[0]).read_bytes()[:50])
    code, _, err = robustseg(*command)
    assert code == 0
    assert "receptive fields of segformer_b0: 2 done" in err
    assert (place / "erf" / maps[1]).stat().st_mtime_ns == stamps[maps[1]]
    assert (place / "erf" / f"{maps[0]}.old1").exists()
    code, _, err = robustseg(*command)
    assert "done" not in err


def test_receptive_fields_dry_run(place: Path, robustseg: Robustseg) -> None:
    code, out, _ = robustseg("erf", "--dry-run")
    assert (code, out) == (0, "")
    assert not (place / "erf").exists()


def test_training_dry_run_shows_the_recipe(place: Path, robustseg: Robustseg) -> None:
    command = ("train", "--model", "segformer_b0", "--dry-run", "--set", "iterations=7")
    code, out, err = robustseg(*command)
    assert code == 0
    assert '"iterations": 7' in out
    assert "2 images of" in err
    assert not (place / "checkpoints" / "segformer_b0.train").exists()


def test_training_writes_where_evaluate_looks(place: Path, robustseg: Robustseg) -> None:
    (place / "checkpoints" / "segformer_b0.safetensors").unlink()
    overrides = ("iterations=1", "batch_size=1", "crop=[64,64]")
    options = ("--init", "none", "--workers", "0", "--device", "cpu", "-q")
    command = ("train", "--model", "segformer_b0", *options)
    code, out, _ = robustseg(*command, "--set", *overrides)
    assert (code, out) == (0, "checkpoints/segformer_b0.safetensors\n")
    assert robustseg(*EVALUATE, "--clean-only")[0] == 0
    assert robustseg(*command, "--set", *overrides)[:2] == (0, out)  # as a requeued job does
    code, _, err = robustseg(*command, "--set", *overrides, "lr=1e-3")
    assert code == 2
    assert "is not overwritten" in err

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustseg.corruptions import corrupt, random_stream
from robustseg.models import identity
from robustseg.models.build import create_model
from robustseg.models.checkpoints import Checkpoint, load_model, save_checkpoint
from robustseg.results import load_results

Outcome = tuple[int, str, str]
Robustseg = Callable[..., Outcome]
Start = Callable[[Sequence[str]], subprocess.Popen[str]]

BASIC = ("evaluate", "--models", "segformer_b0", "--device", "cpu")
FEW = ("--corruptions", "contrast", "fog", "--severities", "2")


def finished(place: Path) -> dict[str, tuple[bytes, int]]:
    paths = place.glob("runs/*/*/[!.]*.json")
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_cells_are_evaluated_and_shown(place: Path, robustseg: Robustseg) -> None:
    code, out, err = robustseg(*BASIC, *FEW)
    assert code == 0
    assert set(finished(place)) == {"clean-0.json", "contrast-2.json", "fog-2.json"}
    (clean,) = [r for r in load_results(place / "runs")[0] if r.cell.severity == 0]
    (row,) = [line for line in out.splitlines() if line.startswith("SegFormer-B0 ")][:1]
    assert f"{100 * clean.miou:.1f}" in row.split()[1]
    assert "3 cells to do, 0 finished; on cpu" in err
    before = finished(place)
    _, again, err = robustseg(*BASIC, *FEW)
    assert "0 cells to do, 3 finished" in err
    assert again == out
    assert finished(place) == before


def test_dry_run_computes_nothing(place: Path, robustseg: Robustseg) -> None:
    code, out, err = robustseg(*BASIC, "--dry-run")
    assert (code, out) == (0, "")
    assert "81 cells to do" in err
    assert not (place / "runs").exists()


def test_shards_do_every_cell_once(place: Path, robustseg: Robustseg) -> None:
    seen: list[set[str]] = []
    for part in ("1/2", "2/2"):
        before = set(finished(place))
        assert robustseg(*BASIC, *FEW, "--shard", part, "-q")[0] == 0
        seen.append(set(finished(place)) - before)
    assert [len(names) for names in seen] == [2, 1]
    assert set(finished(place)) == {"clean-0.json", "contrast-2.json", "fog-2.json"}


def test_a_part_without_a_cell_ends_well(place: Path, robustseg: Robustseg) -> None:
    code, out, err = robustseg(*BASIC, "--clean-only", "--shard", "2/2", "-q")
    assert (code, out, err) == (0, "", "")


def test_sets_of_other_making_are_told_apart(place: Path, robustseg: Robustseg) -> None:
    robustseg("generate-c", "--corruptions", "fog", "--severities", "1", "-q")
    for name, colour in (("dark", 10), ("light", 240)):
        shutil.copytree(place / "cityscapes_c", place / name, symlinks=True)
        (place / name / "cityscapes_c.json").unlink()
        for path in (place / name).rglob("*_leftImg8bit.png"):
            Image.new("RGB", (128, 64), (colour,) * 3).save(path)
    cells = ("--corruptions", "fog", "--severities", "1", "-q")
    for name in ("cityscapes_c", "dark", "light"):
        assert robustseg(*BASIC, *cells, "--root-c", name)[0] == 0
    protocols = [folder.name for folder in (place / "runs").iterdir()]
    assert len(protocols) == 3
    results, _ = load_results(place / "runs")
    fog = {r.protocol.source: r.confusion for r in results if r.cell.severity}
    assert len(fog) == 3
    assert "stored" in fog
    first, second, third = fog.values()
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_stored_set_gives_the_numbers_of_computed_images(place: Path, robustseg: Robustseg) -> None:
    robustseg(*BASIC, *FEW, "-q")
    robustseg("generate-c", *FEW, "-q", "--workers", "0")
    code, _, err = robustseg(*BASIC, *FEW, "-q", "--root-c", "cityscapes_c")
    assert (code, err) == (0, "")
    results, _ = load_results(place / "runs")
    assert len(results) == 6
    for cell in {r.cell for r in results}:
        a, b = (r for r in results if r.cell == cell)
        assert {a.protocol.source, b.protocol.source} == {"computed", "stored"}
        np.testing.assert_array_equal(a.confusion, b.confusion)
    code, _, err = robustseg(*BASIC, *FEW, "-q", "--root-c", "cityscapes_c", "--seed", "1")
    assert code == 2
    assert "leave --seed out" in err


def test_channel_order_is_part_of_the_protocol(place: Path, robustseg: Robustseg) -> None:
    cells = ("--corruptions", "spatter", "--severities", "4", "-q")
    for order in ("rgb", "bgr"):
        assert robustseg(*BASIC, *cells, "--channel-order", order)[0] == 0
    results, _ = load_results(place / "runs")
    assert len({r.protocol.slug for r in results}) == 2
    found = {r.protocol.channel_order: r.confusion for r in results if r.cell.severity}
    assert not np.array_equal(found["rgb"], found["bgr"])
    # rgb is the default
    _, _, err = robustseg(*BASIC, *cells[:-1])
    assert "0 cells to do, 2 finished" in err


def test_channel_order_of_a_stored_set_is_taken_from_its_record(
    place: Path, robustseg: Robustseg
) -> None:
    cells = ("--corruptions", "spatter", "--severities", "4", "-q")
    robustseg("generate-c", *cells, "--workers", "0")
    clean = place / "cityscapes/leftImg8bit/val/aa"
    for path in (place / "cityscapes_c/spatter/4/leftImg8bit/val/aa").iterdir():
        image = np.asarray(Image.open(clean / path.name))
        image_id = path.stem.removesuffix("_leftImg8bit")
        stream = random_stream(0, image_id, "spatter", 4)
        made = corrupt(image[..., ::-1], "spatter", 4, stream)[..., ::-1]
        Image.fromarray(np.ascontiguousarray(made)).save(path)
    record = place / "cityscapes_c/cityscapes_c.json"
    record.write_text(record.read_text().replace('"rgb"', '"bgr"'))
    stored = (*BASIC, *cells, "--root-c", "cityscapes_c")
    assert robustseg(*stored)[0] == 0
    assert robustseg(*BASIC, *cells, "--channel-order", "bgr")[0] == 0
    results, _ = load_results(place / "runs")
    assert {r.protocol.channel_order for r in results} == {"bgr"}
    a, b = (r for r in results if r.cell.severity)
    assert {a.protocol.source, b.protocol.source} == {"stored", "computed"}
    np.testing.assert_array_equal(a.confusion, b.confusion)
    assert robustseg(*stored, "--channel-order", "bgr")[0] == 0
    code, _, err = robustseg(*stored, "--channel-order", "rgb")
    assert code == 2
    assert err == (
        "robustseg: error: cityscapes_c was made with channel order bgr, not rgb: "
        "leave --channel-order out\n"
    )


def test_root_of_the_environment_and_of_the_working_folder(
    place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, err = robustseg(*BASIC, "--dry-run")
    assert f"images of {place / 'cityscapes'};" in err
    (place / "cityscapes").rename(place / "moved")
    assert robustseg(*BASIC, "--dry-run")[0] == 2
    monkeypatch.setenv("CITYSCAPES_DATASET", "moved")
    _, _, err = robustseg(*BASIC, "--dry-run")
    assert f"images of {place / 'moved'};" in err
    monkeypatch.setenv("CITYSCAPES_DATASET", "nowhere")
    _, _, err = robustseg(*BASIC, "--dry-run")
    assert "no data set at nowhere (from CITYSCAPES_DATASET)" in err


def test_tilde_of_a_checkpoint_is_the_home_folder(
    place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "checkpoints").rename(place / "weights")
    monkeypatch.setenv("HOME", str(place))
    given = "segformer_b0=~/weights/segformer_b0.safetensors"
    code, _, err = robustseg(*BASIC, "--dry-run", "--checkpoint", given)
    assert code == 0
    assert f"weights from {place}/weights/segformer_b0.safetensors" in err


def test_a_file_of_another_code_base_is_stored_under_the_name_of_its_variant(
    place: Path, robustseg: Robustseg
) -> None:
    weights = load_model(place / "checkpoints/segformer_b0.safetensors").state_dict()
    torch.save({"state_dict": weights}, place / "released.bin")
    given = ("--checkpoint", "segformer_b0@smp=released.bin")
    arguments = ("evaluate", "--models", "segformer_b0@smp", "segformer_b0", "--clean-only")
    code, out, err = robustseg(*arguments, *given, "--device", "cpu")
    assert code == 0
    assert err.count("licence of the weights: NVIDIA Source Code License for SegFormer") == 1
    assert "segformer_b0@smp: weights from released.bin" in err
    results, _ = load_results(place / "runs")
    assert {r.model.name for r in results} == {"segformer_b0", "segformer_b0@smp"}
    # the number of parameters is that of the network, whatever else a file holds
    assert {r.model.parameters for r in results} == {3_719_027}
    _, again, err = robustseg(*arguments, *given, "--device", "cpu")
    assert "0 cells to do, 2 finished" in err
    assert again == out


def test_weights_are_named_once_a_network(
    place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    translate = identity._translate

    def spy(checkpoint: Checkpoint) -> object:
        named.append(checkpoint.path.name)
        return translate(checkpoint)

    monkeypatch.setattr(identity, "_translate", spy)
    shutil.copy("checkpoints/segformer_b0.safetensors", "other.safetensors")
    names = ("segformer_b0", "segformer_b0@smp")
    given = ("--checkpoint", "segformer_b0@smp=other.safetensors")
    command = ("evaluate", "--models", *names, *given, "--clean-only", "--device", "cpu", "-q")
    assert robustseg(*command)[0] == 0
    assert len(load_results(place / "runs")[0]) == 2
    assert named == ["segformer_b0.safetensors", "other.safetensors"]


def test_a_file_given_for_a_variant_of_the_network_asked_for(
    place: Path, robustseg: Robustseg
) -> None:
    weights = load_model(place / "checkpoints/segformer_b0.safetensors").state_dict()
    torch.save({"state_dict": weights}, place / "released.bin")
    command = (*BASIC, "--dry-run", "--inference", "whole", "--checkpoint")
    code, _, err = robustseg(*command, "segformer_b0@hf=released.bin")
    assert code == 0
    assert "segformer_b0@hf: weights from released.bin" in err
    assert "published" not in err  # nobody knows who made the file
    code, _, err = robustseg(*command, "segformer_b0@hh=released.bin")
    assert code == 2
    assert "unknown model 'segformer_b0@hh'" in err


def test_own_weights_carry_no_licence(place: Path, robustseg: Robustseg) -> None:
    code, _, err = robustseg(*BASIC, "--dry-run")
    assert code == 0
    assert "licence" not in err


def test_two_files_of_one_network(place: Path, robustseg: Robustseg) -> None:
    vainf = create_model("dlv3p_mbv2@vainf")
    save_checkpoint(place / "m.safetensors", "dlv3p_mbv2@vainf", vainf, {})
    given = ("--checkpoint", "dlv3p_mbv2=m.safetensors", "dlv3p_mbv2@vainf=m.safetensors")
    code, _, err = robustseg("evaluate", "--models", "dlv3p_mbv2", "dlv3p_mbv2@vainf", *given)
    assert code == 2
    assert "both hold dlv3p_mbv2@vainf: ask for one" in err


def test_a_file_of_other_classes_is_one_line(place: Path, robustseg: Robustseg) -> None:
    state = create_model("segformer_b0", 150).state_dict()
    torch.save(state, place / "ade.pth")
    code, _, err = robustseg(*BASIC, "--clean-only", "-q", "--checkpoint", "segformer_b0=ade.pth")
    assert code == 2
    assert err == (
        "robustseg: error: ade.pth holds segformer_b0 of 150 classes: ADE20K; 19 are needed\n"
    )


BLOCKED = """
import sys
sys.modules["cv2"] = None
from robustseg.cli.main import main
sys.exit(main({arguments}))
"""


def run_without_opencv(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(arguments=[*arguments])],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_clean_images_need_no_opencv(place: Path) -> None:
    done = run_without_opencv([*BASIC, "--clean-only", "-q"])
    assert (done.returncode, done.stderr) == (0, "")
    assert set(finished(place)) == {"clean-0.json"}


def test_lack_of_opencv_is_one_line(place: Path) -> None:
    done = run_without_opencv([*BASIC, "--corruptions", "spatter", "-q"])
    assert done.returncode == 2
    assert done.stderr.startswith("robustseg: error: OpenCV cannot be loaded")
    assert done.stderr.count("\n") == 1
    assert set(finished(place)) == set()  # said before the work


def test_interrupt_ends_with_130_and_the_next_run_goes_on(
    place: Path, robustseg: Robustseg, start: Start
) -> None:
    process = start([*BASIC])
    deadline = time.monotonic() + 60
    while len(finished(place)) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("robustseg: interrupted: what was finished is kept")
    assert "Traceback" not in err
    partly = finished(place)
    assert 3 <= len(partly) < 81
    assert load_results(place / "runs")[1] == []
    code, _, err = robustseg(*BASIC)
    assert code == 0
    assert re.search(rf"\b{81 - len(partly)} cells? to do, {len(partly)} finished", err)
    whole = finished(place)
    assert len(whole) == 81
    assert {name: whole[name] for name in partly} == partly


def test_weights_that_do_not_fit_set_no_result_aside(place: Path, robustseg: Robustseg) -> None:
    command = ("evaluate", "--models", "segformer_b0", "--clean-only", "--device", "cpu", "-q")
    assert robustseg(*command)[0] == 0
    results = sorted((place / "runs").rglob("*.json"))
    save_checkpoint(
        place / "ade.safetensors", "segformer_b0", create_model("segformer_b0", 150), {}
    )
    code, _, err = robustseg(*command, "--checkpoint", "segformer_b0=ade.safetensors")
    assert code == 2
    assert "150 classes: ADE20K; 19 are needed" in err
    assert sorted((place / "runs").rglob("*.json*")) == results

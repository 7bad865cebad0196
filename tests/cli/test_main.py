from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustseg import __version__
from robustseg.cli import check
from robustseg.cli.main import build_parser, main
from robustseg.errors import DataError

Outcome = tuple[int, str, str]
Robustseg = Callable[..., Outcome]


def test_commands_of_the_readme_parse_as_typed() -> None:
    parser = build_parser()
    twice = ["train", "--model", "segformer_b0", "--set", "lr=1", "--set", "flip=false"]
    assert parser.parse_args(twice).overrides == ["lr=1", "flip=false"]
    made = parser.parse_args(["generate-c", "--root", "cityscapes"])
    assert made.root == Path("cityscapes")
    assert (made.root_c, made.split, made.limit, made.seed) == (None, "val", None, None)
    assert (made.corruptions, made.severities) == (["all"], [1, 2, 3, 4, 5])
    scored = parser.parse_args(["evaluate", "--models", "segformer_b5", "dlv3p_r101"])
    assert scored.models == ["segformer_b5", "dlv3p_r101"]
    assert (scored.root, scored.root_c, scored.clean_only) == (None, None, False)
    assert (scored.inference, scored.window, scored.stride) == ("slide", 1024, 768)
    assert (scored.runs, scored.shard) == (Path("runs"), (1, 1))
    drawn = parser.parse_args(["erf", "--stage", "4"])
    assert (drawn.stage, drawn.models, drawn.limit, drawn.crop) == (["4"], None, 100, 1024)


@pytest.mark.parametrize("command", ["demo", "check", "train", "report", "profile"])
def test_every_command_has_help(command: str, robustseg: Robustseg) -> None:
    code, out, err = robustseg(command, "--help")
    assert (code, err) == (0, "")
    assert f"robustseg {command}" in out


def test_version(robustseg: Robustseg) -> None:
    assert robustseg("--version") == (0, f"robustseg {__version__}\n", "")


HELP = """
import sys
from robustseg.cli.main import main
try:
    main({arguments})
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{"torch", "numpy", "cv2", "scipy", "PIL", "matplotlib", "pandas", "timm"}}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or None)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["evaluate", "--help"],
        ["generate-c", "--help"],
        ["list", "models"],
        ["list", "corruptions"],
        ["list", "recipes"],
    ],
    ids=" ".join,
)
def test_help_and_lists_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


IMAGE = "cityscapes/leftImg8bit/val/aa/aa_000000_000019_leftImg8bit.png"
LABEL = "cityscapes/gtFine/val/aa/aa_000000_000019_gtFine_labelIds.png"
EVALUATE = "evaluate --models segformer_b0 -q --device cpu"


@pytest.mark.parametrize(
    "command", ["evaluate --models", "erf --models", "profile --models", "train --model"]
)
def test_an_unknown_network_may_be_of_a_plugin(
    command: str, place: Path, robustseg: Robustseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    hint = "; for one of your own add --plugin MODULE\n"
    code, _, err = robustseg(*command.split(), "tiny")
    assert code == 2
    assert err.startswith("robustseg: error: unknown model 'tiny'")
    assert err.endswith(hint)
    (place / "of_my_own.py").touch()
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("ROBUSTSEG_PLUGINS", "")  # to which the command adds the module
    code, _, err = robustseg(*command.split(), "tiny", "--plugin", "of_my_own")
    assert code == 2
    assert "unknown model 'tiny'" in err
    assert hint not in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"{EVALUATE} --root nowhere", "no data set at nowhere: no such folder"),
        (f"{EVALUATE} --root empty", "no data set at empty: it has no folder leftImg8bit"),
        (f"{EVALUATE} --root {IMAGE}", "this is no folder"),
        (f"{EVALUATE} --split nonsense", "no split 'nonsense'"),
        (f"{EVALUATE} --limit 0", "--limit must be at least 1, found 0"),
        (f"{EVALUATE} --limit -3", "--limit must be at least 1, found -3"),
        (f"{EVALUATE} --stride 1025", "--stride 1025 is above --window 1024"),
        (f"{EVALUATE} --stride 0", "--stride must be at least 1"),
        (f"{EVALUATE} --window 63 --stride 10", "--window must be at least 64"),
        (f"{EVALUATE} --workers -1", "--workers must be at least 0"),
        (f"{EVALUATE} --severities 7", "severity must be an integer from 1 to 5, got 7"),
        (f"{EVALUATE} --severities 0", "got 0"),
        (f"{EVALUATE} --corruptions fogg", "unknown corruption 'fogg': did you mean fog"),
        (f"{EVALUATE} --device nonsense", "device 'nonsense' cannot be used here"),
        (f"{EVALUATE} --device cuda:99", "device 'cuda:99' cannot be used here"),
        (f"{EVALUATE} --root-c nowhere", "nowhere lacks 160 images"),
        (f"{EVALUATE} --checkpoint segformer_b0", "not of the form NAME=PATH"),
        (f"{EVALUATE} --checkpoint segformer_b0=nowhere.pth", "not found: nowhere.pth"),
        (f"{EVALUATE} --checkpoint segformer_b1=nowhere.pth", "not among the models asked for"),
        (f"{EVALUATE} --checkpoint segformer_b0=text.pth", "text.pth is not a plain file"),
        (f"{EVALUATE} --checkpoint segformer_b0=text.safetensors", "cannot read checkpoint"),
        (
            "evaluate --models segfromer_b5",
            "unknown model 'segfromer_b5': did you mean segformer_b",
        ),
        ("evaluate --models segformer_b1", "no weights for segformer_b1"),
        (
            "evaluate --models segformer_b1 -q --checkpoint segformer_b1=b0.safetensors",
            "b0.safetensors holds segformer_b0, not segformer_b1",
        ),
        ("generate-c --root nowhere", "no data set at nowhere"),
        ("generate-c --root empty", "no data set at empty"),
        ("generate-c --severities 6", "got 6"),
        ("generate-c --corruptions snoww", "did you mean snow"),
        ("generate-c --root-c text.pth -q", "File exists"),
        ("train --model segformer_b9", "unknown model 'segformer_b9'"),
        ("train --model segformer_b0 --recipe nowhere.toml", "cannot read recipe nowhere.toml"),
        ("train --model segformer_b0 --recipe binary.toml", "binary.toml is not a text file"),
        ("train --model segformer_b0 --recipe quik", "did you mean quick"),
        ("train --model segformer_b0 --set lr=nan", "lr must be a number above 0"),
        ("train --model segformer_b0 --set learningrate=1", "unknown recipe entry 'learningrate'"),
        ("train --model segformer_b0 --seed -1", "--seed must be from 0"),
        (f"train --model segformer_b0 --seed {10**30}", "--seed must be from 0"),
        ("train --model segformer_b0 --init nowhere.pth -q", "cannot read checkpoint nowhere.pth"),
        ("erf --crop 5", "--crop must be at least 64"),
        ("erf --models nonsense", "unknown model 'nonsense'"),
        ("erf --models dlv3p_r101", "no weights for dlv3p_r101"),
        ("erf --limit 0", "--limit must be at least 1, found 0"),
        ("profile --models nonsense", "unknown model 'nonsense'"),
        ("profile --size 64 0", "--size must be at least 64"),
        ("report --runs nowhere", "no results in nowhere"),
        ("demo --workers 0", "--workers must be at least 1"),
    ],
)
def test_bad_input_is_answered_in_one_line(
    command: str, message: str, place: Path, robustseg: Robustseg
) -> None:
    (place / "empty").mkdir()
    (place / "text.pth").write_text("no weights")
    (place / "text.safetensors").write_text("no weights")
    (place / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (place / "b0.safetensors").symlink_to(place / "checkpoints" / "segformer_b0.safetensors")
    code, out, err = robustseg(*command.split())
    assert (code, out) == (2, "")
    assert err.startswith("robustseg: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("part", [IMAGE, LABEL])
def test_truncated_file_is_named_in_one_line(part: str, place: Path, robustseg: Robustseg) -> None:
    truncate(place / part)
    code, out, err = robustseg(*EVALUATE.split(), "--clean-only")
    assert (code, out) == (2, "")
    assert err == (
        f"robustseg: error: {place / part}: is truncated or damaged; "
        "copy this file again, or unpack it again from the zip\n"
    )


def test_training_names_a_truncated_file_in_one_line(place: Path, robustseg: Robustseg) -> None:
    for path in (place / "cityscapes/leftImg8bit/train/aa").iterdir():
        truncate(path)
    overrides = ("iterations=2", "batch_size=2", "crop=[64,64]")
    code, out, err = robustseg(
        *("train", "--model", "segformer_b0", "--output", "out", "-q", "--workers", "1"),
        *("--init", "none"),
        *("--device", "cpu", "--set", *overrides),
    )
    assert (code, out) == (2, "")
    assert err.startswith(f"robustseg: error: {place}/cityscapes/leftImg8bit/train/aa/aa_")
    assert err.count("\n") == 1


def test_label_of_another_size_is_named(place: Path, robustseg: Robustseg) -> None:
    Image.fromarray(np.full((32, 64), 7, np.uint8)).save(place / LABEL)
    code, _, err = robustseg(*EVALUATE.split(), "--clean-only")
    assert code == 2
    assert "label is 64 x 32 but its image 128 x 64" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["evaluate"], ["erf", "--stage", "5"]])
def test_wrong_usage_ends_with_two(arguments: list[str], robustseg: Robustseg) -> None:
    code, out, err = robustseg(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("robustseg: error: ")
    assert err.count("\n") == 1


def test_verbose_shows_where_an_error_comes_from(place: Path, robustseg: Robustseg) -> None:
    code, _, err = robustseg("evaluate", "--models", "segformer_b0", "--root", "nowhere", "-v")
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("robustseg: error: no data set at nowhere")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("sentence"), 2, "robustseg: error: sentence\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "file"),
            2,
            "robustseg: error: no space left to write file: make room and repeat the command, "
            "it goes on\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "file"),
            2,
            "robustseg: error: Permission denied: file\n",
        ),
        (OSError("odd"), 2, "robustseg: error: odd\n"),
        (
            KeyboardInterrupt(),
            130,
            "robustseg: interrupted: what was finished is kept, "
            "the same command goes on from there\n",
        ),
    ],
    ids=repr,
)
def test_errors_become_lines_and_codes(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(check, "run", fail)
    assert main(["check"]) == code
    assert capsys.readouterr().err == line


def test_unexpected_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(check, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["check"])


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -u -m robustseg list corruptions | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert done.stdout == "blur:\n0\n"
    assert done.stderr == ""

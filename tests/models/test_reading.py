from __future__ import annotations

import argparse
import json
import pickle
import sys
import types
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from robustseg.errors import CheckpointError
from robustseg.models.reading import WRAPPERS, read_checkpoint

PICKLES = (".pth", ".pt", ".bin", ".pkl", ".ckpt", "")
WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(3)}


def assert_read(path: Path, wanted: dict[str, Tensor] = WEIGHTS) -> None:
    found = read_checkpoint(path).state
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("suffix", PICKLES)
@pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
def test_wrappers_of_training_scripts(tmp_path: Path, wrapper: str | None, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    content = {"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: WEIGHTS} if wrapper else WEIGHTS
    torch.save(content, path)
    assert_read(path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.beside == (("epoch", "optimizer") if wrapper else ())
    assert checkpoint.card == {}


def test_weights_go_before_their_running_average(tmp_path: Path) -> None:
    torch.save({"state_dict_ema": {"b": torch.ones(1)}, "state_dict": WEIGHTS}, tmp_path / "m.pth")
    assert_read(tmp_path / "m.pth")
    assert read_checkpoint(tmp_path / "m.pth").beside == ("state_dict_ema",)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_are_those_of_the_file(tmp_path: Path, prefix: str, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    state = {f"{prefix}{name}": value for name, value in WEIGHTS.items()}
    if suffix == ".pth":
        torch.save(OrderedDict(state), path)
    else:
        save_file(state, path)
    assert_read(path, state)


def test_wrappers_may_be_nested_but_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"state_dict": {"model_state": {"a": torch.ones(2)}}}, path)
    assert list(read_checkpoint(path).state) == ["a"]
    endless: dict[str, object] = {}
    endless["state_dict"] = endless
    torch.save(endless, path)
    with pytest.raises(CheckpointError, match="holds no table of weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {}, 3, {"state_dict": 5}])
def test_a_file_without_a_table_of_weights(tmp_path: Path, content: object) -> None:
    path = tmp_path / "m.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="holds no table of weights"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        {"optimizer": {"state": {}}, "epoch": 3},
        {"optimizer_state_dict": {}},
        {"state": {0: {"step": 1}}, "param_groups": []},
    ],
)
def test_the_state_of_an_optimizer_alone(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="but the state of an optimizer"):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"m{suffix}"
    state = {f"layer{i}.weight": torch.full((50, 10), float(i)) for i in range(5)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b".", b"0.", b"hello", b"\x80\x02U\xff", b"\x80\x04\x95"])
@pytest.mark.parametrize("suffix", [".safetensors", *PICKLES])
def test_files_of_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_damaged_bytes_never_end_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"a": torch.zeros(3, 4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused > 20


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", PICKLES)
@pytest.mark.parametrize("how", ["torch", "old torch", "pickle"])
def test_code_in_a_file_is_never_run(tmp_path: Path, suffix: str, how: str) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / f"segformer_b0{suffix}"
    content = {"state_dict": {"a": torch.zeros(2)}, "meta": Payload(victim)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
        pickle.loads(path.read_bytes())
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
        torch.load(path, weights_only=False)
    # the payload works where it is let
    victim.unlink()
    with pytest.raises(CheckpointError, match="is not loaded, since it could run code") as caught:
        read_checkpoint(path)
    assert not victim.exists()
    assert "\n" not in str(caught.value)


class Holder(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(3, 2)
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.arange(float(value.numel())).view_as(value))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.a(x)
        return out


@pytest.mark.filterwarnings("ignore")  # torch.jit is on its way out
@pytest.mark.parametrize("kind", ["network", "script"])
def test_the_advice_for_a_refused_file_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / 'it\'s "$(mine)".pth'
    if kind == "script":
        torch.jit.save(torch.jit.script(Holder()), path)
    else:
        torch.save(Holder(), path)
    with pytest.raises(CheckpointError, match="since it could run code; if you trust it") as caught:
        read_checkpoint(path)
    # the advice needs nothing of the file's name, and is Python, not a command of a shell
    advice = str(caught.value).rpartition(": ")[2]
    assert "mine" not in advice
    monkeypatch.chdir(tmp_path)
    exec(advice, {"torch": torch, "model": Holder()})
    assert_read(tmp_path / "weights.pth", Holder().state_dict())


def history_buffer(monkeypatch: pytest.MonkeyPatch) -> object:
    """Make what mmengine leaves in its files, under the name that it has there."""
    module = types.ModuleType("mmengine.logging.history_buffer")
    kind = type("HistoryBuffer", (), {"__module__": module.__name__})
    module.HistoryBuffer = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine", types.ModuleType("mmengine"))
    monkeypatch.setitem(sys.modules, "mmengine.logging", types.ModuleType("mmengine.logging"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    buffer = kind()
    buffer.__dict__.update(history=np.arange(4.0), count=np.arange(4), longest=10)
    return buffer


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_harmless_things_beside_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "state_dict": OrderedDict(WEIGHTS),
        "best_score": np.float64(0.7),
        "counts": np.zeros(3, np.int64),
        "options": argparse.Namespace(lr=0.1, out=Path("here")),
        "message_hub": {"log_scalars": {"loss": history_buffer(monkeypatch)}},
    }
    torch.save(content, tmp_path / "m.pth")
    monkeypatch.delitem(sys.modules, "mmengine.logging.history_buffer")
    assert_read(tmp_path / "m.pth")


class Caller:
    """Calls a method of a harmless thing when it is unpickled, by way of getattr."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return self.path.touch, ()


def test_stand_ins_do_nothing_that_is_asked_of_them(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    pickle.loads(pickle.dumps(Caller(victim)))
    # it works where it is let, with names of the harmless list alone
    victim.unlink()
    torch.save({"state_dict": WEIGHTS, "meta": Caller(victim)}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="is not loaded, since it could run code"):
        read_checkpoint(tmp_path / "m.pth")
    assert not victim.exists()
    # nor is a method that was only reached for
    torch.save({"state_dict": WEIGHTS, "meta": victim.touch}, tmp_path / "n.pth")
    assert_read(tmp_path / "n.pth")
    assert not victim.exists()


def test_stand_ins_are_gone_afterwards(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "score": np.float64(0.5)}, tmp_path / "m.pth")
    read_checkpoint(tmp_path / "m.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "m.pth", weights_only=True)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="cannot read checkpoint"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "name", ["model.ckpt.index", "model.ckpt.data-00000-of-00001", "frozen.pb", "model.h5"]
)
def test_files_of_tensorflow(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="files of TensorFlow are not read"):
        read_checkpoint(tmp_path / name)


def test_the_common_name_of_tensorflows_files(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.index").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="files of TensorFlow are not read"):
        read_checkpoint(tmp_path / "model.ckpt")


def write_shards(folder: Path, suffix: str) -> Path:
    index = (
        "model.safetensors.index.json"
        if suffix == ".safetensors"
        else "pytorch_model.bin.index.json"
    )
    table = {}
    for number, (name, value) in enumerate(WEIGHTS.items()):
        part = f"part-{number}{suffix}"
        if suffix == ".safetensors":
            save_file({name: value}, folder / part)
        else:
            torch.save({name: value}, folder / part)
        table[name] = part
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder / index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_files_in_parts(tmp_path: Path, suffix: str) -> None:
    index = write_shards(tmp_path, suffix)
    assert_read(index)
    assert_read(tmp_path)
    digest = read_checkpoint(tmp_path).sha256
    assert digest == read_checkpoint(index).sha256
    other = {"a.bias": torch.zeros(3)}
    if suffix == ".safetensors":
        save_file(other, tmp_path / "part-1.safetensors")
    else:
        torch.save(other, tmp_path / "part-1.bin")
    assert read_checkpoint(tmp_path).sha256 != digest


def test_a_folder_of_save_pretrained(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text('{"model_type": "segformer"}')
    torch.save({"other": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert_read(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.path == tmp_path
    assert checkpoint.config == {"model_type": "segformer"}
    assert checkpoint.sha256 == read_checkpoint(tmp_path / "model.safetensors").sha256


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/passwd", "sub/a.bin", "again.index.json"])
def test_an_index_that_points_elsewhere(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="it points to"):
        read_checkpoint(index)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weight_map": []}', '{"a": 1}', "\x00" * 9])
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(index)
    assert str(index) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_read_by_several_threads(tmp_path: Path) -> None:
    scores = {f"score{i}": np.float64(i) for i in range(20)}
    torch.save({"state_dict": WEIGHTS, **scores}, tmp_path / "m.pth")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(read_checkpoint, [tmp_path / "m.pth"] * 60))
    finally:
        sys.setswitchinterval(interval)
    assert all(list(checkpoint.state) == list(WEIGHTS) for checkpoint in found)
    # nor are the stand-ins left behind
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "m.pth", weights_only=True)


@pytest.mark.parametrize("suffix", [".safetensors", *PICKLES])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty: fetch it again"),
        (b"<!DOCTYPE html>\n<html></html>", "is a web page, not weights: download the file itself"),
        (b"\xef\xbb\xbf \r\n<html lang='en'>", "is a web page, not weights"),
        (b"<?xml version='1.0'?><Error/>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    ],
)
def test_downloads_that_went_wrong(tmp_path: Path, suffix: str, content: bytes, what: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path} {what}")
    assert "\n" not in str(caught.value)


def test_a_length_that_looks_like_a_web_page(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(WEIGHTS, path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].ljust(int.from_bytes(b"<h", "little"))
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    assert path.read_bytes().startswith(b"<h")
    assert_read(path)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.zeros(3, dtype=torch.complex64), "complex"),
        (torch.zeros(3, device="meta"), "empty of numbers"),
    ],
)
def test_tensors_that_no_network_holds(tmp_path: Path, value: torch.Tensor, kind: str) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"a.weight": torch.zeros(2), "b.weight": value}, path)
    with pytest.raises(CheckpointError, match=f"b.weight is {kind}: save the weights as plain"):
        read_checkpoint(path)

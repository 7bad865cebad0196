"""Reads checkpoint files of any origin without running anything that they contain.

safetensors files hold tensors and text alone. Every other file is taken for a pickle of torch and
read by torch's restricted reader, which knows tensors and plain containers; a few harmless classes
that training frameworks leave beside the weights are read as empty stand-ins.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from robustseg.errors import CheckpointError, first_line
from robustseg.files import sha256_of

__all__ = ["Checkpoint", "read_checkpoint"]

WRAPPERS = (
    "state_dict",
    "model_state",
    "model_state_dict",
    "model",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema",
    "module",
)
"""Entries under which training scripts keep the weights, in the order of preference."""

FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What a folder written by ``save_pretrained`` keeps its weights in, in the order of preference."""

TENSORFLOW = (".index", ".meta", ".pb", ".h5", ".keras", ".tflite")

HARMLESS = (
    "argparse.Namespace",
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    *(f"numpy.dtypes.{kind}DType" for kind in ("Bool", "Int32", "Int64", "Float32", "Float64")),
    "numpy.ndarray",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
)
"""Names in pickles that are read as ``_StandIn``: loss histories, scores and options."""

_alone = threading.Lock()
"""Held while torch reads a pickle: the names that it lets pass are those of the whole process."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file, or a folder of ``save_pretrained``, holds.

    Attributes:
        path: The file or folder.
        sha256: Of the file's bytes; of a folder with several files of weights, of their digests.
        state: Parameter name, as in the file, to tensor; the tables around it are taken off.
        card: The text that a safetensors file says of itself: of own files ``model``,
            ``num_classes``, ``output_stride``, and whatever training or conversion added.
        config: What the ``config.json`` of a folder says, else empty.
        beside: What stands beside the weights and was not read, such as ``optimizer``.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    card: dict[str, str]
    config: dict[str, Any] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


class _StandIn:
    """Takes the place of an object that is not wanted: forgets whatever it is given."""

    def __new__(cls, *_: object, **__: object) -> _StandIn:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, without running anything that it contains.

    Args:
        path: A file of weights, the index of a file in several parts, or a folder that holds one
            of these under the name that ``save_pretrained`` gives it.

    Raises:
        CheckpointError: The file is missing, unreadable, would have to run code, or holds no
            weights.
    """
    if not path.is_dir():
        return _read(path, path, {})
    for name in FOLDER_FILES:
        if (path / name).is_file():
            config = path / "config.json"
            return _read(path, path / name, _read_json(config) if config.is_file() else {})
    raise CheckpointError(
        f"cannot read checkpoint {path}: it is a folder without {' or '.join(FOLDER_FILES[::2])}"
    )


def _read(path: Path, file: Path, config: dict[str, Any]) -> Checkpoint:
    """Read one file or, where it is an index, the files that it lists; ``path`` is their name."""
    parts = _parts(file) if file.suffix == ".json" else [file]
    read = [_read_file(part) for part in parts]
    digests = [content.sha256 for content in read]
    joined = hashlib.sha256("".join(digests).encode()).hexdigest()
    return Checkpoint(
        path,
        digests[0] if len(digests) == 1 else joined,
        {key: value for content in read for key, value in content.state.items()},
        read[0].card,
        config,
        tuple(dict.fromkeys(name for content in read for name in content.beside)),
    )


def _parts(index: Path) -> list[Path]:
    """List the files that an index names; only those beside it are accepted."""
    table = _read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{index} holds no table of weights, but other settings")
    names = sorted({str(name) for name in table.values()})
    for name in names:
        if Path(name).name != name or name.endswith(".json"):
            raise CheckpointError(f"cannot read checkpoint {index}: it points to {name!r}")
    return [index.parent / name for name in names]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"cannot read checkpoint {path}: it is not a table of settings")
    return content


def _read_file(path: Path) -> Checkpoint:
    if path.suffix in TENSORFLOW or ".data-" in path.suffix or _has_index(path):
        raise CheckpointError(
            f"cannot read checkpoint {path}: files of TensorFlow are not read; "
            "save the weights as safetensors under the names of one of the known code bases"
        )
    try:
        _check_first_bytes(path)
        sha256 = sha256_of(path)
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stream:
                card = dict(stream.metadata() or {})
                state = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
            _check_kind(state, path)
            return Checkpoint(path, sha256, state, card)
        state, beside = _state_of(_unpickle(path), path)
        _check_kind(state, path)
        return Checkpoint(path, sha256, state, {}, beside=beside)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path)) from error
    except Exception as error:  # the reader of a damaged pickle raises whatever its bytes lead to
        if "TorchScript" in str(error):
            raise CheckpointError(_refusal(path)) from error
        raise CheckpointError(f"cannot read checkpoint {path}: {first_line(error)}") from error


def _check_kind(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that no network of ours can hold."""
    for name, value in state.items():
        kinds = {
            "sparse": value.layout is not torch.strided,
            "complex": value.is_complex(),
            "quantized": value.is_quantized,
            "nested": value.is_nested,
            "empty of numbers": value.is_meta,
        }
        found = [kind for kind, holds in kinds.items() if holds]
        if found:
            raise CheckpointError(
                f"{path}: {name} is {found[0]}: save the weights as plain tensors of real numbers"
            )


def _check_first_bytes(path: Path) -> None:
    """Refuse what often lies under a file's name when a download went wrong."""
    with path.open("rb") as stream:
        head = stream.read(512)
    text = b"\0" not in head  # the length that a safetensors file begins with has zeros
    if not head:
        raise CheckpointError(f"{path} is empty: fetch it again")
    if text and re.match(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]", head):
        raise CheckpointError(f"{path} is a web page, not weights: download the file itself")
    if text and head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not weights: run git lfs pull where it was cloned, "
            "or download the file itself"
        )


def _has_index(path: Path) -> bool:
    """Say whether ``path`` is the name that TensorFlow gives to several files together."""
    return path.with_name(f"{path.name}.index").is_file()


def _unpickle(path: Path) -> object:
    names: list[Any] = [(_StandIn, name) for name in HARMLESS]
    with _alone, torch.serialization.safe_globals(names), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles of other writers: they are refused or read
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _refusal(path: Path) -> str:
    """Say that a pickle is not read, and how someone who trusts it can make a file that is."""
    return (
        f"{path} is not a plain file of weights and is not loaded, since it could run code; "
        "if you trust it, load it where it was made and save the weights alone: "
        "torch.save(model.state_dict(), 'weights.pth')"
    )


def _state_of(content: object, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the parameters in what ``torch.load`` gave, and name what else there is.

    Training scripts keep the weights in one entry among others; some wrap that once more.
    """
    beside: list[str] = []
    for _ in range(3):  # a table that holds itself would be unwrapped for ever
        wrapper = _wrapper(content)
        if isinstance(content, Mapping) and wrapper:
            beside += [str(key) for key in content if key != wrapper]
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds no table of weights, but {type(content).__name__}")
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        what = "the state of an optimizer" if _is_optimizer(content) else "other things"
        raise CheckpointError(f"{path} holds no table of weights, but {what}")
    beside += [str(key) for key in content if str(key) not in state]
    return state, tuple(beside)


def _wrapper(content: object) -> str:
    """Name the entry of a table that holds the weights; empty if they are not wrapped."""
    if not isinstance(content, Mapping):
        return ""
    return next((w for w in WRAPPERS if isinstance(content.get(w), Mapping)), "")


def _is_optimizer(content: Mapping[object, object]) -> bool:
    return any("optimizer" in str(key) or key == "param_groups" for key in content)

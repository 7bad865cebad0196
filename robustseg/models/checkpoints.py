"""Checkpoints: what they hold, loading and saving.

Own checkpoints are safetensors files with a card in their metadata. Files of other origin
(``.pth``, ``.pt``) are read with ``weights_only=True``: code inside them is never run.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from robustseg.errors import CheckpointError
from robustseg.files import write_bytes
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.zoo import SEGFORMER_SPECS

__all__ = [
    "Checkpoint",
    "load_model",
    "read_checkpoint",
    "save_checkpoint",
]

FORMAT = "robustseg-1"
WRAPPERS = ("state_dict", "model_state")
DROPPED = re.compile(r"^(decode_head\.conv_seg|auxiliary_head)\.")
"""Parameters that released SegFormer files carry but the network never uses."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        state: Parameter name to tensor.
        card: What the file says of itself: ``model``, ``num_classes``, ``output_stride``, and
            whatever training added; empty for files of other origin.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    card: dict[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file onto the CPU, without running anything that it contains.

    Raises:
        CheckpointError: The file is missing, unreadable, or would have to run code.
    """
    try:
        sha256 = _sha256(path)
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stream:
                card = dict(stream.metadata() or {})
                state = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
            return Checkpoint(path, sha256, state, card)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain file of weights and is not loaded, since it could run code"
        ) from error
    except Exception as error:  # the reader of a damaged pickle raises whatever its bytes lead to
        raise CheckpointError(f"cannot read checkpoint {path}: {_first_line(error)}") from error
    return Checkpoint(path, sha256, _state_of(content, path), {})


def _state_of(content: object, path: Path) -> dict[str, Tensor]:
    """Find the parameters in what ``torch.load`` gave; wrappers name them differently."""
    for _ in range(3):  # a table that holds itself would be unwrapped for ever
        if isinstance(content, Mapping):
            content = next((content[k] for k in WRAPPERS if k in content), content)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no table of weights, but {type(content).__name__}")
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    return {k: v for k, v in state.items() if not DROPPED.match(k)}


def load_model(name: str, checkpoint: Checkpoint, num_classes: int = 19) -> SegmentationModel:
    """Build a network and load its weights strictly.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The file holds another network or other classes; the message says which
            parameters differ and the likely reason.
    """
    card = checkpoint.card
    if card.get("model", name) != name:
        raise CheckpointError(f"{checkpoint.path} holds {card['model']}, not {name}")
    stride = card.get("output_stride", "16")
    if stride not in ("8", "16"):
        raise CheckpointError(f"{checkpoint.path} has output stride {stride!r}, not 16 or 8")
    model = create_model(name, num_classes, int(stride))
    problem = _mismatch(model.state_dict(), checkpoint.state)
    if problem:
        reason = _likely_reason(checkpoint.state)
        raise CheckpointError(f"{checkpoint.path} does not fit {name}: {problem}{reason}")
    model.load_state_dict(checkpoint.state)
    return model.eval()


def _mismatch(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say in one line how two tables of weights differ; empty if they do not."""
    missing = [k for k in wanted if k not in found]
    unexpected = [k for k in found if k not in wanted]
    misshapen = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in found and wanted[k].shape != found[k].shape
    ]
    parts = [
        f"{len(keys)} {word} (such as {keys[0]})"
        for word, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if keys
    ]
    return ", ".join(parts)


def _likely_reason(state: Mapping[str, Tensor]) -> str:
    """Guess what a foreign file is, from the shapes that tell the SegFormer sizes apart."""
    reasons = []
    classifier = state.get("decode_head.linear_pred.weight")
    if classifier is not None and classifier.shape[0] != 19:
        data = {150: ": ADE20K", 172: ": COCO-Stuff"}.get(classifier.shape[0], "")
        reasons.append(f"{classifier.shape[0]} classes{data}")
    first = state.get("backbone.patch_embed1.proj.weight")
    if first is not None:
        blocks = [k.split(".")[1:3] for k in state if k.startswith("backbone.block")]
        depths = tuple(len({b for s, b in blocks if s == f"block{i}"}) for i in (1, 2, 3, 4))
        sizes = [n for n, s in SEGFORMER_SPECS.items() if s.depths == depths]
        reasons += [f"an encoder of {n}" for n in sizes if SEGFORMER_SPECS[n].dims[0] == len(first)]
    return f"; this looks like {', '.join(reasons)}" if reasons else ""


def save_checkpoint(path: Path, name: str, model: SegmentationModel, card: dict[str, str]) -> None:
    """Write a network's weights atomically as safetensors.

    Args:
        path: Ends with ``.safetensors``.
        name: The network's name in the zoo.
        model: The network.
        card: Further facts for the file's metadata, such as the recipe's name.
    """
    facts = {"format": FORMAT, "model": name, "num_classes": str(model.num_classes), **card}
    stride = getattr(model, "output_stride", None)
    if stride is not None:
        facts["output_stride"] = str(stride)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_bytes(path, save(state, facts))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Turns a checkpoint of any known code base into an own file, whose card says where it is from."""

from __future__ import annotations

from pathlib import Path

from robustseg import __version__
from robustseg.errors import SettingError
from robustseg.models.checkpoints import build_model, save_checkpoint
from robustseg.models.identity import Identity, identify, is_own
from robustseg.models.reading import read_checkpoint

__all__ = ["convert_checkpoint"]


def convert_checkpoint(
    source: Path,
    target: Path,
    name: str | None = None,
    num_classes: int | None = None,
    output_stride: int | None = None,
) -> Identity:
    """Write what a checkpoint holds as an own file, which gives the same logits bit by bit.

    The card names the network with its variant (and by it the layer norms' epsilons), classes,
    output stride, rates that are not the form's, normalisation, code base, source file with its
    SHA-256, and licence.

    Args:
        source: A file or folder of any known code base.
        target: The new file; ends in ``.safetensors``.
        name: The network that is expected, see ``identify``.
        num_classes: How many classes are expected; by default whatever the file has.
        output_stride: 16 or 8, of a DeepLabv3+ whose file does not say it.

    Returns:
        What the source holds.

    Raises:
        SettingError: The target has another suffix, or exists.
        CheckpointError: The source cannot be used.
    """
    if target.suffix != ".safetensors":
        raise SettingError(f"{target}: the name of the new file must end in .safetensors")
    if target.exists():
        raise SettingError(f"{target} exists and is not overwritten: move it, or name another")
    identity = identify(read_checkpoint(source), name)
    model = build_model(identity, num_classes, output_stride)
    card = {
        "family": identity.family,
        "source": str(source).encode(errors="replace").decode(),  # paths need not be UTF-8
        "source_sha256": identity.checkpoint.sha256,
        "mean": " ".join(map(str, model.normalisation.mean)),
        "std": " ".join(map(str, model.normalisation.std)),
        "robustseg": __version__,
    }
    if identity.notice:
        card["licence"] = identity.notice
    own = identity.checkpoint.card if is_own(identity.checkpoint) else {}  # its origin goes first
    save_checkpoint(target, identity.name, model, {**card, **own})
    return identity

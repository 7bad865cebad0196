"""Says what a checkpoint of any code base holds, and gives its weights own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from robustseg.errors import CheckpointError, NameLookupError
from robustseg.models.families import FAMILIES, OWN, Family
from robustseg.models.families.naming import base_of, count_classes, has_head, interchangeable
from robustseg.models.families.prefixes import unwrapped
from robustseg.models.families.refusals import reason_against
from robustseg.models.licences import NOTICE
from robustseg.models.own import OwnSpec
from robustseg.models.reading import Checkpoint, read_checkpoint
from robustseg.models.specs import DeepLabSpec, SegFormerSpec
from robustseg.models.zoo import VARIANTS, base_name, get_spec

__all__ = [
    "FORMAT",
    "NOTICE",
    "Identity",
    "encoder_of",
    "identify",
    "identify_all",
    "is_encoder",
    "is_own",
]

FORMAT = "robustseg-1"
"""What an own file says of itself under ``format``."""


MOST_RATE = 1024
"""Larger atrous rates than this reach beyond any image, and are a mistake in the file."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint holds.

    Attributes:
        checkpoint: The file.
        family: The code base that wrote it, for people.
        name: The network, with its variant.
        num_classes: Channels of the logits; 0 if the file of a registered network does not say.
        output_stride: Of a DeepLabv3+: as the file says, else that of the variant (weights do not
            show it); None for SegFormer.
        notice: The licence that the weights carry, or empty.
        state: Own parameter name to tensor.
        dropped: What the file holds beside the network, by the file's names.
        rates: Atrous rates of the pyramid where the file says others than the form has at this
            output stride, else empty.
    """

    checkpoint: Checkpoint
    family: str
    name: str
    num_classes: int
    output_stride: int | None
    notice: str
    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    rates: tuple[int, ...] = ()


def identify(checkpoint: Checkpoint, asked: str | None = None) -> Identity:
    """Say what a checkpoint holds, and give its weights own names.

    Args:
        checkpoint: From ``read_checkpoint``.
        asked: The network that is expected. A bare name stands for each of its variants, and the
            file decides which. A name with a variant is taken at its word where the file's
            parameters mean the same in it, such as ``segformer_b0@smp`` for a file of Hugging
            Face.

    Raises:
        CheckpointError: The file holds no network of the zoo, an encoder alone, or another
            network than asked for.
        NameLookupError: No network is called ``asked``.
    """
    if asked is not None and isinstance(get_spec(asked), OwnSpec):
        return _own_network(checkpoint, asked)
    path, card = checkpoint.path, checkpoint.card
    family, state, dropped = _translate(checkpoint)
    if is_own(checkpoint):
        found = _name_on_card(checkpoint)
        if isinstance(get_spec(found), OwnSpec) and asked is None:
            return _own_network(checkpoint, found)
    else:
        found = _name_by_shape(checkpoint, family, state)
        if not has_head(state):
            raise CheckpointError(
                f"{path} is an encoder of {base_name(found)} without a head: "
                "use it as --init of a training"
            )
    name = _resolve(checkpoint, family, found, asked)
    spec = get_spec(name)
    stride: int | None = None
    rates: tuple[int, ...] = ()
    if isinstance(spec, DeepLabSpec):
        stride, rates = _grid(checkpoint, spec, card if name == card.get("model") else {})
    return Identity(
        checkpoint=checkpoint,
        family=card.get("family", family.title),
        name=name,
        num_classes=count_classes(state),
        output_stride=stride,
        notice=_notice(checkpoint, isinstance(spec, SegFormerSpec)),
        state=state,
        dropped=tuple(dropped),
        rates=rates,
    )


def _own_network(checkpoint: Checkpoint, name: str) -> Identity:
    """Take a file for what a registered network is said to be; loading it will tell."""
    card = checkpoint.card if is_own(checkpoint) else {}
    if card.get("model", name) != name:
        raise CheckpointError(f"{checkpoint.path} holds {card['model']}, not {name}")
    classes = card.get("num_classes", "")
    count = int(classes) if classes.isdecimal() else 0
    return Identity(checkpoint, OWN.title, name, count, None, "", dict(checkpoint.state), ())


def identify_all(paths: Mapping[str, Path]) -> dict[str, Identity]:
    """Read the weights of several networks.

    Args:
        paths: Name, with or without a variant, to file.

    Returns:
        The names with the variants that the files hold, in the same order.

    Raises:
        CheckpointError: A file cannot be used, or two hold the same network.
    """
    found: dict[str, Identity] = {}
    for asked, path in paths.items():
        identity = identify(read_checkpoint(path), asked)
        if identity.name in found:
            other = found[identity.name].checkpoint.path
            raise CheckpointError(f"{other} and {path} both hold {identity.name}: ask for one")
        found[identity.name] = identity
    return found


def is_encoder(checkpoint: Checkpoint) -> bool:
    """Say whether a checkpoint holds an encoder without a head.

    Raises:
        CheckpointError: The file holds no network of the zoo.
    """
    return not has_head(_translate(checkpoint)[1])


def encoder_of(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], str]:
    """Give the encoder's weights of a checkpoint, and the licence that they carry, or empty.

    Whatever else the file holds is left out: a head, or the classifier of ImageNet.

    Returns:
        Own parameter name, without ``backbone.``, to tensor; and the licence.

    Raises:
        CheckpointError: The file holds no encoder of the zoo.
    """
    family, state, _ = _translate(checkpoint)
    if not is_own(checkpoint):
        _name_by_shape(checkpoint, family, state)
    before = "backbone."
    encoder = {k.removeprefix(before): v for k, v in state.items() if k.startswith(before)}
    return encoder, _notice(checkpoint, "patch_embed1.proj.weight" in encoder)


def _notice(checkpoint: Checkpoint, segformer: bool) -> str:
    if is_own(checkpoint):
        return checkpoint.card.get("licence", "")
    return NOTICE if segformer else ""


def is_own(checkpoint: Checkpoint) -> bool:
    """Say whether a checkpoint is an own file: its card says so."""
    return checkpoint.card.get("format", "").startswith("robustseg")


def _translate(checkpoint: Checkpoint) -> tuple[Family, dict[str, Tensor], list[str]]:
    """Find the code base of a file, and give its weights own names."""
    if is_own(checkpoint):
        return OWN, dict(checkpoint.state), []
    for inner, others in unwrapped(checkpoint.state):
        for family in FAMILIES:
            if family.knows(inner):
                state, dropped = family.translate(inner)
                return family, state, [*dropped, *others]
    raise CheckpointError(f"{checkpoint.path} holds no network of the zoo{_guess(checkpoint)}")


def _name_on_card(checkpoint: Checkpoint) -> str:
    card = checkpoint.card
    if card["format"] != FORMAT:
        raise CheckpointError(
            f"{checkpoint.path} has format {card['format']!r}, this version reads {FORMAT!r}: "
            "update robustseg"
        )
    try:
        get_spec(card.get("model", ""))
    except NameLookupError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error
    return card["model"]


def _name_by_shape(checkpoint: Checkpoint, family: Family, state: Mapping[str, Tensor]) -> str:
    """Name the network and the variant of the code base, or the bare network where it has none."""
    base = base_of(state, family.variant)
    if not base:
        raise CheckpointError(f"{checkpoint.path} holds no network of the zoo{_guess(checkpoint)}")
    if "decode_head.fusion_conv.conv.weight" in state:
        return f"{base}@mmseg"  # also under the authors' names
    named = f"{base}@{family.variant}"
    return named if named in VARIANTS else base


def _guess(checkpoint: Checkpoint) -> str:
    """Say what a file likely is: by its parameters' names, else by its config, else show names."""
    for inner, _ in unwrapped(checkpoint.state):
        reason = reason_against(inner)
        if reason:
            return f": this looks like {reason}"
    kind = checkpoint.config.get("model_type") or checkpoint.config.get("_model_class")
    if kind:
        return f": its config.json says {kind}"
    return f": its {len(checkpoint.state)} parameters have names such as {min(checkpoint.state)}"


def _resolve(checkpoint: Checkpoint, family: Family, found: str, asked: str | None) -> str:
    """Choose between the name that a file has and the one that was asked for."""
    if asked in (None, found, base_name(found)):
        return found
    assert asked is not None
    unlabelled = family is OWN and not is_own(checkpoint)
    if unlabelled and base_name(asked) == base_name(found):
        return asked  # own names do not tell the variants apart: comparing the shapes will
    if "@" in asked and interchangeable(asked, found):
        return asked
    label = get_spec(found).label.partition(" @")[0]
    origin = "robustseg" if is_own(checkpoint) else family.title
    raise CheckpointError(
        f"{checkpoint.path} holds {found}, not {asked}: it is a file of {label} from {origin}"
    )


def _grid(
    checkpoint: Checkpoint, spec: DeepLabSpec, card: Mapping[str, str]
) -> tuple[int, tuple[int, ...]]:
    """Find output stride and rates in the card or the config, else take the variant's."""
    config: Mapping[str, Any] = checkpoint.config
    stride = str(config.get("encoder_output_stride") or spec.output_stride)
    stride = card.get("output_stride", stride)
    if stride not in ("8", "16"):
        raise CheckpointError(f"{checkpoint.path} has output stride {stride!r}, not 16 or 8")
    stated = config.get("decoder_atrous_rates")
    if "atrous_rates" in card:
        stated = [int(word) if word.isdecimal() else word for word in card["atrous_rates"].split()]
    rates = tuple(stated) if isinstance(stated, list) else ()
    whole = all(type(rate) is int and 0 < rate <= MOST_RATE for rate in rates)
    if rates and not (len(rates) == 3 and whole):
        raise CheckpointError(
            f"{checkpoint.path} has atrous rates {stated}: three from 1 to {MOST_RATE} are needed"
        )
    return int(stride), () if rates == spec.form.rates[stride == "8"] else rates

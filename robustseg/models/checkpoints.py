"""Checkpoints: what they hold, loading and saving.

Own checkpoints are safetensors files with a card in their metadata. Files of other code bases are
read as ``identity`` and ``families`` describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from robustseg.errors import CheckpointError
from robustseg.files import write_bytes
from robustseg.models.base import SegmentationModel
from robustseg.models.build import create_model
from robustseg.models.families.naming import interchangeable
from robustseg.models.families.prefixes import unwrapped
from robustseg.models.families.refusals import DATASETS, reason_against
from robustseg.models.identity import FORMAT, Identity, encoder_of, identify, is_encoder
from robustseg.models.own import OwnSpec
from robustseg.models.rates import pyramid_rates, set_pyramid_rates
from robustseg.models.reading import Checkpoint, read_checkpoint
from robustseg.models.specs import DeepLabSpec
from robustseg.models.zoo import get_spec

__all__ = [
    "Checkpoint",
    "build_model",
    "initialise",
    "load_encoder",
    "load_model",
    "read_checkpoint",
    "save_checkpoint",
]


def load_model(
    source: Path | str | Checkpoint,
    name: str | None = None,
    num_classes: int | None = None,
    output_stride: int | None = None,
) -> SegmentationModel:
    """Build the network that a checkpoint of any known code base holds, with its weights.

    Args:
        source: A path, or what ``read_checkpoint`` gave for it.
        name: The network that is expected, see ``identify``; by default whatever the file holds.
        num_classes: How many classes are expected; by default whatever the file has.
        output_stride: 16 or 8, of a DeepLabv3+ whose file does not say it; by default that of the
            variant.

    Returns:
        The network in evaluation mode, on the CPU; its ``name`` has the variant.

    Raises:
        CheckpointError: The file holds another network or other classes; the message says which
            parameters differ and the likely reason.
        NameLookupError: No network is called ``name``.
        SettingError: The output stride is neither 16 nor 8.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(Path(source))
    return build_model(identify(checkpoint, name), num_classes, output_stride)


def build_model(
    identity: Identity, num_classes: int | None = None, output_stride: int | None = None
) -> SegmentationModel:
    """Build the network that a checkpoint was found to hold; see ``load_model``."""
    if num_classes is not None:
        _check_classes(identity, num_classes)
    stride = identity.output_stride if output_stride is None else output_stride
    # Drawing random weights takes far longer than reading those that replace them. A registered
    # network may hold more than its checkpoints do, and is built in full.
    own = isinstance(get_spec(identity.name), OwnSpec)
    with torch.random.fork_rng(devices=[]), nullcontext() if own else torch.device("meta"):
        model = create_model(identity.name, identity.num_classes or num_classes or 19, stride)
    if identity.rates:
        set_pyramid_rates(model, identity.rates)
    _fill(model, identity.state, identity.checkpoint, identity.name)
    return model.eval()


def initialise(model: SegmentationModel, checkpoint: Checkpoint) -> str:
    """Start a network from a checkpoint: all of it, or its encoder where the file is one.

    The network stays what it is: a file of another variant serves where its parameters mean the
    same in this one.

    Args:
        model: A named network of the zoo.
        checkpoint: From ``read_checkpoint``.

    Returns:
        The licence that the weights carry, or empty.

    Raises:
        CheckpointError: The file holds another network, other classes, or a pyramid of other rates.
    """
    registered = isinstance(get_spec(model.name), OwnSpec)
    if not registered and is_encoder(checkpoint):
        return load_encoder(model, checkpoint)
    identity = identify(checkpoint, model.name)
    if not interchangeable(identity.name, model.name):
        raise CheckpointError(
            f"{checkpoint.path} holds {identity.name}, whose weights do not fit {model.name}: "
            f"build {identity.name}"
        )
    if identity.rates:
        raise CheckpointError(
            f"{checkpoint.path} was trained with atrous rates {[*identity.rates]}, "
            f"{model.name} has {[*pyramid_rates(model)]}"
        )
    _check_classes(identity, model.num_classes)
    _fill(model, identity.state, checkpoint, model.name)
    return identity.notice


def load_encoder(model: SegmentationModel, checkpoint: Checkpoint) -> str:
    """Give a network's encoder the weights of a checkpoint; its head stays as it is.

    Args:
        model: A network of the zoo.
        checkpoint: Of a whole network or of an encoder, such as those trained on ImageNet (section
            4.1 of the SegFormer paper starts from them).

    Returns:
        The licence that the weights carry, or empty.

    Raises:
        CheckpointError: The file holds another encoder.
    """
    state, licence = encoder_of(checkpoint)
    backbone = model.get_submodule("backbone")
    _fill(backbone, state, checkpoint, f"the encoder of {model.name}")
    return licence


def _check_classes(identity: Identity, wanted: int) -> None:
    found = identity.num_classes
    if found not in (0, wanted):
        data = f": {DATASETS[found]}" if found in DATASETS else ""
        raise CheckpointError(
            f"{identity.checkpoint.path} holds {identity.name} of {found} classes{data}; "
            f"{wanted} are needed"
        )


def _fill(
    module: nn.Module, state: Mapping[str, Tensor], checkpoint: Checkpoint, name: str
) -> None:
    """Load weights strictly, as copies; a module without memory of its own is given some."""
    wanted = module.state_dict()
    # a registered network's names are still those of the file, which may have a wrapper's prefix
    states = [_with_counters(wanted, inner) for inner, others in unwrapped(state) if not others]
    state = next((s for s in states if not _mismatch(wanted, s)), states[0])
    problem = _mismatch(wanted, state)
    if problem:
        kept = {k for inner, _ in unwrapped(checkpoint.state) for k in inner}
        odd = {k: v for k, v in state.items() if k in kept and k not in wanted}
        reason = reason_against(odd)
        reason = f"; this looks like {reason}" if reason else ""
        raise CheckpointError(f"{checkpoint.path} does not fit {name}: {problem}{reason}")
    copies = {k: v.to(wanted[k].dtype, copy=True).contiguous() for k, v in state.items()}
    module.load_state_dict(copies, assign=any(v.is_meta for v in wanted.values()))


def _with_counters(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add batch norm's counters, which files of early versions of torch do not have."""
    counters = [k for k in wanted if k.endswith(".num_batches_tracked") and k not in state]
    return {**state, **{k: torch.zeros((), dtype=torch.int64) for k in counters}}


def _mismatch(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say in one clause how two sets of parameters differ; empty if they do not."""
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


def save_checkpoint(path: Path, name: str, model: SegmentationModel, card: dict[str, str]) -> None:
    """Write a network's weights atomically as safetensors.

    Args:
        path: Ends with ``.safetensors``.
        name: The network's name in the zoo.
        model: The network.
        card: Further facts for the file's metadata, such as the recipe's name.
    """
    facts = {**card, "format": FORMAT, "model": name, "num_classes": str(model.num_classes)}
    stride = getattr(model, "output_stride", None)
    if stride is not None:
        facts["output_stride"] = str(stride)
    # weights do not show the rates: those that are not the form's would be lost
    facts.pop("atrous_rates", None)
    spec, rates = get_spec(name), pyramid_rates(model)
    if isinstance(spec, DeepLabSpec) and rates and rates != spec.form.rates[stride == 8]:
        facts["atrous_rates"] = " ".join(map(str, rates))
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_bytes(path, save(state, facts))

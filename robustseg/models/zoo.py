"""The networks by name, as data: importing this module loads no torch.

A bare name such as ``segformer_b0`` is the network as its authors wrote it, which is what training
builds. A name with ``@`` is the same network as another code base writes it: with other epsilons,
another head, another output stride. Checkpoints of that code base belong to it.

SegFormer sizes are those of the released code and checkpoints (embedding dimensions of Table 6;
MLP ratio 4 everywhere and depths 3, 4, 6, 3 and 3, 4, 18, 3 for B2 and B3, where the table prints
other values that do not give the published parameter counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from robustseg.models.own import OwnSpec, own_models
from robustseg.models.specs import (
    IMAGENET,
    MMSEG_FORM,
    SMP_FORM,
    UNIT,
    VAINF_FORM,
    DeepLabSpec,
    Epsilons,
    SegFormerSpec,
)
from robustseg.names import select, unknown_name

__all__ = [
    "DEEPLAB_SPECS",
    "FAMILIES",
    "MODELS",
    "SEGFORMER_SPECS",
    "SUFFIXES",
    "VARIANTS",
    "base_name",
    "find_checkpoints",
    "get_spec",
    "known_models",
    "select_models",
]


SEGFORMER_SPECS: dict[str, SegFormerSpec] = {
    "segformer_b0": SegFormerSpec("SegFormer-B0", (32, 64, 160, 256), (2, 2, 2, 2), 256),
    "segformer_b1": SegFormerSpec("SegFormer-B1", (64, 128, 320, 512), (2, 2, 2, 2), 256),
    "segformer_b2": SegFormerSpec("SegFormer-B2", (64, 128, 320, 512), (3, 4, 6, 3), 768),
    "segformer_b3": SegFormerSpec("SegFormer-B3", (64, 128, 320, 512), (3, 4, 18, 3), 768),
    "segformer_b4": SegFormerSpec("SegFormer-B4", (64, 128, 320, 512), (3, 8, 27, 3), 768),
    "segformer_b5": SegFormerSpec("SegFormer-B5", (64, 128, 320, 512), (3, 6, 40, 3), 768),
}

DEEPLAB_SPECS: dict[str, DeepLabSpec] = {
    "dlv3p_mbv2": DeepLabSpec("DLv3+ (MBv2)", "mobilenetv2_100"),
    "dlv3p_r50": DeepLabSpec("DLv3+ (R50)", "resnet50"),
    "dlv3p_r101": DeepLabSpec("DLv3+ (R101)", "resnet101"),
    "dlv3p_x41": DeepLabSpec("DLv3+ (X41)", "xception41", UNIT),
    "dlv3p_x65": DeepLabSpec("DLv3+ (X65)", "xception65", UNIT),
    "dlv3p_x71": DeepLabSpec("DLv3+ (X71)", "xception71", UNIT),
}

MODELS: tuple[str, ...] = (*SEGFORMER_SPECS, *DEEPLAB_SPECS)
"""The twelve names, in the order of lists and reports."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "segformer": tuple(SEGFORMER_SPECS),
    "deeplabv3plus": tuple(DEEPLAB_SPECS),
}
"""Group names that stand for several models on the command line."""

SUFFIXES = (".safetensors", ".pth", ".pt")
"""Of files that hold weights."""


def _variants() -> dict[str, SegFormerSpec | DeepLabSpec]:
    """Write every network as the other code bases write it."""
    specs: dict[str, SegFormerSpec | DeepLabSpec] = {}
    for name, spec in SEGFORMER_SPECS.items():
        label = spec.label
        fifth, sixth = Epsilons(1e-5, 1e-5, 1e-5, 1e-5), Epsilons(1e-6, 1e-6, 1e-6, 1e-6)
        specs[f"{name}@hf"] = replace(spec, label=f"{label} @hf", epsilons=fifth)
        specs[f"{name}@mmseg"] = replace(
            spec, label=f"{label} @mmseg", head="conv", decoder_dim=256, epsilons=sixth
        )
        specs[f"{name}@smp"] = replace(spec, label=f"{label} @smp", align_corners=True)

    def mmseg(name: str, backbone: str, label: str, stride: int, dilation: str) -> None:
        specs[f"{name}@mmseg"] = DeepLabSpec(
            f"DLv3+ ({label}) @mmseg",
            backbone,
            IMAGENET,
            MMSEG_FORM,
            output_stride=stride,  # type: ignore[arg-type]
            dilation=dilation,  # type: ignore[arg-type]
        )

    mmseg("dlv3p_mbv2", "mobilenetv2_100", "MBv2", 8, "first_block")
    mmseg("dlv3p_r50", "resnet50c", "R50", 8, "plain")
    mmseg("dlv3p_r101", "resnet101c", "R101", 8, "plain")
    mmseg("dlv3p_r101_os16", "resnet101c", "R101 OS16", 16, "multi_grid")
    mmseg("dlv3p_r50b", "resnet50", "R50b", 8, "plain")
    mmseg("dlv3p_r101b", "resnet101", "R101b", 8, "plain")
    for name, deeplab in DEEPLAB_SPECS.items():
        specs[f"{name}@smp"] = replace(deeplab, label=f"{deeplab.label} @smp", form=SMP_FORM)
    for name in ("dlv3p_mbv2", "dlv3p_r50", "dlv3p_r101"):
        specs[f"{name}@vainf"] = replace(
            DEEPLAB_SPECS[name],
            label=f"{DEEPLAB_SPECS[name].label} @vainf",
            form=VAINF_FORM,
            border=name == "dlv3p_mbv2",
        )
    return specs


VARIANTS: dict[str, SegFormerSpec | DeepLabSpec] = _variants()
"""The networks as other code bases write them, by name ``<network>@<code base>``."""


def base_name(name: str) -> str:
    """Give the name without its variant: ``segformer_b5`` of ``segformer_b5@mmseg``."""
    return name.partition("@")[0]


def known_models() -> list[str]:
    """List every name: the twelve, their variants, and those of users and other packages.

    Raises:
        PluginError: A plugin fails to import, or offers a name that is taken or not allowed.
    """
    return [*MODELS, *VARIANTS, *own_models()]


def find_checkpoints(folder: Path) -> list[str]:
    """List the networks whose weights lie in ``folder`` as ``<name>.*``, in the zoo's order."""
    known = known_models()
    return [n for n in known if any((folder / f"{n}{s}").is_file() for s in SUFFIXES)]


def get_spec(name: str) -> SegFormerSpec | DeepLabSpec | OwnSpec:
    """Look a network up by its name, with or without a variant.

    Raises:
        NameLookupError: No network has this name; the message suggests the nearest.
        PluginError: A plugin fails to import.
    """
    spec = SEGFORMER_SPECS.get(name) or DEEPLAB_SPECS.get(name) or VARIANTS.get(name)
    if spec is not None:
        return spec
    # Only now: a broken package must not stand in the way of the zoo.
    own = own_models().get(name)
    if own is None:
        raise unknown_name(name, known_models(), "model")
    return own


def select_models(wanted: Sequence[str]) -> list[str]:
    """Resolve names, families, patterns such as ``segformer_*`` and ``all`` to model names.

    ``all``, families and patterns without ``@`` stand for the twelve and registered networks, not
    for the variants; ``all`` and families for the twelve alone.

    Raises:
        NameLookupError: A name or pattern matches no network.
        PluginError: A plugin fails to import.
    """
    chosen: list[str] = []
    for name in wanted:
        if name in ("all", *FAMILIES, *MODELS):
            members = list(FAMILIES.get(name, MODELS if name == "all" else (name,)))
        else:
            known = known_models()
            plain = [n for n in known if "@" not in n]
            members = select([name], known if "@" in name else plain, "model", FAMILIES)
        chosen += [m for m in members if m not in chosen]
    return chosen

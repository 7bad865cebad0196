"""Networks beyond the zoo: those that a user or another package registers.

A module registers a network with the decorator ``register_model``, a package through the entry
point group ``robustseg.models``. Names are listed without loading torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from robustseg.errors import PluginError
from robustseg.models.specs import IMAGENET, Normalisation
from robustseg.names import is_plain_name
from robustseg.plugins import import_named_plugins, installed_points, load_point

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OwnSpec", "own_models", "register_model"]

Builder = Callable[[int], "nn.Module"]
_Builder = TypeVar("_Builder", bound=Callable[[int], Any])

_ENTRY_POINTS = "robustseg.models"


@dataclass(frozen=True)
class OwnSpec:
    """A network that somebody registered.

    Attributes:
        name: As in ``--models``, in checkpoints' names and in results.
        label: Name in tables.
        source: Where it comes from, such as ``my_models.tiny`` or ``seg-zoo 1.2``.
        load: Gives the function that builds it, importing its module if need be.
        normalisation: Of the input.
    """

    name: str
    label: str
    source: str
    load: Callable[[], Builder]
    normalisation: Normalisation = IMAGENET


_registered: dict[str, OwnSpec] = {}


def register_model(
    name: str | None = None,
    label: str | None = None,
    mean: tuple[float, float, float] = IMAGENET.mean,
    std: tuple[float, float, float] = IMAGENET.std,
) -> Callable[[_Builder], _Builder]:
    """Register a function that builds a network; used as a decorator.

    The function takes the number of classes and returns a ``torch.nn.Module`` with random weights.
    Called with a normalised float input (N, 3, H, W), the module gives logits (N, classes, h, w) of
    any resolution; they are resized to input size. A ``SegmentationModel`` may be returned too: it
    says itself how it resizes, and has stages for receptive fields.

    Args:
        name: Small letters, digits and underscores; the function's own name if left out.
        label: Name in tables; the name if left out.
        mean: Of the input's normalisation, RGB on a 0-255 scale.
        std: Likewise.

    Returns:
        The decorator; it gives the function back as it is.

    Raises:
        PluginError: The name is taken or not allowed.

    Examples:
        >>> @register_model(label="Linear")
        ... def linear(num_classes):
        ...     from torch import nn
        ...     return nn.Conv2d(3, num_classes, 1)
        >>> own_models()["linear"].label
        'Linear'
    """

    def add(function: _Builder) -> _Builder:
        known = name or function.__name__
        source = f"{function.__module__}.{function.__qualname__}"
        spec = OwnSpec(known, label or known, source, lambda: function, Normalisation(mean, std))
        _check(spec)
        other = _registered.get(known)
        if other is not None and other.source != source:
            raise _taken(spec, other.source)
        _registered[known] = spec
        return function

    return add


def own_models() -> dict[str, OwnSpec]:
    """List the networks beyond the zoo: those of installed packages, then those decorated.

    Returns:
        Name to what is known of it.

    Raises:
        PluginError: A plugin fails to import, or offers a name that is taken or not allowed.
    """
    import_named_plugins()
    specs = {spec.name: spec for spec in _installed()}
    for spec in _registered.values():
        known = specs.get(spec.name)
        # A function may be decorated and have an entry point besides; the decorator knows more.
        if known is not None and known.load() is not spec.load():
            raise _taken(spec, known.source)
        specs[spec.name] = spec
    return specs


@cache
def _installed() -> tuple[OwnSpec, ...]:
    specs = []
    for point, source in installed_points(_ENTRY_POINTS):

        def load(point: Any = point, source: str = source) -> Builder:  # noqa: ANN401
            return cast("Builder", load_point(point, "model", source))

        spec = OwnSpec(point.name, point.name, source, load)
        _check(spec)
        specs.append(spec)
    return tuple(sorted(specs, key=lambda spec: spec.name))


def _check(spec: OwnSpec) -> None:
    from robustseg.models.zoo import FAMILIES, MODELS  # it lists these specs too

    if not is_plain_name(spec.name) or spec.name in ("all", *FAMILIES):
        raise PluginError(
            f"model {spec.name!r} of {spec.source}: this name is not allowed: use small letters, "
            f"digits and underscores, and none of all, {', '.join(FAMILIES)}"
        )
    if spec.name in MODELS:
        raise _taken(spec, "robustseg")


def _taken(spec: OwnSpec, owner: str) -> PluginError:
    return PluginError(
        f"model {spec.name!r} of {spec.source}: the name is taken by {owner}: choose another"
    )

"""The corruptions beyond the sixteen: robustseg's further ones and those of other packages.

A package offers a corruption through the entry-point group ``robustseg.corruptions``, a module
with the decorator ``register``. Names are listed without importing either numpy or the package
behind an entry point.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from robustseg.corruptions.severity import CORRUPTIONS, DEFINITION, EXTRA, GROUPS
from robustseg.errors import PluginError
from robustseg.names import is_plain_name, unknown_name
from robustseg.plugins import import_named_plugins, installed_points, load_point

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from robustseg.corruptions.registry import CorruptionFunction

__all__ = [
    "Entry",
    "corruption_groups",
    "find_entry",
    "further_entries",
    "origin_of",
    "register",
]

_Function = TypeVar("_Function", bound="CorruptionFunction")

_ENTRY_POINTS = "robustseg.corruptions"
_CUSTOM = "custom"
_RESERVED = ("all", "clean", "extra", *GROUPS)
_HOMES = dict.fromkeys(EXTRA, "extra") | {"frost_procedural": "ice"}
_ORIGINS = dict.fromkeys(EXTRA, DEFINITION) | {"frost_procedural": "robustseg ice 1"}


@dataclass(frozen=True)
class Entry:
    """A corruption beyond the sixteen.

    Attributes:
        name: As in ``--corruptions``, in folders and in results.
        group: Name for several corruptions at once.
        source: What it belongs to, such as ``haze-tools 1.2``.
        load: Gives the function, importing its module if need be.
        definition: What the author calls this version of it; may be empty.
    """

    name: str
    group: str
    source: str
    load: Callable[[], CorruptionFunction]
    definition: str = ""


_registered: dict[str, Entry] = {}


def register(
    name: str | None = None, group: str = _CUSTOM, definition: str = ""
) -> Callable[[_Function], _Function]:
    """Register a function as a corruption; used as a decorator.

    The function takes ``(image, severity, rng)``: uint8 RGB (H, W, 3), an integer 1-5, and a
    ``numpy.random.RandomState`` that all its chance must come from. It returns an image of the same
    type and shape.

    Args:
        name: Small letters, digits and underscores; the function's own name if left out.
        group: For ``--corruptions GROUP``.
        definition: A version of your own making, stored with results: results of another one are
            computed anew. Without it that is done whenever the source file changes.

    Returns:
        The decorator; it gives the function back as it is.

    Raises:
        PluginError: The name or group is taken or not allowed.

    Examples:
        >>> @register(definition="1")
        ... def negative(image, severity, rng):
        ...     return 255 - image
        >>> find_entry("negative").group
        'custom'
    """

    def add(function: _Function) -> _Function:
        source = f"{function.__module__}.{function.__qualname__}"
        entry = Entry(name or function.__name__, group, source, lambda: function, definition)
        _check(entry)
        other = _registered.get(entry.name)
        if other is not None and other.source != source:
            raise _taken(entry, other.source)
        _registered[entry.name] = entry
        return function

    return add


def further_entries() -> dict[str, Entry]:
    """List all corruptions beyond the sixteen, robustseg's own first.

    Returns:
        Name to entry.

    Raises:
        PluginError: A plugin fails to import, or offers a name that is taken or not allowed.
    """
    import_named_plugins()
    entries = {name: _own_entry(name) for name in EXTRA}
    for entry in _installed_entries():
        if entry.name in entries:
            raise _taken(entry, entries[entry.name].source)
        entries[entry.name] = entry
    for entry in list(_registered.values()):
        known = entries.setdefault(entry.name, entry)
        # A function may be decorated and have an entry point besides, which then counts.
        if known is not entry and not _is_same(known, entry):
            raise _taken(entry, known.source)
    for entry in entries.values():
        if entry.group in entries:
            raise PluginError(
                f"corruption {entry.group!r} has the name of a group, that of {entry.name!r} from "
                f"{entry.source}: rename one of them"
            )
    return entries


def find_entry(name: str) -> Entry:
    """Look up a corruption beyond the sixteen.

    Raises:
        NameLookupError: There is none of this name; the message suggests near ones.
        PluginError: As in ``further_entries``.
    """
    entries = further_entries()
    if name not in entries:
        raise unknown_name(name, [*CORRUPTIONS, *entries], "corruption")
    return entries[name]


def corruption_groups() -> dict[str, tuple[str, ...]]:
    """List the groups: those of the sixteen, ``all`` for the sixteen, and those beyond.

    Returns:
        Group to its members.

    Raises:
        PluginError: As in ``further_entries``.
    """
    groups = {**GROUPS, "all": CORRUPTIONS}
    for entry in further_entries().values():
        groups[entry.group] = (*groups.get(entry.group, ()), entry.name)
    return groups


def origin_of(name: str) -> str:
    """Say where the function of a corruption comes from, in words that change when it does.

    Args:
        name: Of any corruption.

    Returns:
        Empty for the sixteen, whose definition every protocol states.

    Raises:
        NameLookupError: There is none of this name.
        PluginError: Its module cannot be imported.
    """
    if name in CORRUPTIONS:
        return ""
    if name in EXTRA:
        return _ORIGINS[name]
    entry = find_entry(name)
    function = entry.load()  # only a decorator knows a definition
    decorated = _registered.get(name)
    definition = decorated.definition if decorated else ""
    if entry is decorated:
        return f"{entry.source}, {definition or _source_digest(function)}"
    return f"{entry.source}, {definition}" if definition else entry.source


def _own_entry(name: str) -> Entry:
    module = f"robustseg.corruptions.{_HOMES[name]}"
    return Entry(name, "extra", "robustseg", partial(_function_of, module, name))


def _function_of(module: str, name: str) -> CorruptionFunction:
    function: CorruptionFunction = getattr(importlib.import_module(module), name)
    return function


@cache
def _installed_entries() -> tuple[Entry, ...]:
    """Read the entry points of all installed packages; once, as it opens many files."""
    entries = []
    for point, source in installed_points(_ENTRY_POINTS):
        entry = Entry(point.name, _CUSTOM, source, partial(_load_entry_point, point, source))
        _check(entry)
        entries.append(entry)
    return tuple(sorted(entries, key=lambda entry: entry.name))


def _load_entry_point(point: EntryPoint, source: str) -> CorruptionFunction:
    return cast("CorruptionFunction", load_point(point, "corruption", source))


def _is_same(installed: Entry, decorated: Entry) -> bool:
    return installed.name not in EXTRA and installed.load() is decorated.load()


def _check(entry: Entry) -> None:
    what = f"corruption {entry.name!r} of {entry.source}"
    if not is_plain_name(entry.name) or entry.name in (*_RESERVED, _CUSTOM):
        raise PluginError(
            f"{what}: this name is not allowed: use small letters, digits and underscores, and "
            "none of " + ", ".join((*_RESERVED, _CUSTOM))
        )
    if entry.name in (*CORRUPTIONS, *EXTRA):
        raise _taken(entry, "robustseg")
    if not is_plain_name(entry.group) or entry.group in (*_RESERVED, *CORRUPTIONS, *EXTRA):
        raise PluginError(
            f"{what}: the group {entry.group!r} is not allowed: use small letters, digits and "
            "underscores, and no name of robustseg's own"
        )


def _taken(entry: Entry, owner: str) -> PluginError:
    return PluginError(
        f"corruption {entry.name!r} of {entry.source}: the name is taken by {owner}: choose another"
    )


def _source_digest(function: CorruptionFunction) -> str:
    """Fingerprint the file that a function was defined in."""
    try:
        path = inspect.getsourcefile(function)
        content = Path(path or "").read_bytes()
    except (OSError, TypeError):  # typed in at a prompt, or compiled
        return "of unknown version"
    return f"source {hashlib.sha256(content).hexdigest()[:12]}"

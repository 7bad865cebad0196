"""Choosing from a list of names: exact names, groups, shell patterns, ``all``, and suggestions."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence

from robustseg.errors import NameLookupError

__all__ = ["is_plain_name", "select", "unknown_name"]


def is_plain_name(text: str) -> bool:
    """Say whether a text is small letters, digits and underscores, a letter first.

    Examples:
        >>> is_plain_name("frost_2"), is_plain_name("../frost")
        (True, False)
    """
    return re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None


def unknown_name(name: str, known: Sequence[str], kind: str) -> NameLookupError:
    """Make the error for a name that is not in a list, with the nearest names as suggestion.

    Args:
        name: What the user wrote.
        known: The names that exist.
        kind: What the names stand for, singular: ``"model"``, ``"corruption"``.

    Returns:
        The error, to be raised by the caller.
    """
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return NameLookupError(f"unknown {kind} {name!r}: {hint}")


def select(
    wanted: Sequence[str],
    known: Sequence[str],
    kind: str,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Resolve names, group names, shell patterns and ``all`` to a list of known names.

    Args:
        wanted: What the user wrote, such as ``["noise", "snow"]`` or ``["segformer_*"]``.
        known: All names, in their canonical order.
        kind: What the names stand for, singular; used in the error.
        groups: Group name to its members; may give ``all`` another meaning than all of ``known``.

    Returns:
        Known names without repetition: in the order asked for; members of a pattern or of a
        group in the order of ``known``.

    Raises:
        NameLookupError: A name, group or pattern matches nothing.

    Examples:
        >>> select(["b*"], ["fog", "brightness"], "corruption")
        ['brightness']
    """
    groups = groups or {}
    chosen: list[str] = []
    for name in wanted:
        if name in groups:
            members = [k for k in known if k in groups[name]]
        elif name == "all":
            members = list(known)
        else:
            members = [k for k in known if fnmatch.fnmatchcase(k, name)]
        if not members:
            raise unknown_name(name, [*known, *groups], kind)
        chosen.extend(m for m in members if m not in chosen)
    return chosen

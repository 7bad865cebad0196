"""Where a network's name finds its weights.

As given by ``--checkpoint name=path``, for the name or a variant of it, else
``./checkpoints/<name>.*``, else the published variant that the name stands for:
``./checkpoints/<variant>.*``, the cache, or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustseg.errors import CheckpointError
from robustseg.models.fetch import Access
from robustseg.models.licences import LICENCES
from robustseg.models.published import (
    Published,
    default_variant,
    implied,
    published_weights,
)
from robustseg.models.zoo import SUFFIXES, base_name

__all__ = ["Found", "announce", "find_all", "find_checkpoint"]


def find_checkpoint(name: str, given: Mapping[str, Path], folder: Path) -> Path | None:
    """Find a network's weights among what the user has: as given, else ``<folder>/<name>.*``.

    Args:
        name: A name of the zoo.
        given: Name to path, from ``--checkpoint name=path``; also of a folder that
            ``save_pretrained`` wrote.
        folder: Where files named after networks lie, usually ``./checkpoints``.

    Returns:
        The path, or None if there is none.

    Raises:
        CheckpointError: What is given does not exist, or there are several.
    """
    if name in given:
        if not given[name].exists():
            raise CheckpointError(f"checkpoint of {name} not found: {given[name]}")
        return given[name]
    found = [p for suffix in SUFFIXES if (p := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        listed = " and ".join(str(p) for p in found)
        raise CheckpointError(f"{name} has {listed}: say which with --checkpoint {name}=PATH")
    return found[0] if found else None


@dataclass(frozen=True)
class Found:
    """The weights of several networks.

    Attributes:
        paths: The names, those of published weights with their variant, to files.
        published: Those that come from whoever published them, here or not: what stands under
            their names in the user's own folder may be of anybody.
        absent: Those of them that are not here, where fetching was off.
    """

    paths: dict[str, Path]
    published: tuple[Published, ...]
    absent: tuple[Published, ...]


def find_all(
    names: Sequence[str],
    given: Mapping[str, Path],
    folder: Path,
    access: Access,
    fetching: bool = True,
) -> Found:
    """Find the weights of several networks, fetching published ones where that is allowed.

    Nothing is fetched before it is clear that all of them have weights and that the licences of
    those to be fetched are accepted. Which variant a name stands for is said.

    Args:
        names: Names of the zoo.
        given: Name to path, from ``--checkpoint name=path``. A bare name that is asked for takes
            what is given for one of its variants.
        folder: Where files named after networks lie, usually ``./checkpoints``.
        access: What fetching may do.
        fetching: Whether to fetch; otherwise what would be is said and left out, and so is a
            licence that nobody accepted yet.

    Raises:
        CheckpointError: Some have no weights, those cannot be fetched, or there are several.
    """
    plan: dict[str, Path | Published] = {}
    lines, lost = [], []
    for name in names:
        at_hand, variant = _at_hand(name, names, given, folder), default_variant(name)
        if at_hand is not None:
            called, plan[called] = at_hand
            if called != name:
                lines.append(f"{name} -> {called}: {plan[called]}, {implied(called)}")
        elif variant is not None:
            plan[variant] = row = published_weights(variant)
            lines.append(announce(name, row))
        else:
            lost.append(name)
    if lost:
        raise _nothing_for(lost, folder)
    rows = tuple(row for row in plan.values() if isinstance(row, Published))
    cached = {row.name: access.cached(row) for row in rows}
    absent = tuple(row for row in rows if cached[row.name] is None)
    access.reach(absent, folder)
    if fetching:
        access.consent.require(absent)
    for line in lines:
        access.console.say(line)
    if not fetching:
        _say_absent(absent, access)
        here = {name: cached.get(name, path) for name, path in plan.items()}
        paths = {name: path for name, path in here.items() if isinstance(path, Path)}
        return Found(paths, rows, absent)
    paths = {
        name: access.fetch(found, folder) if isinstance(found, Published) else found
        for name, found in plan.items()
    }
    return Found(paths, rows, ())


def _at_hand(
    name: str, names: Sequence[str], given: Mapping[str, Path], folder: Path
) -> tuple[str, Path] | None:
    """Find what the user has under a name, else under the variant that it stands for.

    What is given for a variant that nobody asked for by name is meant for the bare name, and goes
    before what lies in the folder.
    """
    variants = [v for v in given if v not in names and base_name(v) == name]
    meant = [name, *variants] if name in given else variants
    if len(meant) > 1:
        raise CheckpointError(
            f"--checkpoint gives {' and '.join(meant)}, but {name} is asked for once: "
            f"ask for {' and '.join(meant)}"
        )
    for candidate in (*variants, name, default_variant(name)):
        path = find_checkpoint(candidate, given, folder) if candidate else None
        if candidate and path:
            return candidate, path
    return None


def _say_absent(absent: Sequence[Published], access: Access) -> None:
    """Say of a dry run what would be fetched, and what would stand in the way."""
    for row in absent:
        why = access.altered(row) or "not here yet"
        access.console.say(f"{row.name}: {why}, would come from {row.page}")
    for line in access.consent.outlook(absent):
        access.console.say(line)


def announce(name: str, row: Published) -> str:
    """Say in one line which published weights a name stands for, and what that implies."""
    asked = f"{name} -> {row.name}" if name != row.name else name
    return (
        f"{asked}: {implied(row.name)}, tested {row.tested}, published mIoU {row.miou}, "
        f"{LICENCES[row.licence].title}"
    )


def _nothing_for(names: Sequence[str], folder: Path) -> CheckpointError:
    """Say that networks have no weights, and what to do."""
    first = names[0]
    where = f"{folder / first}.safetensors, .pth and .pt"
    train = (
        f", or train with 'robustseg train --model {first}'" if base_name(first) == first else ""
    )
    others = f" ({', '.join(names[1:])} neither)" if names[1:] else ""
    return CheckpointError(
        f"no weights for {first}{others}: looked for {where}, and nobody published any that can "
        f"be read: give --checkpoint {first}=PATH{train}"
    )

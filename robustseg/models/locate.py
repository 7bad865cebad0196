"""Where a network's name finds its weights.

As given by ``--checkpoint name=path``, else ``./checkpoints/<name>.*``, else the published variant
that the name stands for: ``./checkpoints/<variant>.*``, the cache, or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

__all__ = ["announce", "find_all", "find_checkpoint"]


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


def find_all(
    names: Sequence[str],
    given: Mapping[str, Path],
    folder: Path,
    access: Access,
    fetching: bool = True,
) -> dict[str, Path]:
    """Find the weights of several networks, fetching published ones where that is allowed.

    Nothing is fetched before it is clear that all of them have weights and that the licences of
    those to be fetched are accepted. Which published variant a name stands for is said.

    Args:
        names: Names of the zoo.
        given: Name to path, from ``--checkpoint name=path``.
        folder: Where files named after networks lie, usually ``./checkpoints``.
        access: What fetching may do.
        fetching: Whether to fetch; otherwise networks whose weights would be are left out.

    Returns:
        The names, those of published weights with their variant, to files.

    Raises:
        CheckpointError: Some have no weights, or those cannot be fetched.
    """
    plan: dict[str, Path | Published] = {}
    lines, lost = [], []
    for name in names:
        found = find_checkpoint(name, given, folder)
        variant = default_variant(name)
        if found is not None:
            plan[name] = found
        elif variant is not None:
            plan[variant] = _published(variant, given, folder, access)
            lines.append(announce(name, published_weights(variant)))
        else:
            lost.append(name)
    if lost:
        raise _nothing_for(lost, folder)
    wanted = [row for row in plan.values() if isinstance(row, Published)]
    if fetching:
        access.allow(wanted, folder)
    for line in lines:
        access.console.say(line)
    if not fetching:
        for row in wanted:
            access.console.say(f"{row.name}: not here yet, would come from {row.page}")
        return {name: path for name, path in plan.items() if isinstance(path, Path)}
    return {
        name: access.fetch(found, folder) if isinstance(found, Published) else found
        for name, found in plan.items()
    }


def _published(
    variant: str, given: Mapping[str, Path], folder: Path, access: Access
) -> Path | Published:
    """Find the file of published weights, or give the row to fetch."""
    row = published_weights(variant)
    return find_checkpoint(variant, given, folder) or access.cached(row) or row


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

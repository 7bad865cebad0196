"""The commands that notes under a table advise."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from robustseg.models.cache import cache_folder, hub_folder
from robustseg.models.published import default_variant
from robustseg.models.zoo import SUFFIXES
from robustseg.results import ModelInfo

__all__ = ["evaluate_command"]

CHECKPOINTS = Path("checkpoints")
"""Where ``evaluate`` looks for files that are named after networks."""


def evaluate_command(models: Iterable[ModelInfo]) -> str:
    """Write the command that evaluates the network of a row further, with the same weights.

    Options of the protocol, such as ``--root`` and ``--inference``, are not repeated.

    Args:
        models: The network as it stands in the row's results; these may name several paths of one
            file, which was moved. One is enough.

    Returns:
        The command, quoted for a shell. ``--checkpoint`` is left out where the name alone finds the
        weights: in ``./checkpoints``, or among those that were fetched.
    """
    known = list(dict.fromkeys(models))
    words = ["robustseg", "evaluate", "--models", known[0].name]
    if not any(_found_by_name(model) for model in known):
        words += ["--checkpoint", f"{known[0].name}={known[0].origin}"]
    return shlex.join(words)


def _found_by_name(model: ModelInfo) -> bool:
    path = Path(model.origin)
    if path.parent.absolute() == CHECKPOINTS.absolute():
        return path.suffix in SUFFIXES and path.stem == model.name
    caches = (cache_folder(os.environ), hub_folder(os.environ))
    fetched = any(path.absolute().is_relative_to(cache.absolute()) for cache in caches)
    return fetched and default_variant(model.name) is not None

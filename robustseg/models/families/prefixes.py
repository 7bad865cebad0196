"""Takes off what wrappers of networks put before every parameter name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

__all__ = ["PREFIXES", "unwrapped"]

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What DataParallel, torch.compile and the usual classes of Lightning put before every name."""

FEW = 20
"""Of so many parameters one may lack the prefix: a loss may have weights beside the network."""


def unwrapped(state: Mapping[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], list[str]]]:
    """Give a state as it is, then without its prefix, then without the next one, and so on.

    Which of them is meant, only a comparison with the network tells: its own names may begin like
    a wrapper's.

    Args:
        state: Parameter name, as in the file, to tensor.

    Yields:
        The state, and the file's names of the few parameters that lack the prefix.
    """
    inner, before, others = dict(state), "", list[str]()
    yield inner, []
    for prefix in PREFIXES * 2:  # DataParallel around a compiled network, and the other way round
        without = [key for key in inner if not key.startswith(prefix)]
        if len(without) * FEW <= len(inner):
            others += [before + key for key in without]
            before += prefix
            inner = {k.removeprefix(prefix): v for k, v in inner.items() if k.startswith(prefix)}
            yield inner, [*others]

"""What one code base needs to have its checkpoints read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from robustseg.models.families.renaming import NameTable

__all__ = ["Family", "State", "as_it_is"]

State = dict[str, Tensor]


def as_it_is(state: Mapping[str, Tensor]) -> State:
    """Give a state unchanged: the code base keeps every tensor in the own shape."""
    return dict(state)


@dataclass(frozen=True)
class Family:
    """A code base whose checkpoints are read.

    Attributes:
        title: Its name, for people.
        variant: Of the networks in the zoo, after the ``@``; empty for the networks as their
            authors wrote them.
        mark: Matches the start of a parameter name that only this code base uses.
        table: Its parameter names, and own ones.
        dropped: Matches the start of names of parameters that no network of the zoo has: heads of
            training and of classification.
        prepare: Joins or splits tensors that the code base keeps otherwise, before the renaming.
    """

    title: str
    variant: str
    mark: re.Pattern[str]
    table: NameTable
    dropped: re.Pattern[str]
    prepare: Callable[[Mapping[str, Tensor]], State] = as_it_is

    def knows(self, state: Mapping[str, Tensor]) -> bool:
        """Say whether a state has parameters that only this code base names so."""
        return any(self.mark.match(name) for name in state)

    def translate(self, state: Mapping[str, Tensor]) -> tuple[State, list[str]]:
        """Give a state under own names, and the names of the parameters that were dropped.

        A parameter that the table does not know keeps its name, so that a strict comparison with
        the network tells of it.
        """
        translated: State = {}
        dropped = []
        for name, value in self.prepare(state).items():
            if self.dropped.match(name):
                dropped.append(name)
                continue
            own = self.table.rename(name)
            translated[name if own is None or own in translated else own] = value
        return translated, dropped

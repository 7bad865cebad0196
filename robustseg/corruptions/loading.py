"""Compiling the corruptions before the work, once and not in each process or thread."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robustseg.corruptions.severity import CORRUPTIONS
from robustseg.processes import interrupts_deferred
from robustseg.progress import Console

__all__ = ["load_corruptions"]


def load_corruptions(names: Iterable[str], console: Console) -> None:
    """Load the machine code of corruptions, and compile what has not been compiled before.

    Compiling all sixteen takes half a minute, loading them less than a second.

    Args:
        names: Of any corruptions; those beyond the sixteen are passed over.
        console: For progress.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; between two corruptions, as the compiler may
            swallow it.
    """
    from robustseg.corruptions.registry import SMALLEST_SIDE, corrupt

    wanted = [name for name in CORRUPTIONS if name in set(names)]
    if not wanted:
        return
    small = np.zeros((SMALLEST_SIDE, SMALLEST_SIDE, 3), np.uint8)
    with console.task("loading the corruptions, compiled at first use", len(wanted)) as task:
        for name in wanted:
            with interrupts_deferred():
                for severity in (1, 5):  # water and mud of spatter have loops of their own
                    corrupt(small, name, severity, np.random.RandomState(0))
            task.advance(note=name)

"""Compiling inner loops to machine code, on first use, for the processor at hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., object])

# No "fastmath" and so no fused or reordered arithmetic: every sum keeps the order in which it is
# written, and its bits with it. Without the interpreter lock, threads corrupt side by side.
_without_lock = functools.partial(numba.njit, nogil=True, error_model="numpy")


def compiled(function: _F) -> _F:
    """Compile a function of numbers and arrays.

    The machine code is kept beside the source or in the user's cache folder, so that only the
    first process of an installation waits for the compiler; where neither can be written, each
    process compiles for itself.

    Args:
        function: In the part of Python that numba knows. An index that is unsigned is not checked
            for being negative, which is what lets a loop use vector instructions.

    Returns:
        The same function, compiled at its first call for each combination of argument types.
    """
    try:
        kept = _without_lock(cache=True)(function)
    except RuntimeError:  # no folder for the cache
        kept = _without_lock()(function)
    return cast(_F, kept)

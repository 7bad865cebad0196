"""Compiling inner loops to machine code, on first use, for the processor at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import caching

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., object])


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
    # No "fastmath" and so no fused or reordered arithmetic: every sum keeps the order in which it
    # is written, and its bits with it. Without the interpreter's lock, threads work side by side.
    made: Any = numba.njit(nogil=True, error_model="numpy")(function)
    if isinstance(made, numba.core.dispatcher.Dispatcher):  # not with NUMBA_DISABLE_JIT
        with suppress(RuntimeError):  # there is no folder for it
            made._cache = _Cache(function)  # type: ignore[attr-defined]
    return cast(_F, made)


class _Cache(caching.FunctionCache):
    """numba's cache of machine code, but for two things.

    numba renews the code of a function when the function's file changes; the functions that it
    calls, whose code is part of its own, may lie in other files, so here all of them count. And a
    cache that cannot be read or written, after a power cut or on a full disk, is no reason to fail.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = caching.IndexDataCacheFile(  # type: ignore[no-untyped-call]
            self._cache_path, self._impl.filename_base, _digest_of_sources()
        )

    def load_overload(self, sig: object, target_context: object) -> object:
        """Give the machine code for some types of arguments; None if it must be compiled."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # whatever unpickling a damaged file raises
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: object, data: object) -> None:
        """Keep machine code if that is possible."""
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


@cache
def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()

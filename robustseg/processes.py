"""Sharing independent pieces of work among processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import TypeVar

from robustseg.errors import RobustsegError

__all__ = ["interrupts_deferred", "run_in_processes"]

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


def run_in_processes(
    function: Callable[[_Work], _Result],
    pieces: Iterable[_Work],
    workers: int,
    on_end: Callable[[], None] = lambda: None,
) -> Iterator[tuple[_Work, _Result]]:
    """Apply a function to pieces of work in several processes.

    Only a few pieces wait at a time. If the caller stops early, by Ctrl-C too, the pieces that
    have begun are finished and the others dropped.

    Args:
        function: Importable by name; what it raises is raised here.
        pieces: The work.
        workers: How many processes; 0 or 1 works in this one.
        on_end: Called before the pieces that have begun are waited for, whether or not all is done;
            it can tell them to end early.

    Yields:
        Each piece with its result, in the order of completion.

    Raises:
        RobustsegError: A process was killed from outside.
    """
    if workers <= 1:
        yield from ((piece, function(piece)) for piece in pieces)
        return
    # a fork of a process in which torch has started threads can hang; a fresh one cannot
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    waiting: dict[Future[_Result], _Work] = {}
    todo = iter(pieces)
    try:
        while True:
            for piece in todo:
                with _interrupts_blocked():  # submitting starts the processes
                    future = pool.submit(function, piece)
                waiting[future] = piece
                if len(waiting) >= 4 * workers:
                    break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise RobustsegError(
            "a worker process was killed, perhaps for want of memory: repeat with fewer --workers"
        ) from error
    finally:
        with _interrupts_ignored():  # a second Ctrl-C would leave processes that wait for ever
            on_end()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hide Ctrl-C from processes started in this block, also while they load; here it waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C wait until the end of this block, where the interpreter lets this thread say so.

    Raises:
        KeyboardInterrupt: At the end, if it came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came.is_set():
        raise KeyboardInterrupt


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in this block, where the interpreter lets this thread say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, which lets each worker finish its piece, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is killed; its queue alone would keep it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)

"""Stopping a training between two steps, whoever asks for it."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn

from robustseg.progress import Console

__all__ = ["Signals"]


class Signals:
    """Notes the signals that ask for an end, while the block lasts; the loop asks for them.

    Ctrl-C, SIGTERM, and SIGUSR1, which Slurm can send ahead of a time limit. A second Ctrl-C
    interrupts at once. Handlers that somebody else has set are left alone, and outside of the main
    thread, where none can be set, nothing is noted.
    """

    NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")

    def __init__(self) -> None:
        self.caught = 0
        self._replaced: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in self.NAMES:
            number = getattr(signal, name, None)  # Windows has no SIGUSR1
            if number is None:
                continue
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._note)
                self._replaced[number] = before
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._replaced.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        self._replaced.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.caught == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = self.caught or number

    @staticmethod
    def leave(number: int, iteration: int, console: Console) -> NoReturn:
        """End the program as a signal asks for: Ctrl-C as an exception, others by an exit code.

        Raises:
            KeyboardInterrupt: For Ctrl-C.
            SystemExit: For others, with the exit code 128 + number.
        """
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        console.say(f"{name}: saved at iteration {iteration}; the same command goes on from there")
        raise SystemExit(128 + number)

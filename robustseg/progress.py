"""Telling a person how far the work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["Console", "Task", "counted", "duration", "sized"]

SECONDS_BETWEEN_LINES = 15.0


class Task:
    """A piece of work of known size; ``advance`` is all that the worker calls.

    Args:
        done: Units that an earlier call did.
    """

    def __init__(self, done: int = 0) -> None:
        self.done = done

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` units as done; ``note`` is shown beside the count."""
        self.done += count


class _PlainTask(Task):
    """Prints a line now and then, so that a log file stays short but shows life."""

    def __init__(self, console: Console, label: str, total: int, done: int) -> None:
        super().__init__(done)
        self.console = console
        self.label = label
        self.total = total
        self.earlier = done
        self.start = self.last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        super().advance(count)
        now = time.monotonic()
        made = self.done - self.earlier
        if now - self.last >= SECONDS_BETWEEN_LINES and made and self.done < self.total:
            self.last = now
            left = (now - self.start) / made * (self.total - self.done)
            self.console.say(
                f"{self.label}: {self.done}/{self.total}, {duration(left)} left"
                + (f", {note}" if note else "")
            )


class Console:
    """Where messages and progress go.

    Args:
        stream: Usually standard error, so that standard output holds results alone.
        quiet: Show neither messages nor progress.
    """

    def __init__(self, stream: IO[str] | None = None, quiet: bool = False) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.quiet = quiet

    def say(self, text: str) -> None:
        """Show one line."""
        if not self.quiet:
            self.stream.write(text + "\n")
            self.stream.flush()

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        """Show the progress of ``total`` units until the block ends.

        Args:
            label: What is being done.
            total: Units in all.
            done: Units that an earlier call did.

        Yields:
            The task, to be advanced.
        """
        started = time.monotonic()
        if self.quiet:
            yield Task()
            return
        if self.stream.isatty():
            with _bar(self.stream, label, total, done) as task:
                yield task
        else:
            task = _PlainTask(self, label, total, done)
            yield task
        made = f"{task.done} of {total}" if task.done < total else f"{total}"
        self.say(f"{label}: {made} done in {duration(time.monotonic() - started)}")


@contextmanager
def _bar(stream: IO[str], label: str, total: int, done: int) -> Iterator[Task]:
    # rich is loaded only where a bar is drawn: it costs a tenth of a second
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = RichConsole(file=stream)
    # results that go to a file must not be drawn into
    drawn = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=drawn) as progress:
        row = progress.add_task(label, total=total, completed=done, note="")

        class _BarTask(Task):
            def advance(self, count: int = 1, note: str = "") -> None:
                super().advance(count)
                progress.update(row, advance=count, note=note)

        yield _BarTask(done)


def counted(number: int, word: str) -> str:
    """Write a count with its noun: ``1 image``, ``2 images``."""
    return f"{number} {word}{'s' * (number != 1)}"


def sized(number: float) -> str:
    """Write bytes for people: ``3.1 MB``, ``120.4 GB``."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Write a time span for people: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

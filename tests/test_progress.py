from __future__ import annotations

import io
import re

import pytest

from robustseg.progress import Console, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands for ``time.monotonic``; moves on only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("robustseg.progress.time.monotonic", clock)
    return clock


def test_plain_lines_come_now_and_then(clock: Clock) -> None:
    stream = io.StringIO()
    with Console(stream).task("evaluating", 10) as task:
        for _ in range(10):
            clock.now += 10.0
            task.advance(note="fog 3")
    # a line is due after 15 s, so at every second of these ten steps of 10 s, but not at the last
    assert stream.getvalue().splitlines() == [
        "evaluating: 2/10, 1 min 20 s left, fog 3",
        "evaluating: 4/10, 1 min 0 s left, fog 3",
        "evaluating: 6/10, 40 s left, fog 3",
        "evaluating: 8/10, 20 s left, fog 3",
        "evaluating: 10 done in 1 min 40 s",
    ]


def test_a_short_task_is_one_line(clock: Clock) -> None:
    stream = io.StringIO()
    with Console(stream).task("writing", 1000) as task:
        for _ in range(1000):
            clock.now += 0.005
            task.advance()
    assert stream.getvalue() == "writing: 1000 done in 5.0 s\n"


def test_plain_lines_without_note_and_with_larger_steps(clock: Clock) -> None:
    stream = io.StringIO()
    with Console(stream).task("drawing", 8) as task:
        clock.now += 20
        task.advance(4)
        clock.now += 20
        task.advance(4)
    assert stream.getvalue() == "drawing: 4/8, 20 s left\ndrawing: 8 done in 40 s\n"


def test_nothing_is_said_to_be_done_after_a_failure(clock: Clock) -> None:
    stream = io.StringIO()

    def fail() -> None:
        with Console(stream).task("evaluating", 10) as task:
            task.advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_quiet_shows_nothing(kind: type[io.StringIO], clock: Clock) -> None:
    stream = kind()
    console = Console(stream, quiet=True)
    console.say("hello")
    with console.task("evaluating", 3) as task:
        for _ in range(3):
            clock.now += 100
            task.advance(note="n")
    assert stream.getvalue() == ""


def test_say_writes_a_line_at_once() -> None:
    flushed: list[str] = []

    class Stream(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    Console(Stream()).say("left out: a file")
    assert flushed == ["left out: a file\n"]


def test_messages_go_to_standard_error_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Console().say("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_a_terminal_sees_a_bar_that_makes_room_for_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    with Console(stream).task("evaluating", 7) as task:
        for _ in range(7):
            task.advance(note="fog 3")
    drawn = stream.getvalue()
    assert "\x1b[" in drawn
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    assert "7/7" in seen
    assert "fog 3" in seen
    assert re.search(r"\nevaluating: 7 done in 0\.\d s\n\Z", "\n" + seen.replace("\r", "\n"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (1.24, "1.2 s"),
        (9.94, "9.9 s"),
        (10.4, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (100 * 3600, "100 h 0 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_task_that_ends_early_says_so(clock: Clock, stream: io.StringIO) -> None:
    with Console(stream).task("writing", 10, done=3) as task:
        task.advance(2)
        task.advance(2)
    assert stream.getvalue().splitlines()[-1].endswith("writing: 7 of 10 done in 0.0 s")

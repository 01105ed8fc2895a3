"""How far a long thing is, shown while it runs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import IO, Any

from opsctl.cli import render
from opsctl.cli.report import Cell
from opsctl.cli.session import Session
from opsctl.model.quantities import format_size, rough_duration
from opsctl.model.safe_text import shown
from opsctl.model.snapshots import Progress

EVERY = 10.0
"""Seconds between two plain lines about the same thing."""


class ProgressDisplay:
    """Shows nothing: the display of ``--quiet`` and ``--json``, and what the others promise.

    Call it with every ``Progress`` event, from any thread; give ``say`` what should stay on the screen
    above it. A context manager: bars are gone after it. A display that cannot write goes silent, since work
    must not fail for it.
    """

    def __call__(self, event: Progress) -> None:
        """Show an event."""

    def say(self, text: Cell) -> None:
        """One line that stays."""

    def count(self, what: str, done: int, total: int, unit: str) -> None:
        """How many of many things are done, where that is not said by a line each."""

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *raised: object) -> None:
        """Take it away."""


def display(session: Session, *, clock: Callable[[], float] = time.monotonic) -> ProgressDisplay:
    """The display that fits the session: bars on a terminal, plain lines elsewhere, on standard error."""
    if session.quiet or session.json:
        return ProgressDisplay()
    if render.on_terminal(sys.stderr, session.environ):
        return BarDisplay(sys.stderr, coloured=not session.environ.get("NO_COLOR"))
    return LineDisplay(sys.stderr, clock)


def words(event: Progress) -> str:
    """``1.5GiB of 3GiB, 120 of 400 files, 2m left``, as far as it is known."""
    parts = []
    if event.bytes_done or event.bytes_total is not None:
        parts.append(_of(format_size(event.bytes_done), event.bytes_total and format_size(event.bytes_total)))
    if event.files_done or event.files_total is not None:
        word = event.unit if (event.files_total or event.files_done) == 1 else f"{event.unit}s"
        parts.append(f"{_of(str(event.files_done), event.files_total and str(event.files_total))} {word}")
    if event.seconds_left is not None:
        parts.append(f"{rough_duration(timedelta(seconds=max(0.0, event.seconds_left)))} left")
    return ", ".join(parts)


def _of(done: str, total: str | int | None) -> str:
    return f"{done} of {total}" if total else done


class LineDisplay(ProgressDisplay):
    """A plain line about each thing when it begins, and then at most every ten seconds."""

    def __init__(self, stream: IO[str], clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Progress) -> None:
        with self._lock:
            now = self._clock()
            last = self._last.get(event.what)
            if last is not None and now - last < EVERY:
                return
            self._last[event.what] = now
            self._write(": ".join(filter(None, (shown(event.what), words(event)))))

    def say(self, text: Cell) -> None:
        with self._lock:
            self._write(render.text_of(text))

    def _write(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


class BarDisplay(ProgressDisplay):
    """One bar for each thing, with bytes, files and the time left."""

    def __init__(self, stream: IO[str], *, coloured: bool) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        from opsctl.cli.terminal import make_console

        self._lock = threading.Lock()
        self._bars = Bars(
            TextColumn(
                "{task.description}", markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True)),
            console=make_console(stream, coloured=coloured), transient=True, expand=True,
            redirect_stdout=False,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> BarDisplay:
        self._bars.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(OSError, ValueError):
            self._bars.stop()

    def __call__(self, event: Progress) -> None:
        done, total = _measure(event)
        with self._lock, suppress(OSError, ValueError):
            if event.what not in self._tasks:
                self._tasks[event.what] = self._bars.add_task(shown(event.what), total=total, words="")
            finished = total is not None and done >= total
            self._bars.update(
                self._tasks[event.what], completed=done, total=total, words=words(event), visible=not finished
            )

    def count(self, what: str, done: int, total: int, unit: str) -> None:
        self(Progress(what, files_done=done, files_total=total, unit=unit))

    def say(self, text: Cell) -> None:
        from opsctl.cli.terminal import styled

        with self._lock, suppress(OSError, ValueError):
            self._bars.console.print(styled(text), soft_wrap=True)


def _measure(event: Progress) -> tuple[float, float | None]:
    """What the bar measures: bytes where their total is known, else files; without a total it only moves."""
    if event.bytes_total:
        return event.bytes_done, event.bytes_total
    if event.files_total:
        return event.files_done, event.files_total
    return event.bytes_done or event.files_done, None

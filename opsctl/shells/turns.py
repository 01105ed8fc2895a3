"""Who of hundreds of hosts is worked with now: few at a time are finished sooner than all at once.

Work with a host is processor time here, of which there is one core. Where all begin together all are waiting when their
rules are loaded and not yet confirmed, and every connection that waits costs time by itself.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from opsctl.shells.local import LocalShell

Turn = Callable[[], AbstractContextManager[None]]
MOST = 32
_PATIENCE = 2.0  # seconds after which a host that does not answer no longer counts


class Turns:
    """``most`` at a time; the furthest go first, so that what was begun is brought to its end."""

    def __init__(self, most: int = MOST, patience: float = _PATIENCE) -> None:
        self._most = most
        self._patience = patience
        self._guard = threading.Lock()
        self._numbers = itertools.count()
        self._working: dict[int, float] = {}
        self._waiting: list[tuple[int, int, threading.Event]] = []

    def line(self) -> Line:
        """The turns of one host."""
        return Line(self)

    @contextmanager
    def turn(self, before: int) -> Iterator[None]:
        """Wait for a turn and have it; ``before``: how many this host has had. Raises Interrupted where ``stop`` was called."""
        number, called = next(self._numbers), threading.Event()
        with self._guard:
            heapq.heappush(self._waiting, (-before, number, called))
            self._call()
        while not called.wait(self._patience):
            with self._guard:
                self._call()
        try:
            LocalShell().check()
            yield
        finally:
            with self._guard:
                del self._working[number]
                self._call()

    def _call(self) -> None:
        if not self._waiting:
            return
        now = time.monotonic()
        working = sum(now - since < self._patience for since in self._working.values())
        while self._waiting and working < self._most:
            _, number, called = heapq.heappop(self._waiting)
            self._working[number] = now
            working += 1
            called.set()


class Line:
    """One host in the queue."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._had = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._turns.turn(self._had):
            self._had += 1
            yield

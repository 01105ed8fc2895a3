"""Joins what many threads ask at nearly the same time into one piece of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from opsctl.errors import OpsError, ProgramFailed

A = TypeVar("A")
R = TypeVar("R")

WAIT = 0.05
"""Seconds in which others may join."""
_ENOUGH = 8  # that failed alone, and none that did not: it is not one of them that is wrong


class _Call(Generic[A, R]):
    def __init__(self, asked: A) -> None:
        self.asked = asked
        self.answered = threading.Event()
        self.answer: R | BaseException | None = None


class Together(Generic[A, R]):
    """``work`` gets what was asked, and gives an answer or a failure for each.

    ``turn`` is held while it works. With ``halves``, where it raises ProgramFailed for all of them it is done over in halves,
    so that one does not take the others along.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[R | OpsError]], turn: threading.Lock, *, halves: bool = False) -> None:
        self.work = work
        self.turn = turn
        self.halves = halves
        self._guard = threading.Lock()
        self._waiting: list[_Call[A, R]] = []

    def __call__(self, asked: A) -> R:
        mine: _Call[A, R] = _Call(asked)
        with self._guard:
            self._waiting.append(mine)
            first = len(self._waiting) == 1
        if first:
            time.sleep(WAIT)
            with self.turn:
                with self._guard:
                    calls, self._waiting = self._waiting, []
                try:
                    self._serve(calls, [])
                except BaseException as error:
                    _fail(calls, error)
        mine.answered.wait()
        if isinstance(mine.answer, BaseException):
            raise mine.answer
        return mine.answer  # type: ignore[return-value]

    def _serve(self, calls: Sequence[_Call[A, R]], alone: list[bool]) -> None:
        """``alone``: whether it worked, for each part that was not divided any further."""
        try:
            answers: Sequence[R | OpsError] = self.work([call.asked for call in calls])
            alone.append(True)
        except ProgramFailed as error:
            if not self.halves:
                raise
            if len(calls) > 1 and (len(alone) < _ENOUGH or any(alone)):
                half = len(calls) // 2
                self._serve(calls[:half], alone)
                self._serve(calls[half:], alone)
                return
            alone.append(False)
            answers = [error] * len(calls)
        for call, answer in zip(calls, answers, strict=True):
            call.answer = answer
            call.answered.set()


def _fail(calls: Sequence[_Call[A, R]], error: BaseException) -> None:
    for call in calls:
        if not call.answered.is_set():
            call.answer = error
            call.answered.set()

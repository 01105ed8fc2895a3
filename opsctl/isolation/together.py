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


class _Call(Generic[A, R]):
    def __init__(self, asked: A) -> None:
        self.asked = asked
        self.answered = threading.Event()
        self.answer: R | BaseException | None = None


class Together(Generic[A, R]):
    """``work`` gets what was asked, and gives an answer or a failure for each.

    Where it raises ProgramFailed for all of them it is done over in halves, so that one does not take the others along.
    ``turn`` is held while it works.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[R | OpsError]], turn: threading.Lock) -> None:
        self.work = work
        self.turn = turn
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
                    self._serve(calls)
                except BaseException as error:
                    _fail(calls, error)
        mine.answered.wait()
        if isinstance(mine.answer, BaseException):
            raise mine.answer
        return mine.answer  # type: ignore[return-value]

    def _serve(self, calls: Sequence[_Call[A, R]]) -> None:
        try:
            answers: Sequence[R | OpsError] = self.work([call.asked for call in calls])
        except ProgramFailed as error:
            if len(calls) > 1:
                half = len(calls) // 2
                self._serve(calls[:half])
                self._serve(calls[half:])
                return
            answers = [error]
        for call, answer in zip(calls, answers, strict=True):
            call.answer = answer
            call.answered.set()


def _fail(calls: Sequence[_Call[A, R]], error: BaseException) -> None:
    for call in calls:
        if not call.answered.is_set():
            call.answer = error
            call.answered.set()

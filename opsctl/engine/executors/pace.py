"""Which item of a step may begin next, and what the step has come to: canary, waves, tolerance."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from opsctl.actions.interface import DONE, Outcome
from opsctl.model.plan import BoundItem, BoundStep
from opsctl.model.quantities import counted

_RANKS = {word: rank for rank, word in enumerate((
    Outcome.OK, Outcome.CHANGED, Outcome.PLANNED, Outcome.SKIPPED, Outcome.UNKNOWN, Outcome.FAILED))}


class Pace:
    """The items of one step on their way. Every item is begun once, or given up once; each begun one ends once."""

    def __init__(self, step: BoundStep) -> None:
        self.step = step
        self._todo = collections.deque(step.items)
        self._begun = 0
        self._ended = 0
        self._failed = 0
        self._worst = Outcome.OK
        self._until = step.canary or step.waves or len(step.items)
        #: Why the rest is not begun any more; None where it is.
        self.stopped: str | None = None

    def begin(self) -> BoundItem | None:
        """The item that may begin now; None where none may before another one has ended, or none is left."""
        if self.stopped is not None or not self._todo or self._begun - self._ended >= self.step.at_once:
            return None
        if self._begun >= self._until:
            if self._ended < self._begun:
                return None
            self._until += self.step.waves or len(self._todo)
        self._begun += 1
        return self._todo.popleft()

    def ended(self, item: BoundItem, outcome: str) -> None:
        """An item that was begun has come to something."""
        canary = self._ended < self.step.canary
        self._ended += 1
        if outcome == Outcome.FAILED:
            self._failed += 1
        elif _RANKS[outcome] > _RANKS[self._worst]:
            self._worst = outcome
        if self.stopped is not None or not self._todo:
            return
        if canary and outcome not in DONE and outcome != Outcome.PLANNED:
            self.stopped = f"the canary {item.item} {past(outcome)}"
        elif self.step.stop_after and self._failed >= self.step.stop_after:
            self.stopped = f"{counted(self._failed, 'item')} of this step failed, and it stops after {self.step.stop_after}"

    def give_up(self) -> Iterator[BoundItem]:
        """The items that are not begun any more, each once."""
        while self._todo:
            yield self._todo.popleft()

    @property
    def over(self) -> bool:
        """Whether nothing is left and nothing under way."""
        return not self._todo and self._ended == self._begun

    @property
    def outcome(self) -> str:
        """What the step has come to, once it is over."""
        if self._failed > self.step.tolerate or (self._failed and self._begun < len(self.step.items)):
            return Outcome.FAILED
        if self._begun < len(self.step.items) and self._worst in DONE:
            return Outcome.SKIPPED
        return Outcome.PARTLY if self._failed and self._worst in DONE else self._worst


def past(outcome: str) -> str:
    """What became of something, in the words of a sentence."""
    return {Outcome.FAILED: "failed", Outcome.SKIPPED: "was skipped", Outcome.UNKNOWN: "ended unknown"}.get(
        outcome, f"is {outcome}")

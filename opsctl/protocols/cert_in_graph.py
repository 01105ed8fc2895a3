"""A playbook as the protocol's rules look at it: what stands before a step, and what really holds it up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from opsctl.model.playbook import Playbook, Step

Expand = Callable[[str], Collection[str]]
"""The words that a playbook of this name uses; empty where there is none."""

WORDS_OF_A_DRILL = frozenset({"drill", "verify", "restore", "scan", "prove"})
"""A drill restores a set into a clean room, scans it and compares its proofs, in one word."""


class Graph:
    """The steps of a playbook by id, with what comes before each."""

    def __init__(self, playbook: Playbook, expand: Expand) -> None:
        self.playbook = playbook
        self.steps: Mapping[str, Step] = {step.id: step for step in playbook.steps}
        self._after = playbook.graph
        self._expand = expand

    def before(self, step: Step) -> list[Step]:
        """Every step that it comes after, whether or not it needs their success, in the order of the file."""
        return self._walk(step, lambda one: self._after[one.id])

    def holding(self, step: Step) -> list[Step]:
        """Those without whose success it is not begun: none that may fail, and none through a step that is done whatever happens."""
        return self._walk(step, lambda one: () if one.always else [name for name in self._after[one.id] if not self.steps[name].may_fail])

    def _walk(self, step: Step, earlier: Callable[[Step], Collection[str]]) -> list[Step]:
        found: set[str] = set()
        todo = [step]
        while todo:
            for name in earlier(todo.pop()):
                if name not in found and name in self.steps:
                    found.add(name)
                    todo.append(self.steps[name])
        return [one for one in self.playbook.steps if one.id in found]

    def words(self, step: Step) -> frozenset[str]:
        """What it does, in words: its own, and of another run that it waits for those that each run that will do has."""
        if step.uses == "drill":
            return WORDS_OF_A_DRILL
        if step.uses != "other_run":
            return frozenset({step.uses})
        named = step.with_.get("playbook")
        names = [named] if isinstance(named, str) else list(named) if isinstance(named, list | tuple) else []
        found = [self._of_playbook(name) for name in names if isinstance(name, str)]
        return frozenset({"other_run"}).union(frozenset.intersection(*found) if found else ())

    def _of_playbook(self, name: str) -> frozenset[str]:
        words = frozenset(self._expand(name))
        return words | WORDS_OF_A_DRILL if "drill" in words else words

    def using(self, *words: str) -> list[Step]:
        """The steps that do one of these."""
        return [step for step in self.playbook.steps if not self.words(step).isdisjoint(words)]

    def of_phase(self, phase: str) -> list[Step]:
        return [step for step in self.playbook.steps if step.phase == phase]


def parameter(step: Step, name: str) -> Any:
    """What a step is given under a name, as it stands in the file."""
    return step.with_.get(name)

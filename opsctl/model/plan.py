"""A bound plan: a playbook with every input, item and moment fixed. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from datetime import datetime
from typing import Any

from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

_LATER = ("tolerate", "canary", "waves", "stop_after", "stage", "configured")


@value
class BoundItem:
    """What one step does for one item; ``item`` is None for a step without ``for_each``."""

    item: str | None
    params: Mapping[str, Any]


@value
class BoundStep:
    """One step. ``after`` holds ids of steps in the same plan; an empty tuple means that it waits for nothing.

    ``tolerate`` items may fail. ``canary``, ``waves`` and ``stop_after`` are numbers of items; 0 where nothing was said.
    ``stage``: of which stage it is, in a plan that has some. ``configured``: of a step that people approve the parts of the configuration
    that what it opens uses, each with its digest (``model.config_used``).
    """

    id: str
    uses: str
    title: str
    after: tuple[str, ...]
    items: tuple[BoundItem, ...]
    may_fail: bool = False
    always: bool = False
    on_unknown: str = "ask"
    at_once: int = 1
    phase: str | None = None
    tolerate: int = 0
    canary: int = 0
    waves: int = 0
    stop_after: int = 0
    stage: str = ""
    configured: Mapping[str, str] = field(default_factory=dict)


@value
class BoundPlan:
    """A playbook bound to its inputs. ``now`` is the one moment that every step of the run lives in."""

    run: str
    playbook: str
    title: str
    now: datetime
    started_by: str
    inputs: Mapping[str, Any]
    steps: tuple[BoundStep, ...]
    config_digest: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        for step in found["steps"]:
            # What was not said is not written, so that a signature given to a plan of an older version still holds.
            for name in _LATER:
                if not step[name]:
                    del step[name]
        found["now"] = self.now.isoformat()
        found["format"] = "opsctl-plan/1"
        return found

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> BoundPlan:
        """Raises KeyError, TypeError or ValueError on another shape."""
        if raw.get("format") != "opsctl-plan/1":
            raise ValueError("not a plan that this version can read")
        steps = tuple(
            BoundStep(**{
                **step,
                "after": tuple(step["after"]),
                "items": tuple(BoundItem(**item) for item in step["items"]),
            })
            for step in raw["steps"]
        )
        plain = {key: value for key, value in raw.items() if key not in ("format", "steps", "now")}
        return cls(now=parse_time(raw["now"]), steps=steps, **plain)

    def behind(self, step_id: str) -> list[BoundStep]:
        """The steps that come after one, directly or by way of others, in the plan's order."""
        behind = {step_id}
        while more := {step.id for step in self.steps if step.id not in behind and behind.intersection(step.after)}:
            behind |= more
        return [step for step in self.steps if step.id in behind and step.id != step_id]

    def ahead(self, step_id: str) -> list[BoundStep]:
        """The steps without whose success one is not begun, in the plan's order: those that it comes after, and what these do.

        A step that may fail, or is done whatever happens, holds nothing up.
        """
        steps = {step.id: step for step in self.steps}
        found: set[str] = set()
        todo = [steps[step_id]]
        while todo:
            one = todo.pop()
            for earlier in one.after if not one.always else ():
                if earlier not in found and not steps[earlier].may_fail:
                    found.add(earlier)
                    todo.append(steps[earlier])
        return [step for step in self.steps if step.id in found]

    def opened(self, step_id: str) -> list[Mapping[str, Any]]:
        """The parameters of what comes after a step, in its own stage where it is of one."""
        stage = self.step(step_id).stage
        return [item.params for step in self.behind(step_id) if step.stage == stage for item in step.items]

    def step(self, step_id: str) -> BoundStep:
        """KeyError where there is none."""
        return {step.id: step for step in self.steps}[step_id]

"""Whether a plan can come to its end by its gates: a step that takes the approval of several is refused before anything was done, and not in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from opsctl.actions.interface import Action
from opsctl.engine.bind import fill
from opsctl.errors import OpsError
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep
from opsctl.model.playbook import Playbook
from opsctl.model.quantities import counted


def hopeless(plan: BoundPlan, registry: Callable[[str], Action], config: Any) -> Iterator[tuple[str, str]]:
    """Each step that would be refused whoever approves, and why."""
    for step in plan.steps:
        action = registry(step.uses)
        for item in step.items:
            why = _too_few(step, action.people(item.params, config), action.people_if_asked, plan) or action.unprepared(item.params, _not_behind(step, plan), config)
            if why:
                yield step.id, why
                break


def mistakes(playbook: Playbook, registry: Callable[[str], Action]) -> Iterator[tuple[str, str]]:
    """The same of a playbook that is not bound yet, as far as its text and the defaults of its inputs tell."""
    known = {name: f"${{{name}}}" if one.required else one.default for name, one in playbook.inputs.items()} | {"item": "${item}"}
    graph = playbook.graph
    steps = tuple(BoundStep(step.id, step.uses, "", tuple(graph[step.id]), (BoundItem(None, fill(step.with_, known)),), step.may_fail, step.always)
                  for step in playbook.steps)
    plan = BoundPlan("", playbook.name, "", None, "", {}, steps)  # type: ignore[arg-type]
    for step in steps:
        try:
            action = registry(step.uses)
        except OpsError:
            continue  # told by who looks words up
        if why := _too_few(step, action.people(step.items[0].params, None), action.people_if_asked, plan):
            yield step.id, why


def _too_few(step: BoundStep, needed: int, if_asked: int, plan: BoundPlan) -> str | None:
    asked = [item.params.get("people", 2) for one in plan.ahead(step.id) if one.uses == "approve" and one.stage == step.stage for item in one.items]
    least = max(needed, if_asked) if asked else needed
    if not least or any(not isinstance(one, int) or one >= least for one in asked):  # what an input says is seen when it is bound
        return None
    how = f"before it only {max(asked)} {'is' if max(asked) == 1 else 'are'} asked" if asked else "nobody was asked"
    return f"{step.uses} takes {counted(least, 'person', 'people')} who approve it at a step `approve` before it, and {how}"


def _not_behind(step: BoundStep, plan: BoundPlan) -> list[BoundStep]:
    behind = {one.id for one in plan.behind(step.id)} | {step.id}
    return [one for one in plan.steps if one.id not in behind]

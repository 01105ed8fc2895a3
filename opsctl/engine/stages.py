"""Several playbooks as one plan: a stage for each, begun when all stages that it needs have ended well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any

from opsctl.engine.bind import Registry, bind
from opsctl.errors import ConfigError
from opsctl.model.plan import BoundPlan, BoundStep
from opsctl.model.playbook import Playbook
from opsctl.model.values import value


@value
class Part:
    """A stage: its playbook with its inputs. Its steps are called ``NAME.STEP``; ``needs`` are names of other stages.

    ``more``: parameters of single steps that a playbook has no words for, by step and item.
    """

    name: str
    playbook: Playbook
    inputs: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    more: Mapping[tuple[str, str | None], Mapping[str, Any]] = field(default_factory=dict)


def compose(
    parts: Sequence[Part], *, playbook: str, title: str, inputs: Mapping[str, Any], config: Any, registry: Registry, run: str,
    now: datetime, started_by: str,
) -> BoundPlan:
    """Bind each playbook and join them; what a stage needs stands before it in ``parts``. Raises what ``bind`` does, and
    ConfigError where a playbook lacks a step that is to be given more parameters.

    A stage's first steps wait for every step of those that it needs, so that stages which do not need each other go on
    while others wait. ``inputs`` are those of the whole, and stand in the journal.
    """
    bound = {part.name: bind(part.playbook, part.inputs, config=config, registry=registry, run=run, now=now, started_by=started_by,
                             prefix=f"{part.name}.") for part in parts}
    steps: list[BoundStep] = []
    for part in parts:
        for (name, item), more in part.more.items():
            if not any(step.id == f"{part.name}.{name}" and item in [one.item for one in step.items] for step in bound[part.name].steps):
                raise ConfigError(f"playbook {part.playbook.name} has no step {name}{f' for {item}' if item else ''}, which takes {', '.join(more)} for {part.name}",
                                  hint="a playbook of your own of that name keeps the ids of the packaged one: opsctl playbooks show")
        before = tuple(step.id for name in part.needs for step in bound[name].steps)
        steps += [_of_stage(part, step, before, registry) for step in bound[part.name].steps]
    return BoundPlan(
        run=run, playbook=playbook, title=title, now=now, started_by=started_by, inputs=inputs, steps=tuple(steps),
        config_digest=config.digest,
    )


def _of_stage(part: Part, step: BoundStep, before: tuple[str, ...], registry: Registry) -> BoundStep:
    name = step.id.removeprefix(f"{part.name}.")
    items = []
    for item in step.items:
        more = part.more.get((name, item.item), {})
        params = registry(step.uses).Params.model_validate({**item.params, **more}).model_dump(mode="json") if more else item.params
        items.append(replace(item, params=params))
    return replace(step, title=f"{part.name}: {step.title}", after=step.after or before, items=tuple(items), stage=part.name)


__all__ = ["Part", "compose"]

"""Whether enough people signed for a step that is about to be done: by their signatures, whatever the playbook and the journal say."""

from __future__ import annotations

from datetime import datetime

from opsctl.actions.approve import CHANGED, ApproveParams, seen
from opsctl.actions.interface import World
from opsctl.errors import SafetyRefusal
from opsctl.model.approvals import APPROVE, well_said
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

#: How many it takes where one must not do it alone.
PEOPLE = 2


def refuse_alone(step: str, world: World, what: str, people: int = PEOPLE) -> None:
    """SafetyRefusal unless so many people approved at a step ``approve`` that this one comes after, in its own stage if it has one."""
    found = agreement(step, world)
    if found.people >= people:
        return
    raise SafetyRefusal(f"it takes {people} people to approve that {what}: {found.why or f'{found.people} of them approved'}", where=step or None,
                        hint=CHANGED if found.changed else f"opsctl approve {world.run} {found.gate} --by NAME" if found.gate else
                        f"the playbook needs a step before it: {{id: agree, uses: approve, with: {{people: {people}}}}}")


@value
class Agreement:
    """How many people have signed for what a step does, ``why`` no more count, at which step they are asked last, and whether
    what they were asked was ``changed``.
    """

    people: int
    why: str = ""
    gate: str = ""
    changed: bool = False


def agreement(step: str, world: World) -> Agreement:
    """By their signatures. Every step ``approve`` before it has to stand as it asks, or nobody has agreed; what was approved together stays
    approved for what was begun on it. In a dry run nobody was asked yet, and only the plan is looked at.
    """
    stage = world.plan.step(step).stage if step else ""
    gates = [one for one in world.plan.ahead(step) if one.uses == "approve" and one.items and one.stage == stage] if step else []
    most, why, changed = 0, "", False
    for gate in gates:
        params = ApproveParams.model_validate(dict(gate.items[0].params))
        if world.dry:
            most = max(most, params.people)
            continue
        found = seen(params, world, last_signed(params.step, world))
        approved = found.standing.approved
        most = max(most, len(approved))
        if found.changed or found.standing.refused:
            changed = changed or bool(found.changed)
            why = why or found.changed or f"{found.standing.refused[0].words} refused at {gate.id}"
        elif not found.asked or len(approved) < found.wanted.needed:
            why = why or f"{', '.join(voice.words for voice in approved) or 'nobody'} approved at {gate.id}"
    if not gates:
        why = "nobody was asked"
    return Agreement(0 if why else most, why, gates[-1].id if gates else "", changed)


def last_signed(step: str, world: World) -> datetime | None:
    """When the last of those who approved a step signed; None where nobody did."""
    return max((parse_time(data["statement"]["time"]) for _, data in world.entries(("approve.signed",))
                if data["step"] == step and well_said(data["statement"]) and data["statement"]["decision"] == APPROVE), default=None)

"""What the people of a run signed, put together for a record that has to be believed elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opsctl.actions.approve import CHANGED
from opsctl.actions.interface import World
from opsctl.errors import OpsError, SafetyRefusal
from opsctl.repositories.history import History


def with_consent(record: Mapping[str, Any], history: History, world: World) -> dict[str, Any]:
    """The record with the approvals of this run that allow it, held against ``people`` as every other machine does it.

    SafetyRefusal where there are none that do: whatever the playbook says.
    """
    plan = json.loads(json.dumps(world.plan.as_json()))
    entries = world.entries(("approve.asked", "approve.signed"))
    asked = {data["step"]: data["request"] for kind, data in entries if kind == "approve.asked"}
    why: OpsError | None = None
    for gate, request in asked.items():
        if parts := world.changed_parts(gate):
            why = SafetyRefusal(f"{', '.join(parts)} in the configuration changed since run {world.run} was bound", hint=CHANGED)
            continue
        signed = [{"statement": data["statement"], "signature": data["signature"]}
                  for kind, data in entries if kind == "approve.signed" and data["step"] == gate]
        found = {**record, "consent": {"plan": plan, "request": request, "approvals": signed}}
        try:
            history.consents.require(found, history.identity().id)
        except SafetyRefusal as error:
            why = error
        else:
            return found
    if why is None:
        raise SafetyRefusal("nobody was asked to approve this: it takes two people", where=history.name,
                            hint="the playbook needs a step before it: {id: agree, uses: approve, with: {people: 2}}")
    why.where = history.name
    raise why

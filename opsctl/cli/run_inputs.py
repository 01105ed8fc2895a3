"""What a playbook has to be told before it is run: asked for, or taken from the incident that is open already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.playbook import Playbook
    from opsctl.wiring import Site


def ask(session: Session, site: Site, playbook: Playbook, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, with what a person answers at a terminal. A moment is asked again until it is one of the past, with its time zone."""
    from opsctl.cli.incident_open import moment
    from opsctl.model.incident import ANCHORS

    inputs = {**_known(site, playbook, given), **given}
    for name, declared in playbook.inputs.items():
        if declared.type == "datetime" and name in ANCHORS and (name in inputs or session.interactive):
            inputs[name] = moment(session, site, inputs.get(name), f"{name}: {declared.help}", f"--set {name}=…").isoformat()
        elif declared.required and name not in inputs and session.interactive:
            inputs[name] = session.ask(f"{name}: {declared.help}", option=f"--set {name}=…")
    return inputs


def _known(site: Site, playbook: Playbook, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of an incident that is there already what it was opened with: nobody is asked twice."""
    name = next((given[key] for key, one in playbook.inputs.items() if one.type == "incident" and key in given), None)
    found = site.incidents.all().get(name) if name else None
    if found is None:
        return {}
    first = found.first
    known = {"title": found.title, "noticed_at": found.noticed.isoformat(), "noticed_by": first.by, "signal": first.signal, "in_charge": found.in_charge,
             "nature": "drill" if found.drill else "real"}
    return {key: said for key, said in known.items() if key in playbook.inputs}

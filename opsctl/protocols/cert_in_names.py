"""The names of the protocol that a playbook may use: types of incidents, duties, phases."""

from __future__ import annotations

from collections.abc import Iterator

from opsctl.model.fields import Place, meant, shown
from opsctl.model.playbook import Playbook
from opsctl.protocols.cert_in import protocol

PROTOCOL = "cert-in"


def mistakes(playbook: Playbook) -> Iterator[tuple[Place, str]]:
    """Names that the protocol does not know, with their place in the file."""
    if playbook.protocol != PROTOCOL:
        yield ("protocol",), f"protocol: there is no protocol {shown(str(playbook.protocol))}{meant(str(playbook.protocol), [PROTOCOL])}"
        return
    known = protocol()
    phases = [str(one["id"]) for one in known.phases]
    for position, type_ in enumerate(playbook.incident_types):
        if type_ not in known.types:
            yield ("incident_types", position), f"incident_types: CERT-In knows no type {shown(type_)}{meant(type_, known.types)}"
    for position, step in enumerate(playbook.steps):
        place = ("steps", position)
        if step.phase is not None and step.phase not in phases:
            yield (*place, "phase"), f"step {step.id}: the protocol has no phase {shown(step.phase)}{meant(step.phase, phases)}"
        if step.duty is not None and step.duty not in known.duties:
            yield (*place, "duty"), f"step {step.id}: the protocol has no duty {shown(step.duty)}{meant(step.duty, known.duties)}"

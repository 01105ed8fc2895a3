"""What still has to end before an incident may be closed, beside its duties: papers that were asked for, work on paper not reconciled."""

from __future__ import annotations

from opsctl.model.incident import ASKED, OFFLINE, PAPERED, RECONCILED, Incident
from opsctl.model.values import value


@value
class End:
    """Something open, in a line, and the command that ends it."""

    what: str
    how: str


def open_ends(found: Incident) -> tuple[End, ...]:
    """Everything that is open, papers first."""
    came = {one.data["kind"] for one in found.of(PAPERED)}
    settled = {(one.data["order"], one.data["body"]) for one in found.of(RECONCILED)}
    papers = [End(f"{one.data['kind']} is not there ({one.data['text']})", f"opsctl incident paper {found.id} {one.data['kind']} FILE")
              for one in found.of(ASKED) if one.data["kind"] not in came]
    left = [End(f"{body} is not reconciled (order {one.data['order']})", f"opsctl paper reconcile {body}")
            for one in found.of(OFFLINE) for body in one.data["bodies"] if (one.data["order"], body) not in settled]
    return tuple(dict.fromkeys([*papers, *left]))

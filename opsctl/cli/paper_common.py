"""Which incident and which order work on paper is about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsctl.errors import UsageError
from opsctl.model.quantities import counted
from opsctl.model.unknown import unknown

_PATIENCE = 30.0
"""Seconds that one waits for another who changes the same."""

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.engine.paper_store import PaperStore
    from opsctl.model.incident import Incident
    from opsctl.model.paper_orders import PaperOrder
    from opsctl.wiring import Site


def the_incident(site: Site, name: str, *, change: bool = True) -> Incident:
    """The open incident of that name, or the only open one; without ``change`` also one that is closed. UsageError, SafetyRefusal."""
    open_ones: list[Incident] = site.incidents.open_ones()
    if name or len(open_ones) == 1:
        wanted = name or open_ones[0].id
        found: Incident = site.incidents.require_open(wanted) if change else site.incidents.get(wanted)
        return found
    if not open_ones:
        raise UsageError("no incident is open", hint="opsctl incident open; --incident ID shows what belongs to a closed one")
    raise UsageError(f"{counted(len(open_ones), 'incident')} are open: which one?", hint="--incident ID; opsctl incident list")


def the_order(found: Incident, name: str) -> PaperOrder:
    """The order of that id, or the last one."""
    from opsctl.model.paper_orders import orders

    known = orders(found)
    if not known:
        raise UsageError(f"no order to work on paper was drafted in {found.id}", hint=f"opsctl paper order --incident {found.id} --since TIME")
    if name and name not in known:
        raise unknown("order", name, known)
    return known[name or next(reversed(known))]


@contextlib.contextmanager
def alone(site: Site, session: Session, found: Incident, what: str) -> Iterator[Incident]:
    """Work on paper of an incident is changed by one at a time: two would give one number out twice. The incident as it is then. Busy."""
    if session.dry_run:
        yield found
        return
    with site.locks.hold(f"paper {found.id}", run=None, purpose=what, wait=site.wait or _PATIENCE):
        yield site.incidents.get(found.id)


def store(site: Site, found: Incident, order: PaperOrder) -> PaperStore:
    from opsctl.engine.paper_store import PaperStore

    return PaperStore(site.incidents.folder(found.id) / "offline" / order.id)

"""paper_order: bodies are told, in writing, to go on on paper."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any

from opsctl.actions.interface import EventAction, Params, World
from opsctl.errors import OpsError, UsageError
from opsctl.model.config_bodies import services_known
from opsctl.model.fields import Incident as Id
from opsctl.model.fields import Line, Names
from opsctl.model.incident import OFFLINE, Incident
from opsctl.model.moments import parse_moment
from opsctl.model.paper_cells import day
from opsctl.model.paper_orders import PaperOrder, orders
from opsctl.model.part import AfterValidator, Field
from opsctl.model.unknown import unknown
from opsctl.model.values import value
from opsctl.reports import paper_order as papers
from opsctl.repositories.whole import write_whole


def _moment(text: str) -> str:
    try:
        parse_moment(text)
    except ValueError:
        raise ValueError("must be a moment with its time zone, such as 2026-12-21T10:00:00+05:30") from None
    return text


class PaperOrderParams(Params):
    """``since``: RFC 3339, when work on paper begins. Empty ``services``: those of the incident's zones; empty ``bodies``: all."""

    incident: Id
    since: Annotated[str, AfterValidator(_moment)]
    services: Names = ()
    bodies: Names = ()
    number: str = ""
    until: str = ""
    extend: dict[str, Line] = Field(default_factory=dict)
    order: str = ""


@value
class Seen:
    """The order as it would be given, and whether it stands so already."""

    order: PaperOrder
    stands: bool


class OrderPaper(EventAction[PaperOrderParams, Seen]):
    """Drafts the order to work on paper, in the organisation's languages and Hindi, and writes down that it was drafted.

    with:
      incident  the incident; that of the playbook, where it has an input of that type
      since     from when on, with the time zone
      services  services to the public; those of the incident's zones where left out
      bodies    ids of municipal bodies; all of the configuration where left out
      number    the number that the office gives it, where it is known
      until     the last day, such as 2027-01-15, where one is set
      extend    services, each with the day that its due dates are moved to
      order     the order that this is the next version of; the last one where left out, `new` for another one

    As text, page and PDF in `incidents/ID/offline/ORDER/`, a page for each body: facts of the configuration, and blanks for the
    rest. A person signs and sends it. Closing the incident waits until every body was reconciled (`opsctl paper reconcile`).
    """

    word = "paper_order"
    Params = PaperOrderParams

    def observe(self, params: PaperOrderParams, world: World) -> Seen:
        found = world.incidents.require_open(params.incident)
        order = wanted(found, params, world.config)
        return Seen(order, stands(found, order))

    def happen(self, params: PaperOrderParams, world: World) -> Mapping[str, Any]:
        found = world.incidents.require_open(params.incident)
        order = wanted(found, params, world.config)
        if stands(found, order):
            return {"incident": found.id, "order": order.id, "version": order.version - 1, "bodies": len(order.bodies), "files": []}
        made, errors = give(found, order, world.incidents, world.config, world.clock(), by=world.by, run=world.run)
        for error in errors:
            world.warn(error.message)
        return {"incident": found.id, "order": order.id, "version": order.version, "bodies": len(order.bodies), "files": made}


def wanted(found: Incident, params: PaperOrderParams, config: Any) -> PaperOrder:
    """The order that these parameters ask for. UsageError for what the configuration does not know."""
    known = orders(found)
    ident = params.order or next(reversed(known), "1")
    if ident == "new":
        ident = str(len(known) + 1)
    before = known.get(ident)
    if before is None and ident != str(len(known) + 1):
        raise unknown("order", ident, known, hint="`new` is another one")
    services = params.services or (before.services if before else ()) or tuple(dict.fromkeys(
        one for zone in found.zones if zone in config.zones for one in config.zones[zone].public_services))
    there = services_known(config.paper, config.zones)
    for one in (*services, *params.extend):
        if one not in there:
            raise unknown("service", one, there, hint=None if there else "paper: {services: {…}} of the configuration names them")
    if not services:
        raise UsageError("which services to the public go on on paper?", hint="--service NAME; zones: {ZONE: {public_services: […]}} of the "
                         "configuration names those that a zone takes with it")
    bodies = params.bodies or (before.bodies if before else ()) or tuple(config.bodies)
    for body in bodies:
        if body not in config.bodies:
            raise unknown("body", body, config.bodies)
    if not bodies:
        raise UsageError("which bodies go on on paper?", hint="the configuration holds none: opsctl paper bodies FILE.csv")
    extend = {**(before.extend if before else {}), **{name: _day(text) for name, text in params.extend.items()}}
    until = date.fromisoformat(_day(params.until)) if params.until else before.until if before else None
    since = parse_moment(params.since)
    if until is not None and until < since.date():
        raise UsageError(f"the order would end on {until}, before it begins")
    return PaperOrder(ident, params.number or (before.number if before else ""), tuple(services), tuple(bodies), since, until, extend,
                      before.version + 1 if before else 1)


def stands(found: Incident, order: PaperOrder) -> bool:
    """Whether the newest version says the same already."""
    before = orders(found).get(order.id)
    return before is not None and replace(before, version=order.version) == order


def give(
    found: Incident, order: PaperOrder, incidents: Any, config: Any, at: datetime, *, by: str, run: str | None = None
) -> tuple[list[dict[str, Any]], Sequence[OpsError]]:
    """Write the papers of an order and the record of it; the files with their hashes, and what could not be made."""
    organisation = config.organisation
    contact = next((", ".join(filter(None, (one.name, one.phone))) for name, one in config.people.items() if found.in_charge in (name, one.name)),
                   found.in_charge)
    made, errors = papers.files(order, found, config.bodies, config.paper, organisation=organisation.name,
                                languages=tuple(dict.fromkeys((*organisation.languages, "en", "hi"))), contact=contact, zone=organisation.tz, at=at)
    folder = incidents.folder(found.id) / "offline" / order.id
    listed = []
    for ending, content in made.items():
        path = folder / f"order-{order.version}.{ending}"
        write_whole(path, content)
        listed.append({"name": path.name, "sha256": hashlib.sha256(content).hexdigest()})
    incidents.write(OFFLINE, {
        "incident": found.id, "order": order.id, "number": order.number, "services": list(order.services), "bodies": list(order.bodies),
        "since": order.since.isoformat(), "until": order.until.isoformat() if order.until else None, "extend": dict(order.extend),
        "files": listed, "by": by}, run=run)
    return listed, errors


def _day(text: str) -> str:
    try:
        return day(text)
    except ValueError as error:
        raise UsageError(f"{text} {error}") from error

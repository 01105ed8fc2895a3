"""incident: opened, so that every clock that the first notice started is counted from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from opsctl.actions.interface import EventAction, Params, World
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.clocks import clocks
from opsctl.model.due import elapsed, words
from opsctl.model.fields import Incident as Id
from opsctl.model.fields import Line, meant, shown
from opsctl.model.incident import OPENED
from opsctl.model.moments import parse_moment
from opsctl.model.part import AfterValidator, Field, Strict
from opsctl.model.values import value
from opsctl.protocols.cert_in import protocol


def _moment(text: str) -> str:
    try:
        parse_moment(text)
    except ValueError:
        raise ValueError("must be a moment with its time zone, such as 2026-12-21T02:30:00+05:30") from None
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class IncidentParams(Params):
    """``noticed_at``: RFC 3339, when anyone first noticed or was told, ``noticed_by`` whom, from which ``signal``.

    ``types``: ids of incident types (``opsctl incident types``). ``nature``: of a ``drill`` nothing is real. ``join``: one of that id
    that is open already is gone on with.
    """

    incident: Id
    title: Line
    noticed_at: Moment
    noticed_by: Line
    signal: Line
    in_charge: Line
    types: Annotated[tuple[Line, ...], Strict(False)] = ()
    zones: Annotated[tuple[Line, ...], Strict(False)] = ()
    fields: dict[str, str] = Field(default_factory=dict)
    nature: Literal["real", "drill"] = "real"
    join: bool = False


@value
class Seen:
    """Whether there is an incident of this id already."""

    there: bool


class Incident(EventAction[IncidentParams, Seen]):
    """Opens an incident, and starts every clock that the first notice starts.

    with:
      incident    its id
      title       what it is about, in a line
      noticed_at  when anyone first noticed, or was told of it, with the time zone; never a default
      noticed_by  who that was
      signal      from what they saw it
      in_charge   the one person who is in charge
      types       suspected types of incident, by their ids
      zones       the zones that are hit
      nature      `real`, or `drill`: an exercise, as every page of it says then
      join        true: where an incident of this id is open already, the run goes on with it, and its first notice stands

    It needs nothing but the journal, or with `--break-glass` the spool: no repository, no host.
    """

    word = "incident"
    Params = IncidentParams

    def observe(self, params: IncidentParams, world: World) -> Seen:
        noticed = parse_moment(params.noticed_at)
        for doubt in doubts(params.types, noticed, world.clock()):
            world.warn(doubt)
        if noticed > world.clock():
            raise UsageError(f"noticed_at {params.noticed_at} lies in the future", hint=reading(noticed, world.config.organisation.tz))
        there = params.incident in world.incidents.all()
        if there and params.join:
            world.incidents.require_open(params.incident)
        elif there:
            raise SafetyRefusal(f"there is an incident {params.incident} already", hint=f"opsctl incident show {params.incident}")
        return Seen(there)

    def happen(self, params: IncidentParams, world: World) -> Mapping[str, Any]:
        seen = self.observe(params, world)
        said = {**{key: said for key, said in params.model_dump().items() if key != "join"}, "types": list(params.types), "zones": list(params.zones), "drill": params.nature == "drill", "by": world.by}
        if not seen.there:
            world.incidents.write(OPENED, said, run=world.run)
        found = world.incidents.get(params.incident)
        return {"incident": params.incident, "joined": seen.there,
                "clocks": [{"duty": one.duty, "due": one.due.isoformat() if one.due else None}
                           for one in clocks(found, protocol().duties, world.clock())]}


def doubts(types: Sequence[str], noticed: datetime, now: datetime) -> list[str]:
    """What looks wrong of a notice and is taken all the same: nothing may hold it up."""
    known = protocol().types
    found = [f"CERT-In knows no incident type {shown(one)}{meant(one, known)}; it is written down as it is (`opsctl incident types`)"
             for one in types if one not in known]
    first = protocol().duties["certin-initial-report"].due
    if first is not None and (age := elapsed(noticed, now)) > first:
        found.append(f"the first notice was {words(age)} ago, and the first report is due after {words(first)}: send it now, and say why it is late")
    return found


def reading(moment: datetime, zone: Any) -> str:
    """A moment as it is understood, in the organisation's zone and in UTC."""
    return f"it was read as {moment.astimezone(zone):%d %b %Y %H:%M %Z}, which is {moment.astimezone(UTC):%d %b %Y %H:%M} UTC"

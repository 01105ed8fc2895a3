"""``opsctl restore room``, ``rooms`` and ``clear``: clean rooms, made, listed and removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import places
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan

Place = Annotated[str | None, typer.Option("--place", metavar="DIR", help="folder below which they are, if not the configured one")]


def room(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    set_id: places.SetId = None,
    copy_in: places.From = None,
    source: Annotated[list[str] | None, typer.Option("--source", metavar="SOURCE", help="only this source")] = None,
    name: Annotated[str | None, typer.Option("--room", metavar="NAME", help="name of the clean room; the set's id if not given")] = None,
) -> Report:
    """Restore a set into a clean room, and prove it there.

    A clean room is a place without a way out. Databases are loaded into servers that run in the room. Nothing comes into view anywhere else.
    """
    from opsctl.cli.restore import choose
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    view = choose(session, site, backup, set_id, copy_in)
    for one in source or ():
        if one not in view.sources:
            raise UsageError(f"set {view.id} holds no source {one}", hint=f"it holds {', '.join(view.sources)}")
    inputs = {"backup": backup, "set": view.id, "sources": list(source or ()), "room": name or "", "copy_in": copy_in or ""}
    return carry_out(session, site, "restore-room", inputs, subject=backup, text=write_room)


def write_room(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """How each source came back, and where it lies."""
    for one in tally.results:
        if one.result:
            write_restored(out, one.result)


def write_restored(out: Out, found: Any) -> None:
    """A line for each source of a restoration in a room, and one on the room."""
    for name, source in found["sources"].items():
        if source["proven"]:
            out.line(Mark(f"{name}: as it was backed up; shown by {source['shows']}", Tone.GOOD))
        for text in source["differences"][:20]:
            out.line(Mark(f"{name}: {text}", Tone.BAD))
    if found["isolation"]:
        out.line(Mark(f"the host of the clean room, {found['isolation']}", Tone.QUIET))
    if found["promotable"]:
        out.line(f"in the clean room {found['room']}: {found['place']}/files")
    else:
        out.line(Mark(f"not promotable; what was restored lies in the clean room {found['room']}: {found['place']}", Tone.WARN))


def write_left(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """The clean rooms that stay because something was found in them, or they are not as they should be, and how they go."""
    stopped = {plan.step(one.step).stage for one in tally.results if one.outcome == "failed" and one.step in {step.id for step in plan.steps}}
    places = {one.result["room"]: one.result["place"] for one in tally.results if one.result.get("room") and one.result.get("place")}
    for step in plan.steps:
        if step.uses == "clear_room" and step.stage in stopped:
            for item in step.items:
                room = str(item.params["room"])
                where = f", {places[room]}" if room in places else ""
                out.line(Mark(f"what was restored stays in the clean room {room}{where}; when it was looked at: opsctl restore clear {room}", Tone.WARN))


def rooms(context: typer.Context, place: Place = None) -> Report:
    """List the clean rooms that are there.

    Also those that a killed run left.
    """
    from opsctl.cli.work import open_site
    from opsctl.wiring.rooms import rooms as there

    site = open_site(of(context))
    found = there(site, os.path.abspath(place) if place else "")
    rows = [(one.name, one.record.get("purpose", ""), str(one.record.get("backup", "")), str(one.record.get("set", "")),
             "in use" if one.busy else "left", str(one.record.get("run", "")),
             f"{one.place}, and on {one.record['host']}" if one.record.get("host") else str(one.place)) for one in found]
    table = Table(("room", "for", "backup", "set", "state", "run", Column("place", flexible=True)), rows, empty="no clean rooms")
    result = {"rooms": [{"room": one.name, "place": str(one.place), "host": one.record.get("host"), "busy": one.busy, **{key: one.record.get(key) for key in (
        "purpose", "backup", "set", "run")}, "sources": one.record.get("sources", {})} for one in found]}
    return Report(result=result, text=lambda out: out.table(table), warnings=site.said)


def clear(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="ROOM", help="name of a clean room; `opsctl restore rooms` lists them")],
    place: Place = None,
) -> Report:
    """Remove clean rooms and all that is in them."""
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.unknown import unknown
    from opsctl.wiring.rooms import rooms as there

    session = of(context)
    site = open_site(session)
    below = os.path.abspath(place) if place else ""
    known = [one.name for one in there(site, below)]
    for name in names:
        if name not in known:
            raise unknown("clean room", name, known, hint="opsctl restore rooms")
    return carry_out(session, site, "restore-clear", {"rooms": list(names), "place": below}, subject="clear", text=write_cleared)


def write_cleared(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each room that is gone."""
    for one in tally.results:
        if one.result and not one.result["there"]:
            out.line(Mark(f"{one.item}: removed", Tone.GOOD))

"""``opsctl paper receipts``: numbers given out to bodies, and the last ones before the cut."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.incident import Incident
    from opsctl.model.paper_orders import PaperOrder
    from opsctl.model.paper_ranges import Range
    from opsctl.wiring import Site

_NAMED = 10


def receipts(
    session: Session, incident: str, which: str, body: str, series: str, numbers: str, file: Path | None, restored: Path | None, cut: Path | None,
    room: str, live: bool, *, by: str,
) -> Report:
    """Whichever of it was asked for; all of it is checked before anything is written down."""
    from opsctl.cli.paper_common import alone, the_incident, the_order
    from opsctl.cli.work import open_site, who
    from opsctl.engine.paper_numbers import read_lasts, read_ranges
    from opsctl.model.unknown import unknown

    site = open_site(session)
    found = the_incident(site, incident, change=bool(numbers or series or file or restored or cut or room or live))
    order = the_order(found, which)
    if body and body not in site.config.bodies:
        raise unknown("body", body, site.config.bodies, hint=None if site.config.bodies else "opsctl paper bodies FILE.csv")
    if room and live:
        raise UsageError("either --room or --restored-database")
    fresh = [_one(site, body, series, numbers)] if series or numbers else []
    fresh += read_ranges(file, site.config.bodies, site.config.paper) if file is not None else []
    said: list[tuple[str, str, list[dict[str, Any]]]] = []
    for what, path in (("restored", restored), ("cut", cut)):
        if path is not None:
            said.append((what, path.name, read_lasts(path, site.config.bodies, site.config.paper)))
    if room or live:
        said.append(("restored", *_asked(site, room)))
    if fresh or said:
        with alone(site, session, found, "giving receipts out") as found:
            fresh = _refuse_taken(found, fresh, order.id)
            if not session.dry_run:
                _write_down(site, found, order, fresh, said, by or who())
                found = site.incidents.get(found.id)
    return _shown(session, site, found, order, body, fresh, said)


def _write_down(
    site: Site, found: Incident, order: PaperOrder, fresh: Sequence[Range], said: Sequence[tuple[str, str, list[dict[str, Any]]]], by: str
) -> None:
    from opsctl.engine.incidents import refuse_closed
    from opsctl.model.incident import ISSUED, LAST

    if fresh:
        site.incidents.write(ISSUED, {"incident": found.id, "order": order.id, "by": by, "ranges": [
            {"body": one.body, "series": one.series, "first": one.first, "last": one.last} for one in fresh]}, check=refuse_closed)
    for what, origin, rows in said:
        site.incidents.write(LAST, {"incident": found.id, "order": order.id, "what": what, "origin": origin, "rows": rows, "by": by}, check=refuse_closed)


def _one(site: Site, body: str, series: str, numbers: str) -> Range:
    from opsctl.model.config_bodies import series as name_of
    from opsctl.model.fields import meant
    from opsctl.model.paper_ranges import Range

    own = site.config.bodies[body].series
    if not numbers and re.fullmatch(r"[0-9]+-[0-9]+", series) and len(own) == 1:
        series, numbers = own[0], series
    try:
        name = name_of(series)
    except ValueError as error:
        raise UsageError(f"SERIES {series} {error}", hint=f"{body} has {', '.join(own)}" if own else None) from error
    if own and name not in own:
        raise UsageError(f"{body} has no series {name}{meant(name, own)}", hint=f"it has {', '.join(own)}")
    span = re.fullmatch(r"([0-9]{1,12})-([0-9]{1,12})", numbers)
    if span is None or not 0 < int(span[1]) <= int(span[2]):
        raise UsageError(f"FIRST-LAST {numbers or 'is missing'}: no range of numbers", hint="such as 1-500")
    return Range(body, name, int(span[1]), int(span[2]))


def _refuse_taken(found: Incident, fresh: Sequence[Range], order: str) -> list[Range]:
    """The ranges that are new. SafetyRefusal where a number of one was given out already, naming who has it."""
    from opsctl.model.paper_orders import given

    everybody, taken, new = given(found), [], []
    for one in fresh:
        other = everybody.overlapping(one)
        if other is not None and (other.body, other.first, other.last, other.order) == (one.body, one.first, one.last, order):
            continue  # the same once more
        if other is not None:
            taken.append(f"{one} for {one.body}: {other.body} has {other}" + (f" (order {other.order})" if other.order not in ("", order) else ""))
            continue
        new.append(one)
        everybody.add(one)
    if taken:
        more = f" and {len(taken) - _NAMED} more" if len(taken) > _NAMED else ""
        raise SafetyRefusal(f"given out already: {'; '.join(taken[:_NAMED])}{more}", hint="opsctl paper receipts shows who has which; nothing was given out",
                            details={"taken": taken})
    return new


def _asked(site: Site, room: str) -> tuple[str, list[dict[str, Any]]]:
    """Origin and rows of the configured query, of a clean room or of the database itself."""
    from opsctl.engine.paper_numbers import check_lasts
    from opsctl.wiring.paper import last_receipts

    origin, rows = last_receipts(site, room)
    return origin, check_lasts(rows, site.config.bodies, origin)


def _shown(
    session: Session, site: Site, found: Incident, order: PaperOrder, body: str, fresh: Sequence[Range], said: Sequence[tuple[str, str, list[dict[str, Any]]]]
) -> Report:
    from opsctl.model.paper_orders import given, lasts

    everything = sorted((one for one in given(found) if not body or one.body == body), key=lambda one: (one.body, one.series, one.first))
    known = {name: by_series for name, by_series in lasts(found, order.id).items() if not body or name == body}
    silent = [name for name in order.bodies if name not in known]
    origins = {what: origin for what, origin, _ in said}

    def text(out: Out) -> None:
        for one in fresh:
            out.line(Mark(f"{one} {'would be' if session.dry_run else 'is'} given to {one.body}: {counted(one.count, 'receipt')}", Tone.GOOD))
        for what, origin in origins.items():
            where = "in the restored data" if what == "restored" else "before the cut"
            out.line(Mark(f"last receipts {where}: {counted(len(next(rows for each, _, rows in said if each == what)), 'series', 'series')}, from {origin}", Tone.GOOD))
        if not fresh and not said:
            _write_all(out, everything, known)
        if silent and not body and order.bodies:
            out.line(Mark(f"the last receipt before the cut is not known of {counted(len(silent), 'body', 'bodies')}: --cut FILE.csv, --room ROOM or "
                          "--restored FILE.csv", Tone.WARN))

    return Report(result={
        "incident": found.id, "order": order.id, "given": [_range(one) for one in fresh], "ranges": [_range(one) for one in everything],
        "last": [{"body": name, "series": series, "restored": one.restored, "cut": one.cut, "lost": max(0, one.cut - one.restored)
                  if one.cut is not None and one.restored is not None else None}
                 for name, by_series in known.items() for series, one in by_series.items()], "not_known": silent}, text=text, warnings=[*site.said])


def _write_all(out: Out, everything: Sequence[Range], known: Mapping[str, Mapping[str, Any]]) -> None:
    out.table(Table(("body", "series", Column("first", right=True), Column("last", right=True), Column("receipts", right=True), "order"),
                    [(one.body, one.series, str(one.first), str(one.last), f"{one.count:,}", one.order) for one in everything],
                    empty="no receipts were given out yet: opsctl paper receipts BODY SERIES FIRST-LAST"))
    rows = [(name, series, _number(one.restored), _number(one.cut),
             "?" if one.restored is None or one.cut is None else f"{max(0, one.cut - one.restored):,}")
            for name, by_series in sorted(known.items()) for series, one in sorted(by_series.items())]
    if rows:
        out.table(Table(("body", "series", Column("last restored", right=True), Column("last before the cut", right=True), Column("lost", right=True)), rows))


def _number(found: int | None) -> str:
    return "not known" if found is None else str(found)


def _range(one: Range) -> dict[str, Any]:
    return {"body": one.body, "series": one.series, "first": one.first, "last": one.last, "order": one.order}

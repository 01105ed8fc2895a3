"""Receipts that were typed in from paper, read from a list: each cell is what it has to be, or the list is not taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from opsctl.engine.paper_csv import Sheet, read_sheet
from opsctl.model import paper_cells as cells
from opsctl.model.config_bodies import COLUMNS, Body, Paper, series
from opsctl.model.fields import meant, shown


class Typed(NamedTuple):
    """One row. ``day`` is RFC 3339, ``paise`` exact."""

    body: str
    series: str
    number: int
    line: int
    day: str
    service: str
    payer: str
    account: str
    paise: int
    counter: str
    remark: str


def read_entries(path: Path, bodies: Mapping[str, Body], paper: Paper, services: Collection[str], *, body: str = "") -> tuple[Sheet, list[Typed]]:
    """All rows of a list. ``body``: whose it is, where no column says so; ``services``: those that there are (empty: any is taken).

    ConfigError with every mistake.
    """
    sheet = read_sheet(path, COLUMNS, ("number", "date", "amount", *(() if body else ("body",))), paper.columns)
    by_name = _names(bodies)
    service_names = _service_names(paper, services)
    place = {name: sheet.columns.get(name, -1) for name in COLUMNS}
    found = []
    for line, row in sheet.rows():
        whose = body or _body(sheet, line, row[place["body"]], bodies, by_name)
        said = sheet.problems.try_(line, "number", cells.receipt, row[place["number"]])
        day = sheet.problems.try_(line, "date", cells.day, row[place["date"]])
        paise = sheet.problems.try_(line, "amount", cells.paise, row[place["amount"]])
        service = row[place["service"]].strip() if place["service"] >= 0 else ""
        if service and services:
            service = _service(sheet, line, service, service_names)
        given = row[place["series"]].strip() if place["series"] >= 0 else ""
        name = _series(sheet, line, given, said[0] if said else "", bodies.get(whose or ""))
        if whose and said and day and paise is not None and name is not None:
            payer, account, counter, remark = (row[place[one]].strip() if place[one] >= 0 else "" for one in ("payer", "account", "counter", "remark"))
            found.append(Typed(whose, name, said[1], line, day, service, payer, account, paise, counter, remark))
    if not found and not sheet.problems.found:
        sheet.problems.add(1, "", "holds no receipt")
    sheet.problems.require_none("the list of receipts")
    return sheet, found


def _names(bodies: Mapping[str, Body]) -> dict[str, tuple[str, ...]]:
    """Ids by what a body is called; two bodies may be called the same."""
    found: dict[str, tuple[str, ...]] = {}
    for name, one in bodies.items():
        for said in {cells.heading(said) for said in (name, one.name, one.name_hi) if said}:
            found[said] = (*found.get(said, ()), name)
    return found


def _service_names(paper: Paper, services: Collection[str]) -> dict[str, str]:
    known = {cells.heading(name): name for name in services}
    return known | {cells.heading(said): name for name, one in paper.services.items() for said in (one.name, one.name_hi) if said}


def _body(sheet: Sheet, line: int, said: str, bodies: Mapping[str, Body], by_name: Mapping[str, tuple[str, ...]]) -> str | None:
    if said in bodies:
        return said
    found = by_name.get(cells.heading(said), ())
    if not found:
        sheet.problems.add(line, "body", f"there is no body {shown(said)}{meant(said, bodies)}" if said.strip() else "is missing")
    elif len(found) > 1:
        sheet.problems.add(line, "body", f"{shown(said)} is the name of {', '.join(found)}: write which one")
    return found[0] if len(found) == 1 else None


def _service(sheet: Sheet, line: int, said: str, known: Mapping[str, str]) -> str:
    found = known.get(cells.heading(said))
    if found is None:
        sheet.problems.add(line, "service", f"there is no service {shown(said)}{meant(cells.heading(said), known)}")
    return found or ""


def _series(sheet: Sheet, line: int, given: str, within: str, body: Body | None) -> str | None:
    """The series of a row: in its column, before the number, or the only one that the body has."""
    own = body.series if body is not None else ()
    name = (given or within).upper() or (own[0] if len(own) == 1 else "")
    if given and within and given.upper() != within:
        sheet.problems.add(line, "series", f"{shown(given)} here and {shown(within)} before the number")
        return None
    if not name:
        sheet.problems.add(line, "series", "is missing" + (f": it has {', '.join(own)}" if own else ""))
        return None
    if own and name not in own:
        sheet.problems.add(line, "series", f"this body has no series {shown(name)}{meant(name, own)}; it has {', '.join(own)}")
        return None
    return sheet.problems.try_(line, "series", series, name)

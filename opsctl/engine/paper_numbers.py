"""Ranges of receipts, last receipts and bodies from lists; every mistake at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.engine.paper_csv import Problems, Sheet, read_sheet
from opsctl.engine.wording import in_words
from opsctl.model import paper_cells as cells
from opsctl.model.config_bodies import Body, Paper, series
from opsctl.model.fields import meant, name, shown
from opsctl.model.paper_ranges import Range, Ranges
from opsctl.model.part import NotValid


def read_ranges(path: Path, bodies: Mapping[str, Body], paper: Paper) -> list[Range]:
    """Ranges of numbers: body, series, first, last. ConfigError with every mistake, two that overlap among them."""
    sheet = read_sheet(path, ("body", "series", "first", "last"), ("body", "first", "last"), paper.columns)
    found = Ranges()
    lines: dict[tuple[str, int], int] = {}
    listed = []
    for line, row in sheet.rows():
        body = _body(sheet.problems, line, _cell(sheet, row, "body"), bodies)
        first, last = (sheet.problems.try_(line, key, _number, _cell(sheet, row, key)) for key in ("first", "last"))
        which = _series(sheet.problems, line, _cell(sheet, row, "series"), bodies.get(body or ""))
        if not body or which is None or first is None or last is None:
            continue
        one = Range(body, which, first, last)
        other = found.overlapping(one)
        if last < first:
            sheet.problems.add(line, "last", f"{last} comes before {first}")
        elif other is not None:
            sheet.problems.add(line, "first", f"line {lines[other.series, other.first]} gives {other} to {other.body}")
        else:
            found.add(one)
            lines[one.series, one.first] = line
            listed.append(one)
    sheet.problems.require_none("the list of ranges")
    return listed


def read_lasts(path: Path, bodies: Mapping[str, Body], paper: Paper) -> list[dict[str, Any]]:
    """Last receipts: body, series, number and perhaps date. ConfigError with every mistake."""
    sheet = read_sheet(path, ("body", "series", "number", "date"), ("body", "number"), paper.columns)
    rows = [(line, [_cell(sheet, row, key) for key in ("body", "series", "number", "date")]) for line, row in sheet.rows()]
    return _lasts(rows, bodies, sheet.problems, "the list of last receipts")


def check_lasts(rows: Sequence[Sequence[str]], bodies: Mapping[str, Body], origin: str) -> list[dict[str, Any]]:
    """The same from the answer of a query."""
    return _lasts(list(enumerate(rows, 1)), bodies, Problems(origin), "what the query answered")


def _lasts(rows: Sequence[tuple[int, Sequence[str]]], bodies: Mapping[str, Body], problems: Problems, what: str) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line, (whose, given, number, when) in rows:
        body = _body(problems, line, whose, bodies)
        said = problems.try_(line, "number", cells.receipt, number)
        which = _series(problems, line, given or (said[0] if said else ""), bodies.get(body or ""))
        day = problems.try_(line, "date", cells.day, when[:10]) if when.strip() else ""
        if body and said and which is not None and day is not None:
            if (body, which) in found:
                problems.add(line, "series", f"{body} {which} stands there twice")
            found[body, which] = {"body": body, "series": which, "number": said[1], "date": day}
    if not rows:
        problems.add(1, "", "holds no receipt")
    problems.require_none(what)
    return list(found.values())


def read_settlements(path: Path, findings: Mapping[str, Collection[str]]) -> list[tuple[str, str, str]]:
    """Body, finding and note of each row that has a note, such as of ``findings.csv`` with its last column filled in.

    ``findings``: the ids of what is there, by body. ConfigError with every row that is about none of it.
    """
    sheet = read_sheet(path, ("body", "finding", "note"), ("body", "finding", "note"))
    found = []
    for line, row in sheet.rows():
        body, finding, note = (_cell(sheet, row, key) for key in ("body", "finding", "note"))
        if not note:
            continue
        if body not in findings:
            sheet.problems.add(line, "body", f"there is no body {shown(body)}{meant(body, findings)}")
        elif finding not in findings[body]:
            sheet.problems.add(line, "finding", f"{body} has no finding {shown(finding)}{meant(finding, findings[body])}: was more entered since?")
        else:
            found.append((body, finding, note))
    sheet.problems.require_none("the list of settlements")
    return found


def read_bodies(path: Path, known: Mapping[str, Body]) -> tuple[dict[str, Body], list[str]]:
    """Bodies by id, and what is not taken of the list. ConfigError with every mistake."""
    sheet = read_sheet(path, ("id", "name", "name_hi", "counters", "series"), ("id", "name"))
    found: dict[str, Body] = {}
    for line, row in sheet.rows():
        if odd := next((cell for cell in row if not cell.isprintable() and shown(cell) != cell and "\u200c" not in cell and "\u200d" not in cell), None):
            sheet.problems.add(line, "", f"{shown(odd)} holds a sign that cannot be seen")
            continue
        ident = sheet.problems.try_(line, "id", name, _cell(sheet, row, "id"))
        data: dict[str, Any] = {"name": _cell(sheet, row, "name")}
        if hindi := _cell(sheet, row, "name_hi"):
            data["name_hi"] = hindi
        data |= {key: [one.strip() for one in re.split(r"[;|]", _cell(sheet, row, key)) if one.strip()] for key in ("counters", "series")}
        try:
            body = Body.model_validate(data)
        except NotValid as error:
            for place, message, _ in in_words(error, Body, data):
                sheet.problems.add(line, str(place[0]), message)
            continue
        if ident in found:
            sheet.problems.add(line, "id", f"{ident} stands there twice")
        elif ident is not None and ident in known and known[ident] != body:
            sheet.problems.add(line, "id", f"{ident} is in the configuration already, and differs: change it there")
        elif ident:
            found[ident] = body
    sheet.problems.require_none("the list of bodies")
    return found, list(sheet.doubts)


def _cell(sheet: Sheet, row: Sequence[str], column: str) -> str:
    return row[sheet.columns[column]].strip() if column in sheet.columns else ""


def _body(problems: Problems, line: int, said: str, bodies: Mapping[str, Body]) -> str | None:
    if said in bodies:
        return said
    problems.add(line, "body", f"there is no body {shown(said)}{meant(said, bodies)}" if said else "is missing")
    return None


def _series(problems: Problems, line: int, said: str, body: Body | None) -> str | None:
    own = body.series if body is not None else ()
    if not said and len(own) == 1:
        return own[0]
    if own and said.upper() not in own:
        problems.add(line, "series", f"this body has no series {shown(said)}{meant(said, own)}; it has {', '.join(own)}" if said else f"is missing: it has {', '.join(own)}")
        return None
    if not said:
        problems.add(line, "series", "is missing")
        return None
    return problems.try_(line, "series", series, said)


def _number(text: str) -> int:
    said = cells.digits(text).strip()
    if not re.fullmatch(r"[0-9]{1,12}", said) or int(said) == 0:
        raise ValueError("must be a number from 1 on" if said else "is missing")
    return int(said)

"""Orders to work on paper, and what belongs to each, as the records of an incident hold them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from opsctl.model.incident import ENTERED, ISSUED, LAST, OFFLINE, SETTLED, Incident
from opsctl.model.paper_ranges import Range, Ranges
from opsctl.model.paper_work import Last
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value


@value
class PaperOrder:
    """An order in its newest version. ``number``: of the office that gives it, empty until it is known; ``until``: the last day on paper,
    None until one is set; ``extend``: to which day due dates of a service are moved."""

    id: str
    number: str
    services: tuple[str, ...]
    bodies: tuple[str, ...]
    since: datetime
    until: date | None
    extend: Mapping[str, str]
    version: int


def orders(found: Incident) -> dict[str, PaperOrder]:
    """The orders of an incident by id, the newest version of each."""
    made: dict[str, PaperOrder] = {}
    for one in found.of(OFFLINE):
        said = one.data
        before = made.get(said["order"])
        made[said["order"]] = PaperOrder(
            said["order"], said.get("number", ""), tuple(said["services"]), tuple(said["bodies"]), parse_time(said["since"]),
            date.fromisoformat(said["until"]) if said.get("until") else None, dict(said.get("extend") or {}), before.version + 1 if before else 1)
    return made


def given(found: Incident) -> Ranges:
    """All numbers that were given out in an incident, under whichever order."""
    return Ranges(Range(each["body"], each["series"], each["first"], each["last"], one.data["order"])
                  for one in found.of(ISSUED) for each in one.data["ranges"])


def lasts(found: Incident, order: str) -> dict[str, dict[str, Last]]:
    """The last receipts of each body by series; what was said last counts."""
    known: dict[str, dict[str, dict[str, int]]] = {}
    for one in found.of(LAST):
        if one.data["order"] == order:
            for row in one.data["rows"]:
                known.setdefault(row["body"], {}).setdefault(row["series"], {})[one.data["what"]] = row["number"]
    return {body: {series: Last(said.get("restored"), said.get("cut")) for series, said in by_series.items()} for body, by_series in known.items()}


def entered(found: Incident, order: str) -> list[Mapping[str, Any]]:
    """What was entered under an order, file by file."""
    return [one.data for one in found.of(ENTERED) if one.data["order"] == order]


def notes(found: Incident, order: str) -> dict[str, dict[str, str]]:
    """How findings were settled, by body and by the id of the finding."""
    said: dict[str, dict[str, str]] = {}
    for one in found.of(SETTLED):
        if one.data["order"] == order:
            for each in one.data["findings"]:
                said.setdefault(each["body"], {})[each["finding"]] = f"{one.data['note']} ({one.data.get('by', '?')})"
    return said

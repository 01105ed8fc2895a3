"""The shipped facts of CERT-In's protocol (``cert_in.yaml``) as values: duties, incident types, form, contacts, sources."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from opsctl.model.clocks import Duty
from opsctl.model.values import value

_PATH = Path(__file__).with_suffix(".yaml")
_DURATION = re.compile(r"P(?:(\d+)Y)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?")


@value
class Source:
    """Where a fact stands. ``basis``: whether the official text itself was read (``primary``), or somebody's account of it."""

    id: str
    title: str
    date: str
    url: str | None
    basis: str


@value
class IncidentType:
    """A type of incident of Annexure I; ``annexure`` is its number there, None of the form's box *other*."""

    id: str
    annexure: str | None
    summary: str
    explain: str


@value
class Field:
    """A field of the report form, in its order. ``allowed``: the values of a choice."""

    order: int
    section: str
    key: str
    label: str
    type: str
    tool_minimum: bool
    allowed: tuple[str, ...] = ()
    note: str | None = None


@value
class Protocol:
    """Everything by id. ``raw`` is the whole of the file, for what has no value of its own."""

    duties: Mapping[str, Duty]
    types: Mapping[str, IncidentType]
    fields: tuple[Field, ...]
    sources: Mapping[str, Source]
    contacts: Mapping[str, Mapping[str, Any]]
    phases: tuple[Mapping[str, Any], ...]
    raw: Mapping[str, Any]


@functools.cache
def protocol() -> Protocol:
    """The shipped protocol, read once."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    raw = yaml.load(_PATH.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return Protocol(
        duties={one["id"]: _duty(one) for one in raw["deadlines"]},
        types={one["id"]: IncidentType(one["id"], one["annexure"], one["summary"], one["explain"])
               for one in (*raw["incident_types"], *raw["incident_types_extra"])},
        fields=tuple(_field(one, raw) for one in raw["form_fields"]),
        sources={name: Source(name, one["title"], str(one["date"]), one.get("url"), one["basis"]) for name, one in raw["sources"].items()},
        contacts={one["id"]: one for one in (*raw["contacts"], *raw["other_recipients"])},
        phases=tuple(raw["phases"]),
        raw=raw,
    )


def _duty(one: Mapping[str, Any]) -> Duty:
    return Duty(
        id=one["id"], obligation=one["obligation"], anchor=one["clock_starts"], due=_duration(one.get("due")), due_text=one["due_text"],
        recipient=one["recipient"], channel=one["channel"], content=one["content"], force=one["legal_force"], immediate=bool(one.get("immediate")),
        prompt=_duration(one.get("project_default")), in_force_from=_date(one.get("in_force_from")), applies_if=one.get("applies_if"),
        sources=tuple(one["sources"]), confidence=one["confidence"], basis=one.get("basis"))


def _field(one: Mapping[str, Any], raw: Mapping[str, Any]) -> Field:
    allowed = one.get("allowed")
    if isinstance(allowed, str):  # the types of incident, which stand elsewhere in the file
        allowed = [each["id"] for each in (*raw["incident_types"], *raw["incident_types_extra"])]
    return Field(one["order"], one["section"], one["key"], one["label"], one["type"], one["tool_minimum"], tuple(allowed or ()), one.get("note"))


def _date(text: Any) -> date | None:
    return date.fromisoformat(str(text)) if text else None


def _duration(text: str | None) -> timedelta | None:
    """ISO 8601 as the file has it; a year counts 365 days."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text}: no duration")
    years, days, hours, minutes = (int(one or 0) for one in found.groups())
    return timedelta(days=365 * years + days, hours=hours, minutes=minutes)

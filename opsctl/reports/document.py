"""A report as sections of labelled values and tables, before it is text, page or PDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from opsctl.model.clocks import Clock
from opsctl.model.incident import Incident
from opsctl.model.values import value


@value
class Row:
    """One labelled value. ``value`` is None where it is not yet known; ``doubt``: what a person should look at again.

    ``label`` is the official one, in English, and ``hindi`` stands beside it; ``source``: where the label stands (ids of the protocol's
    sources). ``order`` is its number on the form; ``minimum``: asked for in a usable first report. ``worded``: the value for people, where it is
    one of those that a form knows by a code.
    """

    key: str
    label: str
    hindi: str | None
    value: str | None
    source: str
    doubt: str | None = None
    order: int | None = None
    minimum: bool = False
    worded: str | None = None

    @property
    def shown(self) -> str | None:
        return self.worded or self.value


@value
class Grid:
    """A table of what was recorded."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@value
class Section:
    """A heading with what stands below it. ``name`` is the same in every language."""

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    grid: Grid | None = None


@value
class Document:
    """A report in one language.

    ``head``: label and text of the lines above the sections; ``notes``: of lines for whoever sends it, which are in no file that goes out;
    ``to``: e-mail address of who gets it.
    """

    report: str
    title: str
    language: str
    incident: Incident
    at: datetime
    head: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    unknown: str
    to: str | None = None
    sender: str | None = None

    @property
    def rows(self) -> Iterator[Row]:
        for section in self.sections:
            yield from section.rows


@value
class Reporter:
    """Who reports: of the configuration, or of whoever drafts."""

    name: str
    organisation: str
    phone: str | None = None
    email: str | None = None

    @property
    def line(self) -> str:
        return ", ".join(one for one in (self.name, self.organisation, self.phone, self.email) if one)


@value
class Deed:
    """Something that opsctl did, by the journal: ``word`` of the playbook, in which ``step``, for which ``item``, and what it told at its end."""

    at: datetime
    word: str
    run: str
    step: str
    item: str
    outcome: str
    because: str
    result: Mapping[str, Any]


@value
class Facts:
    """What a report is filled from.

    ``in_charge``: who that is, with how to reach them; ``hosts``: address by name of those in the zones that are hit; ``services``: what people
    lost with them; ``sent``: the JSON of the newest draft of each report that was recorded as sent.
    """

    incident: Incident
    clocks: tuple[Clock, ...]
    reporter: Reporter
    in_charge: str
    hosts: Mapping[str, str]
    services: tuple[str, ...]
    deeds: tuple[Deed, ...]
    at: datetime
    sent: Mapping[str, Mapping[str, Any]]

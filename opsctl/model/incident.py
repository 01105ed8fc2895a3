"""An incident as its entries in the journal make it: first notices, types, orders, what was sent, decided and said.

What belongs to one part of the work is kept as it was recorded (``Incident.records``), and read by that part's own module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Any, Protocol

from opsctl.model.moments import parse_moment
from opsctl.model.quantities import counted
from opsctl.model.values import value

OPENED, NOTED, CORRECTED, ANCHORED, ORDERED, MET, DECIDED, EXPLAINED, STATED, FILED, CLOSED = (
    f"incident.{word}" for word in (
        "opened", "noted", "corrected", "anchored", "ordered", "met", "decided", "explained", "stated", "filed", "closed"))
DRAFTED, ASKED, PAPERED, COLLECTED, SEALED, HANDED, OFFLINE, ISSUED, LAST, ENTERED, SETTLED, RECONCILED, TAKEN_OVER = (
    f"incident.{word}" for word in (
        "drafted", "paper-asked", "papered", "collected", "sealed", "handed", "offline", "receipts", "last-receipts", "entered", "settled",
        "reconciled", "taken-over"))
RECORDS = (DRAFTED, ASKED, PAPERED, COLLECTED, SEALED, HANDED, OFFLINE, ISSUED, LAST, ENTERED, SETTLED, RECONCILED, TAKEN_OVER)
"""Kept as they are in ``Incident.records``. What each has beside ``incident`` and ``by``:

``drafted``      report, number, files [{name, sha256}]
``paper-asked``  kind, text: a document that has to be there before the incident closes
``papered``      kind, name, sha256, bytes, note: one that came; it lies in the incident's ``papers/``
``collected``    host, profile, bag (a path in the incident's ``evidence/``), counts {outcome: items}, manifest_sha256
``sealed``       bag, manifest_sha256, key (fingerprint)
``handed``       bag, to, reason
``offline``      order, number, services, bodies, since, until, extend {service: day}, files [{name, sha256}]: work on paper begins; the same
                 order again is its next version
``receipts``     order, ranges [{body, series, first, last}]: numbers that were given out
``last-receipts`` order, what (``restored`` or ``cut``), origin, rows [{body, series, number, date}]
``entered``      order, bodies {body: rows}, file, sha256, rows, total (rupees as text): what was typed in from paper
``settled``      order, findings [{body, finding}], note: how something that stood out was settled
``reconciled``   order, bodies [{body, gaps, doubles, findings, rows, total, seen}], note; ``seen``: how many records concerned the body
``taken-over``   lost (a list in words): another controller goes on with it
"""
ENTRIES = (OPENED, NOTED, CORRECTED, ANCHORED, ORDERED, MET, DECIDED, EXPLAINED, STATED, FILED, CLOSED, *RECORDS)
"""What the journal calls them."""

ANCHORS = ("noticed_at", "became_aware_at", "order_received_at", "money_moved_at", "complaint_filed_at", "reopen_requested_at", "incident_closed_at")
"""Moments that start a clock and belong to one incident; PROTOCOL.md §2."""


class Line(Protocol):
    """An entry of the journal, as far as it matters here."""

    @property
    def seq(self) -> int: ...

    @property
    def time(self) -> datetime: ...

    @property
    def type(self) -> str: ...

    @property
    def data(self) -> Mapping[str, Any]: ...


@value
class Notice:
    """When somebody first noticed, or was told; ``by`` whom, from what ``signal``. ``recorded`` is when that was written down."""

    at: datetime
    by: str
    signal: str
    recorded: datetime


@value
class Order:
    """An order of CERT-In; ``due`` as it says itself, None where it says nothing."""

    id: str
    received: datetime
    due: datetime | None
    text: str


@value
class Met:
    """Something that was sent or done for a duty: when, by whom, on which channel, with which reference; files with their hashes.

    ``report`` and ``draft``: which draft it was, where it was one. ``recorded``: when it was written down here.
    """

    duty: str
    at: datetime
    recorded: datetime
    by: str
    channel: str
    reference: str = ""
    to: str = ""
    files: tuple[tuple[str, str], ...] = ()
    report: str = ""
    draft: int = 0


@value
class Statement:
    """Something that a person states on their own account, such as that no evidence of a leak was found, and on which basis."""

    subject: str
    text: str
    basis: str
    by: str
    at: datetime


@value
class Record:
    """One entry of ``RECORDS``: when it was written, and its content."""

    at: datetime
    data: Mapping[str, Any]


@value
class Event:
    """One line of the timeline; ``kind`` is the type of the journal's entry."""

    at: datetime
    text: str
    by: str
    seq: int
    kind: str = ""


@value
class Incident:
    """What is known of an incident by now. ``anchors``: the moments that started its clocks, the earliest of each that was recorded."""

    id: str
    title: str
    opened: datetime
    opened_by: str
    notices: tuple[Notice, ...]
    types: tuple[str, ...]
    zones: tuple[str, ...]
    in_charge: str
    anchors: Mapping[str, datetime]
    orders: tuple[Order, ...] = ()
    met: tuple[Met, ...] = ()
    decisions: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    timeline: tuple[Event, ...] = ()
    closed: datetime | None = None
    drill: bool = False
    records: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)

    @property
    def noticed(self) -> datetime:
        """The first notice: the earliest that anybody recorded."""
        return self.anchors["noticed_at"]

    @property
    def first(self) -> Notice:
        """The earliest notice that anybody recorded: who it was, and what they noticed it by."""
        return min(self.notices, key=lambda one: one.at)

    def of(self, kind: str) -> tuple[Record, ...]:
        """The records of one kind of ``RECORDS``, in the order in which they were written."""
        return self.records.get(kind, ())


_NOT_UNDERSTOOD = (KeyError, IndexError, TypeError, ValueError, AttributeError)


def fold(lines: Iterable[Line]) -> dict[str, Incident]:
    """The incidents that these entries of a journal make, by id, in the order in which they were opened.

    Entries for an incident whose opening is not among them are left out: they are not lost, only not told of here. One that cannot
    be understood (another controller's, taken over) changes nothing beside its line in the timeline, and holds no report up.
    """
    found: dict[str, Incident] = {}
    timelines: dict[str, list[Event]] = {}
    records: dict[str, dict[str, list[Record]]] = {}
    for line in lines:
        name = str(line.data.get("incident"))
        try:
            text = says(line)
            if line.type == OPENED and name not in found:
                found[name] = _opened(line)
                timelines[name], records[name] = [], {}
            elif name in found and line.type in RECORDS:
                records[name].setdefault(line.type, []).append(Record(line.time, line.data))
            elif name in found:
                found[name] = _with(found[name], line)
        except _NOT_UNDERSTOOD:
            text = f"an entry that cannot be understood ({line.type})"
        if name in found:
            timelines[name].append(Event(line.time, text, str(line.data.get("by", "?")), line.seq, line.type))
    return {name: replace(one, timeline=tuple(timelines[name]), records={kind: tuple(all_) for kind, all_ in records[name].items()})
            for name, one in found.items()}


def _opened(line: Line) -> Incident:
    data = line.data
    noticed = parse_moment(data["noticed_at"])
    recorded = line.time
    return Incident(
        id=data["incident"], title=data["title"], opened=recorded, opened_by=data["by"],
        notices=(Notice(noticed, data["noticed_by"], data["signal"], recorded),), types=tuple(data["types"]), zones=tuple(data["zones"]),
        in_charge=data["in_charge"], anchors={"noticed_at": noticed}, drill=bool(data.get("drill")), fields=dict(data.get("fields") or {}))


def _with(found: Incident, line: Line) -> Incident:
    data, recorded = line.data, line.time
    if line.type == CORRECTED:
        return _corrected(found, data, recorded)
    if line.type == ANCHORED:
        return _anchored(found, data["anchor"], parse_moment(data["at"]))
    if line.type == ORDERED:
        order = Order(data["order"], parse_moment(data["received_at"]), parse_moment(data["due_at"]) if data.get("due_at") else None, data["text"])
        return replace(_anchored(found, "order_received_at", order.received), orders=(*found.orders, order))
    if line.type == MET:
        met = Met(data["duty"], parse_moment(data["at"]), recorded, data["by"], data["channel"], data.get("reference", ""), data.get("to", ""),
                  tuple((one["name"], one["sha256"]) for one in data.get("files", ())), str(data.get("report", "")), int(data.get("draft", 0)))
        return replace(found, met=(*found.met, met))
    if line.type == DECIDED:
        return replace(found, decisions={**found.decisions, data["duty"]: f"{data['reason']} ({data['by']})"})
    if line.type == EXPLAINED:
        return replace(found, reasons={**found.reasons, data["duty"]: f"{data['reason']} ({data['by']})"})
    if line.type == STATED:
        said = Statement(data["subject"], data["text"], data["basis"], data["by"], parse_moment(data["at"]))
        return replace(found, statements=(*found.statements, said))
    if line.type == FILED:
        return replace(found, fields={**found.fields, **data["fields"]})
    if line.type == CLOSED:
        return replace(_anchored(found, "incident_closed_at", recorded), closed=recorded)
    return found


def _corrected(found: Incident, data: Mapping[str, Any], recorded: datetime) -> Incident:
    """An earlier notice starts the clock; a later one is kept and changes nothing."""
    if data["what"] == "noticed_at":
        notice = Notice(parse_moment(data["value"]), data.get("noticed_by", data["by"]), data["why"], recorded)
        return replace(_anchored(found, "noticed_at", notice.at), notices=(*found.notices, notice))
    if data["what"] == "types":
        return replace(found, types=tuple(data["value"]))
    if data["what"] == "zones":
        return replace(found, zones=tuple(data["value"]))
    return replace(found, in_charge=data["value"]) if data["what"] == "in_charge" else replace(found, title=data["value"])


def _anchored(found: Incident, anchor: str, at: datetime) -> Incident:
    before = found.anchors.get(anchor)
    return replace(found, anchors={**found.anchors, anchor: min(at, before) if before is not None else at})


def says(line: Line) -> str:
    """One entry in a sentence, for the timeline."""
    data = line.data
    match line.type:
        case "incident.opened":
            return f"opened: {data['title']}; noticed {data['noticed_at']} by {data['noticed_by']} ({data['signal']}); in charge: {data['in_charge']}"
        case "incident.noted":
            return str(data["text"])
        case "incident.corrected":
            value = ", ".join(data["value"]) if isinstance(data["value"], list) else data["value"]
            return f"{data['what']} is now {value}: {data['why']}"
        case "incident.anchored":
            return f"{data['anchor']}: {data['at']} ({data['why']})"
        case "incident.ordered":
            return f"order {data['order']} received {data['received_at']}: {data['text']}"
        case "incident.met":
            reference = f", reference {data['reference']}" if data.get("reference") else ""
            return f"{data['duty']}: done {data['at']} by {data['channel']}{reference}"
        case "incident.decided":
            return f"{data['duty']} does not apply: {data['reason']}"
        case "incident.explained":
            return f"{data['duty']} was missed: {data['reason']}"
        case "incident.stated":
            return f"states on {data['subject']}: {data['text']} (basis: {data['basis']})"
        case "incident.filed":
            return f"filled in: {', '.join(data['fields'])}"
        case "incident.closed":
            return f"closed: {data.get('note') or 'recovery is complete'}"
        case "incident.drafted":
            return f"draft {data['number']} of the report {data['report']}"
        case "incident.paper-asked":
            return f"asked for {data['kind']}: {data['text']}"
        case "incident.papered":
            return f"{data['kind']} is there: {data['name']}, SHA-256 {data['sha256'][:12]}…" + (f": {data['note']}" if data.get("note") else "")
        case "incident.collected":
            return f"evidence of {data['host']} ({data['profile']}): " + ", ".join(f"{number} {outcome}" for outcome, number in data["counts"].items())
        case "incident.sealed":
            return f"evidence sealed: {data['bag']}, manifest {data['manifest_sha256'][:12]}…"
        case "incident.handed":
            return f"evidence {data['bag']} handed to {data['to']}: {data['reason']}"
        case "incident.offline":
            return f"work on paper from {data['since']}: {', '.join(data['services'])} (order {data['order']})"
        case "incident.receipts":
            ranges = data["ranges"]
            one = f"{ranges[0]['series']} {ranges[0]['first']} to {ranges[0]['last']} given to {ranges[0]['body']}" if ranges else "none"
            return f"receipts {one}" + (f" and {len(ranges) - 1} more ranges" if len(ranges) > 1 else "")
        case "incident.last-receipts":
            where = {"restored": "in the restored data", "cut": "before the cut"}[data["what"]]
            return f"last receipts {where}: {len(data['rows'])} series, from {data['origin']}"
        case "incident.entered":
            return f"{counted(data['rows'], 'receipt')} of {counted(len(data['bodies']), 'body', 'bodies')} entered from paper, {data['total']} rupees: {data['file']}"
        case "incident.settled":
            first, number = data["findings"][0], len(data["findings"]) - 1
            return f"{first['body']}: {first['finding']}{f' and {number} more' if number else ''} settled: {data['note']}"
        case "incident.reconciled":
            names = [one["body"] for one in data["bodies"]]
            gaps, doubles = (sum(one[key] for one in data["bodies"]) for key in ("gaps", "doubles"))
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            return f"reconciled: {listed}; {gaps} gaps, {doubles} doubles, all settled" + (f"; {data['note']}" if data.get("note") else "")
        case "incident.taken-over":
            return "taken over by another controller; lost: " + ("; ".join(data["lost"]) or "nothing")
    return line.type

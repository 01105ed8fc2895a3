"""One draft of a report in every format and language, from facts alone: whatever cannot be made is said, and holds nothing else up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from opsctl.errors import OpsError
from opsctl.model.clocks import Clock
from opsctl.model.unknown import unknown
from opsctl.model.values import value
from opsctl.protocols.cert_in import protocol
from opsctl.reports import formats
from opsctl.reports.document import Document, Facts
from opsctl.reports.kinds import KINDS, Kind
from opsctl.reports.words import Words

TO_NOBODY = "drill@example.invalid"
"""Whom a drill is addressed to."""


@value
class Draft:
    """``files``: content by name. ``text``: in the first language asked for, to be read out; ``problems``: what could not be made, and why.

    ``notes``: label and text of lines for whoever sends it; ``changed``: labels of what is not as in the draft before; ``missing``: of what is not yet known and asked for in a first report;
    ``doubts``: what a person should look at again.
    """

    report: str
    number: int
    files: Mapping[str, bytes]
    text: str
    json: Mapping[str, Any]
    notes: tuple[tuple[str, str], ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    doubts: tuple[str, ...]
    problems: tuple[OpsError, ...]


def kind_of(report: str) -> Kind:
    """UsageError where there is no such report."""
    if report not in KINDS:
        raise unknown("report", report, KINDS)
    return KINDS[report]


def draft(report: str, facts: Facts, zone: tzinfo, languages: Sequence[str], number: int = 1, before: Mapping[str, Any] | None = None) -> Draft:
    """Fill a report and set it in every format. ``before``: the JSON of the draft before it. UsageError for a report there is not.

    Files are called ``REPORT-NUMBER.LANGUAGE.txt|html|pdf``, and ``REPORT-NUMBER.json|eml``.
    """
    kind_of(report)
    name = f"{report}-{number}"
    made = [document(report, facts, Words(language, zone)) for language in languages]
    texts = [formats.as_text(one) for one in made]
    files = {f"{name}.{one.language}.txt": text.encode("utf-8", "backslashreplace") for one, text in zip(made, texts, strict=True)}
    files |= {f"{name}.{one.language}.html": formats.as_page(one) for one in made}
    pdfs: dict[str, bytes] = {}
    problems: list[OpsError] = []
    for one in made:
        try:
            pdfs[f"{name}.{one.language}.pdf"] = formats.as_pdf(one)
        except OpsError as error:
            problems.append(error)
    english = document(report, facts, Words("en", zone))
    told = formats.as_json(english, number)
    files |= pdfs
    files[f"{name}.json"] = formats.json_bytes(told)
    files[f"{name}.eml"] = formats.as_mail(made[0], "\n\n".join(texts), pdfs)
    rows = list(english.rows)
    return Draft(
        report, number, files, texts[0], told, made[0].notes, tuple(_changed(before, told) if before else ()),
        tuple(row.label for row in rows if row.value is None and row.minimum),
        tuple(f"{row.label}: {row.doubt}" for row in rows if row.doubt), tuple({error.message: error for error in problems}.values()))


def document(report: str, facts: Facts, words: Words) -> Document:
    """A report in one language."""
    kind = kind_of(report)
    contact = protocol().contacts[kind.recipient]
    return Document(report, words.title(report), words.language, facts.incident, facts.at, tuple(_head(kind, contact, facts, words)),
                    tuple(_notes(kind, contact, facts, words)), kind.fill(facts, words), words("unknown"),
                    TO_NOBODY if facts.incident.drill else contact.get("incident_email"),
                    facts.reporter.email)


def _head(kind: Kind, contact: Mapping[str, Any], facts: Facts, words: Words) -> list[tuple[str, str]]:
    clocks = {clock.duty: clock for clock in facts.clocks}
    return [
        (words("to"), str(contact["name"])), (words("incident"), facts.incident.id), (words("drafted"), words.stamp(facts.at)),
        *((words("was_late"), _late(clock, facts, words)) for one in kind.duties if (clock := clocks.get(one)) and clock.state in ("late", "overdue")),
        *dict.fromkeys((words("force"), words("in_force", date=f"{duty.in_force_from:%d/%m/%Y}")) for one in kind.duties
                       if (duty := protocol().duties[one]).in_force_from is not None),
    ]


def _late(clock: Clock, facts: Facts, words: Words) -> str:
    until = words("at_once") if clock.due == clock.since else words("due_at", at=words.stamp(clock.due or clock.since))
    return f"{until}; {facts.incident.reasons.get(clock.duty) or words('no_reason')}"


def _notes(kind: Kind, contact: Mapping[str, Any], facts: Facts, words: Words) -> list[tuple[str, str]]:
    """Until when, by which channel and on which ground: for whoever sends it."""
    clocks = {clock.duty: clock for clock in facts.clocks}
    found: list[tuple[str, str]] = []
    for duty in (protocol().duties[one] for one in kind.duties):
        clock = clocks.get(duty.id)
        until = words.stamp(clock.due) if clock and clock.due and not duty.immediate else duty.due_text
        found += [(words("duty"), f"{duty.id}: {duty.obligation} ({duty.force.replace('_', ' ')})"), (words("due"), until),
                  (words("channel"), words("in_earnest", channel=duty.channel) if facts.incident.drill else duty.channel)]
        found += [(words("only_if"), duty.applies_if)] if duty.applies_if else []
        found += [(words("source"), "; ".join(duty.sources) + f" ({duty.confidence})")]
    if contact.get("incident_email_confidence", "verified") != "verified":
        found.append((words("doubt"), f"{contact['incident_email']}: {contact['incident_email_confidence']}"))
    return found


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as in the draft before, by the label of the field or the heading of the table."""
    old = {one["key"]: one["value"] for one in before.get("fields", ())}
    fields = [one["label"] for one in now["fields"] if old.get(one["key"]) != one["value"]]
    tables = [name for name, grid in now["tables"].items() if before.get("tables", {}).get(name) != grid]
    return list(dict.fromkeys([*fields, *tables]))

"""The report to CERT-In: its 22 fields filled with what is known, *not yet known* for the rest, and nothing that blocks a draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from opsctl.model.clocks import Clock
from opsctl.model.fields import meant
from opsctl.model.incident import FILED, OPENED, STATED, Incident
from opsctl.model.values import value
from opsctl.protocols.cert_in import Field, Protocol

UNKNOWN = "not yet known"
FORM_TIME = "%d/%m/%Y %H:%M"
"""As the form asks for it (S3)."""


@value
class Filled:
    """One field of the form. ``value`` is None where it is not yet known; ``doubt``: what a person should look at again."""

    field: Field
    value: str | None
    doubt: str | None = None


@value
class Reporter:
    """Who reports: of the configuration, or of whoever drafts."""

    name: str
    organisation: str
    phone: str | None = None
    email: str | None = None


def fill(incident: Incident, reporter: Reporter, known: Protocol, zone: tzinfo, hosts: Mapping[str, str]) -> tuple[Filled, ...]:
    """Every field in the form's order. ``hosts``: address by name of those in the zones that are hit.

    What somebody filled in (``incident fill``) stands before what opsctl knows.
    """
    automatic = {
        "reporter_capacity": "affected_entity", "reporter_name_role": reporter.name, "reporter_kind": "organization",
        "reporter_organization": reporter.organisation, "reporter_contact_no": reporter.phone, "reporter_email": reporter.email,
        "affected_entity": reporter.organisation, "incident_types": ", ".join(incident.types) or None,
        "ip_address": ", ".join(f"{address} ({name})" for name, address in hosts.items()) or None,
        "description": _description(incident, zone), "detected_at": _stamp(incident.noticed, zone),
    }
    return tuple(_filled(field, incident.fields.get(field.key) or automatic.get(field.key)) for field in known.fields)


def _filled(field: Field, text: Any) -> Filled:
    if not text:
        return Filled(field, None)
    odd = [one.strip() for one in str(text).split(",") if one.strip() not in field.allowed] if field.allowed else []
    return Filled(field, str(text), f"the form does not know {', '.join(odd)}{meant(odd[0], field.allowed)}" if odd else None)


def _description(incident: Incident, zone: tzinfo) -> str:
    steps = [f"{_stamp(event.at, zone)}: {event.text}" for event in incident.timeline if event.kind not in (OPENED, FILED, STATED)]
    said = [f"{one.by} states on {one.subject}, {_stamp(one.at, zone)}: {one.text} (basis: {one.basis})" for one in incident.statements]
    first = f"{incident.title}. Noticed {_stamp(incident.noticed, zone)} by {incident.notices[0].by}, by: {incident.notices[0].signal}."
    missed = [f"{duty} was late: {reason}" for duty, reason in incident.reasons.items()]
    return "\n".join([first, *steps, *said, *missed])


def _stamp(moment: datetime, zone: tzinfo) -> str:
    """``21/12/2026 02:30 IST (UTC+05:30)``: the zone has to be recorded with each time (S2 Q40)."""
    here = moment.astimezone(zone)
    offset = f"{here:%z}"
    return f"{here:{FORM_TIME}} {here:%Z} (UTC{offset[:3]}:{offset[3:]})"


def as_text(incident: Incident, filled: Sequence[Filled], clock: Clock | None, zone: tzinfo) -> str:
    """To be read out on the telephone, or sent as it is."""
    lines = ["DRILL - DRILL - DRILL: this is an exercise, nothing of it is real" if incident.drill else "", "INCIDENT REPORT TO CERT-In",
             f"incident {incident.id}", *([f"due {_stamp(clock.due, zone)}"] if clock is not None and clock.due is not None else []), ""]
    section = ""
    for one in filled:
        if one.field.section != section:
            section = one.field.section
            lines += ["", section.replace("_", " ").upper()]
        text = one.value or UNKNOWN
        first, *more = text.splitlines()
        lines += [f"{one.field.order:2}. {one.field.label}: {first}", *(f"      {line}" for line in more)]
    return "\n".join(lines).strip() + "\n"


def as_json(incident: Incident, filled: Sequence[Filled], at: datetime) -> dict[str, Any]:
    """The same for programs."""
    return {"report": "cert-in", "incident": incident.id, "drill": incident.drill, "drafted": at.isoformat(),
            "fields": [{"order": one.field.order, "key": one.field.key, "label": one.field.label, "value": one.value, "doubt": one.doubt}
                       for one in filled]}


def as_mail(incident: Incident, text: str, reporter: Reporter, known: Protocol, at: datetime) -> bytes:
    """A message that a person sends; opsctl sends none. A drill is addressed to nobody real."""
    message = EmailMessage(policy=SMTP)
    message["To"] = "drill@example.invalid" if incident.drill else str(known.contacts["cert-in"]["incident_email"])
    message["From"] = reporter.email or "not-yet-known@example.invalid"
    message["Subject"] = f"{'DRILL: ' if incident.drill else ''}Incident report: {one_line(incident.title)} ({incident.id})"
    message["X-Opsctl-Drafted"] = at.isoformat()
    message.set_content(text)
    return message.as_bytes()


def one_line(text: str) -> str:
    """Text as a header takes it: printable, without line ends."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]


def changed(before: Mapping[str, Any], filled: Sequence[Filled]) -> list[str]:
    """What is not as in the draft before, by the label of the field."""
    old = {one["key"]: one["value"] for one in before.get("fields", ())}
    return [one.field.label for one in filled if old.get(one.field.key) != one.value]

"""What opsctl can say of a field by itself, from incident, journal and configuration; nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from opsctl.model.incident import COLLECTED, DRAFTED, EXPLAINED, FILED, NOTED, OPENED, PAPERED, SEALED, STATED, Event
from opsctl.model.snapshots import parse_time
from opsctl.protocols.cert_in import Field, protocol
from opsctl.protocols.report_fields import report_fields, source_of
from opsctl.reports.document import Deed, Facts, Grid, Row
from opsctl.reports.doubts import doubt
from opsctl.reports.words import Words

_LINES = 25
"""Entries of the timeline in a brief description."""
_QUIET = (OPENED, FILED, STATED, EXPLAINED, DRAFTED)
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)(?!\w)")
_DONE = ("ok", "changed")
_PRODUCTION = ("promote", "restore_in_place")
"""Words that bring data back to where it is used."""


def rows(part: str, facts: Facts, words: Words, automatic: Mapping[str, str | None], numbered: bool = False) -> tuple[Row, ...]:
    """Every field of a part (``protocols.report_fields``). What somebody filled in stands before what opsctl knows."""
    source = source_of(part)
    return tuple(row(field, facts.incident.fields.get(field.key) or automatic.get(field.key), source, words, numbered)
                 for field in report_fields()[part])


def row(field: Field, found: Any, source: str, words: Words, numbered: bool = False) -> Row:
    text = str(found) if found else None
    return Row(field.key, field.label, words.hindi(field.key), text, source, doubt(field, text), field.order if numbered else None, field.tool_minimum,
               _worded(field, text, words))


def _worded(field: Field, text: str | None, words: Words) -> str | None:
    """Codes of a choice in words; types of incident with their number in Annexure I."""
    if not text or not field.allowed:
        return None
    types = protocol().types
    found = [one.strip().casefold() if one.strip().casefold() in field.allowed else one.strip() for one in text.split(",")]
    if field.key == "incident_types":
        return "\n".join(f"{kind.summary}" + (f" (Annexure I, {kind.annexure})" if kind.annexure else "") if (kind := types.get(one)) else one for one in found)
    return ", ".join(words.choice(one) if one in field.allowed else one for one in found)


def form(facts: Facts, words: Words) -> dict[str, str | None]:
    """The fields of CERT-In's form."""
    incident, reporter = facts.incident, facts.reporter
    odd = [one for one in incident.types if one not in protocol().types]
    return {
        "reporter_capacity": "affected_entity", "reporter_name_role": reporter.name, "reporter_kind": "organization",
        "reporter_organization": reporter.organisation, "reporter_contact_no": reporter.phone, "reporter_email": reporter.email,
        "affected_entity": reporter.organisation, "incident_types": ", ".join(incident.types) or None, "incident_type_other": ", ".join(odd) or None,
        "ip_address": addresses(facts), "description": description(facts, words), "detected_at": words.stamp(incident.noticed),
    }


def supplementary(facts: Facts, words: Words) -> dict[str, str | None]:
    """The fields that are sent when they are known."""
    told = {one.duty for one in facts.incident.met}
    number = len(facts.hosts)
    done = ["disconnected_from_network"] * bool(isolated(facts)) + ["restored_with_good_backup"] * bool(restored(facts))
    return {
        "hostname": ", ".join(facts.hosts) or None, "symptoms": facts.incident.notices[0].signal, "how_detected": "\n".join(notices(facts, words)),
        "agencies_notified": "law_enforcement" if told & {"police-complaint", "police-helpline-1930"} else None,
        "hosts_affected": ("1-10" if number <= 10 else "10-100" if number <= 100 else "more-than-100") if number else None,
        "actions_taken": ", ".join(done) or None,
    }


def addresses(facts: Facts) -> str | None:
    return ", ".join(f"{address} ({name})" for name, address in facts.hosts.items()) or None


def description(facts: Facts, words: Words) -> str:
    """The first notice, what happened since, what was stated, and which duties were late and why."""
    events = [f"{words.stamp(one.at)}: {said(one, words)}" for one in facts.incident.timeline if one.kind not in _QUIET]
    left = len(events) - _LINES
    return "\n".join([*notices(facts, words), *([words("earlier", number=left)] if left > 0 else []), *events[-_LINES:],
                      *statements(facts, words), *late(facts, words)])


def notices(facts: Facts, words: Words) -> list[str]:
    first = facts.incident.first
    more = [one for one in facts.incident.notices if one is not first]
    return [words("noticed", title=facts.incident.title, at=words.stamp(facts.incident.noticed), by=first.by, signal=first.signal),
            *(words("noticed_again", at=words.stamp(one.at), by=one.by, signal=one.signal) for one in more)]


def statements(facts: Facts, words: Words) -> list[str]:
    return [words("states", by=one.by, subject=one.subject, at=words.stamp(one.at), text=one.text, basis=one.basis) for one in facts.incident.statements]


def late(facts: Facts, words: Words) -> list[str]:
    """A line for each duty whose time passed, with its reason, and for each that was recorded only when it had passed."""
    reasons = facts.incident.reasons
    missed = [one.duty for one in facts.clocks if one.state in ("late", "overdue")]
    called = {one.duty: one.obligation for one in facts.clocks}
    return [words("late", duty=called.get(duty, duty), reason=reasons.get(duty) or words("no_reason")) for duty in dict.fromkeys([*reasons, *missed])] + [
        f"{one.obligation}: {words('sent_at', at=words.stamp(one.met.at), by=one.met.by, channel=one.met.channel)}; {words('recorded', at=words.stamp(one.met.recorded))}"
        for one in facts.clocks if one.met is not None and one.recorded_late]


def isolated(facts: Facts) -> list[Deed]:
    """Hosts that were looked at after it and stood cut off."""
    return [one for one in facts.deeds if one.word == "isolate" and one.outcome in _DONE and one.result.get("stand", {}).get("standing") == "isolated"]


def cut_off(facts: Facts, words: Words) -> Iterator[str]:
    """A line for each host that was to be cut off or was opened again, as it went."""
    done = isolated(facts)
    for one in facts.deeds:
        at = words.stamp(one.at)
        if one in done:
            yield words("cut_off", at=at, host=one.item)
        elif one.word == "isolate" and one.outcome == "failed":
            yield words("cut_off_not", at=at, host=one.item, why=one.because)
        elif one.word == "release" and one.outcome in _DONE:
            yield words("released", at=at, host=one.item)


def restored(facts: Facts) -> list[Deed]:
    return [one for one in facts.deeds if one.word in _PRODUCTION and one.outcome in _DONE and one.result.get("set")]


def point(deed: Deed, words: Words) -> str:
    """The recovery point: the moment of the set that data came from, by its id."""
    name = str(deed.result["set"])
    try:
        return words.stamp(datetime.strptime(name[:13], "%Y%m%d-%H%M").replace(tzinfo=UTC))
    except ValueError:
        return words("unknown")


def brought(deed: Deed) -> str:
    return str(deed.result.get("source") or deed.result.get("path") or deed.result.get("backup") or deed.item)


def windows(facts: Facts, words: Words) -> list[str]:
    """From which moment on data may be lost, of each thing that was brought back."""
    return list(dict.fromkeys(words("window", what=brought(one), point=point(one, words), noticed=words.stamp(facts.incident.noticed))
                              for one in restored(facts)))


def evidence(facts: Facts, words: Words) -> list[str]:
    """Sealed bags and papers by their hashes."""
    bags = [words("sealed", host=host_of(facts, str(one.data["bag"])), bag=one.data["bag"], digest=one.data["manifest_sha256"])
            for one in facts.incident.of(SEALED)]
    return [*bags, *(words("paper", kind=one.data["kind"], name=one.data["name"], digest=one.data["sha256"]) for one in facts.incident.of(PAPERED))]


def host_of(facts: Facts, bag: str) -> str:
    return next((str(one.data["host"]) for one in facts.incident.of(COLLECTED) if one.data["bag"] == bag), "?")


def reference(facts: Facts, duty: str) -> str | None:
    """The number that was given for a duty that was done."""
    return next((one.reference for one in facts.incident.met if one.duty == duty and one.reference), None)


def timeline(facts: Facts, words: Words) -> Grid:
    return Grid(words.columns("when", "what", "who"), tuple((words.stamp(one.at), said(one, words), one.by)
                                                           for one in facts.incident.timeline if one.kind != DRAFTED))


def said(event: Event, words: Words) -> str:
    """A line of the timeline; moments that opsctl wrote into it stand as the form has them."""
    return event.text if event.kind == NOTED else _MOMENT.sub(lambda found: words.stamp(parse_time(found[0])), event.text)


def lines(found: Sequence[str]) -> str | None:
    return "\n".join(found) or None

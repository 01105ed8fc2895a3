"""The kinds of report: which duties each meets, who gets it, and what stands in it."""

from __future__ import annotations

from collections.abc import Callable

from opsctl.model.values import value
from opsctl.protocols.cert_in import Field, protocol
from opsctl.reports import closing, filling
from opsctl.reports.document import Facts, Row, Section
from opsctl.reports.words import Words

Fill = Callable[[Facts, Words], tuple[Section, ...]]


@value
class Kind:
    """``duties``: what it meets, the first to be done first; ``recipient``: id of a contact of the protocol; ``parts``: where its fields stand."""

    duties: tuple[str, ...]
    recipient: str
    parts: tuple[str, ...]
    fill: Fill


def _cert_in(facts: Facts, words: Words) -> tuple[Section, ...]:
    return _by_section(filling.rows("form", facts, words, filling.form(facts, words), numbered=True), protocol().fields, words)


def _by_section(found: tuple[Row, ...], fields: tuple[Field, ...], words: Words) -> tuple[Section, ...]:
    names = dict.fromkeys(field.section for field in fields)
    return tuple(Section(name, words.section(name), tuple(row for row, field in zip(found, fields, strict=True) if field.section == name))
                 for name in names)


def _supplementary(facts: Facts, words: Words) -> tuple[Section, ...]:
    """What the first report that was sent left blank, then what more is asked for."""
    before = {one["key"]: one["value"] for one in facts.sent.get("cert-in", {}).get("fields", ())}
    english = filling.form(facts, Words("en", words.zone))
    now = filling.rows("form", facts, words, filling.form(facts, words), numbered=True)
    news = tuple(row for row in now if row.value and before.get(row.key) != (facts.incident.fields.get(row.key) or english.get(row.key)))
    blank = [f"{row.label}" for row in now if before and not before.get(row.key)]
    sent = [one for one in facts.incident.met if one.duty == "certin-initial-report"]
    told = [words("sent_at", at=words.stamp(one.at), by=one.by, channel=one.channel)
            + (f", {words('reference', reference=one.reference)}" if one.reference else "") for one in sent]
    asked = filling.rows("certin-supplementary-report", facts, words, {
        "blank_earlier": ", ".join(blank) or None, "further_logs": filling.lines(filling.evidence(facts, words)),
        "measures": filling.lines(list(filling.cut_off(facts, words)))})
    first = Row("first_report", protocol().duties["certin-initial-report"].obligation, words.hindi("first_report"), filling.lines(told) or words("not_sent"),
                filling.source_of("certin-initial-report"))
    return (Section("first_report", words.section("first_report"), (first,)),
            Section("found", words.section("found"), asked),
            Section("now_known", words.section("now_known"), news),
            Section("more", words.section("more"), filling.rows("supplementary", facts, words, filling.supplementary(facts, words))))


def _police(facts: Facts, words: Words) -> tuple[Section, ...]:
    found = filling.rows("police-complaint", facts, words, {
        "complainant": facts.reporter.line, "chronology": filling.description(facts, words), "affected_systems": filling.addresses(facts),
        "evidence": filling.lines(filling.evidence(facts, words)), "certin_reference": filling.reference(facts, "certin-initial-report")})
    sections = (Section("complaint", words.section("complaint"), found),)
    if "money_moved_at" not in facts.incident.anchors:
        return sections
    return (*sections, Section("money", words.section("money"), filling.rows("police-helpline-1930", facts, words, {
        "transaction_time": words.stamp(facts.incident.anchors["money_moved_at"])})))


def _board(facts: Facts, words: Words) -> tuple[Section, ...]:
    said = filling.description(facts, words)
    return (Section("initial", words.section("initial"), filling.rows("board_initial", facts, words, {"board.description": said})),
            Section("detailed", words.section("detailed"), filling.rows("board_detailed", facts, words, {
                "board.mitigation": filling.lines(list(filling.cut_off(facts, words))),
                "board.intimations_report": filling.lines(_sent(facts, words, "dpdp-principals"))})))


def _person(facts: Facts, words: Words) -> tuple[Section, ...]:
    return (Section("notice", words.section("notice"), filling.rows("person", facts, words, {
        "person.description": "\n".join(filling.notices(facts, words)), "person.contact": facts.reporter.line})),)


def _nciipc(facts: Facts, words: Words) -> tuple[Section, ...]:
    """Its own form is not in the protocol's data: it is named, and CERT-In's report goes with it."""
    contact = protocol().contacts["nciipc"]
    duty = protocol().duties["nciipc-report"]
    told = Row("nciipc_form", duty.content, words.hindi("nciipc_form"), words("own_form", url=contact["form_url"]), "; ".join(duty.sources))
    return (Section("nciipc", words.title("nciipc"), (told,)), *_cert_in(facts, words))


def _nic_cert(facts: Facts, words: Words) -> tuple[Section, ...]:
    seen = [*filling.notices(facts, words), ", ".join(facts.incident.types), ", ".join(facts.services)]
    return (Section("situation", words.section("situation"), filling.rows("nic-cert-and-ciso", facts, words, {
        "seen": "\n".join(filter(None, seen)), "cut_off": filling.lines(list(filling.cut_off(facts, words))) or words("none_cut_off"),
        "in_charge": facts.in_charge})),)


def _sent(facts: Facts, words: Words, duty: str) -> list[str]:
    return [words("sent_at", at=words.stamp(one.at), by=one.by, channel=one.channel) for one in facts.incident.met if one.duty == duty]


KINDS: dict[str, Kind] = {
    "cert-in": Kind(("certin-initial-report",), "cert-in", ("form",), _cert_in),
    "supplementary": Kind(("certin-supplementary-report",), "cert-in", ("certin-supplementary-report", "form", "supplementary"), _supplementary),
    "police": Kind(("police-complaint",), "state-cyber-police", ("police-complaint", "police-helpline-1930"), _police),
    "dpdp-board": Kind(("dpdp-board-initial", "dpdp-board-detailed"), "dpb", ("board_initial", "board_detailed"), _board),
    "dpdp-person": Kind(("dpdp-principals",), "data-principals", ("person",), _person),
    "nciipc": Kind(("nciipc-report",), "nciipc", ("form",), _nciipc),
    "nic-cert": Kind(("nic-cert-and-ciso",), "nic-cert", ("nic-cert-and-ciso",), _nic_cert),
    "closing": Kind(("lessons-learned",), "internal-roles", ("lessons-learned",), closing.sections),
}
"""By the name that ``report draft`` takes."""

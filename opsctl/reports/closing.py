"""The closing report: timeline, cause, loss, cost and actions, and what the journal has of each part of the work."""

from __future__ import annotations

from opsctl.model.clocks import Clock
from opsctl.model.incident import ENTERED, OFFLINE, PAPERED, RECONCILED, SEALED
from opsctl.model.quantities import few
from opsctl.reports import filling
from opsctl.reports.document import Facts, Grid, Section
from opsctl.reports.words import Words

_BACK = ("restore", "promote")


def sections(facts: Facts, words: Words) -> tuple[Section, ...]:
    """The lessons' own fields first; a table only where something was recorded for it. The timeline comes last: it is the longest."""
    lessons = filling.rows("lessons-learned", facts, words, {
        "timeline": "\n".join(filling.notices(facts, words)), "cause": facts.incident.fields.get("root_cause"),
        "data_loss_window": filling.lines(filling.windows(facts, words))})
    grids = {"duties": duties(facts, words), "isolation": _isolation(facts, words), "evidence": _evidence(facts, words),
             "approvals": _approvals(facts, words), "restoration": _restoration(facts, words), "offline": _offline(facts, words), "papers": _papers(facts, words),
             "statements": _statements(facts, words), "timeline": filling.timeline(facts, words)}
    return (Section("lessons", words.section("lessons"), lessons),
            *(Section(name, words.section(name), grid=grid) for name, grid in grids.items() if grid.rows))


def duties(facts: Facts, words: Words) -> Grid:
    """Every clock: until when, what met it, and of one that was missed the reason."""
    return Grid(words.columns("duty", "state", "due", "done", "reason"), tuple(
        (f"{clock.obligation} ({clock.duty})", _state(clock, words), _until(clock, words), _done(clock, words),
         facts.incident.decisions.get(clock.duty) or facts.incident.reasons.get(clock.duty)
         or (words("no_reason") if clock.state in ("late", "overdue") else "")) for clock in facts.clocks))


def _state(clock: Clock, words: Words) -> str:
    return words("was_late" if clock.state == "late" else clock.state.replace(" ", "_"))


def _until(clock: Clock, words: Words) -> str:
    if clock.in_force_from is not None:
        return words("in_force", date=f"{clock.in_force_from:%d/%m/%Y}")
    if clock.due is None:
        return words("no_time")
    return words("at_once") if clock.due == clock.since else words.stamp(clock.due)


def _done(clock: Clock, words: Words) -> str:
    if clock.met is None:
        return ""
    said = words("sent_at", at=words.stamp(clock.met.at), by=clock.met.by, channel=clock.met.channel)
    said += f", {words('reference', reference=clock.met.reference)}" if clock.met.reference else ""
    said += f"; {words('recorded', at=words.stamp(clock.met.recorded))}" if clock.recorded_late else ""
    if clock.earlier is not None:
        said += f"; {words('earlier_one', at=words.stamp(clock.earlier.at), recorded=words.stamp(clock.earlier.recorded))}"
    return said


def _isolation(facts: Facts, words: Words) -> Grid:
    return Grid(words.columns("when", "host", "what", "outcome"), tuple(
        (words.stamp(one.at), one.item, one.word, one.because) for one in facts.deeds if one.word in ("isolate", "release")))


def _evidence(facts: Facts, words: Words) -> Grid:
    return Grid(words.columns("when", "host", "bag", "sha256"), tuple(
        (words.stamp(one.at), filling.host_of(facts, str(one.data["bag"])), str(one.data["bag"]), str(one.data["manifest_sha256"]))
        for one in facts.incident.of(SEALED)))


def _restoration(facts: Facts, words: Words) -> Grid:
    """Also what was restored elsewhere to be looked at, by its word."""
    return Grid(words.columns("when", "what", "set", "point", "outcome"), tuple(
        (words.stamp(one.at), f"{filling.brought(one)} ({one.word.replace('_', ' ')})", str(one.result["set"]), filling.point(one, words), one.outcome)
        for one in facts.deeds if one.word.startswith(_BACK) and one.result.get("set")))


def _approvals(facts: Facts, words: Words) -> Grid:
    """Whose signatures counted for which step, and who refused."""
    return Grid(words.columns("when", "what", "who", "outcome", "reason"), tuple(
        (words.stamp(one.at), f"{one.run} {one.step}", str(voice["by"]), kind, str(voice["note"]))
        for one in facts.deeds if one.word == "approve" for kind in ("approved", "refused") for voice in one.result.get(kind, ())))


def _offline(facts: Facts, words: Words) -> Grid:
    began = [(words.stamp(one.at), few(one.data["bodies"]), f"{one.data['since']}: {', '.join(one.data['services'])}")
             for one in facts.incident.of(OFFLINE)]
    entered = [(words.stamp(one.at), few(one.data["bodies"]), f"{one.data['rows']} rows, {one.data['total']}, {one.data['file']}")
               for one in facts.incident.of(ENTERED)]
    settled = [(words.stamp(one.at), str(each["body"]),
                f"{each['gaps']} gaps, {each['doubles']} doubles, all settled; {one.data.get('note') or ''}".rstrip("; "))
               for one in facts.incident.of(RECONCILED) for each in one.data["bodies"]]
    return Grid(words.columns("when", "body", "what"), (*began, *entered, *settled))


def _papers(facts: Facts, words: Words) -> Grid:
    return Grid(words.columns("when", "kind", "name", "sha256"), tuple(
        (words.stamp(one.at), str(one.data["kind"]), str(one.data["name"]), str(one.data["sha256"])) for one in facts.incident.of(PAPERED)))


def _statements(facts: Facts, words: Words) -> Grid:
    return Grid(words.columns("when", "who", "subject", "what", "basis"), tuple(
        (words.stamp(one.at), one.by, one.subject, one.text, one.basis) for one in facts.incident.statements))

"""The rules that a playbook written to CERT-In's protocol is held against, each with its source and its force.

None of it calls a playbook compliant: it says which rule is broken, where that stands, and whether it binds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

from opsctl.model.clocks import Duty
from opsctl.model.playbook import REFERENCE, Playbook, Step
from opsctl.model.values import value
from opsctl.protocols.cert_in import Protocol, protocol
from opsctl.protocols.cert_in_graph import Expand, Graph, parameter

AUDITOR, ACCEPTANCE = "auditor-certificate", "data-centre-acceptance"
"""What the papers are called that stand before reopening (``document``: ``kind``)."""

_ENDS = ("met", "document", "person")
_INITIAL, _FIRST = "certin-initial-report", "cert-in"
_PERSONAL = frozenset({"data-breach", "data-leak"})
_PAYMENT = frozenset({"digital-payment"})
_ON_PAPER = frozenset({"incident", "report"})
_CUTTING = frozenset({"isolate", "door", "freeze"})
_FROM_BACKUP = frozenset({"promote", "restore_in_place", "restore_set", "restore_files"})


@value
class Finding:
    """A rule that is broken. ``step`` is its place, None where something is missing altogether."""

    rule: str
    message: str
    sources: tuple[str, ...]
    force: str
    step: str | None = None

    def __str__(self) -> str:
        where = f"step {self.step}: " if self.step else ""
        return f"{where}{self.message} [{self.rule}; {self.force}: {'; '.join(self.sources)}]"


@value
class Rule:
    """``whole``: held only against playbooks that answer types of incidents, not against parts such as one stage of a restoration."""

    id: str
    says: str
    sources: tuple[str, ...]
    force: str
    look: Callable[[Graph], Iterable[tuple[str | None, str]]]
    whole: bool = True


def check(playbook: Playbook, expand: Expand) -> Iterator[Finding]:
    """Every rule that a playbook breaks, in the order of ``RULES``."""
    graph = Graph(playbook, expand)
    if playbook.incident_types:
        yield from _duties(graph, protocol())
    for rule in RULES:
        if playbook.incident_types or not rule.whole:
            for step, message in rule.look(graph):
                yield Finding(rule.id, message, rule.sources, rule.force, step)


def triggered(types: Iterable[str], known: Protocol) -> list[Duty]:
    """The duties that these types of incident start for certain, by the moments that start their clocks (PROTOCOL.md §2).

    What a site or its people first have to find out (a protected system, a complaint filed electronically, an order) is not among them.
    """
    wanted = frozenset(types)
    anchors = {"noticed_at", "incident_closed_at"}
    anchors |= {"became_aware_at"} if wanted & _PERSONAL else set()
    anchors |= {"money_moved_at"} if wanted & _PAYMENT else set()
    return [duty for duty in known.duties.values() if duty.anchor in anchors and duty.applies_if is None]


def force(duty: Duty) -> str:
    """How much a duty binds, in the words that people are shown."""
    return "project" if duty.force == "design_default" else duty.force


def _duties(graph: Graph, known: Protocol) -> Iterator[Finding]:
    there = {ended(step) for step in graph.playbook.steps if step.uses in _ENDS}
    for duty in triggered(graph.playbook.incident_types, known):
        if duty.id not in there:
            yield Finding("duty", f"no step ends the duty {duty.id} ({duty.obligation}): {' or '.join(_ENDS)} with duty: {duty.id}",
                          duty.sources, force(duty))


def ended(step: Step) -> str | None:
    """The duty that a step ends: what it is given goes before what it is labelled with."""
    return parameter(step, "duty") or step.duty


def _cutting(graph: Graph) -> list[Step]:
    """The steps that cut hosts off themselves."""
    return [step for step in graph.playbook.steps if step.uses == "isolate"]


def _noticed(graph: Graph) -> Iterator[tuple[str | None, str]]:
    inputs = graph.playbook.inputs
    for step in graph.using("incident"):
        given = parameter(step, "noticed_at")
        whole = REFERENCE.fullmatch(given) if isinstance(given, str) else None
        declared = inputs.get(whole[1]) if whole else None
        if declared is None or not declared.required or declared.type != "datetime":
            yield step.id, "the first notice has to be an input of type datetime without a default: it is asked for, never guessed"
    if not graph.using("incident"):
        yield None, "no step declares the incident, so that no clock starts"


def _drafted(graph: Graph) -> Iterator[tuple[str | None, str]]:
    if not [step for step in graph.playbook.steps if _drafts(step)]:
        yield None, f"no step drafts the first report to CERT-In: report with duty: {_INITIAL} and report: {_FIRST}"


def _drafts(step: Step) -> bool:
    return step.uses == "report" and step.duty == _INITIAL and parameter(step, "report") == _FIRST


def _report_free(graph: Graph) -> Iterator[tuple[str | None, str]]:
    told: set[str] = set()
    for step in graph.playbook.steps:
        if step.duty == _INITIAL or (step.uses == "report" and parameter(step, "report") == _FIRST):
            sending = step.uses in _ENDS  # drafting waits for nobody, sending for whoever sends
            held = [one.id for one in graph.before(step) if one.id not in told and not graph.words(one) <= _ON_PAPER
                    and not (sending and one.uses in _ENDS and one.duty == _INITIAL)]
            told.update(held)
            if held:
                yield step.id, f"the report to CERT-In waits for {', '.join(held)}: it may come after nothing but declaring and drafting"


def _isolate_free(graph: Graph) -> Iterator[tuple[str | None, str]]:
    for step in _cutting(graph):
        if before := graph.before(step):
            yield step.id, f"isolation waits for {', '.join(one.id for one in before)}: it may wait for nothing (after: [])"


def _with_isolation(graph: Graph, word: str, what: str) -> Iterator[tuple[str | None, str]]:
    """Whether a word stands beside the isolation, waiting for nothing but what cuts off."""
    if not _cutting(graph):
        return
    steps = [step for step in graph.playbook.steps if step.uses == word and parameter(step, "to") != "open"]
    if not steps:
        yield None, f"no step {what} when hosts are cut off: {word}"
    for step in steps:
        if held := [one.id for one in graph.before(step) if not graph.words(one) <= _CUTTING | {"incident"}]:
            yield step.id, f"{word} waits for {', '.join(held)}: it belongs to the isolation (after: [])"


def _store(graph: Graph) -> Iterator[tuple[str | None, str]]:
    return _with_isolation(graph, "door", "protects the backup store")


def _frozen(graph: Graph) -> Iterator[tuple[str | None, str]]:
    return _with_isolation(graph, "freeze", "freezes retention")


def _rebuilding(graph: Graph) -> list[Step]:
    return [step for step in graph.playbook.steps
            if (step.phase == "restore" and step.uses not in ("approve", "document", "met")) or graph.words(step) & _FROM_BACKUP]


def _preserved(graph: Graph) -> Iterator[tuple[str | None, str]]:
    for step in _rebuilding(graph):
        before = graph.before(step)
        there = {"collect": graph.using("collect"), "seal": [one for one in graph.using("seal") if any("collect" in graph.words(each) for each in graph.before(one))]}
        if missing := [word for word, steps in there.items() if not any(one in before for one in steps)]:
            yield step.id, f"hosts are rebuilt or overwritten before {' and '.join(missing)}: evidence is preserved first"


def _verified(graph: Graph) -> Iterator[tuple[str | None, str]]:
    for step in graph.playbook.steps:
        own = graph.words(step)
        if not own & _FROM_BACKUP:
            continue
        done = own.union(*(graph.words(one) for one in graph.holding(step)))
        missing = [what for what, words in (("verified", {"verify", "choose"}), ("scanned", {"scan"})) if not done & words]
        if missing:
            yield step.id, f"a backup is used before it was {' and '.join(missing)}"


def _reopening(graph: Graph) -> list[Step]:
    return [step for step in graph.playbook.steps if step.phase == "reopen" or graph.words(step) & {"reopen", "release"}]


def _before_reopening(graph: Graph, there: Callable[[Step], bool], what: str) -> Iterator[tuple[str | None, str]]:
    """Only of the first of them: what comes after it is held up with it."""
    for step in _reopening(graph):
        holding = graph.holding(step)
        if not any(map(there, holding)) and not any(one in holding for one in _reopening(graph)):
            yield step.id, f"people are let in again before {what}"


def _audited(graph: Graph) -> Iterator[tuple[str | None, str]]:
    return _before_reopening(graph, lambda one: one.uses == "document" and parameter(one, "kind") == AUDITOR,
                             f"an auditor's certificate is on file: document with kind: {AUDITOR}")


def _accepted(graph: Graph) -> Iterator[tuple[str | None, str]]:
    return _before_reopening(graph, lambda one: one.uses == "document" and parameter(one, "kind") == ACCEPTANCE,
                             f"the data centre's acceptance is on file: document with kind: {ACCEPTANCE}")


def _answered(graph: Graph) -> Iterator[tuple[str | None, str]]:
    duty = "certin-order-compliance"
    return _before_reopening(graph, lambda one: one.uses == "met" and ended(one) == duty,
                             f"CERT-In's orders are answered: met with duty: {duty}")


def _waves(graph: Graph) -> Iterator[tuple[str | None, str]]:
    steps = _reopening(graph)
    waves = [step for step in steps if "reopen" in graph.words(step)]
    if steps and len(waves) < 2:
        yield steps[0].id, "everybody is let in at once: reopening goes in waves (other_run of reopen, one for each wave)"
        return
    let_in: list[object] = []
    for step in waves:
        inputs = parameter(step, "inputs")
        wave = inputs.get("wave") if isinstance(inputs, Mapping) else None
        if step.uses == "other_run" and (wave is None or wave in let_in):
            yield step.id, "the run of another wave satisfies this step as well: inputs with a wave of its own (inputs: {wave: pilot})"
        let_in.append(wave)
    for earlier, step in itertools.pairwise(waves):
        if earlier not in graph.holding(step):
            yield step.id, f"this wave does not wait for {earlier.id}, so that nobody has watched that one first"
    for step in steps:
        if "release" in graph.words(step) and len([one for one in graph.holding(step) if one in waves]) < len(waves):
            yield step.id, "isolation is lifted before every wave has been let in and watched"


def _way_back(graph: Graph) -> Iterator[tuple[str | None, str]]:
    for step in _reopening(graph):
        words = graph.words(step)
        after = [one for one in graph.playbook.steps if step in graph.before(one)]
        settles = any(one.uses == "reopen" and parameter(one, "to") in ("settled", "shut") for one in after)
        watched = any(one.uses == "watch" for one in after)
        if step.uses == "reopen" and parameter(step, "to") == "open" and not (settles and watched):
            yield step.id, "this wave has no watch and no way back behind it: watch, then reopen with to: settled"
        elif step.uses != "reopen" and "watch" not in words and "release" not in words:
            yield step.id, "this wave is let in by hand, without a watch and a way back: other_run of reopen has both"


def _offline(graph: Graph) -> Iterator[tuple[str | None, str]]:
    if not _cutting(graph):
        return
    steps = graph.of_phase("continuity")
    if not steps:
        yield None, "isolation can cut a public service, and no step starts work on paper (phase: continuity)"
    at_once = [step for step in steps if all(one.phase in ("declare", "isolate", "continuity") for one in graph.before(step))]
    if steps and not at_once:
        yield steps[0].id, "work on paper waits for more than the isolation: counters stand still meanwhile"


def _reconciled(graph: Graph) -> Iterator[tuple[str | None, str]]:
    if not graph.of_phase("continuity"):
        return
    for step in graph.of_phase("close"):
        holding = graph.holding(step)
        if not any(one.phase == "reconcile" for one in holding) and not any(one.phase == "close" for one in holding):
            yield step.id, "the incident is closed before work on paper is reconciled (phase: reconcile)"
    if not graph.of_phase("close"):
        yield None, "work on paper is begun, and no step closes the incident after its reconciliation (phase: close)"


RULES = (
    Rule("noticed", "The first notice is asked for, never defaulted", ("S1 Direction (ii)", "S2 Q24"), "project", _noticed),
    Rule("draft", "The first report to CERT-In is drafted", ("S1 Direction (ii)",), "project", _drafted),
    Rule("report-free", "The report to CERT-In depends on no technical step", ("S1 Direction (ii)", "S21"), "project", _report_free, whole=False),
    Rule("isolate-free", "Isolation depends on nothing at all", ("S21",), "practice", _isolate_free, whole=False),
    Rule("store", "The backup store is protected with the isolation", ("S21", "S17"), "project", _store),
    Rule("freeze", "Retention is frozen with the isolation", ("S1 Direction (iv)", "S2 Q35"), "project", _frozen),
    Rule("preserved", "A host is preserved before it is rebuilt", ("S21", "S19 RS.AN-07"), "practice", _preserved),
    Rule("verified", "A backup is verified and scanned before it is used", ("S19 RC.RP-03", "S17"), "practice", _verified, whole=False),
    Rule("audited", "An auditor's certificate stands before reopening", ("S5 Annexure 1 cl. 5.2, 5.19", "S6"), "guideline", _audited),
    Rule("accepted", "The data centre's acceptance stands before reopening", ("S22", "S30"), "practice", _accepted),
    Rule("answered", "CERT-In's orders are answered; that this comes before reopening is the project's own order", ("S1 Direction (iii)",), "binding", _answered),
    Rule("waves", "Reopening goes in waves", ("S20", "S24"), "project", _waves),
    Rule("way-back", "Each wave is watched and has a way back", ("S20", "S24"), "project", _way_back),
    Rule("offline", "Work on paper starts when isolation cuts a public service", ("S24", "S19 RC.RP-04"), "project", _offline),
    Rule("reconciled", "Work on paper is reconciled before closing", ("S24", "S19 RC.RP-05"), "project", _reconciled),
)

"""A run that answers an incident, told to people: what stands, what was found wrong, and whom it waits for with which command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from opsctl.cli.report import Cell, Mark, Out, Tone

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.engine.runs import Tally
    from opsctl.model.incident import Incident
    from opsctl.model.plan import BoundPlan, BoundStep
    from opsctl.wiring import Site

_GATES = ("approve", "document", "met", "other_run", "person")


def answers(words: Iterable[str]) -> bool:
    """Whether a playbook of these words answers an incident: it declares one, and waits for people."""
    found = set(words)
    return "incident" in found and not found.isdisjoint(_GATES)


def told(step: BoundStep, result: StepResult, *, asks: bool) -> Iterator[Cell]:
    """Lines for a step that has ended. ``asks``: also what is waited for, where a person sits there meanwhile."""
    from opsctl.engine.executors.interface import DONE_BEFORE

    item = f" ({result.item})" if result.item else ""
    if result.outcome in ("changed", "ok") and result.because != DONE_BEFORE:
        yield Mark(f"{'done' if result.outcome == 'changed' else 'stands'}: {step.title}{item}", Tone.GOOD)
    elif result.outcome in ("failed", "unknown"):
        yield Mark(f"{result.outcome}: {step.title}{item}: {result.because}", Tone.BAD)
    elif result.outcome == "waiting" and asks:
        yield Mark(f"waits: {step.id}: {_say(result)}", Tone.WARN)
        yield from (f"    {line}" for line in _how(result))


def writer(site: Site) -> Callable[[Out, Tally, BoundPlan], None]:
    """What writes such a run when it has come to its end, or to where it waits."""
    return lambda out, tally, plan: _write(out, site, tally, plan)


def _write(out: Out, site: Site, tally: Tally, plan: BoundPlan) -> None:
    from opsctl.cli.incident_show import both

    found = site.incidents.all().get(str(plan.inputs.get("incident")))
    if found is not None:
        drill = "DRILL: " if found.drill else ""
        out.line(Mark(f"{drill}incident {found.id}: {found.title}; in charge: {found.in_charge}", Tone.STRONG))
        out.line(f"noticed {both(site, found.noticed)} by {found.notices[0].by}")
    cut_off = {entry.host for entry in site.isolations.register.all()}
    for word, good, bad in (("isolate", "cut off", "NOT cut off"), ("freeze", "retention frozen", "retention NOT frozen"),
                            ("collect", "evidence of", "NO evidence of")):
        _items(out, tally, plan, word, good, bad, now=cut_off if word == "isolate" else None)
    for one in tally.results:
        if one.outcome in ("failed", "unknown") and plan.step(one.step).uses not in ("isolate", "freeze", "collect"):
            out.line(Mark(f"{one.step}{f' {one.item}' if one.item else ''} {one.outcome}: {one.because}", Tone.BAD))
    if found is not None:
        _papers(out, site, found)
    order = {step.id: number for number, step in enumerate(plan.steps)}
    waiting = sorted(tally.waiting, key=lambda one: order[one.step])
    if waiting:
        out.heading("Now people have to")
    for one in waiting:
        out.line(Mark(f"{one.step}: {_say(one)}", Tone.WARN))
        out.lines([f"    {line}" for line in _how(one)])
    if waiting:
        out.line(f"then: opsctl resume {plan.run}   (what comes later: opsctl show {plan.run})")
    elif not tally.errors:
        out.line(Mark("nothing is left to do", Tone.GOOD))


def _papers(out: Out, site: Site, found: Incident) -> None:
    """Where the drafts lie, and the order that a person signs."""
    from opsctl.model.incident import DRAFTED, OFFLINE

    folder = site.incidents.folder(found.id)
    newest = {one.data["report"]: one.data["number"] for one in found.of(DRAFTED)}
    if newest:
        out.line(f"drafts: {folder / 'reports'} ({', '.join(f'{report}-{number}' for report, number in newest.items())})")
    for order in dict.fromkeys(str(one.data["order"]) for one in found.of(OFFLINE)):
        out.line(f"order to work on paper, to be signed: {folder / 'offline' / order}")


def _items(out: Out, tally: Tally, plan: BoundPlan, word: str, good: str, bad: str, *, now: Collection[str] | None) -> None:
    """``now``: of which it still is so, where that can be known; of the others it is said that it was."""
    ended = [one for one in tally.results if plan.step(one.step).uses == word]
    well = dict.fromkeys(str(one.item) for one in ended if one.outcome in ("changed", "ok"))
    over = [name for name in well if now is not None and name not in now]
    if left := [name for name in well if name not in over]:
        out.line(Mark(f"{good}: {_some(left)}", Tone.GOOD))
    if over:
        out.line(f"was {good}, and is open again: {_some(over)}")
    for one in ended:
        if one.outcome in ("failed", "unknown", "skipped"):
            out.line(Mark(f"{bad}: {one.item} ({one.because})", Tone.BAD))


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _say(result: StepResult) -> str:
    return str(result.result.get("say") or result.because)


def _how(result: StepResult) -> Sequence[str]:
    return [str(one) for one in result.result.get("how", ())]

"""``opsctl isolate confirm rehearse``: what was left armed is confirmed or put off, and a minute of it to practise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsctl.cli.isolate_hosts import Asked, hosts_of, person, site_for
from opsctl.cli.report import Mark, Out, Report, Tone

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep


def confirm(session: Session, asked: Asked, seconds: int | None) -> Report:
    """Make it permanent, or with ``seconds`` let it lift itself only then."""
    return _carry_out(session, asked, "confirm" if seconds is None else "extend", {} if seconds is None else {"seconds": seconds})


def rehearse(session: Session, asked: Asked, seconds: int) -> Report:
    """Cut off, wait until it has lifted itself."""
    session.hooks.interrupted = lambda: f"whatever is cut off lifts itself within {seconds} s"
    report = _carry_out(session, asked, "rehearse", {"seconds": seconds})
    session.hooks.interrupted = None
    return report


def _carry_out(session: Session, asked: Asked, playbook: str, inputs: Mapping[str, Any]) -> Report:
    from opsctl.cli.work import carry_out

    site = site_for(session, asked)
    hosts = hosts_of(asked, site.config)

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"hosts": {str(one.item): {**one.result, "outcome": one.outcome, "because": one.because} for one in tally.results}}

    return carry_out(session, site, playbook, {"hosts": hosts, "logins": asked.logins, **inputs}, subject=playbook, text=write,
                     result=result, told=line, by=person())


def line(step: BoundStep, result: StepResult) -> Mark:
    """How one host ended."""
    if result.outcome not in ("ok", "changed"):
        return Mark(f"{result.item}: {_FAILED[step.uses]}: {result.because}", Tone.BAD)
    stand = result.result["stand"]
    if step.uses == "extend":
        return Mark(f"{result.item}: lifts itself in {stand['left']:.0f} s", Tone.GOOD)
    if step.uses == "rehearse":
        return Mark(f"{result.item}: was cut off, could be confirmed, lifted itself after {result.result['lifted_after']:.0f} s, "
                    "is as it was", Tone.GOOD)
    return Mark(f"{result.item}: isolated and confirmed", Tone.GOOD)


_FAILED = {"confirm": "NOT confirmed", "extend": "NOT put off", "rehearse": "the rehearsal FAILED"}


_DONE = {"confirm": "confirmed", "extend": "put off", "rehearse": "rehearsed"}


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """How many of how many; each of them was told as it ended."""
    step = plan.steps[0]
    bad = [one for one in tally.results if one.outcome not in ("ok", "changed")]
    good = len(step.items) - len(bad)
    out.line(Mark(f"{_DONE[step.uses]}: {good} of {len(step.items)}", Tone.BAD if bad else Tone.GOOD))

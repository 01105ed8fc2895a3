"""``opsctl isolate release``: hosts opened again."""

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


def release(session: Session, asked: Asked, incident: str) -> Report:
    """Bind the playbook to the hosts and carry it out."""
    from opsctl.cli.work import carry_out

    site = site_for(session, asked)
    hosts = hosts_of(asked, site.config)
    inputs = {"hosts": hosts, "logins": asked.logins, "incident": incident}

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"hosts": {str(one.item): {**one.result, "outcome": one.outcome, "because": one.because} for one in tally.results}}

    return carry_out(session, site, "release", inputs, subject=asked.zones[0] if asked.zones else "release", text=write,
                     result=result, told=line, by=person())


def line(step: BoundStep, result: StepResult) -> Mark:
    """How one host ended."""
    if result.outcome in ("ok", "changed"):
        return Mark(f"{result.item}: {'open again' if result.outcome == 'changed' else 'was open'}", Tone.GOOD)
    return Mark(f"{result.item}: NOT released: {result.because}", Tone.BAD)


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """How many of how many."""
    asked = len(plan.step("release").items)
    good = tally.outcomes.get("ok", 0) + tally.outcomes.get("changed", 0)
    out.line(Mark(f"open: {good} of {asked}", Tone.GOOD if good == asked else Tone.BAD))

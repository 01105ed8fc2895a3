"""``opsctl isolate apply``: hosts cut off at once, told one by one, summed up, with the way back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsctl.cli.isolate_hosts import Asked, again, hosts_of, person, site_for
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import UsageError
from opsctl.model.isolation import opening
from opsctl.model.quantities import parse_duration

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep


def apply(session: Session, asked: Asked, said: Mapping[str, Any]) -> Report:
    """Bind the playbook to the hosts and carry it out."""
    from opsctl.cli.work import carry_out

    begun = time.monotonic()
    seconds = _seconds(said["within"])
    for one in said["allow"]:
        try:
            opening(one)
        except ValueError as error:
            raise UsageError(f"--allow {one}: {error}", hint="10.0.0.5, in:10.0.0.5:443, out:udp:10.0.0.5:123") from error
    site = site_for(session, asked)
    hosts = hosts_of(asked, site.config)
    inputs = {"hosts": hosts, "logins": asked.logins, "incident": said["incident"], "allow": list(said["allow"]), "within": seconds}
    ended: dict[str, float] = {}

    def told(step: BoundStep, result: StepResult) -> Mark:
        ended[str(result.item)] = time.monotonic() - begun
        return line(result, ended[str(result.item)])

    way_back = again(asked, session, said["incident"], hosts)

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        write(out, tally, plan)
        out.line(f"release with: {way_back}")

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"hosts": {str(one.item): {**one.result, "outcome": one.outcome, "because": one.because,
                                          "seconds": round(ended.get(str(one.item), 0.0), 3)} for one in tally.results},
                "release": way_back}

    return carry_out(session, site, "isolate", inputs, subject=asked.zones[0] if asked.zones else "isolate", text=text,
                     result=result, told=told, by=person())


def line(result: StepResult, seconds: float) -> Mark:
    """How one host ended."""
    if result.outcome in ("ok", "changed"):
        cut = result.result.get("cut")
        old = f", {cut['before'] - cut['after']} old connections ended" if cut and result.outcome == "changed" else ""
        how = "isolated and confirmed" if result.outcome == "changed" else "was isolated already"
        return Mark(f"{result.item}: {how}{old}, after {seconds:.1f} s", Tone.GOOD)
    return Mark(f"{result.item}: NOT isolated: {result.because}", Tone.BAD)


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """How many of how many, and each that is not, with its reason."""
    asked = len(plan.step("isolate").items)
    good = tally.outcomes.get("ok", 0) + tally.outcomes.get("changed", 0)
    out.line(Mark(f"isolated: {good} of {asked}", Tone.GOOD if good == asked else Tone.BAD))


def _seconds(text: str) -> int:
    seconds = round(parse_duration(text).total_seconds())
    if not 5 <= seconds <= 86400:
        raise UsageError(f"--confirm-within {text}: from 5s to 24h")
    return seconds

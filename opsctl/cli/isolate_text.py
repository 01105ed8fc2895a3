"""What ``opsctl isolate apply`` tells: each host as it ends, how many of how many, and the way back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.isolate_hosts import Asked
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan


def line(result: StepResult, seconds: float) -> Mark:
    """How one host ended."""
    if result.outcome == "ok":
        return Mark(f"{result.item}: was isolated already", Tone.GOOD)
    if result.outcome == "changed":
        cut = result.result.get("cut")
        old = f", {counted(cut['before'] - cut['after'], 'old connection')} ended" if cut else ""
        return Mark(f"{result.item}: isolated and confirmed after {seconds:.1f} s{old}", Tone.GOOD)
    if result.outcome == "skipped":
        return Mark(f"{result.item}: not begun: {result.because}", Tone.WARN)
    return Mark(f"{result.item}: NOT isolated: {result.because}", Tone.BAD)


def write(out: Out, tally: Tally, plan: BoundPlan, ended: Mapping[str, float] | None = None) -> None:
    """How many of how many, how long it took to the first and the last, and what is only half of it."""
    asked = len(plan.step("isolate").items)
    good = [one for one in tally.results if one.outcome in ("ok", "changed")]
    times = sorted((ended or {}).get(str(one.item), 0.0) for one in good if one.outcome == "changed")
    when = f"; the first after {times[0]:.1f} s, the last after {times[-1]:.1f} s" if times and ended else ""
    out.line(Mark(f"isolated: {len(good)} of {asked}{when}", Tone.GOOD if len(good) == asked else Tone.BAD))
    for one in good:
        for why in one.result["stand"]["partial"] if one.result else ():
            out.line(Mark(f"{one.item}: in part: {why}", Tone.WARN))
    for one in tally.results:
        if one.outcome not in ("ok", "changed"):
            out.line(line(one, 0.0))


def ending(report: Report, last: str) -> Report:
    """The report with a line after everything else, errors and warnings too."""
    return replace(report, last=Mark(last, Tone.STRONG))


def way_back(session: Session, asked: Asked, incident: str, hosts: Sequence[str]) -> str:
    """The exact command that releases what was cut off."""
    words = ["opsctl", *(["--config", os.path.abspath(session.config)] if session.config is not None else []), "isolate", "release"]
    words += [word for zone in asked.zones for word in ("--zone", zone)] + (["--all"] if asked.every else [])
    words += asked.names if asked.zones or asked.every else hosts
    words += [word for name in asked.without for word in ("--except", name)]
    words += ["--incident", incident] if incident else []
    return shlex.join(words)

"""What ``opsctl isolate apply`` tells: each host as it ends, how many of how many, what the probes showed, the way back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Table, Tone
from opsctl.model.probes import PLACES
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.isolate_hosts import Asked
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan

_MOST_ROWS = 40  # hosts that are shown one by one; of more, only those of which something is to be said
_TONES = {"proven": Tone.GOOD, "partial": Tone.WARN, "open": Tone.BAD}


def door(result: StepResult) -> Mark | None:
    """What became of a host at the door of the backup store, where there is something to tell."""
    if result.outcome == "changed":
        return Mark(f"{result.item}: {'shut out' if result.result['door'] == 'isolated' else 'let in again'} at the backup store", Tone.GOOD)
    if result.outcome == "failed":
        return Mark(f"{result.item}: at the backup store NOTHING changed: {result.because}", Tone.BAD)
    return None


def line(result: StepResult, seconds: float) -> Mark:
    """How one host ended."""
    if result.outcome == "ok":
        return Mark(f"{result.item}: was isolated already{_in_part(result)}", Tone.GOOD)
    if result.outcome == "changed":
        cut = result.result.get("cut") or {"before": None, "after": None, "notes": ()}
        known = None not in (cut["before"], cut["after"])
        old = f", {counted(cut['before'] - cut['after'], 'old connection')} ended" if known and cut["before"] else ""
        old += "".join(f"; {note}" for note in cut["notes"])
        return Mark(f"{result.item}: isolated and confirmed after {seconds:.1f} s{old}{_in_part(result)}", Tone.GOOD)
    if result.outcome == "skipped":
        return Mark(f"{result.item}: NOT isolated: {result.because}", Tone.WARN)
    if is_isolated(result):
        return Mark(f"{result.item}: isolated after {seconds:.1f} s, but: {result.because}", Tone.WARN)
    return Mark(f"{result.item}: NOT isolated: {_through(result) or result.because}", Tone.BAD)


def _through(result: StepResult) -> str | None:
    """That something got through, as it is told while others go on: what it was stands at the end, among the errors."""
    found = (result.result.get("proof") or {}).get("findings") or ()
    return f"its rules are loaded, and yet {counted(len(found), 'call')} got through" if found and found[0] in result.because else None


def is_isolated(result: StepResult) -> bool:
    """Whether a host is isolated and proven, also where something else that was asked of it failed."""
    if result.outcome in ("ok", "changed"):
        return True
    proof = result.result.get("proof") if result.outcome == "failed" else None
    return proof is not None and proof["verdict"] != "open" and result.result["stand"]["standing"] == "isolated"


def _in_part(result: StepResult) -> str:
    proof = result.result.get("proof")
    return " (proven in part)" if proof and proof["gaps"] else ""  # why stands below the table, once for all of them


def write(out: Out, tally: Tally, plan: BoundPlan, ended: Mapping[str, float] | None = None) -> None:
    """How many of how many, how long it took to the first and the last, the probe matrix, and what is not isolated."""
    asked = len(plan.step("isolate").items)
    found = [one for one in tally.results if one.step == "isolate"]
    good = [one for one in found if is_isolated(one)]
    isolated = len(good) + asked - len(found)  # of thousands, those that were as wanted are not kept
    times = sorted((ended or {}).get(str(one.item), 0.0) for one in good if one.outcome != "ok")
    when = f"; the first after {times[0]:.1f} s, the last after {times[-1]:.1f} s" if times and ended else ""
    rest = [str(one.item) for one in found if not is_isolated(one)]
    but = f"; NOT isolated: {_few(rest)}" if rest else ""
    by_name = {str(one.item): one.result["proof"] for one in found if one.result.get("proof")}
    proofs = [(str(one.item), by_name[str(one.item)]) for one in plan.step("isolate").items if str(one.item) in by_name]
    if proofs:
        _matrix(out, proofs, [host for host in rest if host not in by_name])
    for one in tally.results:
        if one.step == "door" and (said := door(one)) is not None:
            out.line(said)
    out.line(Mark(f"isolated: {isolated} of {asked}{when}{but}", Tone.GOOD if isolated == asked else Tone.BAD))


def _matrix(out: Out, proofs: Sequence[tuple[str, Mapping[str, Any]]], without: Sequence[str]) -> None:
    shown = proofs if len(proofs) <= _MOST_ROWS else [one for one in proofs if one[1]["verdict"] != "proven"]
    rows = [_row(*one) for one in shown]
    rows += [(host, Mark("NOT isolated", Tone.BAD), *(Mark("not probed", Tone.WARN),) * len(PLACES), "?") for host in without[:_MOST_ROWS]]
    if rows:
        out.table(Table(("host", "proof", "from here", "witness", "outward", "old connections"), rows))
    if len(shown) < len(proofs):
        out.line(Mark(f"{len(proofs) - len(shown)} more: proven", Tone.GOOD))
    gaps: dict[str, list[str]] = {}
    for host, proof in proofs:
        for gap in (*proof["gaps"], *proof["notes"]):
            gaps.setdefault(gap, []).append(host)
    for gap, hosts in gaps.items():
        out.line(Mark(f"{_few(hosts)}: {gap}", Tone.QUIET if gap == "no witness" else Tone.WARN))


def _row(host: str, proof: Mapping[str, Any]) -> tuple[Any, ...]:
    counts = proof["connections"]
    old = " → ".join("?" if counts[when] is None else str(counts[when]) for when in ("before", "after"))
    return (host, Mark(proof["verdict"], _TONES[proof["verdict"]]), *(_cell(proof, place) for place in ("here", "witness", "out")), old)


def _cell(proof: Mapping[str, Any], place: str) -> Mark:
    """``v4 v6 silent``, or each by itself where they differ."""
    if place == "witness" and proof["witness"] is None:
        return Mark("no witness", Tone.QUIET)
    said = proof["cells"][place]
    by_word: dict[str, list[str]] = {}
    for version, word in said.items():
        by_word.setdefault(word, []).append(f"v{version}")
    tone = Tone.BAD if any("OPEN" in word or "answers" in word for word in by_word) else Tone.GOOD if set(by_word) == {"silent"} else Tone.WARN
    return Mark(", ".join(f"{' '.join(versions)} {word}" for word, versions in by_word.items()) or "not probed", tone)


def _few(hosts: Sequence[str]) -> str:
    return ", ".join(hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")


def offers(tally: Tally, config: Any, incident: str) -> Iterator[str]:
    """Hosts that never answered, and can be cut off by the host that forwards for them."""
    silent = [str(one.item) for one in tally.results
              if one.step == "isolate" and one.errors and all(error.code == 13 for error in one.errors)]
    more = f" --incident {shlex.quote(incident)}" if incident else ""
    for name in silent:
        spec = config.hosts.get(name)
        if spec is not None and spec.gateway is not None and spec.isolation != "gateway":
            yield f"{name} never answered; its gateway {spec.gateway} can cut it off: opsctl isolate apply {name} --by-gateway{more}"


def ending(report: Report, last: str) -> Report:
    """The report with a line after everything else, errors and warnings too."""
    return replace(report, last=Mark(last, Tone.STRONG))


def way_back(session: Session, asked: Asked, incident: str, hosts: Sequence[str], held: Mapping[str, str]) -> str:
    """The exact command that releases what was cut off; ``held``: hosts by name, and the incident that each is cut off for.

    Hosts that were cut off before for other incidents take a command each incident.
    """
    config = session.config or session.environ.get("OPSCTL_CONFIG")
    words = ["opsctl", *(["--config", os.path.abspath(config)] if config else []),
             *(["--break-glass"] if session.break_glass else []), "isolate", "release"]
    others = {name: of for name, of in held.items() if of != incident}
    said = [word for zone in asked.zones for word in ("--zone", zone)] + (["--all"] if asked.every else [])
    if said:
        said += [*asked.names, *(word for name in (*asked.without, *others) for word in ("--except", name))]
    else:
        said = [name for name in hosts if name not in others]
    commands = [[*words, *said, *(["--incident", incident] if incident else [])]] if len(others) < len(hosts) else []
    commands += [[*words, *(name for name, its in others.items() if its == of), *(["--incident", of] if of else [])]
                 for of in dict.fromkeys(others.values())]
    return "; ".join(map(shlex.join, commands))

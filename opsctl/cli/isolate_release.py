"""``opsctl isolate release``: hosts opened again, on the word of whoever may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli import isolate_text
from opsctl.cli.isolate_hosts import Asked, doors, hosts_of, person, site_for
from opsctl.cli.isolate_status import look
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.isolation_guard import not_alone
from opsctl.model.two_people import PEOPLE

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep
    from opsctl.wiring import Site


def release(session: Session, asked: Asked, incident: str) -> Report:
    """Bind the playbook to the hosts and carry it out: with a gate for two people where one alone may not."""
    from opsctl.cli.work import carry_out

    site = site_for(session, asked)
    hosts = _hosts(site, asked, incident)
    # Also those of a zone that could not be cut off were shut out at the store.
    shut_out = list(dict.fromkeys([*hosts, *(hosts_of(asked, site.config) if asked.zones or asked.every else [])]))
    names = _names(session, site, asked, hosts, incident)
    two = bool(names) and _signers(site) >= PEOPLE
    if two:
        site.notes.extend(f"{name}: {why}, so two people have to approve" for name, why in names.items())
    said = [] if two or session.dry_run else _typed(session, site, names)
    inputs = {"hosts": hosts, "logins": _logins(site, asked, hosts), "incident": incident,
              "doors": doors(site.config, shut_out), **({} if two else {"said": said})}

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"hosts": {str(one.item): {**one.result, "outcome": one.outcome, "because": one.because} for one in tally.results if one.step == "release"}}

    return carry_out(session, site, "release-agreed" if two else "release", inputs, subject=asked.zones[0] if asked.zones else "release", text=write,
                     result=result, told=line, by=person())


def _hosts(site: Site, asked: Asked, incident: str) -> list[str]:
    """Those that are named, those of a zone that are cut off from here, or with nothing but an incident the ones that it cut off.

    Of a zone of which nothing is written down here, all that software can cut off: another machine may have done it.
    """
    if asked.names or asked.zones or asked.every:
        every = [name for name in hosts_of(asked, site.config)
                 if name in asked.names or site.config.hosts[name].isolation is not None]
        known = [name for name in every if name in asked.names or site.isolations.register.get(name) is not None]
        if known and len(known) < len(every):
            site.notes.append(f"not cut off from here, and left as they are: {', '.join(sorted(set(every) - set(known)))}")
        if not every:
            raise UsageError("software cuts off none of these hosts, so it opens none")
        return known or every
    found = [entry.host for entry in site.isolations.register.all() if incident and entry.order.mark.incident == incident]
    if not found:
        raise UsageError(f"nothing is cut off from here for incident {incident}" if incident else "which hosts?",
                         hint="opsctl isolate status; then HOST…, --zone ZONE, --all or --incident ID")
    return [name for name in found if name not in asked.without]


def _names(session: Session, site: Site, asked: Asked, hosts: Sequence[str], incident: str) -> dict[str, str]:
    """What may not be opened by one person alone, by the names to be typed in full, and why."""
    known = {name: entry.order.mark for name in hosts if (entry := site.isolations.register.get(name)) is not None}
    logins = {line.split(" ")[0]: line.split(" ", 2)[1:] for line in asked.logins}
    # Of what another machine cut off, or this one before it lost its state, only the host itself tells.
    if not session.dry_run:
        known |= {one.host: one.mark for one in look(session, site, [name for name in hosts if name not in known], {}, logins)
                  if one.mark is not None}
    names: dict[str, str] = {}
    open_ones = site.incidents.earnest() if known else []
    for host, mark in known.items():
        why = not_alone(mark, person(), site.clock(), open_ones)
        if why is None or (mark.incident or "") != incident:  # of another incident: refused as it is
            continue
        spec = site.config.hosts.get(host)
        zone = spec.zone if spec is not None and spec.zone in asked.zones else None
        names.setdefault(zone or (incident if not asked.names and incident else host), why)
    return names


def _signers(site: Site) -> int:
    """How many could approve. SafetyRefusal where they are not the people that were accepted."""
    from opsctl.model.approvals import signers
    from opsctl.wiring.people import members

    return signers(members(site))


def _typed(session: Session, site: Site, names: Mapping[str, str]) -> list[str]:
    """The names, typed in full. ``--yes`` does not answer; Waiting where nobody is there."""
    if names:
        site.notes.append("fewer than two under `people` have an ssh_key, so a name typed in full stands for two who approve")
    for name, why in names.items():
        answer = session.typed(f"{name}: {why}. To open it, type {name}")
        if answer != name:
            raise SafetyRefusal(f"{answer!r} is not {name}: nothing was opened", hint="the whole name, as it is shown")
    return list(names)


def _logins(site: Site, asked: Asked, hosts: Sequence[str]) -> list[str]:
    """How to log into hosts that no configuration holds: as it was said, or as it was written down when they were cut off."""
    said = {line.split(" ")[0]: line for line in asked.logins}
    kept = {name: entry.login for name in hosts if (entry := site.isolations.register.get(name)) is not None and entry.login}
    return list({**kept, **said}.values())


def line(step: BoundStep, result: StepResult) -> Mark | None:
    """How one host ended."""
    if step.uses == "door":
        return isolate_text.door(result)
    if step.uses == "approve":
        return Mark(result.because, Tone.WARN) if result.outcome == "waiting" else None
    if result.outcome in ("ok", "changed"):
        return Mark(f"{result.item}: {'open again' if result.outcome == 'changed' else 'was open'}", Tone.GOOD)
    return Mark(f"{result.item}: NOT released: {result.because}", Tone.BAD)


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """How many of how many; nothing while people have to approve first."""
    if tally.waiting:
        return
    asked = len(plan.step("release").items)
    bad = [one for one in tally.results if one.step == "release" and one.outcome not in ("ok", "changed")]
    good = asked - len(bad)
    if any(one.step == "door" and one.outcome == "skipped" for one in tally.results):
        out.line(Mark("at the backup store all of these stay shut out, until each of them is open: the same command once more", Tone.WARN))
    out.line(Mark(f"open: {good} of {asked}", Tone.GOOD if good == asked else Tone.BAD))

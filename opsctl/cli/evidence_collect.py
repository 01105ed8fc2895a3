"""``opsctl evidence collect``: the playbook bound to hosts, told one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep
    from opsctl.wiring import Site


def collect(session: Session, hosts: Sequence[str], zones: Sequence[str], said: Mapping[str, Any]) -> Report:
    """Collect from hosts and zones for an incident; ``said`` are the playbook's inputs as they were typed."""
    from dataclasses import replace

    from opsctl.cli.isolate_hosts import person
    from opsctl.cli.work import carry_out, open_site

    site = open_site(session)
    _refuse_unknown(site, said)
    named = _hosts(site, hosts, zones)
    incident = incident_of(session, site, said["incident"])

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        _write(out, site, tally, incident)

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"incident": incident, "hosts": {str(one.item): {**one.result, "outcome": one.outcome, "because": one.because}
                                                for one in tally.results if one.step == "collect"},
                "sealed": [bag for one in tally.results if one.step == "seal" for bag in one.result.get("sealed", ())]}

    report = carry_out(session, site, "evidence", {**said, "incident": incident, "hosts": named}, subject="evidence", text=text,
                       result=result, told=_told, by=person())
    hosts_said = report.result["hosts"].values() if isinstance(report.result, Mapping) else ()
    if report.code == 0 and any(one.get("troubles") for one in hosts_said):
        return replace(report, exit_code=3)
    return report


def incident_of(session: Session, site: Site, name: str) -> str:
    """The incident that is meant. UsageError where it is not known, or not the only one; with --break-glass any is taken."""
    known = site.incidents.all()
    if name and (name in known or session.break_glass):
        return name
    if name:
        site.incidents.get(name)
    open_ones = [one.id for one in known.values() if one.closed is None]
    if len(open_ones) != 1:
        raise UsageError(f"{counted(len(open_ones), 'incident')} {'is' if len(open_ones) == 1 else 'are'} open: which one is it for?",
                         hint="--incident ID; opsctl incident list, opsctl incident open")
    return open_ones[0]


def _refuse_unknown(site: Site, said: Mapping[str, Any]) -> None:
    """UsageError for a profile that is none, a window that is none, and files that begin nowhere."""
    from opsctl.model.config_evidence import BUILT_IN
    from opsctl.model.quantities import parse_duration
    from opsctl.model.snapshots import parse_time
    from opsctl.model.unknown import unknown

    profiles = (*BUILT_IN, *site.config.evidence.profiles)
    if said["what"] not in profiles:
        raise unknown("profile", said["what"], profiles)
    if said["window"] and said["since"]:
        raise UsageError("--window and --since say the same thing: one of them")
    for option, read in (("window", parse_duration), ("since", parse_time)):
        try:
            if said[option]:
                read(said[option])
        except ValueError as error:
            raise UsageError(f"--{option} {said[option]}: {error}", hint="--window 7d, --since 2026-12-18T00:00:00+05:30") from error
    for pattern in said["files"]:
        if not pattern.startswith("/"):
            raise UsageError(f"--file {pattern}: must begin with /, as it stands on the host", hint="--file '/srv/portal/*.php', in quotes")


def _hosts(site: Site, hosts: Sequence[str], zones: Sequence[str]) -> list[str]:
    from opsctl.actions.collect import HERE
    from opsctl.model.unknown import unknown

    for zone in zones:
        if zone not in site.config.zones:
            raise unknown("zone", zone, site.config.zones)
    for name in hosts:
        if name != HERE and name not in site.config.hosts:
            raise unknown("host", name, site.config.hosts, hint=f"{HERE} is this machine")
    inside = [name for name, host in site.config.hosts.items() if host.zone in zones]
    silent = [name for name in inside if site.config.hosts[name].os != "linux"]
    site.notes += [f"{name} is not logged into ({site.config.hosts[name].os}): a person has to save what it shows" for name in silent]
    found = [name for name in dict.fromkeys([*hosts, *inside]) if name not in silent]
    if not found:
        raise UsageError("which hosts?", hint=f"HOST… or --zone ZONE; {HERE} is this machine")
    return found


def _told(step: BoundStep, result: StepResult) -> Mark | None:
    if step.uses != "collect":
        return None
    if result.outcome not in ("changed", "ok"):
        return Mark(f"{result.item}: NOT collected: {result.because}", Tone.BAD)
    return Mark(f"{result.item}: {words(result.result['counts'])}, in {result.result['bag']}", Tone.WARN if result.result["troubles"] else Tone.GOOD)


def words(counts: Mapping[str, int]) -> str:
    """``14 collected, 3 missing``."""
    return ", ".join(f"{number} {outcome}" for outcome, number in counts.items())


def _write(out: Out, site: Site, tally: Tally, incident: str) -> None:
    good = [one for one in tally.results if one.step == "collect" and one.outcome in ("changed", "ok")]
    sealed = [bag for one in tally.results if one.step == "seal" for bag in one.result.get("sealed", ())]
    folder = site.incidents.folder(incident) / "evidence"
    if good and site.place != site.state:
        out.line(Mark(f"a restart of this machine loses {folder}: copy it to a disk now; opsctl journal adopt takes it in", Tone.BAD))
    if sealed:
        out.line(Mark(f"sealed: {', '.join(sealed)}, in {folder}", Tone.GOOD))
    elif good:
        out.line(Mark(f"NOT sealed; the bags are in {folder}", Tone.BAD))
    if good:
        out.line(f"next: opsctl evidence verify --incident {incident}; copy {folder} to a disk that is kept elsewhere")

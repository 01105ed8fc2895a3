"""``opsctl restore scan`` and ``accept``: search restored files for what an attacker leaves behind; what people say of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site


def scan(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="the folder, such as one that a set was restored into")],
    source: Annotated[list[str] | None, typer.Option("--source", metavar="SOURCE", help="only this source of it")] = None,
) -> Report:
    """Search a folder for what an attacker leaves behind.

    Ransom notes, encrypted files, web shells, jobs and keys that bring an attacker back: `opsctl explain scan`.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    inputs = {"folder": os.path.abspath(folder), "sources": list(source or ())}
    return carry_out(session, site, "scan", inputs, subject="scan", text=write)


def accept(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="id of the run that found it")],
    findings: Annotated[list[str], typer.Argument(metavar="ID", help="ids of findings, as the scan told them")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why they may come into production")],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="who accepts needs this role")] = "",
) -> Report:
    """Ask two people to accept findings of a scan.

    Exactly these: another content, rule or set is a finding anew. Each of the two signs by `opsctl approve`.
    """
    from opsctl.actions.accepting import written
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.unknown import unknown

    session = of(context)
    site = open_site(session)
    if not reason.strip():
        raise UsageError("--reason is empty", hint="say why it may come into production all the same")
    known, backup, set_id = _found_by(site, run)
    for ident in findings:
        if ident not in known:
            raise unknown("finding", ident, known, hint=f"opsctl show {run} --json lists them")
    if not (backup and set_id):
        raise UsageError(f"run {run} scanned a folder that is of no set", hint="remove what was found, and scan again")
    inputs = {"backup": backup, "set": set_id, "findings": [written(known[ident]) for ident in dict.fromkeys(findings)],
              "reason": reason.strip(), "role": role}
    return carry_out(session, site, "accept-finding", inputs, subject=backup, text=_write_asked)


def _write_asked(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What was asked for; who has to sign stands below."""
    out.line(f"to accept in set {plan.inputs['set']} of {plan.inputs['backup']}, because {plan.inputs['reason']}:")
    out.lines([f"  {text}" for text in plan.inputs["findings"]])
    out.line("when they have signed, `opsctl resume` goes on with the run that the scan stopped")


def _found_by(site: Site, run: str) -> tuple[dict[str, Mapping[str, Any]], str, str]:
    """The findings of a run's last scan by their ids, and the backup and the set that it was of."""
    from opsctl.model.unknown import unknown
    from opsctl.wiring import load_plan

    scans = {step.id for step in load_plan(site, run).steps if step.uses == "scan"}
    results = [entry.data["result"] for entry in site.journal.read(run=run, types=("step.end",))
               if entry.data["step"] in scans and entry.data.get("result")]
    if not results:
        raise unknown("scan of run", run, (), hint=f"opsctl show {run}")
    found: dict[str, Mapping[str, Any]] = {}
    for result in results:
        found |= {one["id"]: one for one in (*result["findings"], *result["not_scanned"])}
    return found, results[-1]["backup"], results[-1]["set"]


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What was read, and what was accepted; the findings themselves stand below as errors."""
    from opsctl.actions.scan import described

    for one in tally.results:
        if not one.result:
            continue
        found = one.result
        accepted = [each for each in (*found["findings"], *found["not_scanned"]) if each["accepted"]]
        bad = len(found["findings"]) + len(found["not_scanned"]) + found["more"] - len(accepted)
        out.line(Mark(f"{described(found)}{'' if bad else ': nothing found'}", Tone.WARN if bad else Tone.GOOD))
        if found["others"]:
            out.line(Mark(f"  {found['others']:,} links, pipes, sockets or devices have no content of their own", Tone.QUIET))
        for each in accepted:
            out.line(Mark(f"  {each['path']}: finding {each['id']}, accepted in run {each['accepted']}", Tone.QUIET))

"""``opsctl restore remove``: what a scan found, left out of a restoration and kept in quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal, UsageError

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site


def remove(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="id of the restoration whose scan found it")],
    findings: Annotated[list[str], typer.Argument(metavar="ID", help="ids of findings, or the paths of files, as the scan told them")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why the service does without them")],
) -> Report:
    """Leave files that a scan found out of a restoration.

    They are moved out of its clean room into quarantine, never deleted, and `opsctl resume` goes on without them.
    """
    from opsctl.actions.accepting import written
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.unknown import unknown

    session = of(context)
    site = open_site(session)
    if not reason.strip():
        raise UsageError("--reason is empty", hint="say why the service does without these files")
    known = _found_by(site, run)
    chosen: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for word in findings:
        matching = {ident: each for ident, each in known.items() if word in (ident, each[1]["path"])}
        if not matching:
            raise unknown("finding", word, known, hint=f"opsctl show {run} --json lists them")
        chosen |= matching
    places = {tuple(sorted(place.items())) for place, _ in chosen.values()}
    if len(places) > 1:
        raise UsageError("these findings are of several clean rooms", hint="name those of one service at a time")
    inputs = {**dict(places.pop()), "restoration": run, "findings": [written(each) for _, each in chosen.values()], "reason": reason.strip()}
    return carry_out(session, site, "remove-finding", inputs, subject=str(inputs["backup"]), text=_write)


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What was taken out, and where it lies."""
    for one in tally.results:
        for file in one.result.get("files", ()):
            if file["removed"]:
                out.line(Mark(f"out of the restoration: {file['path']}; it lies in {file['kept']}", Tone.GOOD))
    out.line(f"go on without it: opsctl resume {plan.inputs['restoration']}")


def _found_by(site: Site, run: str) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """What the newest scans of a restoration found and nobody accepted, by id: where it lies (inputs of the playbook), and the finding."""
    from opsctl.model.unknown import unknown
    from opsctl.wiring import load_plan

    plan = load_plan(site, run)
    scans = {step.id: step.items[0].params for step in plan.steps if step.uses == "scan" and step.items}
    results = {entry.data["step"]: entry.data["result"] for entry in site.journal.read(run=run, types=("step.end",))
               if entry.data["step"] in scans and entry.data.get("result")}
    if not results:
        raise unknown("scan of run", run, (), hint=f"opsctl show {run}")
    found: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for step, result in results.items():
        if scans[step].get("folder"):
            continue
        place = {"backup": result["backup"], "set": result["set"], "room": str(scans[step].get("room") or ""), "copy_in": _read_from(plan, result)}
        found |= {one["id"]: (place, one) for one in (*result["findings"], *result["not_scanned"]) if not one["accepted"]}
    if not found and any(scans[step].get("folder") for step in results):
        raise SafetyRefusal(f"run {run} scanned a folder and no clean room", hint="delete the file there, and scan again")
    return found


def _read_from(plan: BoundPlan, result: Mapping[str, Any]) -> str:
    """The repository that a set was restored from, if not the backup's own."""
    return next((str(item.params.get("copy_in") or "") for step in plan.steps if step.uses == "restore" for item in step.items
                 if item.params["backup"] == result["backup"] and item.params["set"] == result["set"]), "")

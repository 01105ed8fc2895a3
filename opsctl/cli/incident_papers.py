"""``opsctl incident paper``, and the document that somebody shows with ``opsctl done``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import UsageError
from opsctl.model.incident import ASKED, PAPERED

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site


def take_in(session: Session, name: str, kind: str, file: Path, note: str, *, by: str) -> Report:
    """Copy a document into the incident and write that down. Also of a closed one: its review comes after it."""
    from opsctl.cli.work import open_site, who
    from opsctl.model.fields import meant

    site = open_site(session)
    found = site.incidents.get(name)
    _refuse_kind(kind)
    asked = list(dict.fromkeys(one.data["kind"] for one in found.of(ASKED)))
    near = meant(kind, asked) if asked and kind not in asked else ""
    if near:
        site.notes.append(f"nobody has asked for {kind} yet{near}; it is kept as what you called it")
    said: dict[str, Any] = {"kind": kind, "note": note}
    if session.dry_run:
        return Report(result={"incident": name, "paper": said}, text=lambda out: out.line(f"would take {file} in as {kind} of {name}"), warnings=[*site.said])
    said = _keep(site, name, kind, file, note, by or who())

    def text(out: Out) -> None:
        out.line(Mark(f"{name}: {kind} is there, {site.incidents.folder(name) / 'papers' / said['name']}", Tone.GOOD))
        out.line(f"SHA-256 {said['sha256']}, {said['bytes']:,} bytes")

    return Report(result={"incident": name, "paper": said}, text=text, warnings=[*site.said])


def keep_shown(session: Session, site: Site, bound: BoundPlan, step: str, file: Path, note: str, by: str) -> list[dict[str, Any]]:
    """Keep what somebody shows of a step in the incident of its run, as a paper of that step's name; ``name`` and ``sha256`` of it."""
    incident = str(bound.inputs.get("incident") or "")
    if not incident:
        raise UsageError(f"run {bound.run} is of no incident, so that no document is kept with it", hint="say in --note where it is")
    site.incidents.get(incident)
    if session.dry_run:
        return []
    said = _keep(site, incident, step, file, note, by)
    return [{"name": said["name"], "sha256": said["sha256"]}]


def _keep(site: Site, incident: str, kind: str, file: Path, note: str, by: str) -> dict[str, Any]:
    from opsctl.repositories.papers import take_in

    paper = take_in(file, site.incidents.folder(incident) / "papers", kind)
    said = {"kind": kind, "name": paper.name, "sha256": paper.sha256, "bytes": paper.bytes, "note": note, "from": file.name, "by": by}
    site.incidents.write(PAPERED, {"incident": incident, **said})
    return said


def _refuse_kind(kind: str) -> None:
    from opsctl.model.fields import name

    try:
        name(kind)
    except ValueError as error:
        raise UsageError(f"{kind} {error}", hint="what the paper is, in a word: auditor-certificate") from error

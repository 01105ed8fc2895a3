"""``opsctl incident export``: all of an incident in one folder, for CERT-In, the police or an auditor."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import SafetyRefusal

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.wiring import Site


def export(session: Session, name: str, into: Path, by: str) -> Report:
    """Copied into a folder beside it, which gets its name when all of it is there. Exit 3 where something was left out or not signed."""
    from opsctl.cli.work import open_site, who
    from opsctl.engine import handed_over, handed_over_check
    from opsctl.engine.incident_folder import PAGE
    from opsctl.errors import OpsError, ProgramFailed
    from opsctl.model.evidence import HALF
    from opsctl.model.incident import NOTED
    from opsctl.reports.handover import page

    site = open_site(session)
    found = site.incidents.get(name)
    target = into.expanduser().absolute()
    _refuse(site, target)
    content = site.incidents.content(name)
    errors: list[OpsError] = []
    digest = ""
    with site.locks.hold(f"incident {name} exported", run=None, purpose=f"exporting {name}", wait=site.wait):
        files, left_out = content.files()
        seen = handed_over.look(site.journal, found)
        half = [path for path in left_out if path.endswith(HALF)]
        errors += [ProgramFailed(f"{path} is not in it: {why}", where=path) for path, why in left_out.items() if path not in half]
        errors += list(seen.damage)
        if not session.dry_run:
            with handed_over.Packing(target) as packing:
                handed_over.fill(packing, seen, content.place, files, content.place / PAGE, site.place / "runs", _signers(site, seen.keys),
                                 Path(str(handed_over_check.__file__)))
                packing.put("index.html", page(found, seen, packing.files, site.clock(), zone=site.config.organisation.tz,
                                               organisation=site.config.organisation.name, key=site.own_fingerprint or "",
                                               left_out=left_out, by=by or who()))
                errors += packing.close(site.signatures.sign)
            digest = hashlib.sha256((target / handed_over.LIST).read_bytes()).hexdigest()
            site.incidents.write(NOTED, {"incident": name, "by": by or who(), "text": (
                f"all of it packed into {target}: {len(packing.files)} files, SHA-256 of its {handed_over.LIST} {digest}")})

    def text(out: Out) -> None:
        if session.dry_run:
            out.line(f"would pack {len(files)} files of {name}, {len(seen.lines)} entries of the journal and {len(seen.runs)} runs into {target}")
            return
        out.line(Mark(f"{name}: {len(packing.files)} files in {target}; begin with {target / 'index.html'}", Tone.GOOD))
        out.line(f"SHA-256 of {handed_over.LIST}, for the letter that goes with it: {digest}")
        out.line(f"who gets it checks it with: cd {target} && sha256sum -c --quiet {handed_over.LIST}; all of it: python3 check.py")
        out.line(Mark("it holds evidence as it was collected, with names and addresses of people: give it to nobody but who has to have it", Tone.WARN))

    return Report(result={"incident": name, "folder": str(target), "files": len(files), "entries": len(seen.lines), "runs": list(seen.runs),
                          "sha256sums": digest, "left_out": left_out}, text=text, errors=errors, exit_code=3 if errors else 0,
                  warnings=[*site.said, *(f"{path} is not in it: collecting was cut off there" for path in half)])


def _refuse(site: Site, target: Path) -> None:
    if target.resolve().is_relative_to(Path(site.config.state).resolve()):
        raise SafetyRefusal(f"{target} lies in the state directory", hint="name a folder elsewhere, best on a disk that goes to them")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise SafetyRefusal(f"{target} is there, and nothing is ever packed over it", hint="name a new folder")


def _signers(site: Site, accepted: Collection[tuple[str, str]]) -> str:
    """As ``ssh-keygen -Y verify -f`` reads them: the controller's key and those of the people."""
    public = site.keys_directory / "controller.pub"
    people = {*accepted, *((name, person.ssh_key) for name, person in site.config.people.items() if person.ssh_key)}
    lines = [f"controller {public.read_text().strip()}"] if public.is_file() else []
    return "".join(f"{line}\n" for line in [*lines, *(f"{name} {key}" for name, key in sorted(people))])

"""``opsctl journal adopt``: the journal of break-glass runs, taken into this machine's own and signed by a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Out, Report
from opsctl.cli.session import Session
from opsctl.errors import Busy, DamagedData, OpsError, SafetyRefusal, UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.engine.adoption import Segment
    from opsctl.engine.journal_verify import Problem
    from opsctl.wiring import Site


def adopt(session: Session, file: Path, by: str, key: Path | None) -> Report:
    """Read it, have it signed, lay it beside the journal, and bring over what its runs kept."""
    from opsctl.cli.work import local_time, open_site
    from opsctl.engine.adoption import adopted_before, bring_runs, read_spool, take_in
    from opsctl.engine.runtime_directory import ADOPTED_MARK

    if session.break_glass:
        raise UsageError("a spool is adopted by the journal in the state directory, not by another spool",
                         hint="without --break-glass, once the state directory can be used")
    site = open_site(session)
    segment = read_spool(file)
    place = _place_of(site, file)
    with site.locks.hold("journal adopt", run=None, purpose=f"adoption of {file}", wait=site.wait):
        after = adopted_before(segment, site.journal)
        _refuse_unfinished(site, segment, file, place)
        data = _sign(site, segment, after, by, key, file)
        told = [f"{counted(segment.lines - after, 'line')} of {file}, from {local_time(site, segment.since)} to "
                f"{local_time(site, segment.until)}, of {_runs(segment)}"]
        if after:
            told.append(f"{counted(after, 'line')} before these were adopted earlier")
        if segment.torn:
            told.append("its last line was cut short by a crash and is left out; what there was of it stands in the line that adopts it")
        if session.dry_run:
            return _report(site, segment, data, ["would adopt " + told[0], *told[1:]], None)
        entry = take_in(segment, site.journal, data)
        problems = bring_runs(place, site.state, segment.runs) if place else []
        if place is not None:
            try:
                (place / ADOPTED_MARK).write_text(f"{data['statement']['time']} seq {entry.seq}\n")
            except OSError as error:
                problems.append(f"{place} could not be marked as adopted: {error.strerror}")
    site.notes[:] = [*(note for note in site.notes if str(file) not in note), *problems]
    return _report(site, segment, data, [f"adopted as seq {entry.seq}, signed by {by}: {told[0]}", *told[1:]], entry.seq)


def problems_of_signatures(site: Site, adopted: list[tuple[int, Mapping[str, Any]]], notes: list[str]) -> list[Problem]:
    """What is wrong with who is said to have signed adoptions; keys that are nobody's today go to ``notes``."""
    from opsctl.engine.journal_verify import Problem
    from opsctl.model.adoption import NAMESPACE
    from opsctl.model.statements import signed_bytes

    found = []
    for seq, data in adopted:
        said = data["statement"]
        try:
            signer = site.signatures.check(signed_bytes(said), data["signature"], NAMESPACE)
        except OpsError as error:
            found.append(Problem("journal", 0, seq, f"the signature of {said['by']} under seq {seq} does not hold: {error.message}"))
            continue
        person = site.config.people.get(said["by"])
        if person is None or person.ssh_key is None or site.fingerprint(person.ssh_key) != signer:
            notes.append(f"seq {seq} took in a spool, signed for {said['by']} with {signer}, which is not their key under `people`")
    return found


def _place_of(site: Site, file: Path) -> Path | None:
    """The spool of this machine that a file is the journal of; None for a copy of one."""
    from opsctl.engine.runtime_directory import spool_file, spools

    for place in spools(site.runtime, site.scope):
        try:
            if spool_file(place).samefile(file):
                return place
        except OSError:
            continue
    return None


def _refuse_unfinished(site: Site, segment: Segment, file: Path, place: Path | None) -> None:
    """Busy while a run in it is at work; SafetyRefusal for a copy of a spool that lies here and has gone on since."""
    from opsctl.engine.adoption import read_spool
    from opsctl.engine.runtime_directory import open_spool, spool_file

    for run in segment.runs:
        holder = site.locks.holder(f"run-{run}")
        if holder is not None:
            raise Busy(f"run {run} is still at work: {holder.sentence(site.clock())}", where=str(file), hint="wait for its end")
    here = open_spool(site.runtime, site.scope)
    if here is None or here == place:
        return
    try:
        original = read_spool(spool_file(here))
    except (DamagedData, UsageError):
        return
    if original.first == segment.first:
        raise SafetyRefusal(f"{file} is a copy of a spool that lies here", hint=f"opsctl journal adopt {spool_file(here)} --by NAME")


def _sign(site: Site, segment: Segment, after: int, by: str, key: Path | None, file: Path) -> dict[str, Any]:
    from opsctl.cli.signing import sign_as
    from opsctl.model.adoption import NAMESPACE, statement
    from opsctl.model.statements import signed_bytes
    from opsctl.model.unknown import unknown

    if not site.config.people:
        raise unknown("person", by, (), hint=f"write them down first: people: {{{by}: {{name: their name, ssh_key: ssh-ed25519 …}}}}")
    said = statement(sha256=segment.sha256, lines=segment.lines, after=after, first=segment.first, last=segment.last,
                     since=segment.since.isoformat(), until=segment.until.isoformat(), by=by, time=site.clock().isoformat())
    signature, signer = sign_as(site, by, key, signed_bytes(said), NAMESPACE)
    return {"file": str(file), "statement": said, "signature": signature, "key": signer}


def _runs(segment: Segment) -> str:
    return f"{counted(len(segment.runs), 'run')}: {', '.join(segment.runs)}" if segment.runs else "no run"


def _report(site: Site, segment: Segment, data: Mapping[str, Any], lines: list[str], seq: int | None) -> Report:
    def text(out: Out) -> None:
        out.lines(lines)

    return Report(result={"adopted": seq is not None, "seq": seq, "lines": segment.lines, "runs": list(segment.runs),
                          "torn": bool(segment.torn), "others": segment.others, "statement": data["statement"]},
                  text=text, warnings=site.said)

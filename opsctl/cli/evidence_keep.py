"""``opsctl evidence hand|certificate``: a bag that goes to somebody else, and the papers that go with it to a court."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.evidence_show import opened
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import DamagedData, OpsError, SafetyRefusal, UsageError
from opsctl.model.incident import COLLECTED, HANDED, SEALED

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.incident import Incident
    from opsctl.vault import Bag, Vault
    from opsctl.wiring import Site


def hand(session: Session, name: str, bag: str, to: str, reason: str, by: str) -> Report:
    """Read the whole bag, and only where it is as it was sealed write down who has it from now on."""
    from opsctl.cli.isolate_hosts import person

    site, found, shelf = opened(session, name)
    if found is None:
        raise UsageError(f"incident {name} is not known here", hint="opsctl incident list")
    there = _bag(site, found, shelf, bag)
    if not there.sealed:
        raise SafetyRefusal(f"{bag} is not sealed, and what is handed over has to be", where=bag, hint="collecting again makes a bag that is: opsctl evidence collect")
    author = by or person()
    with site.locks.hold(f"evidence {bag}", run=None, purpose=f"handing {bag} over", wait=site.wait):
        _refuse_changed(site, found, there)
        before = [record for record, _ in there.hand_overs()]
        known = _handed(found, bag)
        holder = before[-1]["to"] if before else site.config.organisation.name
        record = {"from": holder, "to": to, "reason": reason, "time": site.clock().isoformat(), "hash_rechecked": True, "by": author}
        if not session.dry_run:
            if len(before) == known + 1:  # killed between the two, the last time
                site.incidents.write(HANDED, _said(found.id, before[-1]))
            site.incidents.write(HANDED, _said(found.id, shelf.hand(bag, record, site.signatures.sign)))

    def text(out: Out) -> None:
        verb = "would be" if session.dry_run else "is"
        out.line(Mark(f"{bag}: every file as it was sealed; it {verb} with {to} from now on, from {holder}: {reason}", Tone.GOOD))
        out.line(f"the papers for it: opsctl evidence certificate {bag} --incident {found.id}")

    return Report(result={"incident": found.id, "bag": bag, **record}, text=text, warnings=[*site.said])


def certificate(session: Session, name: str, bags: Sequence[str]) -> Report:
    """One certificate for each bag, as text, JSON, page and PDF, with its hash report; nothing for a bag that was changed (22)."""
    from opsctl.reports import certificate as form
    from opsctl.repositories.whole import write_whole

    site, found, shelf = opened(session, name)
    if found is None:
        raise UsageError(f"incident {name} is not known here", hint="opsctl incident list")
    wanted = list(bags) or [one.name for one in shelf.bags() if not one.half]
    if not wanted:
        raise UsageError(f"{found.id} has no evidence yet", hint="opsctl evidence collect HOST")
    made: list[dict[str, Any]] = []
    errors: list[OpsError] = []
    for bag in wanted:
        there = _bag(site, found, shelf, bag)
        try:
            _refuse_changed(site, found, there)
        except DamagedData as error:
            errors.append(error)
            continue
        keys = [one.data["key"] for one in found.of(SEALED) if one.data["bag"] == bag] if there.sealed else []
        filled = form.fill(found.id, bag, there.custody(), there.lists(), overs=[record for record, _ in there.hand_overs()],
                           zone=site.config.organisation.tz, now=site.clock(), sealed_by=keys[-1] if keys else "")
        files, missing = form.files(filled, site.clock())
        folder = site.incidents.folder(found.id) / "certificates"
        number = 1 + max((int(one.name.split(".")[0].rpartition("-")[2]) for one in folder.glob(f"{bag}-*.txt") if one.name.split(".")[0].rpartition("-")[2].isdigit()),
                         default=0)
        paths = {ending: folder / f"{bag}-{number}.{ending}" for ending in files}
        if not session.dry_run:
            for ending, content in files.items():
                write_whole(paths[ending], content)
        errors += missing
        made.append({"bag": bag, "files": [str(path) for path in paths.values()], "text": form.as_text(filled), **form.as_json(filled)})

    def text(out: Out) -> None:
        for one in made:
            out.lines(one["text"].splitlines())
            if not session.dry_run:
                out.line(Mark(f"in {one['files'][0]}, with its hash report beside it, as page, PDF and JSON", Tone.GOOD))

    return Report(result={"incident": found.id, "certificates": made}, text=text, errors=errors, warnings=[*site.said])


def _said(incident: str, record: dict[str, Any]) -> dict[str, Any]:
    return {"incident": incident, **{key: record[key] for key in ("bag", "to", "reason", "from", "by", "number", "manifest_sha256", "hash_rechecked")}}


def _bag(site: Site, found: Incident, shelf: Vault, bag: str) -> Bag:
    from opsctl.model.unknown import unknown

    there = {one.name: one for one in shelf.bags()}
    if bag not in there:
        raise unknown("bag", bag, there, hint=f"opsctl evidence list --incident {found.id}")
    if there[bag].half:
        raise SafetyRefusal(f"{bag} is a half bag, and nothing vouches that it is whole", where=bag, hint="collect from that host again")
    return there[bag]


def _handed(found: Incident, bag: str) -> int:
    return sum(1 for one in found.of(HANDED) if one.data["bag"] == bag)


def _refuse_changed(site: Site, found: Incident, there: Bag) -> None:
    """DamagedData where a bag is not as it was sealed."""
    from opsctl.vault import verify

    recorded = {one.data["bag"]: one.data["manifest_sha256"] for one in found.of(COLLECTED)}
    handed = max(_handed(found, there.name), min(len(there.hand_overs()), _handed(found, there.name) + 1))
    wrong = verify(there, site.signatures.check, sorted(site.trusted), recorded=recorded.get(there.name, ""), handed=handed)
    if wrong:
        raise DamagedData(f"{there.name} is not as it was sealed: {wrong[0].text}", where=there.name, details={"findings": [one.text for one in wrong]},
                          hint=f"opsctl evidence verify {there.name} names everything")

"""``opsctl report sent``: a person has sent it, and its duty ends with that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Report
from opsctl.errors import UsageError
from opsctl.model.incident import DRAFTED, EXPLAINED, Incident
from opsctl.plain_file import LARGEST, sha256_of

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.wiring import Site

_MEANT = {"e-mail": "email", "mail": "email", "telephone": "phone", "call": "phone", "letter": "post"}


def sent(session: Session, which: str, incident: str, *, channel: str, by: str, at: str | None, reference: str, number: int, files: Sequence[Path],
         late: str) -> Report:
    from opsctl.cli.incident_open import moment
    from opsctl.cli.incident_write import record_met, write_entry
    from opsctl.cli.report_draft import chosen
    from opsctl.cli.work import open_site

    site = open_site(session)
    found = chosen(site, incident)
    report, duty = _which(site, found, which)
    when = moment(session, site, at, "", "--at") if at else site.clock().replace(microsecond=0)
    how = _channel(site, channel)
    number = _number(found, report, number) if report else 0
    went = [*_of_draft(site, found, report, number, how), *files]
    site.notes += _not_as_drafted(found, report, number, went[: len(went) - len(files)])
    kept = [] if session.dry_run else site.reports.keep_sent(found.id, report or duty.split(" ")[0], number, went)
    if late:
        write_entry(session, site, found.id, EXPLAINED, {"duty": duty, "reason": late}, by=by)
    draft: dict[str, Any] = {"report": report, "draft": number} if number else {}
    told = record_met(session, site, found.id, duty, {"channel": how, "at": when.isoformat(), "reference": reference, "files": kept, **draft}, by=by)
    return told


def _which(site: Site, found: Incident, which: str) -> tuple[str, str]:
    """Name of the report (empty for a duty that has none), and the duty that it meets."""
    from opsctl.model.unknown import unknown
    from opsctl.protocols.cert_in import protocol
    from opsctl.reports.kinds import KINDS

    if which in KINDS:
        duties = KINDS[which].duties
        return which, next((one for one in duties if all(met.duty != one for met in found.met)), duties[-1])
    orders = [f"order {one.id}" for one in found.orders]
    if which not in protocol().duties and which not in orders:
        raise unknown("report or duty", which, [*KINDS, *protocol().duties, *orders], hint=f"opsctl incident show {found.id}")
    return next((name for name, kind in KINDS.items() if which in kind.duties), ""), which


def _channel(site: Site, said: str) -> str:
    """As the protocol names it where that is clear; anything else is taken, and told."""
    from opsctl.model.fields import meant
    from opsctl.protocols.cert_in import protocol

    allowed = next(one["allowed"] for one in protocol().raw["submission_record"] if one["key"] == "channel")
    found = _MEANT.get(said.lower(), said)
    if found not in allowed:
        site.notes.append(f"channel {said} is none of {', '.join(allowed)}{meant(said, allowed)}; it is written down as it is")
    return found


def _number(found: Incident, report: str, number: int) -> int:
    drafts = [int(one.data["number"]) for one in found.of(DRAFTED) if one.data["report"] == report]
    if number and number not in drafts:
        raise UsageError(f"there is no draft {number} of {report}", hint=f"opsctl report list --incident {found.id}")
    return number or max(drafts, default=0)


def _not_as_drafted(found: Incident, report: str, number: int, went: Sequence[Path]) -> list[str]:
    """What a person should know before they say that this draft was sent: its files are gone, or are others than were drafted."""
    if not number:
        return []
    if not went:
        return [f"nothing is left of draft {number} of {report}, so that no copy of what was sent is kept: --file FILE gives one"]
    drafted = {(one["name"], one["sha256"]) for record in found.of(DRAFTED) if record.data["report"] == report for one in record.data["files"]}
    return [f"{path.name} is not as it was drafted; it is kept as it is now" for path in went if (path.name, _digest(path)) not in drafted]


def _digest(path: Path) -> str:
    try:
        return sha256_of(path, LARGEST)
    except OSError:  # keeping it will say so
        return ""


def _of_draft(site: Site, found: Incident, report: str, number: int, channel: str) -> list[Path]:
    """The files of a draft that go by this channel: the message by e-mail, else the PDFs, or the text where there are none."""
    folder: Path = site.reports.folder(found.id)
    there = sorted(folder.glob(f"{report}-{number}.*")) if number else []
    for ending in ((".eml",) if channel == "email" else (".txt",) if channel == "phone" else (".pdf", ".txt")):
        if chosen := [path for path in there if path.suffix == ending]:
            return chosen
    return []

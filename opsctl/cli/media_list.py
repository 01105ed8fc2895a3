"""The media as a table, and which of them a person should look for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import OpsError, Overdue
from opsctl.model import media
from opsctl.model.media import Medium, whereabouts
from opsctl.model.snapshots import parse_time

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.wiring import Site


def late(site: Site) -> list[Overdue]:
    """An error for each medium that was to be back, or came back changed."""
    return [Overdue(f"medium {one.name} {why}", where=one.name, hint=f"opsctl media in {one.name}")
            for one in site.media.all() if (why := media.late(one, site.clock()))]


def show(session: Session) -> Report:
    """``opsctl media list``."""
    from opsctl.cli.work import open_site

    site = open_site(session)
    found = [(one, _stands(site, one)) for one in site.media.all()]
    problems: Sequence[OpsError] = late(site)
    return Report(result={"media": [_as_json(site, one, stands) for one, stands in found]}, text=lambda out: _write(out, site, found),
                  errors=list(problems), exit_code=5 if problems else 0, warnings=[*site.said])


def lines(site: Site) -> list[Mark]:
    """A line for ``status`` on each medium that is out or wrong."""
    now = site.clock()
    return [Mark(f"medium {one.name}: {why or _where(site, one)}", Tone.BAD if why else Tone.QUIET)
            for one in site.media.all() if (why := media.late(one, now)) or one.custody.where == "out"]


def _stands(site: Site, entry: Medium) -> str:
    """``mounted``, ``plugged in``, or ``not plugged in``; of a tape nothing is seen."""
    from opsctl.shells.mounting import device, mounted_at

    if entry.kind == "tape":
        return ""
    there = mounted_at(site.shell, str(entry.mount))
    if there is not None and there.uuid == entry.ident:
        return "mounted for writing" if there.writable else "mounted for reading"
    return "plugged in" if device(site.shell, entry.ident) else "not plugged in"


def _where(site: Site, entry: Medium) -> str:
    from opsctl.cli.work import local_time

    custody = entry.custody
    back = f", to be back {local_time(site, parse_time(custody.back))}" if custody.where == "out" and custody.back else ""
    return f"{whereabouts(custody)} since {local_time(site, parse_time(custody.since))}{back}"


def _write(out: Out, site: Site, found: Sequence[tuple[Medium, str]]) -> None:
    from opsctl.cli.work import local_time

    now = site.clock()
    out.table(Table(
        ("medium", Column("identity", flexible=True), "holds", "now", Column("custody", flexible=True), "sealed"),
        [(one.name, f"{one.label or one.library or ''} {one.ident}".strip(), ", ".join(one.repositories), stands,
          Mark(why, Tone.BAD) if (why := media.late(one, now)) else _where(site, one),
          local_time(site, parse_time(one.sealed.time)) if one.sealed else Mark("never", Tone.WARN)) for one, stands in found],
        empty="no medium is registered: opsctl media register NAME --repository REPOSITORY"))


def _as_json(site: Site, entry: Medium, stands: str) -> dict[str, Any]:
    return {**entry.as_json(), "stands": stands, "late": media.late(entry, site.clock())}

"""``opsctl isolate status``: every host that was cut off, looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from opsctl.cli.isolate_hosts import Asked, hosts_of, site_for
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import NotConverged, OpsError
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.isolation.register import Entry
    from opsctl.model.isolation import Stand
    from opsctl.wiring import Site

_AT_ONCE = 512


@value
class Looked:
    """One host: what this machine has written down of it, how it stands, or why that cannot be said."""

    host: str
    entry: Entry | None
    stand: Stand | None
    error: OpsError | None

    def drift(self) -> NotConverged | None:
        """What is not as this machine has it."""
        if self.entry is None or self.stand is None or self.entry.stage == "releasing":
            return None
        if self.stand.standing != "isolated":
            return NotConverged(f"{self.host} was cut off and is {self.stand.standing}", where=self.host)
        if self.entry.seal not in (None, self.stand.seal):
            return NotConverged(f"{self.host} is cut off, and its rules are not the ones that were confirmed", where=self.host)
        return None


def status(session: Session, asked: Asked) -> Report:
    """Look at all of them at once, one connection each."""
    from opsctl.cli.signals import working

    site = site_for(session, asked)
    known = {entry.host: entry for entry in site.isolated.all()}
    names = hosts_of(asked, site.config) if asked.names else list(known) or [
        name for name, host in site.config.hosts.items() if host.isolation is not None]
    logins = {line.split(" ")[0]: line.split(" ")[1:] for line in asked.logins}

    def look(name: str) -> Looked:
        try:
            return Looked(name, known.get(name), site.isolation(name, *logins.get(name, ())).observe(), None)
        except OpsError as error:
            return Looked(name, known.get(name), None, error)

    with working(session), ThreadPoolExecutor(max(1, min(len(names), _AT_ONCE))) as pool:
        found = list(pool.map(look, names))
    errors = [error for one in found for error in (one.error, one.drift()) if error is not None]
    return Report(result={"hosts": {one.host: as_json(one) for one in found}}, text=lambda out: _write(out, site, found),
                  errors=errors, warnings=site.said)


def as_json(one: Looked) -> Mapping[str, Any]:
    drift = one.drift()
    return {"stand": one.stand.as_json() if one.stand else None, "stage": one.entry.stage if one.entry else None,
            "drift": drift.message if drift else None, "error": one.error.as_dict() if one.error else None}


def _write(out: Out, site: Site, found: list[Looked]) -> None:
    rows = []
    for one in found:
        mark = (one.stand.mark if one.stand else None) or (one.entry.order.mark if one.entry else None)
        word = one.stand.standing if one.stand else "no answer"
        tone = Tone.BAD if one.error or one.drift() else Tone.GOOD if word == "isolated" else Tone.QUIET
        rows.append((one.host, Mark(word, tone), mark.at if mark else "", mark.by if mark else "", (mark.incident or "") if mark else ""))
    out.table(Table(("host", "stands", "since", "by", Column("incident", flexible=True)), rows, empty="nothing is cut off"))

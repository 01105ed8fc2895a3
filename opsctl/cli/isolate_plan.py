"""``opsctl isolate plan``: what would be cut off, what only a person can, what stops working, and what must not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from opsctl.cli.isolate_hosts import Asked, hosts_of, site_for
from opsctl.cli.isolate_status import Looked, look
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import OpsError, Partial, SafetyRefusal
from opsctl.model.coverage import Cover, cover, goes_on, stops
from opsctl.model.given_host import is_given
from opsctl.model.isolation_guard import stays

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.wiring import Site

_TONES = {"provable": Tone.GOOD, "partial": Tone.WARN, "not reachable by software": Tone.BAD}


def plan(session: Session, asked: Asked) -> Report:
    """Look at all of them, change nothing."""
    site = site_for(session, asked)
    hosts = hosts_of(asked, site.config)
    known = {entry.host: entry for entry in site.isolations.register.all()}
    seen = look(session, site, [name for name in hosts if _by_software(site, name)], known,
                {line.split(" ")[0]: line.split(" ", 2)[1:] for line in asked.logins})
    covers = _covers(site, hosts, seen)
    refused = list(_refused(site, asked, hosts))
    uncovered = [one for one in covers if one.word == "not reachable by software"]
    errors: list[OpsError] = [*refused, *(Partial(f"{one.host}: {'; '.join(one.why)}", where=one.host, hint=_by_hand(one))
                                          for one in uncovered)]
    ends, rest = list(stops(hosts, site.config)), list(goes_on(hosts, site.config))
    result = {"hosts": [asdict(one) for one in covers], "stops": ends, "goes_on": rest, "refused": [one.message for one in refused]}
    return Report(result=result, text=lambda out: _write(out, covers, ends, rest, refused), errors=errors,
                  exit_code=23 if refused else 3 if uncovered else 0, warnings=[*site.said])


def _by_software(site: Site, name: str) -> bool:
    return is_given(name) or site.config.hosts[name].isolation is not None


def _covers(site: Site, hosts: Sequence[str], seen: Sequence[Looked]) -> list[Cover]:
    looked = {one.host: one for one in seen}
    found = []
    for name in hosts:
        one = looked.get(name)
        trouble = one.error.message if one is not None and one.error is not None else None
        stand = one.stand if one is not None else None
        if is_given(name):
            why = (trouble,) if trouble is not None else stand.partial if stand is not None else ()
            word = "not reachable by software" if trouble is not None else "partial" if why else "provable"
            found.append(Cover(name, word, "nftables", why))  # type: ignore[arg-type]
        else:
            found.append(cover(name, site.config.hosts[name], stand, trouble))
    return found


def _refused(site: Site, asked: Asked, hosts: Sequence[str]) -> list[SafetyRefusal]:
    """What `apply` would refuse as well, unless a person names it."""
    from opsctl.shells.own_addresses import is_own

    found = []
    for name in hosts:
        if name in asked.names:
            continue
        why = stays(name, site.config, here=is_own(site.config.hosts[name].address))
        if why is not None:
            found.append(SafetyRefusal(f"{why}, and is not cut off with others", where=name,
                                       hint=f"leave it out with --except {name}, or name it: opsctl isolate apply {name}"))
    return found


def _by_hand(one: Cover) -> str | None:
    return f"by hand: {one.by_hand}" if one.by_hand else None


def _write(out: Out, covers: Sequence[Cover], ends: Sequence[str], rest: Sequence[str], refused: Sequence[SafetyRefusal]) -> None:
    out.table(Table(("host", Column("how", flexible=True), "covered", Column("remark", flexible=True)), [
        (one.host, one.how, Mark(one.word, _TONES[one.word]), "; ".join(one.why)) for one in covers]))
    steps = [one for one in covers if one.word == "not reachable by software" and one.by_hand]
    if steps:
        out.heading("A person has to")
        out.lines([f"  {one.host}: {one.by_hand}" for one in steps])
    out.heading("Stops working")
    out.lines([f"  {one}" for one in ends] or ["  nothing that the configuration knows of"])
    out.heading("Goes on")
    out.lines([f"  {one}" for one in rest])
    counted = {word: sum(one.word == word for one in covers) for word in _TONES}
    out.line()
    out.line(Mark(", ".join(f"{number} {word}" for word, number in counted.items() if number),
                  Tone.BAD if refused or counted["not reachable by software"] else Tone.GOOD))

"""``opsctl isolate status``: every host that was cut off, looked at again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.isolate_hosts import Asked, hosts_of, site_for
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import DamagedData, NotConverged, OpsError
from opsctl.model.probes import few
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.isolation.doors import Doors
    from opsctl.isolation.register import Entry
    from opsctl.model.isolation import Mark as Whose
    from opsctl.model.isolation import Stand
    from opsctl.wiring import Site

_AT_ONCE = 512


@value
class Looked:
    """One host: what this machine has written down of it, how it stands, or why that cannot be said.

    ``door``: how it stands at the backup store ``store``; None where that is not known. ``seen``: when probes showed last what stands in the entry, as it is shown. ``here``: whether the run that cut it off is one of this machine.
    """

    host: str
    entry: Entry | None
    stand: Stand | None
    error: OpsError | None
    again: str = ""
    seen: str = ""
    here: bool = False
    store: str = ""
    door: str | None = None

    @property
    def mark(self) -> Whose | None:
        """Who cut it off."""
        return (self.stand.mark if self.stand else None) or (self.entry.order.mark if self.entry else None)

    def drift(self) -> NotConverged | None:
        """What is not as this machine has it."""
        if self.entry is None or self.stand is None:
            return None
        standing, host, stage = self.stand.standing, self.host, self.entry.stage
        if stage == "releasing":
            return None if standing == "open" else NotConverged(
                f"{host} was to be opened and is {standing}", where=host, hint=f"opsctl isolate release {host}")
        if stage == "ordered":
            return None if standing in ("armed", "isolated") else NotConverged(
                f"{host} was to be cut off and is open: {'it lifted itself' if standing == 'lifted' else 'nothing is loaded there'}",
                where=host, hint=f"opsctl resume {self.entry.order.mark.run}")
        way_back = f"opsctl isolate status {host} --keep cuts it off again, as it was"
        if standing != "isolated":
            how = {"open": "OPEN: its rules are gone", "lifted": "OPEN: its rules lifted themselves",
                   "armed": "about to lift itself"}[standing]
            return NotConverged(f"{host} was cut off and is {how}{self.again}", where=host, hint=None if self.again else way_back)
        if self.entry.seal not in (None, self.stand.seal):
            return NotConverged(f"{host} is cut off by other rules than were confirmed{self.again}", where=host,
                                hint=None if self.again else f"somebody changed them there; {way_back}")
        return None

    def open_still(self) -> NotConverged | None:
        """What probes showed last to get through although it is cut off: it stands until they show that it is shut."""
        shown = self.entry.shown if self.entry is not None and self.entry.stage != "releasing" else None
        if shown is None or not shown.findings or (self.stand is not None and self.stand.standing != "isolated"):
            return None
        through = few(shown.findings, f"opsctl isolate status {self.host} --json")
        return NotConverged(f"{self.host} is cut off by its rules, and yet {through} (seen {self.seen})", where=self.host,
                            hint="shut that, and the same `opsctl isolate apply` as before tries it anew")

    def door_open(self) -> NotConverged | None:
        """Why it still reaches the backup store although it is cut off."""
        if self.door in (None, "isolated") or self.entry is None or self.entry.stage != "confirmed" or self.entry.order.profile == "backup-only":
            return None
        how = {"armed": "about to be let in again", "lifted": "let in again, by rules that lifted themselves or were changed"}.get(str(self.door), "not shut out")
        return NotConverged(f"{self.host} is to be shut out at the backup store {self.store} and is {how}", where=self.host,
                            hint="the same `opsctl isolate apply` as before shuts it out")

    def rehearsed(self) -> bool:
        """Whether it is cut off for a rehearsal, by the name of the run that stands on the host: nobody writes down what lifts itself in any case."""
        return (self.entry is None and self.stand is not None and self.stand.standing == "armed" and self.mark is not None
                and re.fullmatch(r"\d{8}-\d{4}-rehearse-[0-9a-z]+", self.mark.run) is not None)

    def remarks(self) -> Iterator[str]:
        """What is to be said of it beside who and when."""
        if self.error is not None:
            yield self.error.message
        if self.open_still() and self.entry is not None and self.entry.shown is not None:
            first, more = self.entry.shown.findings[0].partition(", over IPv")[0], len(self.entry.shown.findings) - 1  # the whole of it is told below
            yield f"{first}{f', and {more} more' if more else ''} (seen {self.seen})"
        if wrong := self.door_open():
            yield wrong.message
        elif self.door not in (None, "open"):
            yield f"shut out at {self.store}"
        if self.stand is None:
            return
        if self.rehearsed():
            yield f"a rehearsal{'' if self.here else ' of another machine'}: lifts itself in {self.stand.left or 0:.0f} s"
        elif self.stand.left is not None:
            yield f"lifts itself in {self.stand.left:.0f} s unless confirmed: opsctl isolate confirm {self.host}"
        if self.stand.open_left is not None:
            what = ", ".join(self.stand.opened)
            yield f"lets {what} in for {self.stand.open_left:.0f} s more" if self.stand.open_left else f"let {what} in for a time, and has closed itself"
        if drift := self.drift():
            yield drift.message
        if self.stand.standing in ("armed", "isolated"):  # what is over covers nothing
            yield from (f"in part: {why}" for why in self.stand.partial)
        if self.stand.standing == "isolated" and self.stand.persisted is not None:
            whose = " of its gateway" if self.entry is not None and self.entry.driver == "gateway" else ""
            yield f"stays after a reboot{whose}" if self.stand.persisted else f"a reboot{whose} lifts it"
        if self.stand.standing == "isolated" and self.stand.connections:
            yield f"{self.stand.connections} old connections are alive"
        if self.entry is None and self.stand.standing in ("armed", "isolated") and not self.rehearsed():
            yield "not by this machine"


def status(session: Session, asked: Asked, *, keep: bool, due: bool) -> Report:
    """Look at all of them at once, one connection each; cut off again what was lifted and is to stay so."""
    unread: list[OpsError] = []
    site = site_for(session, asked, unread)
    known = {entry.host: entry for entry in site.isolations.register.all()}
    chosen = bool(asked.names or asked.zones or asked.every)
    names = hosts_of(asked, site.config) if chosen else list(known)
    if not names and not due:
        names = [name for name, host in site.config.hosts.items() if host.isolation is not None]
    logins = [*(entry.login for entry in known.values() if entry.login), *asked.logins]
    with ThreadPoolExecutor(1) as pool:
        asked_store = pool.submit(_doors, site, names) if names or not due else None
        found = look(session, site, names, known, {line.split(" ")[0]: line.split(" ", 2)[1:] for line in logins})
        at_store = asked_store.result() if asked_store is not None else None
    found = [_at_door(one, at_store) for one in found]
    if not session.dry_run:
        found = _keep(session, site, found, everything=keep)
    spoilt = [DamagedData(f"what is written down of {host} cannot be read: whether it is to be cut off is not known", where=host,
                          hint=f"opsctl isolate status {host} shows how it stands; opsctl isolate apply {host} writes it anew")
              for host in site.isolations.register.unreadable() if not chosen or host in names]
    errors = [*unread, *spoilt, *(error for one in found for error in (one.error, one.drift(), one.open_still(), one.door_open()) if error is not None)]
    warnings = [*site.said]
    if isinstance(at_store, OpsError):  # it may be no more than who is shut out besides that is not known
        at_store.message = f"who is shut out at the backup store {site.config.isolation.store} is not known: {at_store.message}"
        if any(one.entry is not None and one.host != site.config.isolation.store for one in found):
            errors.append(at_store)
        else:
            warnings.append(at_store.message)
    doors = at_store if not isinstance(at_store, OpsError) else None
    others = [name for name in doors.shut if name not in names] if doors is not None and not chosen else []
    return Report(result={"hosts": {one.host: as_json(one) for one in found}, "store": doors.as_json() if doors is not None else None},
                  text=lambda out: _write(out, site, found, whole=not (unread or spoilt), others=others), errors=errors, warnings=warnings)


def _doors(site: Site, names: Sequence[str]) -> Doors | OpsError | None:
    """Who is shut out at the backup store, or why that cannot be said; None where there is no such machine."""
    try:
        found: Doors | None = site.isolations.doors(names)
    except OpsError as error:
        return error
    return found


def _at_door(one: Looked, doors: Doors | OpsError | None) -> Looked:
    if doors is None or isinstance(doors, OpsError) or one.host == doors.store:
        return one
    shut = doors.shut.get(one.host)
    return replace(one, store=doors.store, door=shut.standing if shut is not None else "open")


def look(
    session: Session, site: Site, names: Sequence[str], known: Mapping[str, Entry], logins: Mapping[str, Sequence[str]]
) -> list[Looked]:
    """How they stand, in their order."""
    from opsctl.cli.signals import working

    def way(name: str, entry: Entry | None) -> Any:
        if entry is not None and entry.driver == "gateway":
            return site.isolations.gateway_for(name)
        return site.isolations.driver(name, *logins.get(name, ()))

    def one(name: str) -> Looked:
        entry = known.get(name)
        seen = _time(site, entry.shown.at) if entry is not None and entry.shown is not None else ""
        try:
            driver = way(name, entry)
            try:
                stand = driver.observe()
            finally:
                if driver.enforced == "host":  # a gateway's connection serves other hosts, too
                    driver.close()
        except OpsError as error:
            return Looked(name, entry, None, error, seen=seen)
        return Looked(name, entry, stand, None, seen=seen, here=stand.mark is not None and _begun_here(site, stand.mark.run))

    with working(session), ThreadPoolExecutor(max(1, min(len(names), _AT_ONCE))) as pool:
        return list(pool.map(one, names))


def _keep(session: Session, site: Site, found: list[Looked], *, everything: bool) -> list[Looked]:
    """Cut off again, by the order that each was cut off by; the drift stays in the report, with what became of it."""
    from opsctl.cli.work import carry_out

    done: dict[str, str] = {}
    for one in found:
        if one.entry is None or one.entry.stage != "confirmed" or one.drift() is None or not (everything or one.entry.keep):
            continue
        order = one.entry.order
        options = [name for name, said in (("hold", order.seconds is None), ("persist", order.persist), ("dhcp", order.dhcp),
                                           ("keep", one.entry.keep),
                                           ("gateway", one.entry.driver == "gateway")) if said]
        inputs = {"hosts": [one.host], "incident": order.mark.incident or "", "allow": [str(each) for each in order.allow],
                  "profile": order.profile, "within": round(order.seconds or 60), "options": options, "named": [one.host],
                  "logins": [one.entry.login] if one.entry.login else [], "retry_for": 0}
        report = carry_out(session, site, "isolate", inputs, subject="keep")
        done[one.host] = ("; it was cut off again" if report.code == 0 else
                          f"; cutting it off again failed: {report.errors[0].message if report.errors else report.code}")
    return [replace(one, again=done.get(one.host, "")) for one in found]


def as_json(one: Looked) -> Mapping[str, Any]:
    drift, still = one.drift(), [error.message for error in (one.open_still(), one.door_open()) if error is not None]
    return {"stand": one.stand.as_json() if one.stand else None, "stage": one.entry.stage if one.entry else None,
            "since": one.mark.at if one.mark else None, "by": one.mark.by if one.mark else None,
            "incident": one.mark.incident if one.mark else None, "keep": bool(one.entry and one.entry.keep),
            "drift": drift.message if drift else None, "rehearsal": one.rehearsed(),
            "proof": {**vars(one.entry.shown)} if one.entry and one.entry.shown else None, "open": "; ".join(still) or None,
            "door": one.door, "error": one.error.as_dict() if one.error else None}


def _write(out: Out, site: Site, found: Sequence[Looked], *, whole: bool, others: Sequence[str]) -> None:
    rows = []
    for one in found:
        word = "no answer" if one.stand is None else "PORT OPEN" if one.open_still() else one.stand.standing
        tone = Tone.BAD if one.error or one.drift() or one.open_still() or one.door_open() else Tone.GOOD if word == "isolated" else Tone.QUIET
        since = _time(site, one.mark.at) if one.mark is not None else ""
        rows.append((one.host, Mark(word, tone), since, one.mark.by if one.mark else "",
                     (one.mark.incident or "") if one.mark else "", "; ".join(one.remarks())))
    out.table(Table(("host", "stands", "since", "by", "incident", Column("remark", flexible=True)), rows,
                    empty="nothing is cut off from here" if whole else "what is cut off cannot be said"))
    if others:
        out.line(Mark(f"shut out at the backup store {site.config.isolation.store} as well: {', '.join(others)}", Tone.WARN))


def _time(site: Site, text: str) -> str:
    """As it is shown; it may stand on the host, where others can write."""
    from opsctl.cli.work import local_time
    from opsctl.model.snapshots import parse_time

    try:
        return local_time(site, parse_time(text))
    except (ValueError, OverflowError):
        return "unknown"


def _begun_here(site: Site, run: str) -> bool:
    return run == Path(run).name and any((place / "runs" / run).is_dir() for place in (site.place, site.state))


def summary(site: Site) -> str | None:
    """One line about what this machine has cut off, as it was written down; None where that is nothing."""
    entries = list(site.isolations.register.all())
    if not entries:
        return None
    words = {"confirmed": "cut off", "ordered": "about to be cut off", "releasing": "about to be opened"}
    counted = {stage: [entry.host for entry in entries if entry.stage == stage] for stage in words}
    parts = [f"{words[stage]}: {', '.join(hosts[:5])}{f' and {len(hosts) - 5} more' if len(hosts) > 5 else ''}"
             for stage, hosts in counted.items() if hosts]
    return f"{'; '.join(parts)} (opsctl isolate status)"

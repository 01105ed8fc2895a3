"""How each item of readiness stands: looked at where a machine can, read from the journal where a person has to say it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from opsctl.errors import OpsError
from opsctl.model.quantities import counted, few
from opsctl.model.readiness import MISSING, OK, RECORDED, Item, Stand, Word, instead, said, words_of
from opsctl.model.snapshots import parse_time
from opsctl.protocols import readiness as known

if TYPE_CHECKING:
    from opsctl.wiring import Site

_TERM = timedelta(days=90)
"""Of a drill where the backup names none, and of a kit: ours."""
_SECONDS = 20.0
_AT_ONCE = 64


def look(site: Site, *, offline: bool) -> list[Stand]:
    """Every item, in the protocol's order. ``offline``: no host is asked."""
    today = site.clock().astimezone(site.config.organisation.tz).date()
    words = recorded(site)
    found = []
    for item in known.items():
        word = words.get(item.id)
        if item.asked:
            found.append(said(item, word, today, about(site, item.id)))
        else:
            found.append(instead(_seen(site, item, offline), word, today))
    return found


def recorded(site: Site) -> dict[str, Word]:
    return words_of(entry.data for entry in site.journal.read(types=(RECORDED,), on_damage=lambda _: None))


def line(site: Site) -> str | None:
    """One for ``status``, where somebody keeps readiness here: what was recorded and no longer holds. No host is asked."""
    words = recorded(site)
    if not words:
        return None
    today: date = site.clock().astimezone(site.config.organisation.tz).date()
    stale = [item.id for item in known.items() if item.id in words and not said(item, words[item.id], today, about(site, item.id)).fine]
    return f"readiness: {few(stale)} {'has' if len(stale) == 1 else 'have'} to be looked at again: opsctl readiness" if stale else None


def about(site: Site, item: str) -> str:
    """A digest of what somebody's word on an item is about, so that it does not outlive a change; empty where there is none."""
    if item == known.CONTACTS:
        from opsctl.protocols.cert_in import protocol
        from opsctl.reports.contacts import digest

        return digest(protocol(), site.config.people)
    if item == known.POINT_OF_CONTACT:
        filed = [[one.name, one.phone, one.email] for one in site.config.people.values() if known.POINT_OF_CONTACT in one.roles]
        return hashlib.sha256(json.dumps(filed).encode()).hexdigest() if filed else ""
    return ""


def _seen(site: Site, item: Item, offline: bool) -> Stand:
    if item.id == known.CISO:
        named = [one.name for one in site.config.people.values() if "ciso" in one.roles]
        return Stand(item, OK, few(named)) if named else Stand(item, MISSING, "nobody in the configuration has the role ciso", item.hint)
    if item.id == known.CLOCKS:
        return _clocks(site, item, offline)
    if item.id == known.RESTORE:
        return _restores(site, item)
    if item.id == known.OFFLINE:
        return _copies(site, item)
    return _kit(site, item)


def _clocks(site: Site, item: Item, offline: bool) -> Stand:
    """This machine and every host that is logged into, all at once."""
    from opsctl.model.timekeeping import SCRIPT, judge, parse

    servers = known.time_servers()
    hosts = {name: spec for name, spec in site.config.hosts.items() if spec.os == "linux" and not spec.here}

    def one(name: str) -> tuple[bool, str]:
        try:
            shell = site.shell if not name else site.on_host(name, "ssh-isolation" if site.entered(name) is not None else "ssh-backup")
            return judge(parse(shell.run(["sh", "-c", SCRIPT], timeout=_SECONDS).text), servers)
        except OpsError as error:
            if error.code >= 100:
                raise
            return False, error.message

    names = ["", *({} if offline else hosts)]
    with ThreadPoolExecutor(min(_AT_ONCE, len(names)), thread_name_prefix="clocks") as pool:
        found = dict(zip(names, pool.map(one, names), strict=True))
    wrong = {name or "this machine": seen for name, (fine, seen) in found.items() if not fine}
    right = [f"{name or 'this machine'} {seen}" for name, (fine, seen) in found.items() if fine]
    rest = "; ".join(filter(None, (
        f"{counted(len(hosts), 'host')} not asked (--offline)" if offline and hosts else "",
        f"{counted(len(site.config.hosts) - len(hosts), 'other machine')} that nobody logs into" if len(site.config.hosts) > len(hosts) else "")))
    details = {name or "this machine": {"ok": fine, "seen": seen} for name, (fine, seen) in found.items()}
    if rest and not wrong:  # what was not looked at is not called fine; a person can say it
        return Stand(item, MISSING, f"{few(right, 3)}; {rest}", item.hint, details)
    if wrong:
        told = few([f"{name} {seen}" for name, seen in wrong.items()], 3)
        return Stand(item, MISSING, f"{told}{f'; {len(right)} as they should be' if right else ''}{f'; {rest}' if rest else ''}", item.hint, details)
    return Stand(item, OK, few(right, 3), "", details)


def _restores(site: Site, item: Item) -> Stand:
    kept = site.catalogue.standing()
    now = site.clock()
    lacking: dict[str, str] = {}
    for name, plan in site.config.backups.items():
        term = plan.verify.drill or _TERM
        good = [parse_time(one["time"]) for one in kept.get(name, {}).get("drills") or () if one["ok"]]
        if not good:
            lacking[name] = "never"
        elif max(good) + term < now:
            lacking[name] = f"last on {max(good).astimezone(site.config.organisation.tz):%Y-%m-%d}"
    return _of_backups(site, item, lacking, "restored and proven within {number} or its own term", "opsctl verify {name} --level drill")


def _copies(site: Site, item: Item) -> Stand:
    from opsctl.cli.copies import Copies

    kept = site.catalogue.standing()
    lacking: dict[str, str] = {}
    for name, plan in site.config.backups.items():
        away = [place for place in plan.copies if site.config.repositories[place].removable]
        stands: Mapping[str, Any] = Copies(site, name, kept).as_json()
        if not away:
            lacking[name] = "no copy in a repository with removable: true"
        elif all(stands[place]["late"] or not stands[place]["newest"] for place in away):
            lacking[name] = f"{away[0]}: {stands[away[0]]['because'] or 'no set yet'}"
    return _of_backups(site, item, lacking, "copied to a disk that is carried away", "opsctl backup copy {name}")


def _of_backups(site: Site, item: Item, lacking: Mapping[str, str], fine: str, how: str) -> Stand:
    if not site.config.backups:
        return Stand(item, MISSING, "the configuration holds no backup", "opsctl init")
    if lacking:
        first = next(iter(lacking))
        hint = item.hint if "removable" in lacking[first] else how.format(name=first)
        return Stand(item, MISSING, few([f"{name}: {why}" for name, why in lacking.items()], 3), hint, dict(lacking))
    return Stand(item, OK, f"{counted(len(site.config.backups), 'backup')} {fine.format(number=f'{_TERM.days} days')}")


def _kit(site: Site, item: Item) -> Stand:
    """By the runs that this journal knows: whether the medium is still there, `kit check` says."""
    entries = list(site.journal.read(types=("run.bound", "run.end"), on_damage=lambda _: None))
    builds = {entry.run for entry in entries if entry.type == "run.bound" and entry.data.get("playbook") == "kit-build"}
    built = max((entry.time for entry in entries if entry.type == "run.end" and entry.run in builds and entry.data.get("exit_code") == 0), default=None)
    if built is None:
        return Stand(item, MISSING, "none was built from here", item.hint)
    when = f"built on {built.astimezone(site.config.organisation.tz):%Y-%m-%d}"
    return Stand(item, OK, when) if built + _TERM >= site.clock() else Stand(item, MISSING, when, item.hint)

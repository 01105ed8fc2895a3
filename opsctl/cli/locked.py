"""Repositories whose store locks what is in them: which they are, and how their locks stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsctl.errors import OpsError

if TYPE_CHECKING:
    from datetime import datetime

    from opsctl.model.config import Config
    from opsctl.repositories.history import Holdings
    from opsctl.wiring import Site


def locked(config: Config, backups: Sequence[str], *, home: bool = True) -> list[str]:
    """The repositories of these backups, with their own or the copies' alone, whose store locks what is in them."""
    plans = [config.backups[name] for name in backups]
    named = [name for plan in plans for name in (*((plan.repository,) if home else ()), *plan.copies)]
    return [name for name in dict.fromkeys(named) if config.repositories[name].object_lock is not None]


def look_at_locks(site: Site, name: str, holdings: Holdings, errors: list[OpsError]) -> dict[str, Any] | None:
    """Until when what a repository holds is locked, and how its bucket is weaker than configured; None where nothing is."""
    lock = site.config.repositories[name].object_lock
    if lock is None:
        return None
    from opsctl.actions.lock import newest_snapshots
    from opsctl.repositories import objectlock
    from opsctl.repositories.s3_store import S3Store

    store = getattr(site.history(name).repository, "store", None)
    assert isinstance(store, S3Store), "only a repository in S3 can have object_lock"
    try:
        weak = objectlock.weaknesses(objectlock.facts(store.place), lock.mode, lock.term)
        return {**objectlock.held(store.place, newest_snapshots(holdings.judgement.sets)).as_dict(), "weak": weak}
    except OpsError as error:
        errors.append(error)
        return None


def holds_until(found: Mapping[str, Any] | None, now: datetime) -> datetime | None:
    """Until when what was looked at cannot be deleted; None where that is over, or was never so."""
    from opsctl.model.snapshots import parse_time

    until = parse_time(found["until"]) if found and found["until"] else None
    return until if until is not None and until > now else None


def words(site: Site, found: Mapping[str, Any] | None) -> str | None:
    """``locked until 2026-12-15 21:00 UTC (COMPLIANCE)``; None where nothing holds."""
    from opsctl.cli.work import local_time

    until = holds_until(found, site.clock())
    if until is None or found is None:
        return None
    bypass = ", which keys with a bypass can undo" if "GOVERNANCE" in (found["mode"] or "") else ""
    return f"locked until {local_time(site, until)} ({found['mode']}{bypass})"

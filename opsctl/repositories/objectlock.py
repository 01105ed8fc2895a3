"""What an S3 store promises of a repository's objects by Object Lock, and how the promise is renewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from opsctl.errors import OpsError, Refused, SafetyRefusal
from opsctl.repositories import versions
from opsctl.repositories.s3_place import AT_ONCE, S3Place, at_once
from opsctl.repositories.versions import PARTS, counts

_LOOKED_AT = 32  # objects, beside the newest sets' own, the keys and the config
_SLACK = timedelta(hours=1)


@dataclass(frozen=True)
class Facts:
    """How a bucket is set up. ``mode`` and ``term``: its default retention, None where it has none."""

    versioned: bool
    lockable: bool
    mode: str | None
    term: timedelta | None


@dataclass(frozen=True)
class Held:
    """Until when what was looked at is locked. ``until``: the least; None where something is not locked at all.

    ``newest``: the latest of the newest sets' own snapshots. ``looked`` of ``objects`` were looked at. ``modes``: the
    modes of their locks.
    """

    until: datetime | None
    newest: datetime | None
    looked: int
    objects: int
    modes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"until": self.until.isoformat() if self.until else None, "mode": "+".join(self.modes) or None,
                "looked": self.looked, "objects": self.objects}


@dataclass(frozen=True)
class Extended:
    """What was done: ``versions`` locked anew. ``overwritten``: names of objects whose content was replaced."""

    versions: int
    overwritten: tuple[str, ...]


def facts(place: S3Place) -> Facts:
    """Read the bucket's own settings. Raises Refused, Unreachable, ProgramFailed."""
    versioned = (place.ask("get_bucket_versioning") or {}).get("Status") == "Enabled"
    try:
        found = (place.ask("get_object_lock_configuration") or {}).get("ObjectLockConfiguration", {})
    except OpsError as error:
        if error.details.get("code") != "ObjectLockConfigurationNotFoundError":
            raise
        return Facts(versioned, False, None, None)
    default = found.get("Rule", {}).get("DefaultRetention", {})
    days = default.get("Days") or 365 * default.get("Years", 0)
    return Facts(versioned, found.get("ObjectLockEnabled") == "Enabled", default.get("Mode"),
                 timedelta(days=days) if days else None)


def require(found: Facts, name: str) -> None:
    """SafetyRefusal where nothing in the bucket can be locked."""
    if found.versioned and found.lockable:
        return
    what = "has no Object Lock" if not found.lockable else "keeps no versions"
    raise SafetyRefusal(
        f"the bucket of {name} {what}, and the configuration says that it locks what is stored there",
        hint="make a bucket with Object Lock and copy to that; most stores can switch it on only when a bucket is made",
        where=name, details={"kind": "not-lockable"})


def weaknesses(found: Facts, mode: str, term: timedelta) -> list[str]:
    """How the bucket's default retention is less than what the configuration says; each one sentence."""
    if found.mode is None or found.term is None:
        return ["the bucket has no default retention: what is stored there is unlocked until opsctl locks it"]
    weak = []
    if mode == "COMPLIANCE" and found.mode != "COMPLIANCE":
        weak.append(f"the bucket's default retention is {found.mode}, and the configuration says COMPLIANCE")
    if found.term < term:
        weak.append(f"the bucket's default retention is {found.term.days} days, and the configuration says {term.days}")
    return weak


def held(place: S3Place, newest: Sequence[str]) -> Held:
    """Look at the locks of the newest sets' snapshots (their ids), the keys, the config and a share of the rest."""
    names = [name for page in place.pages("list_objects_v2") for entry in page.get("Contents", ())
             if counts(name := place.name(entry["Key"]))]
    own = {f"snapshots/{each}" for each in newest}
    always = [name for name in names if name in own or name.startswith("keys/") or name == "config"]
    rest = [name for name in names if name not in set(always)]
    looked = [*always, *rest[:: max(1, -(-len(rest) // _LOOKED_AT))]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        locks = dict(zip(looked, pool.map(lambda name: retention(place, name), looked), strict=True))
    untils = [lock[1] if lock else None for lock in locks.values()]
    return Held(
        until=None if not untils or None in untils else min(each for each in untils if each),
        newest=max((lock[1] for name, lock in locks.items() if lock and name in own), default=None),
        looked=len(looked), objects=len(names), modes=tuple(sorted({lock[0] for lock in locks.values() if lock})))


def retention(place: S3Place, name: str, version: str | None = None) -> tuple[str, datetime] | None:
    """Mode and end of the lock of an object; None where it has none, or is not there."""
    try:
        answer = place.ask("get_object_retention", name, **({"VersionId": version} if version else {}))
    except OpsError as error:
        if error.details.get("code") in ("NoSuchObjectLockConfiguration", "InvalidRequest", "ObjectLockConfigurationNotFoundError"):
            return None
        raise
    found = (answer or {}).get("Retention", {})
    return (found["Mode"], found["RetainUntilDate"]) if "Mode" in found else None


def is_due(found: Held, term: timedelta, now: datetime) -> bool:
    """Whether the locks have to be renewed: something newer is locked for longer, or a tenth of the term is over."""
    if found.until is None:
        return True
    return found.until < now + term * 0.9 or (found.newest is not None and found.until < found.newest - _SLACK)


def extend(
    place: S3Place, mode: str, until: datetime, on_progress: Callable[[int, int], None] | None = None
) -> Extended:
    """Lock everything that the repository holds until then; what is locked for longer is left so.

    The config comes last: where that is locked, all the rest was. Of an object that was stored anew the oldest version
    is locked as well as the newest: restic never changes an object, so the oldest is the one that was meant. Raises
    Refused where the access key may not (``s3:PutObjectRetention``, ``s3:ListBucketVersions``).
    """
    wanted, overwritten = _needed(place)
    done = 0

    def lock(each: tuple[str, str]) -> None:
        _lock(place, *each, mode=mode, until=until)

    def on_done() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, len(wanted))

    for group in (*PARTS, "config"):
        at_once(lock, [each for each in wanted if each[0].startswith(group)], on_done)
    return Extended(done, tuple(overwritten))


def _lock(place: S3Place, name: str, version: str, *, mode: str, until: datetime) -> None:
    try:
        place.ask("put_object_retention", name, VersionId=version, Retention={"Mode": mode, "RetainUntilDate": until})
    except OpsError as error:
        there = retention(place, name, version) if error.details.get("kind") == "access-denied" else None
        if there is not None and there[1] >= until:
            return
        if there is not None and there[0] == "COMPLIANCE" != mode:
            raise Refused(f"{name} in {place} is locked in COMPLIANCE mode, and nobody can make {mode} of that",
                          hint="what is locked already can only be locked for longer as it is: mode: COMPLIANCE",
                          details=error.details) from error
        if error.details.get("kind") == "access-denied":
            raise Refused(f"{place} does not let this access key lock {name} for longer",
                          hint="its policy has to allow s3:PutObjectRetention; configs/README.md has the statements",
                          details=error.details) from error
        raise


def _needed(place: S3Place) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and version of everything to be locked, and the names of what was replaced by something else."""
    wanted, overwritten = [], []
    for name, kept in versions.read(place).items():
        if not kept.versions:
            continue
        newest, oldest = kept.versions[0], kept.versions[-1]
        wanted += [(name, each) for each in dict.fromkeys((oldest.id, newest.id))]
        if versions.alike(newest, oldest) == "no":
            overwritten.append(name)
    return wanted, overwritten

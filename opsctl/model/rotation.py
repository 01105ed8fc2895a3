"""A controller's signing key that follows another: what is signed, and which keys count because of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

FORMAT = "opsctl-rotation-statement/1"


@value
class Rotation:
    """One that is shown: by both keys, or by the new one and people. ``vouched``: by people that are known here."""

    old: str
    new: str
    time: datetime
    vouched: bool


def statement(old: str, new: str, time: datetime) -> dict[str, Any]:
    """The words that both keys sign."""
    return {"format": FORMAT, "old": old, "new": new, "time": time.isoformat()}


def rotation_of(said: Mapping[str, Any], vouched: bool) -> Rotation:
    return Rotation(said["old"], said["new"], parse_time(said["time"]), vouched)


@value
class Trust:
    """The keys whose signatures count. ``until``: when a key was followed by another; what it signed later does not count."""

    keys: frozenset[str]
    until: Mapping[str, datetime]

    def retired(self, signer: str | None, time: datetime | None) -> bool:
        """Whether a key signed something that is dated after its time."""
        end = self.until.get(signer or "")
        return end is not None and (time is None or time > end)


def follow(trusted: Collection[str], rotations: Iterable[Rotation]) -> Trust:
    """Who counts because of those that count already.

    A key vouches for the one that follows it, and that one for the one before it. Where one key names two successors,
    its thief may be one of them: then neither counts by its word, but who is known otherwise, or people vouch for, does.
    """
    found = {*trusted}
    listed = list(rotations)
    successors: dict[str, set[str]] = {}
    for one in listed:
        successors.setdefault(one.old, set()).add(one.new)
    changed = True
    while changed:
        before = len(found)
        for one in listed:
            sure = one.vouched or one.new in found or (one.old in found and len(successors[one.old]) == 1)
            if sure:
                found |= {one.old, one.new}
        changed = len(found) > before
    until: dict[str, datetime] = {}
    for one in listed:
        if one.new in found and one.new != one.old:
            until[one.old] = min(one.time, until.get(one.old, one.time))
    return Trust(frozenset(found), until)

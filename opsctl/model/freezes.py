"""Whether retention is frozen: what the records of freezes and thaws in a repository come to. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime

from opsctl.model.records import FREEZE, Record, canonical
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

FROZEN, THAWED = "frozen", "thawed"
#: In the place of an incident where the record of a freeze cannot be read.
UNREADABLE = "unreadable"


@value
class Freeze:
    """One freeze that nothing has lifted. ``id`` is what a thaw names; ``known``: by a key that somebody here vouched for.

    Of one whose record cannot be read nothing but ``id`` is known: it counts, since whoever destroyed it may have meant that.
    """

    id: str
    incident: str = UNREADABLE
    since: datetime | None = None
    by: str = "?"
    known: bool = False


def freeze_id(record: Record) -> str:
    """The same for a record and for what is made by storing it again; the snapshot's own where it cannot be read."""
    return hashlib.sha256(canonical(record.record)).hexdigest() if record.signer else record.snapshot


def open_freezes(
    marked: Iterable[Record], lifted: Collection[str], trusted: Collection[str], repository_id: str
) -> tuple[Freeze, ...]:
    """The freezes of a repository, oldest first. ``marked``: what is tagged as one; ``lifted``: ids that two people lifted.

    A freeze counts whoever signed it: it costs space and no more, and a controller that nobody here knows may be right.
    """
    found: dict[str, Freeze] = {}
    for record in marked:
        name = freeze_id(record)
        if record.signer is None:
            found.setdefault(name, Freeze(name))
        elif record.format == FREEZE and record.record["state"] == FROZEN and record.record["repository"] == repository_id:
            found[name] = Freeze(name, record.record["incident"], parse_time(record.record["time"]), record.record["by"],
                                 record.signer in trusted)
    return tuple(sorted((one for one in found.values() if one.id not in lifted),
                        key=lambda one: one.since.timestamp() if one.since else 0.0))

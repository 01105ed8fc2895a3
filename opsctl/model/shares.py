"""Which share of the packs to read back next, so that everything is read within a term."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from opsctl.model.snapshots import parse_time

#: Findings that say nothing about the packs that were read back. Anybody who may write can cause some of them.
NOT_OF_PACKS = frozenset({
    "snapshot-deleted", "snapshot-foreign", "snapshot-altered", "snapshot-future", "manifest-damaged", "junk-object",
    "thaw-forged", "prune-forged", "choice-forged",
})


def count(read_all_within: timedelta) -> int:
    """M of ``n/M``: a share a day, at least one, and not more than restic can tell apart (by a pack's first byte)."""
    return min(256, max(1, math.ceil(read_all_within / timedelta(days=1))))


def last_read(records: Iterable[Mapping[str, Any]], total: int, *, damaged: bool = False) -> dict[int, datetime]:
    """When each share of ``n/total`` was last read without damage (or with). Shares of another total tell nothing."""
    found: dict[int, datetime] = {}
    for record in records:
        if record.get("total") != total or bool(record.get("damaged")) != damaged:
            continue
        time = parse_time(record["time"])
        for share in record.get("shares", ()):
            found[share] = max(time, found.get(share, time))
    return found


def next_shares(
    records: Iterable[Mapping[str, Any]], read_all_within: timedelta, now: datetime
) -> list[int]:
    """The shares (1…M) to read now: the oldest first, as many as the time since the last reading asks for.

    Whoever looks rarely reads besides what would be read too late at the next time, if that is as far away as the last. Those that were damaged when last read are read again besides: they hold the others up in nothing.
    """
    records = list(records)
    total = count(read_all_within)
    well, ill = last_read(records, total), last_read(records, total, damaged=True)
    again = sorted(share for share, time in ill.items() if share not in well or well[share] < time)
    read = {share: max(found[share] for found in (well, ill) if share in found) for share in {*well, *ill}}
    never = [share for share in range(1, total + 1) if share not in read]
    oldest = sorted(read, key=lambda share: (read[share], share))
    if not read:
        return never[:1]
    since = max(timedelta(0), now - max(read.values()))
    wanted = min(total, max(1, math.floor(total * (since / read_all_within))))
    begun = min(parse_time(record["time"]) for record in records if record.get("total") == total)
    late = sum(read.get(share, begun) + read_all_within < now + since for share in never + oldest if share not in again)
    return again + [share for share in never + oldest if share not in again][: max(wanted, late)]


def oldest_unread(records: Iterable[Mapping[str, Any]], read_all_within: timedelta) -> datetime | None:
    """The time before which some data was last read; None where some share was never read."""
    total = count(read_all_within)
    read = last_read(records, total)
    return min(read.values()) if len(read) == total else None

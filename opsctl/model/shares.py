"""Which share of the packs to read back next, so that everything is read within a term."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from opsctl.model.snapshots import parse_time


def count(read_all_within: timedelta) -> int:
    """M of ``n/M``: a share a day, at least one."""
    return max(1, math.ceil(read_all_within / timedelta(days=1)))


def last_read(records: Iterable[Mapping[str, Any]], total: int) -> dict[int, datetime]:
    """When each share of ``n/total`` was last read without a finding. Shares of another total tell nothing."""
    found: dict[int, datetime] = {}
    for record in records:
        if record.get("total") != total or record.get("damaged"):
            continue
        time = parse_time(record["time"])
        for share in record.get("shares", ()):
            found[share] = max(time, found.get(share, time))
    return found


def next_shares(
    records: Iterable[Mapping[str, Any]], read_all_within: timedelta, now: datetime
) -> list[int]:
    """The shares (1…M) to read now: the oldest first, as many as the time since the last reading asks for."""
    total = count(read_all_within)
    read = last_read(records, total)
    never = [share for share in range(1, total + 1) if share not in read]
    oldest = sorted(read, key=lambda share: (read[share], share))
    if not read:
        return never[:1]
    since = max(timedelta(0), now - max(read.values()))
    wanted = min(total, max(1, math.floor(total * (since / read_all_within))))
    return (never + oldest)[:wanted]


def oldest_unread(records: Iterable[Mapping[str, Any]], read_all_within: timedelta) -> datetime | None:
    """The time before which some data was last read; None where some share was never read."""
    total = count(read_all_within)
    read = last_read(records, total)
    return min(read.values()) if len(read) == total else None

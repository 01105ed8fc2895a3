"""When a backup is due, from the newest good set alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def due(newest: datetime | None, every: timedelta, now: datetime) -> str | None:
    """Why a backup is due now, or None where it is not.

    Exactly ``every`` after the newest good set it is due. A set from the future never counts as newest, so a clock
    that was wrong for a day delays nothing.
    """
    if newest is None:
        return "never ran"
    age = elapsed(newest, now)
    if age < timedelta(0):
        return None
    return f"the newest set is {words(age)} old" if age >= every else None


def overdue(newest: datetime | None, every: timedelta, now: datetime) -> str | None:
    """Why a person should look: due, and the hourly timer has had more than its hours to act."""
    if newest is None:
        return "never ran"
    age = elapsed(newest, now)
    return f"the newest set is {words(age)} old, asked for every {words(every)}" if age > every + grace(every) else None


def elapsed(since: datetime, now: datetime) -> timedelta:
    """The time that really went by. Python subtracts two moments of one zone by their clocks, not by time."""
    return now.astimezone(UTC) - since.astimezone(UTC)


def grace(every: timedelta) -> timedelta:
    """How much more than ``every`` a set may be old before a person should look."""
    return min(every / 4, timedelta(hours=6))


def words(span: timedelta) -> str:
    """A duration as a person says it: ``3 days``, ``5 h``, ``12 min``."""
    seconds = int(span.total_seconds())
    if seconds >= 2 * 86400:
        return f"{seconds // 86400} days"
    if seconds >= 2 * 3600:
        return f"{seconds // 3600} h"
    if seconds >= 120:
        return f"{seconds // 60} min"
    return f"{seconds} s"

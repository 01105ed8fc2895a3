"""Which sets of a backup stay: calendar arithmetic over the times of their signed manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from opsctl.model.config_keep import Keep

_PERIOD: Mapping[str, Callable[[datetime], tuple[object, ...]]] = {
    # The hour that comes twice is two hours, which only their distance from UTC tells apart.
    "hourly": lambda at: (at.year, at.month, at.day, at.hour, at.utcoffset()),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar())[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def kept(keep: Keep, sets: Sequence[tuple[str, datetime]], zone: ZoneInfo) -> dict[str, tuple[str, ...]]:
    """The ids of those that stay, newest first, each with why: ``daily 3``, ``weekly 1``, counted from the newest.

    ``sets``: id and time of each that counts; of two of one moment the later listed is the newer. Nothing is measured
    against a clock, so that a wrong one chooses nothing.
    """
    newest_first = sorted(sets, key=lambda one: one[1])[::-1]
    reasons: dict[str, list[str]] = {name: [] for name, _ in newest_first}
    for number, (name, time) in enumerate(newest_first, 1):
        if number <= (keep.last or 0):
            reasons[name].append(f"last {number}")
        if keep.within is not None and newest_first[0][1] - time <= keep.within:
            reasons[name].append("within")
    for word in Keep.PERIODS:
        seen: set[tuple[object, ...]] = set()
        for name, time in newest_first:
            period = _PERIOD[word](time.astimezone(UTC).astimezone(zone))
            if period not in seen and len(seen) < (getattr(keep, word) or 0):
                seen.add(period)
                reasons[name].append(f"{word} {len(seen)}")
    return {name: tuple(found) for name, found in reasons.items() if found}

"""Which troubles are told now: each once when it begins, again while it lasts, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from opsctl.model.snapshots import parse_time

#: How keys begin of troubles whose end is told by something else: a duty that was near is done, or overdue.
FORGOTTEN = "near:"


@dataclass(frozen=True)
class Trouble:
    """Something wrong. ``key`` is the same each time that it is seen; ``kind``: ``failed overdue waiting suspect incident``."""

    key: str
    kind: str
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Notice:
    """Something to tell. ``kind`` as of the trouble, or ``recovered``."""

    key: str
    kind: str
    text: str
    hint: str | None = None


Known = Mapping[str, Mapping[str, Any]]


def settle(
    known: Known, troubles: Sequence[Trouble], over: Callable[[str], bool], now: datetime, remind: timedelta
) -> tuple[list[Notice], dict[str, dict[str, Any]]]:
    """What to tell now, and what is to be kept for the next time if all of it is told.

    ``known``: what was told and is not over, by key: ``kind text since told`` (RFC 3339). ``over(key)``: whether a
    trouble that is not among ``troubles`` any more is over, and not only not looked at this time.
    """
    notices: list[Notice] = []
    kept: dict[str, dict[str, Any]] = {}
    for trouble in troubles:
        if trouble.key in kept:
            continue
        before = known.get(trouble.key)
        told = _moment(before.get("told")) if before else None
        since = str(before["since"]) if before else now.isoformat()
        if told is None:
            notices.append(Notice(trouble.key, trouble.kind, trouble.text, trouble.hint))
        elif now - told >= remind:
            text = f"{trouble.text} (since {since[:16].replace('T', ' ')})"
            notices.append(Notice(trouble.key, trouble.kind, text, trouble.hint))
        else:
            kept[trouble.key] = {"kind": trouble.kind, "text": trouble.text, "since": since, "told": told.isoformat()}
            continue
        kept[trouble.key] = {"kind": trouble.kind, "text": trouble.text, "since": since, "told": now.isoformat()}
    for key, before in known.items():
        if key in kept:
            continue
        if over(key):
            if before.get("told") and not key.startswith(FORGOTTEN):
                notices.append(Notice(key, "recovered", f"over: {before.get('text')}"))
        else:
            kept[key] = dict(before)
    return notices, kept


def untold(kept: Mapping[str, Mapping[str, Any]], notices: Sequence[Notice]) -> dict[str, dict[str, Any]]:
    """What is to be kept where telling these failed: they are told the next time."""
    failed = {notice.key for notice in notices}
    found = {key: {**entry, "told": None} if key in failed else dict(entry) for key, entry in kept.items()}
    for notice in notices:  # that something is over was not told either
        if notice.kind == "recovered":
            found[notice.key] = {"kind": "recovered", "text": notice.text.removeprefix("over: "), "since": "", "told": "1970-01-01T00:00:00+00:00"}
    return found


def _moment(value: Any) -> datetime | None:
    try:
        return parse_time(value)
    except (ValueError, TypeError, AttributeError):
        return None

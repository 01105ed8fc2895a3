"""The status board as one page: open incidents, clocks, isolation, restoration, backups, and who is waited for."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from opsctl.model.board import CUT_STATES, Board, Cut, Zone
from opsctl.reports.page import FOLDER, page

MOST = 12
"""Hosts that stand alike, and backups that are as they should be, which are named one by one; the rest is counted."""

SIGNS = {
    "running": "●", "overdue": "▲", "met": "✓", "late": "✓▲", "decided": "–", "coming": "○", "open": "…", "given up": "–", "isolated": "✓", "armed": "◔", "unconfirmed": "▲", "unproven": "▲",
    "opening": "◔", "free": "▲", "unknown": "▲", "done": "✓", "failed": "▲", "waiting": "●", "interrupted": "▲", "begun": "●", "idle": "○", "ok": "✓", "due": "●",
    "never": "▲", "damaged": "▲", "suspect": "▲", "unverified": "▲", "undrilled": "▲", "clean": "✓",
}
"""Beside each word, so that no state is told by its colour alone."""


def board_page(board: Board, *, zone: tzinfo, languages: Sequence[str]) -> bytes:
    """The page, as UTF-8; moments stand in ``zone`` and in UTC. What comes from outside is shown harmless."""
    from markupsafe import Markup

    words = _words()
    script = (FOLDER / "board.js").read_text("utf-8")
    units = [words[one] for one in languages]
    wrong = [one for one in board.backups if one.troubled]
    return page(
        "board.html", title=" · ".join(words[one]["title"] for one in languages), language=languages[0], drill=board.drill, drill_says={one: words[one]["drill_says"] for one in languages}, board=board, now=board.now,
        languages=list(languages), words=words, signs=SIGNS, cut_states=CUT_STATES, most=MOST, together=_together, wrong=wrong,
        calm=[one for one in board.backups if not one.troubled],
        script=Markup(script), css=Markup((FOLDER / "board.css").read_text("utf-8")), here=lambda moment: _here(moment, zone), utc=lambda moment: _utc(moment, zone),
        span=lambda due: _span(abs(due - board.now), units[0]), length=lambda span: _span(span, units[0]),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())


@functools.cache
def _words() -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    found: dict[str, Any] = yaml.load((FOLDER / "board.yaml").read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found


def _together(zone: Zone) -> list[tuple[str, list[Cut]]]:
    """The hosts of a zone, worst first; those that were cut off in one minute by one person stand together."""
    found: dict[Any, list[Cut]] = {}
    for one in sorted(zone.hosts, key=lambda each: (CUT_STATES.index(each.state), each.since.timestamp() if each.since else 0.0)):
        minute = one.since.replace(second=0, microsecond=0) if one.since else None
        found.setdefault((one.state, minute, one.by, one.incident, one.lifts is None), []).append(one)
    return [(key[0], group) for key, group in found.items()]


def _here(moment: datetime, zone: tzinfo) -> str:
    """``21 Dec 2026 08:30 IST``."""
    return f"{moment.astimezone(zone):%d %b %Y %H:%M %Z}"


def _utc(moment: datetime, zone: tzinfo) -> str:
    """``03:00 UTC``, with its day where that is another one; empty where the zone is UTC itself."""
    there = moment.astimezone(UTC)
    if not moment.astimezone(zone).utcoffset():
        return ""
    return f"{there:%d %b %H:%M} UTC" if there.date() != moment.astimezone(zone).date() else f"{there:%H:%M} UTC"


def _span(span: timedelta, words: dict[str, Any]) -> str:
    """``2 d 3 h``, ``5 h 29 min``, ``12 min``."""
    minutes = int(abs(span).total_seconds()) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "unit_d"), (hours, "unit_h"), (minutes, "unit_m")]
    told = [f"{number} {words[unit]}" for number, unit in parts[:2] if number] if days else [f"{number} {words[unit]}" for number, unit in parts if number]
    return " ".join(told) or f"0 {words['unit_m']}"

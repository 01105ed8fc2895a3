"""Moments as people read them."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

from opsctl.model.snapshots import parse_time

_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)")


FIRST_YEAR, LAST_YEAR = 1990, 2100
"""Of moments of an incident: what lies beyond was mistyped, and no calendar can reckon from the ends of time."""


def parse_moment(text: str) -> datetime:
    """A moment of an incident, RFC 3339. ValueError where it is none."""
    found = parse_time(text)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError(f"lies in the year {found.year}")
    return found


def local(moment: datetime, zone: tzinfo | None) -> str:
    """A moment in a time zone, to the minute and with the zone's name: ``2026-11-25 08:05 IST``."""
    try:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except OverflowError:  # somebody dated a snapshot at the end of time
        return f"{moment:%Y-%m-%d %H:%M %Z}"


def in_zone(text: str, zone: tzinfo | None) -> str:
    """A sentence for people, with each moment in it (RFC 3339) as ``local`` writes it. Not for commands, which people copy."""
    return _WRITTEN.sub(lambda found: _read(found[0], zone), text)


def _read(written: str, zone: tzinfo | None) -> str:
    try:
        return local(parse_time(written), zone)
    except ValueError:  # 31 February
        return written

"""Moments as people read them."""

from __future__ import annotations

from datetime import datetime, tzinfo


def local(moment: datetime, zone: tzinfo | None) -> str:
    """A moment in a time zone, to the minute and with the zone's name: ``2026-11-25 08:05 IST``."""
    try:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except OverflowError:  # somebody dated a snapshot at the end of time
        return f"{moment:%Y-%m-%d %H:%M %Z}"

"""Durations (``3d``, ``12h``, ``45m``) and sizes (``10GiB``) as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:([0-9]{1,7})d)?(?:([0-9]{1,7})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,9})s)?")
_LONGEST = timedelta(days=36_500)

_UNITS = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4, "PiB": 5}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")


def parse_duration(text: str) -> timedelta:
    """Read ``3d``, ``12h``, ``45m``, ``90s`` or a row of them (``1d12h``); ValueError says what is wrong."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError("must be a duration such as 3d, 12h or 45m")
    parts = zip(found.groups(), _SECONDS.values(), strict=True)
    length = timedelta(seconds=sum(int(count) * seconds for count, seconds in parts if count))
    if length > _LONGEST:
        raise ValueError("must be a duration of at most 36500d")
    return length


def format_duration(length: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back to the same seconds: ``3d``, ``1d12h``, ``0s``.

    A negative duration gets a minus sign, which cannot be read back.
    """
    left = round(length.total_seconds())
    sign, left = ("-", -left) if left < 0 else ("", left)
    text = ""
    for unit, seconds in _SECONDS.items():
        count, left = divmod(left, seconds)
        text += f"{count}{unit}" if count else ""
    return sign + (text or "0s")


def rough_duration(length: timedelta) -> str:
    """For tables and sentences: at most the two largest units that matter (``3d2h``, ``45m``, ``12s``)."""
    seconds = round(length.total_seconds())
    step = next((_SECONDS[unit] for least, unit in ((86_400, "h"), (3_600, "m")) if abs(seconds) >= least), 1)
    whole = abs(seconds) // step * step
    return format_duration(timedelta(seconds=whole if seconds >= 0 else -whole))


def parse_size(text: str) -> int:
    """Read ``10GiB``, ``1.5TiB``, ``512B`` or ``512`` to bytes; ValueError says what is wrong."""
    found = _SIZE.fullmatch(text)
    if found is None or (found[2] and found[2] not in _UNITS):
        raise ValueError(
            "must be a size such as 10GiB, 500MiB or 1.5TiB (units of 1024: B, KiB, MiB, GiB, TiB, PiB)"
        )
    return int(Decimal(found[1]) * 1024 ** _UNITS[found[2] or "B"])


def format_size(count: int) -> str:
    """Bytes for people: ``0B``, ``912KiB``, ``1.5GiB``; rounded to one digit behind the point."""
    sign, value = ("-", -count) if count < 0 else ("", count)
    units = list(_UNITS)
    power = 0
    while power < len(units) - 1 and value >= 1024 ** (power + 1):
        power += 1
    # 1023.96 KiB would round to 1024.0 KiB: show it as the next unit.
    if power < len(units) - 1 and round(value / 1024**power, 1) >= 1024:
        power += 1
    text = f"{value / 1024**power:.1f}".removesuffix(".0")
    return f"{sign}{text}{units[power]}"


def few(names: Iterable[str], most: int = 5) -> str:
    """Names as far as a line takes them: ``a, b, c, d, e and 407 more``."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def counted(number: int, what: str, many: str | None = None) -> str:
    """A number with its word: ``1 set``, ``1,200 files``; ``many`` where the plural is not the word with an s."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"

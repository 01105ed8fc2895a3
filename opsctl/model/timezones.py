"""Names of time zones, and which one a person meant."""

from __future__ import annotations

from zoneinfo import available_timezones

#: What people still type, and the name that took its place.
_NOW_CALLED = {
    "Asia/Calcutta": "Asia/Kolkata",
    "Asia/Dacca": "Asia/Dhaka",
    "Asia/Katmandu": "Asia/Kathmandu",
    "Asia/Rangoon": "Asia/Yangon",
    "Asia/Saigon": "Asia/Ho_Chi_Minh",
    "Asia/Thimbu": "Asia/Thimphu",
    "IST": "Asia/Kolkata",
    "India": "Asia/Kolkata",
}
_AT_MOST = 3
_LIKE = 0.75  # of 1, how alike two names must be
_CLOSE = 0.08  # a name that is less alike than the best one by more is left out


def near_zones(word: str) -> list[str]:
    """Up to three zone names that may have been meant by a word that is none; the nearest first."""
    from difflib import SequenceMatcher, get_close_matches  # only after a mistake: it costs every start 5 ms

    named: dict[str, str] = {}
    for name in sorted({*available_timezones(), *_NOW_CALLED}):
        if name.startswith(("Etc/", "GMT")):  # Etc/GMT+5 lies west of Greenwich, the last that anybody means
            continue
        current = _NOW_CALLED.get(name, name)
        named.setdefault(name.casefold(), current)
        city = name.rpartition("/")[2].casefold()
        if len(city) > 4:
            named.setdefault(city, current)
    meant = word.strip().replace(" ", "_").casefold()
    near = get_close_matches(meant, named, n=2 * _AT_MOST, cutoff=_LIKE)
    alike = {name: SequenceMatcher(a=name, b=meant).ratio() for name in near}
    kept = [named[name] for name in near if alike[name] >= max(alike.values()) - _CLOSE]
    return list(dict.fromkeys(kept))[:_AT_MOST]

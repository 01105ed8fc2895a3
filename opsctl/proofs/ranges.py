"""Checksums of a table in ranges of its key, which tell where in it something differs: the table's own checksum tells that it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from opsctl.sources.interface import Difference

#: Ranges of a table; of one with fewer rows than ``LEAST`` nothing is recorded, since a person looks through those.
MOST = 16
LEAST = 160
#: A range keeps its sum modulo this: it has to tell which range it is, and not that anything differs at all.
MODULUS = 1 << 32

Group = tuple[int, int, int]


def recorded(key: str, kind: str, bounds: Sequence[str], groups: Iterable[Group]) -> dict[str, Any]:
    """As it stands in a proof: ``key`` (a column), its ``type``, ``bounds`` (each the first key of its range; before the first
    bound there is one more), and of every range ``rows`` and ``sums``. ``groups``: number of the range, rows, sum.
    """
    found = {number: (rows, sum_ % MODULUS) for number, rows, sum_ in groups}
    both = [found.get(number, (0, 0)) for number in range(len(bounds) + 1)]
    return {"key": key, "type": kind, "bounds": list(bounds), "rows": [rows for rows, _ in both], "sums": [sum_ for _, sum_ in both]}


def doubtful(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The recorded ranges of those tables whose rows or checksum are not as in the proof."""
    have = actual.get("tables", {})
    return {name: ranges for name, ranges in expected.get("ranges", {}).items()
            if name in have and name in expected.get("tables", {}) and have[name] != expected["tables"][name]}


def compare(where: str, expected: Mapping[str, Any] | None, actual: Mapping[str, Any] | None) -> list[Difference]:
    """One difference for each stretch of keys in which rows differ; none where the ranges do not tell."""
    if expected is None or actual is None or any(expected[name] != actual[name] for name in ("key", "type", "bounds")):
        return []
    number = len(expected["rows"])
    differs = [any(expected[what][one] != actual[what][one] for what in ("rows", "sums")) for one in range(number)]
    found = []
    for bad, stretch in groupby(range(number), key=differs.__getitem__):
        if bad:
            inside = list(stretch)
            had, has = (sum(one["rows"][inner] for inner in inside) for one in (expected, actual))
            found.append(Difference(f"{where}, {_keys(expected, inside[0], inside[-1])}", f"{had:,} rows",
                                    f"{has:,} rows" if had != has else "other content"))
    return found


def _keys(ranges: Mapping[str, Any], first: int, last: int) -> str:
    key, bounds = ranges["key"], ranges["bounds"]
    if first == 0 and last == len(bounds):
        return f"{key} anywhere"
    if first == 0:
        return f"{key} below {bounds[last]}"
    if last == len(bounds):
        return f"{key} from {bounds[first - 1]} on"
    return f"{key} from {bounds[first - 1]} to below {bounds[last]}"

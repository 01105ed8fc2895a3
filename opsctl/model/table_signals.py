"""Whether what changed in a database looks like an attack: rows of each table, and columns that turned to noise.

A column of tokens or hashes always was noise, and one that is new has nothing to be compared with: what condemns is a column
that could be read before. Rows go in innocent work as well, but hardly out of most tables at once.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsctl.model.changes import NOTE
from opsctl.model.quantities import counted
from opsctl.model.signals import CLEAN, LAST, SUSPECT, Signals, unknown

Tables = Mapping[str, Mapping[str, Any]]

#: Letters of a value that are looked at, and values of a column.
WIDTH, VALUES = 200, 200
#: Tables that are sampled at most, the largest first.
MOST_TABLES = 200

#: Shorter values say nothing about noise.
_LEAST = 20
_HEX = re.compile(r"(?:\\x|0x)?[0-9a-fA-F]{32,}")
_PACKED = re.compile(r"[A-Za-z0-9+/=_\-]{20,}")
#: How those call a table who take the rest of them away, beside how they call files.
_DEMAND = re.compile(r"read.?me|to.?recover|hacked|pwned", re.IGNORECASE)
_BITS = 3.9
"""Bits that each letter of 24 or more must carry to be noise: words of any language have less, with no blank between them."""


def is_noise(text: str) -> bool | None:
    """Whether a value is noise: hexadecimal or base64 of no meaning, or bytes that are no text. None where it is too short to tell."""
    if len(text) < _LEAST:
        return None
    if any(not letter.isprintable() and letter not in "\n\r\t" for letter in text[:WIDTH]):
        return sum(not letter.isprintable() for letter in text) > len(text) // 8
    if _HEX.fullmatch(text):
        return not _says_something(bytes.fromhex(text[-(len(text) // 2 * 2):].removeprefix("\\x").removeprefix("0x")))
    return bool(_PACKED.fullmatch(text)) and _bits(text) >= _BITS and any(each.isdigit() for each in text) and text.lower() != text


def _says_something(raw: bytes) -> bool:
    """Whether bytes are text; the last letter may be cut."""
    try:
        return raw.decode("utf-8").isprintable()
    except UnicodeDecodeError as error:
        return error.start >= len(raw) - 3 and raw[:error.start].decode("utf-8").isprintable()


def _bits(text: str) -> float:
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def noise(values: Iterable[str]) -> tuple[int, int]:
    """Of the values of a column how many could be told, and how many of these are noise."""
    told = [found for found in map(is_noise, values) if found is not None]
    return len(told), sum(told)


def of_tables(now: Tables, before: Tables | None, columns: Mapping[str, tuple[int, int]], earlier: Sequence[Mapping[str, Any]]) -> Signals:
    """Judge a database. ``now`` and ``before``: the tables of the proofs; ``before`` is None for the first set.

    ``columns``: of each sampled column (``TABLE.COLUMN``) what ``noise`` says. ``earlier``: its signals in the last sets, newest first.
    """
    numbers: dict[str, Any] = {"columns": {name: list(found) for name, found in columns.items()}}
    if before is None:
        return unknown("the first set of this source: there is nothing to compare it with", numbers)
    if not now and not before and not columns:
        return unknown("it was taken without a proof of its tables, and nothing of it was looked into", numbers)
    numbers |= _numbers(now, before)
    calm = [one["numbers"].get("columns", {}) for one in earlier[:LAST] if one["verdict"] != SUSPECT and one.get("numbers")]
    found = [*_of_columns(columns, calm), *_of_demands(now, before), *_of_rows(now, before)]
    notes = tuple(f"{name} is new and noise" for name in sorted(columns) if _is_new(name, columns[name], calm))
    if found:
        return Signals(SUSPECT, tuple(text for text, _ in found), notes, tuple(example for _, shown in found for example in shown)[:10], numbers)
    return Signals(CLEAN, (), notes, (), numbers)


def _numbers(now: Tables, before: Tables) -> dict[str, Any]:
    rows = {name: [before.get(name, {}).get("rows", 0), now.get(name, {}).get("rows", 0)] for name in {*now, *before}}
    return {
        "tables": len(now), "tables_before": len(before), "tables_changed": sum(now[name] != before[name] for name in now.keys() & before.keys()),
        "tables_new": len(now.keys() - before.keys()), "tables_gone": len(before.keys() - now.keys()),
        "rows": sum(count for _, count in rows.values()), "rows_before": sum(count for count, _ in rows.values()),
        "rows_changed": {name: counts for name, counts in sorted(rows.items(), key=lambda one: -abs(one[1][1] - one[1][0]))[:50]
                         if counts[0] != counts[1]},
    }


Found = tuple[str, Sequence[tuple[str, str]]]


def _of_columns(columns: Mapping[str, tuple[int, int]], calm: Sequence[Mapping[str, Sequence[int]]]) -> Iterable[Found]:
    turned, growing = [], []
    for name, (told, bad) in sorted(columns.items()):
        shares = [one[name][1] / one[name][0] for one in calm if name in one and one[name][0] >= 10]
        if told < 10 or not shares:
            continue
        share = bad / told
        if share >= 0.5 and max(shares) <= 0.2:
            turned.append((name, f"{bad} of {told} values are noise, which could be read before"))
        elif bad >= 5 and share >= 0.05 and min(shares) <= 0.01 and share > max(shares):
            growing.append((name, f"{bad} of {told} values are noise, and it was none"))
    if turned:
        yield f"{counted(len(turned), 'column')} turned to noise, as after encryption: {', '.join(name for name, _ in turned[:3])}", turned
    if growing:
        yield f"more and more values of {counted(len(growing), 'column')} are noise, as in a slow encryption: {growing[0][0]}", growing


def _is_new(name: str, found: tuple[int, int], calm: Sequence[Mapping[str, Sequence[int]]]) -> bool:
    return bool(calm) and found[0] >= 10 and found[1] >= found[0] / 2 and not any(name in one for one in calm)


def _of_demands(now: Tables, before: Tables) -> Iterable[Found]:
    named = [name for name in sorted(now.keys() - before.keys()) if NOTE.search(name) or _DEMAND.search(name)]
    if named:
        yield f"a table is named like a demand for ransom: {', '.join(named[:3])}", [(name, "named like a demand for ransom") for name in named]


def _of_rows(now: Tables, before: Tables) -> Iterable[Found]:
    full = {name for name, found in before.items() if found.get("rows", 0) > 0}
    lost = sorted(name for name in full if not now.get(name, {}).get("rows", 0))
    if len(lost) >= 2 and len(lost) * 2 >= len(full):
        yield (f"{len(lost)} of the {counted(len(full), 'table')} that had rows are empty or gone",
               [(name, "gone" if name not in now else "empty") for name in lost[:10]])
        return
    was, is_ = (sum(found.get("rows", 0) for found in tables.values()) for tables in (before, now))
    if was >= 1000 and is_ * 2 < was:
        most = max(full, key=lambda name: before[name]["rows"] - now.get(name, {}).get("rows", 0))
        yield f"{was - is_:,} of {was:,} rows are gone", [(most, f"had {before[most]['rows']:,} rows, has {now.get(most, {}).get('rows', 0):,}")]

"""The proof of a database: rows and checksum of every table, held against what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opsctl.proofs import ranges
from opsctl.sources.interface import Difference, difference

FULL, COUNTS, OFF = "full", "counts", "off"

#: Of a new database's properties those that change what its data means.
_PROPERTIES = ("encoding", "collate", "ctype", "locale")

_MISSING, _THERE = "missing", "there"


def what_it_shows(proof: Mapping[str, Any]) -> str:
    """In words, for a person who has to know how much was proven."""
    tables = proof.get("tables", {})
    number = f"{len(tables):,} table{'' if len(tables) == 1 else 's'}"
    if proof["level"] == FULL:
        return f"rows and checksums of {number}"
    if proof["level"] == COUNTS:
        return f"row counts of {number}, not their content"
    return "nothing: the backup was made with proof off"


def is_proof(proof: Mapping[str, Any]) -> bool:
    """Whether comparing with it shows anything at all."""
    return bool(proof["level"] != OFF)


def compare(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[Difference]:
    """Every difference, table by table; ``actual`` was made at the level of ``expected`` or a higher one.

    Where ``expected`` was made with proof off there is nothing to compare and nothing is shown: ask
    ``is_proof``.
    """
    if not is_proof(expected):
        return []
    found: list[Difference] = []
    if expected["algorithm"] != actual["algorithm"]:
        found.append(Difference("algorithm", expected["algorithm"], actual["algorithm"]))
        return found
    for name in _PROPERTIES:
        found += difference(name, expected.get(name), actual.get(name))
    found += _tables(expected, actual)
    found += _measures("large objects", expected.get("large_objects", {}), actual.get("large_objects", {}))
    found += _sequences(expected.get("sequences", {}), actual.get("sequences", {}))
    found += _objects(expected, actual)
    return found


def _tables(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> Iterable[Difference]:
    expected, actual = wanted.get("tables", {}), have.get("tables", {})
    for name in sorted(expected.keys() | actual.keys()):
        where = f"table {name}"
        if name not in actual:
            yield Difference(where, f"{expected[name]['rows']:,} rows", _MISSING)
        elif name not in expected:
            yield Difference(where, _MISSING, f"{actual[name]['rows']:,} rows")
        else:
            yield from _measures(where, expected[name], actual[name])
            yield from ranges.compare(where, wanted.get("ranges", {}).get(name), have.get("ranges", {}).get(name))


def _measures(where: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterable[Difference]:
    """Rows first; a checksum says nothing more where their number differs already."""
    if expected.get("rows") != actual.get("rows"):
        yield Difference(f"{where}, rows", expected.get("rows"), actual.get("rows"))
        return
    for what in ("bytes", "sum"):
        if what in expected and expected[what] != actual.get(what):
            yield Difference(
                f"{where}, {'checksum' if what == 'sum' else what}", expected[what], actual.get(what)
            )
            return


def _sequences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterable[Difference]:
    """A sequence is read before the dump reads it, so that a restored one may be ahead, and never behind."""
    for name in sorted(expected.keys() - actual.keys()):
        yield Difference(f"sequence {name}", expected[name].get("last", _THERE), _MISSING)
    for name in sorted(expected.keys() & actual.keys()):
        before, now = expected[name], actual[name]
        if "last" not in before or before.get("cycles"):
            continue
        down = int(before.get("step", 1)) < 0
        if "last" not in now or (
            int(now["last"]) > int(before["last"]) if down else int(now["last"]) < int(before["last"])
        ):
            bound = "or lower" if down else "or higher"
            yield Difference(
                f"sequence {name}", f"{before['last']} {bound}", now.get("last", "nothing drawn yet")
            )


def _objects(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterable[Difference]:
    """Shapes by name. Details are comparable only within one major version of the server."""
    wanted, have = expected.get("objects", {}), actual.get("objects", {})
    same_major = _major(expected) == _major(actual)
    for name in sorted(wanted.keys() | have.keys()):
        if name not in have:
            yield Difference(name, wanted[name].partition("#")[0].strip() or _THERE, _MISSING)
        elif name not in wanted:
            if same_major:
                yield Difference(name, _MISSING, have[name].partition("#")[0].strip() or _THERE)
        elif same_major:
            before, now = (text.partition("#") for text in (wanted[name], have[name]))
            if before[0] != now[0]:
                yield from _words(name, before[0].split(), now[0].split())
            elif before[2] != now[2]:
                yield Difference(f"{name}, definition", before[2], now[2])


def _words(name: str, before: list[str], now: list[str]) -> Iterable[Difference]:
    """Of ``owner=x indexes=2 …`` those words that differ."""
    was, is_ = (dict(word.partition("=")[::2] for word in words) for words in (before, now))
    for what in was.keys() | is_.keys():
        if was.get(what) != is_.get(what):
            yield Difference(f"{name}, {what}", was.get(what), is_.get(what))


def _major(proof: Mapping[str, Any]) -> int:
    found = proof.get("server_version")
    return found // 10000 if isinstance(found, int) else 0

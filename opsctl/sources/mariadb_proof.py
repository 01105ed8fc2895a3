"""The proof of a MariaDB or MySQL database, computed in the server: rows, checksums, and where numbers stand.

Algorithm ``mariadb-sha1-64-sum-v1``: for each table the number of rows and the sum of the first 64 bits of
``SHA1(columns by name, each with its end or its length)``. It does not depend on the order of rows or columns, counts
duplicates, tells NULL from nothing, and needs no row to leave the server. Text is taken as the bytes of its column's
character set, what may be long as its own SHA-1. What a server computes itself (generated columns) is left out. Of a
table with system versioning all of the history counts. Where the first column of a primary key is an integer, the same
pass keeps rows and sums of sixteen ranges of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsctl.errors import ProgramFailed
from opsctl.proofs import ranges
from opsctl.sources.mariadb_session import Client, quote_ident

ALGORITHM = "mariadb-sha1-64-sum-v1"

# Behind every value of the first sort stands a sign that cannot stand in one.
_BYTES = frozenset({"char", "varchar", "enum", "set", "binary", "varbinary"})
_LONG = frozenset(
    {"tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "vector"}
    | {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"}
    | {"geometrycollection", "geomcollection"}
)

_FACTS = """
SELECT JSON_OBJECT('version', VERSION(), 'database', SCHEMA_NAME, 'encoding', DEFAULT_CHARACTER_SET_NAME, 'collate', DEFAULT_COLLATION_NAME)
FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE();
"""

_TABLES = """
SELECT JSON_ARRAY(t.TABLE_NAME, t.TABLE_TYPE, t.ENGINE, COALESCE(e.TRANSACTIONS, 'NO'), CAST(t.AUTO_INCREMENT AS CHAR),
  CAST(t.CREATE_TIME AS CHAR))
FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE <> 'VIEW';
"""

_COLUMNS = """
SELECT JSON_ARRAY(TABLE_NAME, COLUMN_NAME, LOWER(DATA_TYPE), IS_NULLABLE, COALESCE(GENERATION_EXPRESSION, ''))
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE();
"""

_KEYS = """
SELECT JSON_ARRAY(TABLE_NAME, COLUMN_NAME) FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME = 'PRIMARY' AND SEQ_IN_INDEX = 1;
"""
_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})

_VERSIONED = "SYSTEM VERSIONED"
# A table that was read is kept as it is until then, and who wants to change it makes others wait, too.
_LET_GO = "ROLLBACK TO SAVEPOINT opsctl;"


@dataclass(frozen=True)
class Table:
    """One table as the server lists it; ``columns``: name, type, whether it may be NULL, what it is generated from."""

    name: str
    type: str
    engine: str
    transactional: bool
    auto_increment: str | None
    created: str | None
    columns: tuple[tuple[str, str, bool, str], ...] = ()

    @property
    def versioned(self) -> bool:
        return self.type == _VERSIONED

    @property
    def sequence(self) -> bool:
        return self.type == "SEQUENCE"


def facts(client: Client) -> dict[str, Any]:
    """What a new database needs to be like this one, and the server's version."""
    found = client.ask(_FACTS)[0]
    version = str(found.pop("version"))
    return {"server": "mariadb" if "mariadb" in version.lower() else "mysql", "server_version": number(version), **found}


def number(version: str) -> int:
    """A version as a number whose ten-thousands are the series: 10.11.6 is 10110006."""
    parts = version.partition("-")[0].split(".")
    major, minor, patch = (int(part) if part.isdigit() else 0 for part in (*parts, "0", "0")[:3])
    return (major * 100 + minor) * 10000 + patch % 10000


def shown(version: int) -> str:
    series, patch = divmod(version, 10000)
    return f"{series // 100}.{series % 100}.{patch}"


def tables(client: Client) -> list[Table]:
    """All tables and sequences of the current database."""
    columns: dict[str, list[tuple[str, str, bool, str]]] = {}
    for table, name, kind, nullable, expression in client.ask(_COLUMNS):
        columns.setdefault(table, []).append((name, kind, nullable == "YES", expression))
    return [
        Table(name, kind, engine or "", transactions == "YES", increment, created, tuple(sorted(columns.get(name, ()))))
        for name, kind, engine, transactions, increment, created in sorted(client.ask(_TABLES), key=lambda row: str(row[0]))
    ]


def sequences(client: Client, known: Iterable[Table]) -> dict[str, Any]:
    """Where each sequence and each AUTO_INCREMENT stands. They are outside of transactions: ask before the dump does."""
    found: dict[str, Any] = {}
    for table in known:
        if table.sequence:
            last, step, cycles = client.ask(
                "SELECT JSON_ARRAY(CAST(next_not_cached_value AS CHAR), CAST(increment AS CHAR), cycle_option)"
                f" FROM {quote_ident(table.name)};"
            )[0]
            found[table.name] = {"last": last, "step": step, **({"cycles": True} if cycles else {})}
        elif table.auto_increment is not None:
            found[f"{table.name} (AUTO_INCREMENT)"] = {"last": table.auto_increment, "step": "1"}
    return found


def rows(client: Client, level: str, known: Iterable[Table], *, with_ranges: bool = False) -> dict[str, Any]:
    """``tables``: rows, and at level ``full`` the checksum, of each, as the transaction of ``client`` sees it; ``ranges`` of their keys
    as well, where those are wanted and there are any.
    """
    found: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    keys = dict(client.ask(_KEYS)) if with_ranges and level == "full" else {}
    for table in known:
        if table.sequence or level == "off":
            continue
        client.plain("SAVEPOINT opsctl;")
        if level != "full":
            found[table.name] = {"rows": client.one(f"COUNT(*) FROM {_all_of(table)}")}
        else:
            key = _key(table, keys)
            bounds = _bounds(client, table, key) if key else []
            found[table.name], groups = _summed(client, table, key, bounds)
            if bounds:
                kept[table.name] = ranges.recorded(key, "integer", bounds, groups)
        client.plain(_LET_GO)
    return {"tables": found, **({"ranges": kept} if kept else {})}


def in_doubt(client: Client, known: Iterable[Table], recorded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The ranges of these tables by the bounds that were recorded, as far as their keys are what they were."""
    keys = dict(client.ask(_KEYS))
    found = {}
    for table in known:
        one = recorded.get(table.name)
        if one is not None and (one["key"], one["type"]) == (_key(table, keys), "integer"):
            bounds = [str(int(bound)) for bound in one["bounds"]]
            found[table.name] = ranges.recorded(one["key"], "integer", bounds, _summed(client, table, one["key"], bounds)[1])
    return found


def _all_of(table: Table) -> str:
    return quote_ident(table.name) + (" FOR SYSTEM_TIME ALL" if table.versioned else "")


def _key(table: Table, keys: Mapping[str, str]) -> str:
    """The first column of a primary key, where it is an integer; else empty."""
    key = keys.get(table.name, "")
    return key if any(name == key and kind in _INTEGERS for name, kind, _, _ in table.columns) else ""


def _bounds(client: Client, table: Table, key: str) -> list[str]:
    """Keys at equal distances, of a table that has enough of them. Both ends are read from the index."""
    column = quote_ident(key)
    ends = client.ask(f"SELECT JSON_ARRAY(CAST(MIN({column}) AS CHAR), CAST(MAX({column}) AS CHAR)) FROM {_all_of(table)};")[0]
    if None in ends:
        return []
    low, high = map(int, ends)
    return [str(low + (high - low) * number // ranges.MOST) for number in range(1, ranges.MOST)] if high - low >= ranges.LEAST else []


def _summed(client: Client, table: Table, key: str, bounds: Sequence[str]) -> tuple[dict[str, Any], list[ranges.Group]]:
    """Rows and checksum of a table in one pass, and the same of each range. ProgramFailed where a row has no checksum."""
    place = f"INTERVAL({quote_ident(key)}, {', '.join(bounds)})" if bounds else "0"
    groups = [(int(number), int(count), int(hashed), int(total)) for number, count, hashed, total in client.ask(
        f"SELECT JSON_ARRAY(h.b, COUNT(*), COUNT(h.h), CAST(COALESCE(SUM(CAST(CONV(LEFT(h.h, 16), 16, 10) AS UNSIGNED)), 0)"
        f" AS CHAR)) FROM (SELECT {place} AS b, SHA1({_row(table)}) AS h FROM {_all_of(table)}) AS h GROUP BY h.b;")]
    rows_, hashed, total = (sum(one[what] for one in groups) for what in (1, 2, 3))
    if rows_ != hashed:
        raise ProgramFailed(f"{rows_ - hashed} rows of {table.name} are too long for a checksum", hint="proof: counts")
    return {"rows": rows_, "sum": str(total)}, [(number, count, sum_) for number, count, _, sum_ in groups]


def _row(table: Table) -> str:
    parts = ["_binary''"]
    for name, kind, nullable, _ in _counted(table):
        column = quote_ident(name)
        if kind in _LONG:
            parts.append(f"COALESCE(SHA1({column}), 'N')" if nullable else f"SHA1({column})")
        elif kind in _BYTES:
            value = f"LENGTH({column}), ':', {column}"
            parts.append(f"COALESCE(CONCAT(_binary'', {value}), 'N')" if nullable else value)
        else:
            # MySQL's own JSON; MariaDB's is a longtext.
            value = f"SHA1(CAST({column} AS CHAR))" if kind == "json" else f"CAST({column} AS CHAR)"
            value = f"{column} + 0" if kind == "bit" else value
            parts.append((f"COALESCE({value}, 'N')" if nullable else value) + ", ';'")
    return f"CONCAT({', '.join(parts)})"


def _counted(table: Table) -> list[tuple[str, str, bool, str]]:
    columns = [each for each in table.columns if not each[3] or each[3] in ("ROW START", "ROW END")]
    if table.versioned and not any(each[3] for each in columns):
        columns += [(name, "timestamp", False, name) for name in ("row_end", "row_start")]
    return columns


def proof(
    level: str,
    known: Mapping[str, Any],
    standing: Mapping[str, Any],
    counted: Mapping[str, Any],
    shapes: Mapping[str, str],
) -> dict[str, Any]:
    """Put together what ``facts``, ``sequences``, ``rows`` and ``objects`` found."""
    made = {"kind": "rows", "algorithm": ALGORITHM, "level": level, **known}
    if level != "off":
        made |= {**counted, "sequences": dict(standing), "objects": dict(shapes)}
    return made

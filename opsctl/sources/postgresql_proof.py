"""The proof of a PostgreSQL database, computed in the server: rows, checksums, sequences, large objects.

Algorithm ``pg-hashtextextended-sum-v1``: for each table the number of rows and the sum of
``hashtextextended(ROW(columns by name)::text COLLATE "C", 0)``. It does not depend on the order of rows or
columns, counts duplicates, and needs no row to leave the server. It holds across versions of the server since
11, and between machines of the same byte order. Of a large object the SHA-256 of its pieces are summed up. Where the first
column of a primary key is a number, a date or a UUID, the same pass keeps rows and sums of up to sixteen ranges of it; keys
of text have none, since the bounds would be people's data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.proofs import ranges
from opsctl.sources.postgresql_objects import OBJECTS, OF_USERS
from opsctl.sources.postgresql_session import Psql, quote_literal

ALGORITHM = "pg-hashtextextended-sum-v1"
#: Exactly those tables whose rows pg_dump writes out; an extension brings the rows of its own tables itself.
_TABLES = f"""
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (c.relpersistence <> 'u' OR NOT pg_is_in_recovery()) AND {OF_USERS}
"""

#: psql puts the statements that this makes in place of ``:locks``.
_FIND_LOCKS = f"""
SELECT coalesce(string_agg(format('LOCK TABLE %s IN ACCESS SHARE MODE;', tables), ' '), '') AS locks FROM (
  SELECT string_agg(format('ONLY %I.%I', found.nspname, found.relname), ', ') AS tables FROM (
    SELECT n.nspname, c.relname, row_number() OVER (ORDER BY n.nspname, c.relname) / 200 AS batch {_TABLES}
  ) AS found GROUP BY found.batch
) AS batches
\\gset
"""

_FACTS = """
SELECT json_build_object(
  'server_version', current_setting('server_version_num')::int,
  'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate, 'ctype', d.datctype,
  'locale_provider', to_jsonb(d) ->> 'datlocprovider',
  'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
  'icu_rules', to_jsonb(d) ->> 'daticurules')
FROM pg_database d WHERE d.datname = current_database();
"""

_SEQUENCES = f"""
SELECT json_build_array(format('%I.%I', n.nspname, c.relname), pg_sequence_last_value(c.oid)::text,
  s.seqincrement::text, s.seqcycle)
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relpersistence <> 'u' OR NOT pg_is_in_recovery()) AND {OF_USERS}
ORDER BY n.nspname, c.relname;
"""

# A column may be called like the table's alias; "t.%I" is the column of the alias in any case. By name, since
# a restore may put columns into another order: those of a parent come first.
_MAKE_FULL = f"""
SELECT format('SELECT json_build_array(%L, count(*), '
    'coalesce(sum(hashtextextended(ROW(%s)::text COLLATE "C", 0)), 0)::text) FROM ONLY %I.%I AS t',
  format('%I.%I', n.nspname, c.relname),
  (SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  n.nspname, c.relname)
{_TABLES} ORDER BY n.nspname, c.relname
\\gexec
"""

#: Of each table with such a key: name, how it and its columns and its key are written in SQL, the key's name and type, its pages.
_WITH_KEY = """JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = i.indkey[0]
WHERE k.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype, 'uuid'::regtype, 'date'::regtype,
  'timestamp'::regtype, 'timestamptz'::regtype) AND"""
_KEYED = f"""
SELECT json_build_array(format('%I.%I', n.nspname, c.relname), format('ONLY %I.%I', n.nspname, c.relname),
  (SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  format('t.%I', k.attname), k.attname, format_type(k.atttypid, NULL), pg_relation_size(c.oid) / current_setting('block_size')::int)
{_TABLES.replace("WHERE", _WITH_KEY, 1)}
ORDER BY n.nspname, c.relname;
"""
#: Pages of a table that are looked at, by chance but always the same, to find the bounds of its ranges.
_LOOKED_AT = 64

_MAKE_COUNTS = f"""
SELECT format('SELECT json_build_array(%L, count(*), null) FROM ONLY %I.%I',
  format('%I.%I', n.nspname, c.relname), n.nspname, c.relname)
{_TABLES} ORDER BY n.nspname, c.relname
\\gexec
"""

_CHUNK = 1 << 18

# lo_get works for whoever may read the object; pg_largeobject itself only for a superuser. Holes read as
# zeros, so that an object is the same before and after a dump has filled them.
_LARGE_OBJECTS_FULL = f"""
SELECT json_build_object('rows', count(DISTINCT o.oid),
  'bytes', coalesce(sum(o.size) FILTER (WHERE k.i = 0), 0)::text,
  'sum', coalesce(sum(hashtextextended(o.oid || ':' || o.size || ':' || k.i || ':' ||
    encode(sha256(lo_get(o.oid, k.i * {_CHUNK}, {_CHUNK})), 'hex') COLLATE "C", 0)), 0)::text)
FROM (
  SELECT s.oid, s.size, lo_close(s.fd) FROM (
    SELECT f.oid, f.fd, lo_lseek64(f.fd, 0, 2) AS size FROM (
      SELECT m.oid, lo_open(m.oid, 262144) AS fd FROM pg_largeobject_metadata m OFFSET 0
    ) AS f OFFSET 0
  ) AS s OFFSET 0
) AS o CROSS JOIN LATERAL generate_series(0::bigint, greatest(o.size - 1, 0) / {_CHUNK}) AS k (i);
"""

_LARGE_OBJECTS_COUNTS = "SELECT json_build_object('rows', count(*)) FROM pg_largeobject_metadata;"


def begin(psql: Psql) -> None:
    """Open the transaction that all questions after this see one consistent point in.

    The tables are locked first, as the first readers lock them: PostgreSQL takes the point with the first
    question after that, and nobody can empty or rewrite a table between the point and the moment it is read.
    """
    psql.ask(f"{_FIND_LOCKS} BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; :locks")


def export_snapshot(psql: Psql) -> str:
    """The name under which pg_dump can see what this transaction sees, for as long as it lasts."""
    return str(psql.one("pg_export_snapshot()"))


def facts(psql: Psql) -> dict[str, Any]:
    """What a new database needs to be like this one; keys without a value are left out."""
    found = psql.ask(_FACTS)[0]
    return {name: value for name, value in found.items() if value is not None}


def sequences(psql: Psql) -> dict[str, Any]:
    """Where each sequence stands. Sequences are outside of transactions: ask before the dump does.

    ``last`` is text, since JSON numbers do not hold 64 bits; absent where nothing was drawn yet.
    """
    found = {}
    for name, last, step, cycles in psql.ask(_SEQUENCES):
        found[name] = {name: value for name, value in (("last", last), ("step", step)) if value is not None}
        if cycles:
            found[name]["cycles"] = True
    return found


def rows(psql: Psql, level: str, *, with_ranges: bool = False) -> dict[str, Any]:
    """Tables, large objects and the shapes of everything, as seen since ``begin``; ``with_ranges``: ranges of their keys as well."""
    if level == "off":
        return {}
    full = level == "full"
    tables: dict[str, Any] = {}
    kept = _in_ranges(psql, _bounds(psql, keyed := _keyed(psql)), keyed) if full and with_ranges else {}
    for name, (number, checksum, _) in kept.items():
        tables[name] = {"rows": number, "sum": checksum}
    for name, number, checksum in psql.ask(_without(kept) if full else _MAKE_COUNTS):
        tables[name] = {"rows": number, "sum": checksum} if full else {"rows": number}
    large = psql.ask(_LARGE_OBJECTS_FULL if full else _LARGE_OBJECTS_COUNTS)[0]
    found = {"tables": dict(sorted(tables.items())), "large_objects": large, "objects": dict(psql.ask(OBJECTS))}
    return {**found, "ranges": {name: each for name, (_, _, each) in kept.items()}} if kept else found


def in_doubt(psql: Psql, recorded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The ranges of these tables by the bounds that were recorded, as far as their keys are what they were."""
    keyed = {name: one for name, one in _keyed(psql).items() if name in recorded and one[3:5] == [recorded[name]["key"], recorded[name]["type"]]}
    bounds = {name: list(recorded[name]["bounds"]) for name in keyed}
    return {name: each for name, (_, _, each) in _in_ranges(psql, bounds, keyed).items()}


def _keyed(psql: Psql) -> dict[str, list[Any]]:
    return {found[0]: found[1:] for found in psql.ask(_KEYED)}


def _without(done: Mapping[str, Any]) -> str:
    """The statement that makes the checksums of all tables but those."""
    names = ", ".join(map(quote_literal, done))
    return _MAKE_FULL.replace("WHERE c.relkind", f"WHERE format('%I.%I', n.nspname, c.relname) NOT IN ({names}) AND c.relkind", 1) if done else _MAKE_FULL


def _bounds(psql: Psql, keyed: Mapping[str, list[Any]]) -> dict[str, list[str]]:
    """Keys that part each table that is large enough into ranges of about as many rows."""
    shares = ", ".join(str(number / ranges.MOST) for number in range(1, ranges.MOST))
    script = "".join(
        f"SELECT json_build_array({quote_literal(name)}, count(*), (percentile_disc(ARRAY[{shares}]::float8[]) WITHIN GROUP (ORDER BY {key}))::text[])"
        f" FROM {table} AS t TABLESAMPLE SYSTEM ({min(100, 100 * _LOOKED_AT / pages):.6f}) REPEATABLE (0);\n"
        for name, (table, _, key, _, _, pages) in keyed.items() if pages)
    return {name: list(dict.fromkeys(found)) for name, number, found in (psql.ask(script) if script else ()) if number >= ranges.LEAST}


def _bit(place: int, key: str, edges: Sequence[str], low: int, high: int) -> str:
    """One bit of the number of the range that a key is in, as a condition: of a number the planner takes each row for a group of its
    own, and gives up counting in parallel.
    """
    if all(number >> place & 1 == low >> place & 1 for number in range(low, high + 1)):
        return str(bool(low >> place & 1)).lower()
    middle = (low + high + 1) // 2
    return (f"CASE WHEN {key} >= {edges[middle - 1]} THEN {_bit(place, key, edges, middle, high)}"
            f" ELSE {_bit(place, key, edges, low, middle - 1)} END")


def _in_ranges(psql: Psql, bounds: Mapping[str, list[str]], keyed: Mapping[str, list[Any]]) -> dict[str, tuple[int, str, dict[str, Any]]]:
    """Rows, checksum and ranges of each table that has bounds, in one pass."""
    script = ""
    for name, edges in bounds.items():
        table, columns, key, _, kind, _ = keyed[name]
        places = len(edges).bit_length()
        number = " + ".join(f"g.b{place}::int * {1 << place}" for place in range(places))
        bits = ", ".join(f"{_bit(place, key, [f'{quote_literal(edge)}::{kind}' for edge in edges], 0, len(edges))} AS b{place}" for place in range(places))
        script += (
            f"SELECT json_build_array({quote_literal(name)}, sum(g.n), sum(g.s)::text, json_agg(json_build_array({number}, g.n, g.s::text)))"
            f' FROM (SELECT {bits}, count(*) AS n, sum(hashtextextended(ROW({columns})::text COLLATE "C", 0)) AS s'
            f" FROM {table} AS t GROUP BY {', '.join(str(place + 1) for place in range(places))}) AS g;\n")
    return {name: (number or 0, sum_ or "0", ranges.recorded(keyed[name][3], keyed[name][4], bounds[name],
                                                           [(each[0], each[1], int(each[2])) for each in groups or ()]))
            for name, number, sum_, groups in (psql.ask(script) if script else ())}


def proof(
    level: str, known: Mapping[str, Any], standing: Mapping[str, Any], counted: Mapping[str, Any]
) -> dict[str, Any]:
    """Put together what ``facts``, ``sequences`` and ``rows`` found."""
    made = {"kind": "rows", "algorithm": ALGORITHM, "level": level, **known, **counted}
    if level != "off":
        made["sequences"] = dict(standing)
    return made

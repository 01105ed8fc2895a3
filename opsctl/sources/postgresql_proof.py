"""The proof of a PostgreSQL database, computed in the server: rows, checksums, sequences, large objects.

Algorithm ``pg-hashtextextended-sum-v1``: for each table the number of rows and the sum of
``hashtextextended(ROW(columns by name)::text COLLATE "C", 0)``. It does not depend on the order of rows or
columns, counts duplicates, and needs no row to leave the server. It holds across versions of the server since
11, and between machines of the same byte order. Of a large object the SHA-256 of its pieces are summed up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsctl.sources.postgresql_objects import OBJECTS, OF_USERS
from opsctl.sources.postgresql_session import Psql

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


def rows(psql: Psql, level: str) -> dict[str, Any]:
    """Tables, large objects and the shapes of everything, as seen since ``begin``."""
    if level == "off":
        return {}
    full = level == "full"
    tables: dict[str, Any] = {}
    for name, number, checksum in psql.ask(_MAKE_FULL if full else _MAKE_COUNTS):
        tables[name] = {"rows": number, "sum": checksum} if full else {"rows": number}
    large = psql.ask(_LARGE_OBJECTS_FULL if full else _LARGE_OBJECTS_COUNTS)[0]
    return {"tables": tables, "large_objects": large, "objects": dict(psql.ask(OBJECTS))}


def proof(
    level: str, known: Mapping[str, Any], standing: Mapping[str, Any], counted: Mapping[str, Any]
) -> dict[str, Any]:
    """Put together what ``facts``, ``sequences`` and ``rows`` found."""
    made = {"kind": "rows", "algorithm": ALGORITHM, "level": level, **known, **counted}
    if level != "off":
        made["sequences"] = dict(standing)
    return made

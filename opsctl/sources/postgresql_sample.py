"""Some values of each column of a PostgreSQL database that can hold text: from a few pages by chance, never the whole table."""

from __future__ import annotations

from opsctl.errors import OpsError
from opsctl.model.table_signals import MOST_TABLES, VALUES, WIDTH
from opsctl.sources.postgresql_objects import OF_USERS
from opsctl.sources.postgresql_session import Psql
from opsctl.sources.table_signals import EACH, Columns

# Pages by chance: what a table has of them, so that some hundred values are among those that are read.
_FIND = f"""
SELECT json_build_array(format('%I.%I', n.nspname, c.relname), greatest(0.0001, least(100, 100 * 40.0 / greatest(c.relpages, 1)))::text,
  (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typname IN ('text', 'varchar', 'bpchar', 'json', 'jsonb', 'bytea', 'xml')))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (c.relpersistence <> 'u' OR NOT pg_is_in_recovery()) AND {OF_USERS}
ORDER BY c.relpages DESC, n.nspname, c.relname LIMIT {MOST_TABLES};
"""


def columns(psql: Psql) -> Columns:
    """The columns with up to ``VALUES`` values each. A table that takes too long, or cannot be read, is left out."""
    psql.ask(f"SET statement_timeout = '{EACH}s';")
    for table, share, names in psql.ask(_FIND):
        if not names:
            continue
        wanted = ", ".join(f"left(t.{_quoted(name)}::text, {WIDTH})" for name in names)
        try:
            found = psql.ask(f"SELECT json_build_array({wanted}) FROM ONLY {table} AS t TABLESAMPLE SYSTEM ({share}) LIMIT {VALUES};")
        except OpsError:
            return  # the conversation has ended with it
        for number, name in enumerate(names):
            yield f"{table}.{name}", [row[number] for row in found if row[number] is not None]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

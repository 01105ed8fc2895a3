"""Whether a role may read all that a dump needs, and the statement that would allow it."""

from __future__ import annotations

from typing import Any

from opsctl.errors import Refused
from opsctl.sources.postgresql_objects import OF_USERS
from opsctl.sources.postgresql_session import Psql, quote_ident

_NAMED = 5

# What pg_dump locks and reads: tables (also partitioned ones), sequences, and the schemas around them.
_QUERY = f"""
WITH here AS (
  SELECT c.oid, c.relkind, c.relrowsecurity, n.oid AS schema, n.nspname,
    format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'S') AND {OF_USERS}
)
SELECT json_build_object(
  'user', current_user,
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  'version', current_setting('server_version_num')::int,
  'large_objects', (SELECT count(*) FROM pg_largeobject_metadata),
  'schemas', (SELECT json_agg(DISTINCT nspname) FROM here WHERE NOT has_schema_privilege(schema, 'USAGE')),
  'tables', (SELECT json_agg(name ORDER BY name) FROM here
             WHERE relkind <> 'S' AND NOT has_table_privilege(oid, 'SELECT')),
  'sequences', (SELECT json_agg(name ORDER BY name) FROM here
                WHERE CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'SELECT') END),
  'rows', (SELECT json_agg(name ORDER BY name) FROM here WHERE relrowsecurity AND row_security_active(oid)));
"""

# Fails at the first one that may not be read: has_largeobject_privilege came only with 18.
_LARGE_OBJECTS = """
SELECT json_build_object('read', count(lo_get(oid, 0, 1))) FROM pg_largeobject_metadata;
"""


def check(psql: Psql) -> None:
    """Raises Refused naming what may not be read, with the statements to allow it as the hint."""
    found = psql.ask(_QUERY)[0]
    role = quote_ident(found["user"])
    lacking = [f"{what} {_list(found[what])}" for what in ("schemas", "tables", "sequences") if found[what]]
    if lacking:
        grant = f"GRANT pg_read_all_data TO {role};"
        if found["version"] < 140000:
            grant = f"GRANT USAGE ON SCHEMA … TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA … TO {role};"
        raise Refused(
            f"role {found['user']} may not read {'; '.join(lacking)}", hint=grant, details=_details(found)
        )
    if found["rows"]:
        raise Refused(
            f"row-level security hides rows of {_list(found['rows'])} from role {found['user']}",
            hint=f"ALTER ROLE {role} BYPASSRLS;",
            details=_details(found),
        )
    if found["large_objects"] and not found["superuser"]:
        try:
            psql.ask(_LARGE_OBJECTS)
        except Refused as error:
            raise Refused(
                f"role {found['user']} may not read all large objects: {error.message}",
                hint=f"GRANT SELECT ON LARGE OBJECT … TO {role}; or dump as their owner or a superuser",
            ) from error


def _list(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _details(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value[:100] for key in ("schemas", "tables", "sequences", "rows") if (value := found[key])}

"""The SQL that stands before a dump: roles that are missing, and the grants of the database itself.

pg_dump writes one database, and owners, grantees and settings of the database itself belong to the server.
With this in front, ``psql -d NEW -f FILE`` is a whole restore. A role that exists on the target is never
changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opsctl.sources.postgresql_session import Psql, quote_ident, quote_literal

#: Settings whose value is a list of names; stored quoted, to be given back as separate literals.
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
        "createrole_self_grant",
        "restrict_nonsystem_relation_kind",
    }
)

# Members of needed roles are needed too: people log in as members. Not those of predefined roles and of the
# first superuser, whose members have to do with the server and not with this database.
_NEEDED = """
WITH RECURSIVE me AS (SELECT oid, datdba FROM pg_database WHERE datname = current_database()),
first AS (
  SELECT d.refobjid AS oid FROM pg_shdepend d, me WHERE d.refclassid = 'pg_authid'::regclass
    AND (d.dbid = me.oid OR d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = me.oid)
  UNION SELECT datdba FROM me
  UNION SELECT s.setrole FROM pg_db_role_setting s, me WHERE s.setdatabase = me.oid AND s.setrole <> 0
  UNION SELECT 10
), needed AS (
  SELECT oid FROM first
  UNION SELECT CASE m.member WHEN n.oid THEN m.roleid ELSE m.member END
  FROM needed n JOIN pg_auth_members m ON n.oid IN (m.member, m.roleid)
  WHERE n.oid >= 16384
)
"""

_ROLES = """
SELECT json_build_object('name', r.rolname, 'superuser', r.rolsuper, 'inherit', r.rolinherit,
  'createrole', r.rolcreaterole, 'createdb', r.rolcreatedb, 'login', r.rolcanlogin,
  'replication', r.rolreplication, 'bypassrls', r.rolbypassrls, 'limit', r.rolconnlimit,
  'until', r.rolvaliduntil::text, 'password', {password}, 'settings', (
    SELECT to_json(s.setconfig) FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0))
FROM needed JOIN {catalog} r ON r.oid = needed.oid
WHERE r.rolname !~ '^pg_' ORDER BY r.rolname COLLATE "C";
"""

_MEMBERS = """
SELECT json_build_object('role', role, 'member', member, 'admin', bool_or(admin),
  'inherit', bool_or(inherits), 'set', bool_or(sets))
FROM (
  SELECT pg_get_userbyid(m.roleid) AS role, pg_get_userbyid(m.member) AS member, m.admin_option AS admin,
    (to_jsonb(m) ->> 'inherit_option')::boolean AS inherits, (to_jsonb(m) ->> 'set_option')::boolean AS sets
  FROM pg_auth_members m WHERE m.member IN (SELECT oid FROM needed)
) AS grants
GROUP BY role, member ORDER BY role COLLATE "C", member COLLATE "C";
"""

_DATABASE = """
SELECT json_build_object(
  'owner', pg_get_userbyid(d.datdba),
  'comment', shobj_description(d.oid, 'pg_database'),
  'acl', CASE WHEN d.datacl IS NOT NULL THEN (
    SELECT json_agg(json_build_array(grantee, privilege, grantable)
                    ORDER BY grantee COLLATE "C" NULLS FIRST, privilege)
    FROM (SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
            a.privilege_type, a.is_grantable
          FROM aclexplode(d.datacl) a) AS acl (grantee, privilege, grantable)) END,
  'settings', (
    SELECT json_agg(json_build_array(role, settings) ORDER BY role COLLATE "C" NULLS FIRST)
    FROM (SELECT CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END, s.setconfig
          FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS set_here (role, settings)))
FROM pg_database d WHERE d.datname = current_database();
"""


def header(psql: Psql) -> bytes:
    """Ask the server and write the header. The same server gives the same bytes every time."""
    readable = psql.one("has_table_privilege('pg_catalog.pg_authid', 'SELECT')")
    catalog, password = ("pg_authid", "r.rolpassword") if readable else ("pg_roles", "NULL")
    roles = psql.ask(_NEEDED + _ROLES.format(catalog=catalog, password=password))
    members = psql.ask(_NEEDED + _MEMBERS)
    database = psql.ask(_DATABASE)[0]
    return render(roles, members, database, with_passwords=bool(readable)).encode("utf-8")


def render(
    roles: Sequence[Mapping[str, Any]],
    members: Sequence[Mapping[str, Any]],
    database: Mapping[str, Any],
    *,
    with_passwords: bool,
) -> str:
    """The header as text, from what the catalogs say."""
    passwords = "" if with_passwords else "\n-- Passwords of roles could not be read and are not in here."
    return f"""--
-- opsctl: what the dump below needs of its server. Roles that exist already stay as they are.{passwords}
--

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

{_do(_role_lines(roles, members), declare="made pg_catalog.text[] := '{}';")}
{_do(_database_lines(database))}
"""


def _do(lines: Iterable[str], declare: str = "") -> str:
    body = "\n".join(f"  {line}" for line in lines)
    tag, number = "$opsctl$", 0
    while tag in body:
        number += 1
        tag = f"$opsctl{number}$"
    begin = f"DECLARE {declare}\nBEGIN" if declare else "BEGIN"
    return f"DO {tag} {begin}\n{body}\n  NULL;\nEND {tag};\n"


def _role_lines(roles: Sequence[Mapping[str, Any]], members: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for role in roles:
        name = role["name"]
        yield f"IF NOT {_exists(name)} THEN"
        yield f"  CREATE ROLE {quote_ident(name)} WITH {' '.join(_attributes(role))};"
        yield f"  made := made || {quote_literal(name)}::pg_catalog.text;"
        yield "END IF;"
    for each in members:
        granted, member = quote_ident(each["role"]), quote_ident(each["member"])
        yield f"IF {quote_literal(each['member'])} = ANY (made) AND {_exists(each['role'])} THEN"
        yield f"  GRANT {granted} TO {member}{_member_options(each)};"
        yield "END IF;"
    for role in roles:
        for setting in role["settings"] or ():
            name, value = _setting(setting)
            yield f"IF {quote_literal(role['name'])} = ANY (made) THEN"
            yield from _tolerant(f"ALTER ROLE {quote_ident(role['name'])} SET {quote_ident(name)} TO {value}")
            yield "END IF;"


def _exists(role: str) -> str:
    return f"EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {quote_literal(role)})"


def _attributes(role: Mapping[str, Any]) -> Iterable[str]:
    for name in ("superuser", "inherit", "createrole", "createdb", "login", "replication", "bypassrls"):
        yield name.upper() if role[name] else f"NO{name.upper()}"
    if role["limit"] != -1:
        yield f"CONNECTION LIMIT {role['limit']}"
    if role["until"]:
        yield f"VALID UNTIL {quote_literal(role['until'])}"
    if role["password"]:
        yield f"PASSWORD {quote_literal(role['password'])}"


def _member_options(member: Mapping[str, Any]) -> str:
    if member["inherit"] is None:  # a server before 16
        return " WITH ADMIN OPTION" if member["admin"] else ""
    return f" WITH ADMIN {member['admin']}, INHERIT {member['inherit']}, SET {member['set']}".upper()


def _database_lines(database: Mapping[str, Any]) -> Iterable[str]:
    owner = database["owner"]
    yield f"IF pg_catalog.pg_has_role(current_user, {quote_literal(owner)}, 'MEMBER') THEN"
    yield f"  {_on_database('ALTER DATABASE %I OWNER TO ' + _format(quote_ident(owner)))}"
    yield "ELSE"
    yield f"  RAISE WARNING 'the database does not become %''s', {quote_literal(owner)};"
    yield "END IF;"
    if database["acl"] is not None:
        yield _on_database("REVOKE ALL ON DATABASE %I FROM PUBLIC")
        yield _on_database(f"REVOKE ALL ON DATABASE %I FROM {_format(quote_ident(owner))}")
        for grantee, privilege, grantable in database["acl"]:
            to = "PUBLIC" if grantee is None else _format(quote_ident(grantee))
            with_grant = " WITH GRANT OPTION" if grantable else ""
            yield _on_database(f"GRANT {privilege} ON DATABASE %I TO {to}{with_grant}")
    if database["comment"] is not None:
        yield _on_database(f"COMMENT ON DATABASE %I IS {_format(quote_literal(database['comment']))}")
    for role, settings in database["settings"] or ():
        for setting in settings:
            name, value = _setting(setting)
            whose = (
                "ALTER DATABASE %I"
                if role is None
                else f"ALTER ROLE {_format(quote_ident(role))} IN DATABASE %I"
            )
            yield from _tolerant(
                f"{whose} SET {_format(quote_ident(name))} TO {_format(value)}", _on_database
            )


def _on_database(template: str) -> str:
    """Run a statement about the database that the file is loaded into; ``%I`` stands for its name."""
    return f"EXECUTE pg_catalog.format({quote_literal(template)}, pg_catalog.current_database());"


def _format(text: str) -> str:
    return text.replace("%", "%%")


def _tolerant(statement: str, run: Callable[[str], str] | None = None) -> Iterable[str]:
    """A setting that cannot be made (only a superuser may, its library is not there) is a warning; the proof
    shows it."""
    yield f"BEGIN {run(statement) if run else statement + ';'}"
    yield "EXCEPTION WHEN OTHERS THEN RAISE WARNING 'not set: %', SQLERRM; END;"


_LIST_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^,\s]+)')


def _setting(text: str) -> tuple[str, str]:
    """Name and value, ready for SQL, of one stored setting ``name=value``."""
    name, _, value = text.partition("=")
    if name.lower() not in _LISTS:
        return name, quote_literal(value)
    items = [
        quoted.replace('""', '"') if not bare else bare.lower() for quoted, bare in _LIST_ITEM.findall(value)
    ]
    return name, ", ".join(quote_literal(item) for item in items) or "''"

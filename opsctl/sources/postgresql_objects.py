"""What shape a PostgreSQL database has: every table, view, function and grant, so that a lost one shows.

Texts of expressions (of views, checks, partial indexes) are left out: PostgreSQL writes them differently
after they were dumped and read back. That each expression is there counts. Behind ``#`` stands a checksum of
all details, which is compared only between servers of the same major version.
"""

from __future__ import annotations

# Privileges that are not written down are the default ones, so they are spelt out before they are compared.
# MAINTAIN came with 17 and belongs to every owner there.
_GRANTS = """
LATERAL (
  SELECT count(*) AS number, string_agg(line, ',' ORDER BY line COLLATE "C") AS detail FROM (
    SELECT concat(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END,
                  '=', a.privilege_type, CASE WHEN a.is_grantable THEN '*' END) AS line
    FROM aclexplode({acl}) a WHERE a.privilege_type <> 'MAINTAIN') AS granted
) AS grants"""

_LIST = """
LATERAL (
  SELECT count(*) AS number, string_agg(line, ';' ORDER BY line COLLATE "C") AS detail
  FROM ({query}) AS listed
)"""

_NO_EXTENSION_BRINGS_IT = """NOT EXISTS (SELECT FROM pg_depend e
  WHERE e.classid = '{classid}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"""

_USERS_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

#: What pg_dump takes of ``pg_class c JOIN pg_namespace n``: not the system's, temporary, an extension's.
OF_USERS = f"{_USERS_SCHEMA} AND c.relpersistence <> 't' AND " + _NO_EXTENSION_BRINGS_IT.format(
    classid="pg_class", oid="c.oid"
)


def _grants(acl: str) -> str:
    return _GRANTS.format(acl=acl)


def _list(query: str) -> str:
    return _LIST.format(query=query)


def _own(classid: str, oid: str) -> str:
    return _NO_EXTENSION_BRINGS_IT.format(classid=classid, oid=oid)


_COLUMN = """
  SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN 'notnull' END, CASE WHEN a.atthasdef THEN 'default' END,
    nullif(a.attidentity::text, ''), nullif(a.attgenerated::text, ''),
    (SELECT l.collname FROM pg_collation l WHERE l.oid = a.attcollation),
    (SELECT string_agg(concat(pg_get_userbyid(x.grantee), '=', x.privilege_type), ',' ORDER BY 1)
       FROM aclexplode(a.attacl) x)) AS line
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
"""

_INDEX = """
  SELECT concat_ws(' ', i.relname, m.amname, CASE WHEN x.indisunique THEN 'unique' END,
    CASE WHEN x.indisprimary THEN 'primary' END, CASE WHEN x.indpred IS NOT NULL THEN 'partial' END,
    x.indnkeyatts, x.indoption, (SELECT string_agg(coalesce(a.attname, '()'), ',' ORDER BY k.n)
       FROM unnest(x.indkey::int2[]) WITH ORDINALITY k (attnum, n)
       LEFT JOIN pg_attribute a
         ON a.attrelid = x.indrelid AND a.attnum = k.attnum AND k.attnum <> 0)) AS line
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
  WHERE x.indrelid = c.oid AND x.indisvalid
"""

# PostgreSQL makes foreign keys of partitions anew, under names of its choice; NOT NULL is one since 18.
_CONSTRAINT = """
  SELECT concat_ws(' ', k.conname, k.contype, k.confrelid::regclass, k.confupdtype, k.confdeltype,
    k.confmatchtype, k.condeferrable, k.condeferred, k.convalidated,
    (SELECT string_agg(a.attname, ',' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
       WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey)),
    (SELECT string_agg(a.attname, ',' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
       WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey))) AS line
  FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'f', 'p', 'u', 'x')
    AND NOT (k.contype = 'f' AND k.conparentid <> 0)
"""

_TRIGGER = """
  SELECT concat_ws(' ', g.tgname, g.tgtype, g.tgenabled, g.tgfoid::regprocedure, g.tgdeferrable,
    g.tginitdeferred, CASE WHEN g.tgqual IS NOT NULL THEN 'when' END) AS line
  FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgparentid = 0
"""

_POLICY = """
  SELECT concat_ws(' ', p.polname, p.polcmd, p.polpermissive, p.polqual IS NULL, p.polwithcheck IS NULL,
    (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r) END, ',' ORDER BY 1)
       FROM unnest(p.polroles) r)) AS line
  FROM pg_policy p WHERE p.polrelid = c.oid
"""

_RULE = "SELECT w.rulename AS line FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN'"

_PARENT = "SELECT h.inhparent::regclass::text AS line FROM pg_inherits h WHERE h.inhrelid = c.oid"

_RELATION_ACL = """
coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))"""

_RELATIONS = f"""
SELECT concat(CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
           WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'sequence' END,
         ' ', format('%I.%I', n.nspname, c.relname)) AS name,
  concat_ws(' ', 'owner=' || pg_get_userbyid(c.relowner), 'grants=' || grants.number,
    'columns=' || columns.number,
    CASE WHEN c.relkind IN ('r', 'p', 'm') THEN 'indexes=' || indexes.number END,
    CASE WHEN c.relkind IN ('r', 'p', 'f') THEN 'constraints=' || constraints.number END,
    CASE WHEN c.relkind IN ('r', 'p', 'f', 'v') THEN 'triggers=' || triggers.number END,
    CASE WHEN c.relkind IN ('r', 'p') THEN 'policies=' || policies.number END,
    CASE WHEN c.relkind IN ('r', 'p', 'v') THEN 'rules=' || rules.number END) AS summary,
  concat_ws('|', grants.detail, columns.detail, indexes.detail, constraints.detail, triggers.detail,
    policies.detail, rules.detail, parents.detail, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence,
    array_to_string(c.reloptions, ','), pg_get_expr(c.relpartbound, c.oid)) AS detail
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN {_grants(_RELATION_ACL)}
CROSS JOIN {_list(_COLUMN)} AS columns
CROSS JOIN {_list(_INDEX)} AS indexes
CROSS JOIN {_list(_CONSTRAINT)} AS constraints
CROSS JOIN {_list(_TRIGGER)} AS triggers
CROSS JOIN {_list(_POLICY)} AS policies
CROSS JOIN {_list(_RULE)} AS rules
CROSS JOIN {_list(_PARENT)} AS parents
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {OF_USERS}
"""

# The constructors of a range come with the range.
_FUNCTIONS = f"""
SELECT concat(CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, ' ',
              p.oid::regprocedure),
  concat_ws(' ', 'owner=' || pg_get_userbyid(p.proowner), 'grants=' || grants.number),
  concat_ws('|', grants.detail, p.prokind, p.prorettype::regtype, p.proretset, l.lanname, p.prosrc, p.probin,
    p.provolatile, p.proisstrict, p.prosecdef, p.proleakproof, p.proparallel,
    array_to_string(p.proconfig, ','), p.pronargdefaults, array_to_string(p.proargnames, ','))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
CROSS JOIN {_grants("coalesce(p.proacl, acldefault('f', p.proowner))")}
WHERE {_USERS_SCHEMA} AND {_own("pg_proc", "p.oid")} AND NOT EXISTS (
  SELECT FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')
"""

_TYPE_PARTS = """
  SELECT concat(lpad(row_number() OVER (ORDER BY e.enumsortorder)::text, 9, '0'), e.enumlabel) AS line
  FROM pg_enum e WHERE e.enumtypid = t.oid
  UNION ALL
  SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod)) FROM pg_attribute a
  WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT k.conname FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'
  UNION ALL
  SELECT r.rngsubtype::regtype::text FROM pg_range r WHERE r.rngtypid = t.oid
"""

_TYPES = f"""
SELECT concat(CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range'
                             ELSE 'type' END, ' ', t.oid::regtype),
  concat_ws(' ', 'owner=' || pg_get_userbyid(t.typowner), 'grants=' || grants.number,
    'parts=' || parts.number),
  concat_ws('|', grants.detail, parts.detail, t.typtype, format_type(nullif(t.typbasetype, 0), t.typtypmod),
    t.typnotnull, t.typdefault IS NULL)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
CROSS JOIN {_grants("coalesce(t.typacl, acldefault('T', t.typowner))")}
CROSS JOIN {_list(_TYPE_PARTS)} AS parts
WHERE {_USERS_SCHEMA} AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
  AND (t.typrelid = 0 OR c.relkind = 'c') AND NOT EXISTS (SELECT FROM pg_type o WHERE o.typarray = t.oid)
  AND {_own("pg_type", "t.oid")}
"""

_SCHEMAS = f"""
SELECT concat('schema ', quote_ident(n.nspname)),
  concat_ws(' ', 'owner=' || pg_get_userbyid(n.nspowner), 'grants=' || grants.number), grants.detail
FROM pg_namespace n CROSS JOIN {_grants("coalesce(n.nspacl, acldefault('n', n.nspowner))")}
WHERE {_USERS_SCHEMA} AND {_own("pg_namespace", "n.oid")}
"""

_EVENT_TRIGGERS = f"""
SELECT concat('event trigger ', quote_ident(v.evtname)), concat('owner=', pg_get_userbyid(v.evtowner)),
  concat_ws('|', v.evtevent, v.evtfoid::regprocedure, v.evtenabled, array_to_string(v.evttags, ','))
FROM pg_event_trigger v WHERE {_own("pg_event_trigger", "v.oid")}
"""

_FOREIGN_SERVERS = f"""
SELECT concat('foreign server ', quote_ident(s.srvname)), concat('owner=', pg_get_userbyid(s.srvowner)),
  NULL::text
FROM pg_foreign_server s WHERE {_own("pg_foreign_server", "s.oid")}
"""

_PUBLICATIONS = """
SELECT concat('publication ', quote_ident(b.pubname)), concat('owner=', pg_get_userbyid(b.pubowner)),
  concat_ws('|', b.puballtables, b.pubinsert, b.pubupdate, b.pubdelete, b.pubtruncate)
FROM pg_publication b
"""

_CASTS = f"""
SELECT concat('cast ', k.castsource::regtype, ' as ', k.casttarget::regtype), '', k.castcontext::text
FROM pg_cast k WHERE k.oid >= 16384 AND {_own("pg_cast", "k.oid")} AND NOT EXISTS (
  SELECT FROM pg_depend i WHERE i.classid = 'pg_cast'::regclass AND i.objid = k.oid AND i.deptype = 'i')
"""

_DEFAULT_PRIVILEGES = f"""
SELECT concat_ws(' ', 'default privileges of', quote_ident(pg_get_userbyid(f.defaclrole)),
    'in ' || quote_ident(n.nspname), 'on', f.defaclobjtype), concat('grants=', grants.number), grants.detail
FROM pg_default_acl f LEFT JOIN pg_namespace n ON n.oid = f.defaclnamespace
CROSS JOIN {_grants("f.defaclacl")}
"""

_DATABASE_SETTING = """
  SELECT concat(pg_get_userbyid(nullif(s.setrole, 0)), ':', c) AS line
  FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c WHERE s.setdatabase = d.oid
"""

_DATABASE = f"""
SELECT 'database', concat('grants=', grants.number, ' settings=', settings.number),
  concat_ws('|', grants.detail, settings.detail)
FROM pg_database d CROSS JOIN {_grants("coalesce(d.datacl, acldefault('d', d.datdba))")}
CROSS JOIN {_list(_DATABASE_SETTING)} AS settings
WHERE d.datname = current_database()
"""


def _named(kind: str, catalog: str, prefix: str, name: str = "", detail: str = "NULL::text") -> str:
    """Objects of a schema of which it is enough that they are there and whose they are."""
    name = name or f"format('%I.%I', n.nspname, o.{prefix}name)"
    return f"""
SELECT concat('{kind} ', {name}), concat('owner=', pg_get_userbyid(o.{prefix}owner)), {detail}
FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace
WHERE {_USERS_SCHEMA} AND {_own(catalog, "o.oid")}
"""


_OTHERS = (
    "SELECT concat('extension ', quote_ident(x.extname)), '', NULL::text FROM pg_extension x",
    _SCHEMAS,
    _named("statistics", "pg_statistic_ext", "stx", detail="o.stxrelid::regclass::text"),
    _named("collation", "pg_collation", "coll"),
    _named("operator", "pg_operator", "opr", "o.oid::regoperator", "o.oprcode::text"),
    _named("text search", "pg_ts_config", "cfg"),
    _CASTS,
    _EVENT_TRIGGERS,
    _FOREIGN_SERVERS,
    _PUBLICATIONS,
    _DEFAULT_PRIVILEGES,
    _DATABASE,
)

_ALL = "\nUNION ALL ".join((_RELATIONS, _FUNCTIONS, _TYPES, *_OTHERS))

#: A JSON pair of name and shape a row.
OBJECTS = f"""
SELECT json_build_array(found.name, concat_ws(' ', nullif(found.summary, ''),
  '#' || to_hex(hashtextextended(found.detail COLLATE "C", 0))))
FROM ({_ALL}) AS found (name, summary, detail)
ORDER BY found.name COLLATE "C";
"""

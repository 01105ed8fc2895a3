"""What shape a MariaDB database has: every table, view, routine, trigger and event, so that a lost one shows.

Behind ``#`` stands a checksum of all details, which is compared only between servers of the same major version. The
name of the database itself is left out of the details: a restored copy has another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from opsctl.sources.mariadb_session import Client, quote_ident

#: Tables, sequences and views, with what is the table's own. The name, the kind, then details.
_TABLES = """
SELECT JSON_ARRAY(TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT)
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE();
"""

#: Parts of tables: the table, what sort of part, and its details. A constraint or an index is a line for each column.
_PARTS = (
    """
SELECT JSON_ARRAY(TABLE_NAME, 'columns', COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE,
  CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION, COLUMN_COMMENT)
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE();
""",
    """
SELECT JSON_ARRAY(TABLE_NAME, 'indexes', INDEX_NAME, SEQ_IN_INDEX, NON_UNIQUE, COLUMN_NAME, COLLATION, SUB_PART,
  INDEX_TYPE, INDEX_COMMENT)
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE();
""",
    """
SELECT JSON_ARRAY(c.TABLE_NAME, 'constraints', c.CONSTRAINT_NAME, k.ORDINAL_POSITION, c.CONSTRAINT_TYPE, k.COLUMN_NAME,
  NULLIF(k.REFERENCED_TABLE_SCHEMA, DATABASE()), k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME)
FROM information_schema.TABLE_CONSTRAINTS c LEFT JOIN information_schema.KEY_COLUMN_USAGE k
  ON k.CONSTRAINT_SCHEMA = DATABASE() AND k.TABLE_SCHEMA = DATABASE() AND k.TABLE_NAME = c.TABLE_NAME
  AND k.CONSTRAINT_NAME = c.CONSTRAINT_NAME
WHERE c.TABLE_SCHEMA = DATABASE();
""",
    """
SELECT JSON_ARRAY(TABLE_NAME, 'rules', CONSTRAINT_NAME, MATCH_OPTION, UPDATE_RULE, DELETE_RULE)
FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE();
""",
    """
SELECT JSON_ARRAY(TABLE_NAME, 'partitions', PARTITION_NAME, SUBPARTITION_NAME, PARTITION_ORDINAL_POSITION,
  PARTITION_METHOD, SUBPARTITION_METHOD, PARTITION_EXPRESSION, SUBPARTITION_EXPRESSION, PARTITION_DESCRIPTION)
FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND PARTITION_NAME IS NOT NULL;
""",
    """
SELECT JSON_ARRAY(EVENT_OBJECT_TABLE, 'triggers', TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER,
  ACTION_STATEMENT, SQL_MODE, DEFINER, CHARACTER_SET_CLIENT, COLLATION_CONNECTION)
FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE();
""",
)
#: MariaDB's own, whose view says which table a check belongs to.
_CHECKS = """
SELECT JSON_ARRAY(TABLE_NAME, 'checks', CONSTRAINT_NAME, CHECK_CLAUSE)
FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE();
"""

#: What is no part of a table: a kind, a name, and details.
_OTHERS = """
SELECT JSON_ARRAY('view', TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION, SECURITY_TYPE, DEFINER)
FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE();
SELECT JSON_ARRAY(LOWER(ROUTINE_TYPE), SPECIFIC_NAME, DTD_IDENTIFIER, ROUTINE_DEFINITION, IS_DETERMINISTIC,
  SQL_DATA_ACCESS, SECURITY_TYPE, SQL_MODE, DEFINER, ROUTINE_COMMENT)
FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE();
SELECT JSON_ARRAY('event', EVENT_NAME, DEFINER, TIME_ZONE, EVENT_DEFINITION, EVENT_TYPE, INTERVAL_VALUE,
  INTERVAL_FIELD, STATUS, ON_COMPLETION, SQL_MODE)
FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE();
"""

_ARGUMENTS = """
SELECT JSON_ARRAY(LOWER(ROUTINE_TYPE), SPECIFIC_NAME, ORDINAL_POSITION, PARAMETER_MODE, PARAMETER_NAME, DTD_IDENTIFIER)
FROM information_schema.PARAMETERS WHERE SPECIFIC_SCHEMA = DATABASE();
"""

_KINDS = {"BASE TABLE": "table", "SYSTEM VERSIONED": "versioned table", "SEQUENCE": "sequence", "VIEW": "view"}
_COUNTED = ("columns", "indexes", "constraints", "partitions", "triggers")


def objects(client: Client, *, mariadb: bool) -> dict[str, str]:
    """The shape of everything in the current database, by name."""
    here = quote_ident(client.current)
    parts: dict[str, dict[str, list[list[Any]]]] = {}
    for query in (*_PARTS, *((_CHECKS,) if mariadb else ())):
        for table, sort, *detail in client.ask(query):
            if sort == "columns":
                detail[2] = _unqualified(detail[2], here)
            parts.setdefault(table, {}).setdefault(sort, []).append(detail)
    found = {}
    for name, kind, engine, collation, options, comment in client.ask(_TABLES):
        own = parts.get(name, {})
        if kind == "VIEW":
            continue
        words = [f"engine={engine}", *(f"{sort}={len({each[0] for each in own.get(sort, [])})}" for sort in _COUNTED)]
        found[f"{_KINDS.get(kind, 'table')} {name}"] = _shape(words, [collation, options, comment, own])
    arguments: dict[tuple[str, str], list[list[Any]]] = {}
    for kind, name, *detail in client.ask(_ARGUMENTS):
        arguments.setdefault((kind, name), []).append(detail)
    for kind, name, *detail in client.ask(_OTHERS):
        own = parts.get(name, {}) if kind == "view" else {}
        words = [f"columns={len(own['columns'])}"] if own else []
        if kind == "view":
            detail[0] = _unqualified(detail[0], here)
        found[f"{kind} {name}"] = _shape(words, [detail, own, _sorted(arguments.get((kind, name), []))])
    return found


def shaped(shapes: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """What others found out, in the same form."""
    return {name: f"{summary} #{_digest(detail)}" for name, (summary, detail) in shapes.items()}


def _unqualified(text: str | None, here: str) -> str | None:
    """The server names what views and defaults refer to with its database; what people wrote stays as they wrote it."""
    return text if text is None else text.replace(f"{here}.", "")


def _shape(words: list[str], detail: list[Any]) -> str:
    flat = [{sort: _sorted(rows) for sort, rows in each.items()} if isinstance(each, dict) else each for each in detail]
    return f"{' '.join(words)} #{_digest(repr(flat))}".strip()


def _sorted(rows: list[list[Any]]) -> list[list[Any]]:
    return sorted(rows, key=repr)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

"""Giving a restored database of MariaDB its name, which has no statement for that.

Its tables are moved, all in one statement and without copying a row; what cannot be moved (triggers, views, routines,
events, grants) is written down first and made anew. From its first moment to its last the new database holds a table
``_opsctl_unfinished``, in which stands all that is needed to go on after having been cut off anywhere; while it is there
the database does not count as being there.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from opsctl.errors import NotConverged, OpsError, ProgramFailed, SafetyRefusal
from opsctl.sources import mariadb_accounts, mariadb_load, mariadb_objects
from opsctl.sources.mariadb_load import MARKER
from opsctl.sources.mariadb_session import Client, Door, quote_ident, quote_literal, run

_WITHIN = 20  # seconds to wait for those who still use a table
_PROGRAMS = ("--no-data", "--no-create-info", "--triggers", "--routines", "--events", "--add-drop-trigger")
_VIEWS = ("--no-data", "--skip-triggers")


def rename(door: Door, old: str, new: str) -> None:
    """Give the database ``old`` the name ``new``; called again after having been cut off, it goes on.

    SafetyRefusal where ``new`` is taken; NotConverged where what came out is not what was there.
    """
    mariadb_load.check_name(new)
    kept = _kept(door, old, new)
    if kept is None:
        kept = _begin(door, old, new)
    _move(door, kept, old, new)
    _make_anew(door, kept, new)
    _compare(door, kept, new)
    if left := _tables(door, old):
        raise NotConverged(f"{old} holds tables that came into it meanwhile: {', '.join(sorted(left)[:5])}")
    mariadb_load.remove(door, old)
    run(door, None, f"DROP TABLE {quote_ident(new)}.{quote_ident(MARKER)};")


def _kept(door: Door, old: str, new: str) -> dict[str, Any] | None:
    """What an earlier try wrote down; None where there is none to go on with."""
    if not mariadb_load.there(door, new):
        return None
    if mariadb_load.exists(door, new):
        raise SafetyRefusal(f"there is a database {new} at {door.address} already", hint="give another name")
    if mariadb_load.is_empty(door, new):
        run(door, None, f"DROP DATABASE {quote_ident(new)};")
        return None
    with Client(door, new) as client:
        found = client.ask(f"SELECT content FROM {quote_ident(MARKER)};")
    kept: dict[str, Any] = found[0] if found else {}
    if kept.get("old", old) != old:
        raise SafetyRefusal(f"the database {new} at {door.address} is being made by another restore", hint="give another name")
    # Not a table has gone yet, or the old one was loaded anew: then begin anew, too. Triggers may have gone before the tables.
    if not kept or set(kept["tables"]) <= _tables(door, old):
        if kept:
            run(door, old, kept["programs"])
        run(door, None, f"DROP DATABASE {quote_ident(new)};")
        return None
    return kept


def _tables(door: Door, database: str) -> set[str]:
    if not mariadb_load.there(door, database):
        return set()
    with Client(door, database) as client:
        found = client.ask(
            "SELECT JSON_ARRAY(TABLE_NAME) FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'VIEW';"
        )
    return {name for (name,) in found} - {MARKER}


def _begin(door: Door, old: str, new: str) -> dict[str, Any]:
    """Write down what cannot be moved, and make the new database."""
    with Client(door, old) as client:
        mariadb = "mariadb" in client.text("VERSION()").lower()
        like = client.ask(
            "SELECT JSON_OBJECT('encoding', DEFAULT_CHARACTER_SET_NAME, 'collate', DEFAULT_COLLATION_NAME)"
            " FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE();"
        )[0]
        views = [name for (name,) in client.ask(
            "SELECT JSON_ARRAY(TABLE_NAME) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1;")]
        defaults = client.ask(
            "SELECT JSON_ARRAY(TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT) FROM information_schema.COLUMNS"
            " WHERE TABLE_SCHEMA = DATABASE() AND COLUMN_DEFAULT LIKE 'nextval(%';"
        )
        kept = {
            "old": old,
            "tables": sorted(_tables(door, old)),
            "triggers": [name for (name,) in client.ask(
                "SELECT JSON_ARRAY(TRIGGER_NAME) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE();")],
            "defaults": [each for each in defaults if each[2].startswith(f"nextval({quote_ident(old)}.")],
            "objects": mariadb_objects.objects(client, mariadb=mariadb),
            "grants": [*mariadb_accounts.names(), *mariadb_accounts.statements(
                mariadb_accounts.read(client, mariadb=mariadb, patterns=False).grants)],
            "mariadb": mariadb,
        }
    kept["programs"] = _dumped(door, _PROGRAMS, old, []) + (_dumped(door, _VIEWS, old, views) if views else "")
    mariadb_load.create(door, like, new)
    marker = f"{quote_ident(new)}.{quote_ident(MARKER)}"
    content = quote_literal(json.dumps(kept))
    run(door, None, f"CREATE TABLE {marker} (content LONGTEXT CHARACTER SET utf8mb4) ENGINE=InnoDB;\n"
                    f"INSERT INTO {marker} VALUES ({content});")
    return kept


def _dumped(door: Door, words: tuple[str, ...], database: str, tables: list[str]) -> str:
    options = (*words, "--skip-lock-tables", "--skip-dump-date", "--default-character-set=utf8mb4")
    argv = door.argv(("mariadb-dump", "mysqldump"), *options, "--", database, *tables)
    text = door.shell.run(argv).stdout
    lines = text.splitlines(keepends=True)
    return b"".join(mariadb_load.at_home(lines, database, database)).decode("utf-8", "surrogateescape")


def _move(door: Door, kept: dict[str, Any], old: str, new: str) -> None:
    left = sorted(_tables(door, old) & set(kept["tables"]))
    if not left:
        return
    source, target = quote_ident(old), quote_ident(new)
    script = [f"SET lock_wait_timeout = {_WITHIN};"]
    script += [f"DROP TRIGGER IF EXISTS {source}.{quote_ident(name)};" for name in kept["triggers"]]
    pairs = [f"{source}.{quote_ident(name)} TO {target}.{quote_ident(name)}" for name in left]
    script.append(f"RENAME TABLE {', '.join(pairs)};")
    run(door, None, "\n".join(script))


def _make_anew(door: Door, kept: dict[str, Any], new: str) -> None:
    for table, column, default in kept["defaults"]:
        here = default.replace(f"nextval({quote_ident(kept['old'])}.", f"nextval({quote_ident(new)}.", 1)
        run(door, new, f"ALTER TABLE {quote_ident(table)} ALTER COLUMN {quote_ident(column)} SET DEFAULT ({here});")
    try:
        run(door, new, kept["programs"])
        run(door, new, "\n".join(kept["grants"]))
    except ProgramFailed as error:
        raise ProgramFailed(f"the tables are in {new} now, its views and routines are not: {error.message}",
                            hint="resume goes on from here", details=error.details) from error


def _compare(door: Door, kept: dict[str, Any], new: str) -> None:
    with Client(door, new) as client:
        found = mariadb_objects.objects(client, mariadb=kept["mariadb"])
    found.pop(f"table {MARKER}", None)
    differing = sorted(name for name in {*found, *kept["objects"]} if found.get(name) != kept["objects"].get(name))
    if differing:
        raise NotConverged(f"{new} is not like {kept['old']}: {', '.join(differing[:5])}",
                           hint=f"the table {MARKER} stays in {new} and marks it as unfinished",
                           details={"differing": differing[:100]})


def identity(door: Door, database: str) -> str | None:
    """The number of its oldest table, which moves with it; None where there is no table, and so nothing that could be kept.

    Where none of them is InnoDB's, when the oldest was made.
    """
    name, marker = quote_literal(database), quote_literal(MARKER)
    found = run(door, None, (
        "SELECT COALESCE(CONCAT('t', MIN(i.TABLE_ID)), CONCAT('m', UNIX_TIMESTAMP(MIN(t.CREATE_TIME)))) FROM information_schema.TABLES t"
        " LEFT JOIN information_schema.INNODB_SYS_TABLES i ON i.NAME = CONCAT(t.TABLE_SCHEMA, '/', t.TABLE_NAME)"
        f" WHERE t.TABLE_SCHEMA = {name} AND t.TABLE_TYPE <> 'VIEW' AND t.TABLE_NAME <> {marker};")).strip()
    return None if found in ("", "NULL") else found


def size(door: Door, database: str) -> int:
    """Bytes of tables and indexes, as the server estimates them."""
    return int(float(run(door, None, "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES"
                                     f" WHERE TABLE_SCHEMA = {quote_literal(database)};").strip()))


def is_unfinished(door: Door, database: str) -> bool:
    """Whether tables have come into it that something belongs to which is not there yet."""
    return mariadb_load.there(door, database) and not mariadb_load.exists(door, database) and identity(door, database) is not None


def is_begun(door: Door, kept: str) -> bool:
    """Whether it was made to take the tables of another, and none has come yet."""
    return mariadb_load.there(door, kept) and not mariadb_load.exists(door, kept) and identity(door, kept) is None


def go_on(door: Door, database: str, other: str) -> None:
    """Finish giving it its name, where that was cut off; or take back that it was to become ``other``."""
    if is_begun(door, other):
        _undo(door, database, other)
        return
    if found := _written(door, database):
        rename(door, found["old"], database)


def exchange(door: Door, database: str, new: str | None, kept: str) -> None:
    """Name ``database``, where there is anything in it, ``kept``, and give ``new`` its name.

    The server knows no such thing in one step: for a moment nothing has the name, and cut off there it is finished by the
    next call. Raises as ``rename``; Busy where somebody holds a table for longer than 20 s, and it is as it was.
    """
    mariadb_load.check_name(kept)
    for name in filter(None, (database, new)):
        if is_unfinished(door, name) and (written := _written(door, name)):
            rename(door, written["old"], name)  # an exchange before this one was cut off: what is put back is put back whole
    if identity(door, database) is not None or is_unfinished(door, kept):
        _send_away(door, database)
        try:
            rename(door, database, kept)
        except OpsError:
            with suppress(OpsError):  # what cannot be made anew now still stands in ``kept``, for the next call
                _undo(door, database, kept)
            raise
    if new is not None:
        if is_begun(door, database) and (written := _written(door, database)) and written["old"] != new:
            mariadb_load.remove(door, database)  # what was to come there first does not come any more
        rename(door, new, database)


def _send_away(door: Door, database: str) -> None:
    others = run(door, None, f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = {quote_literal(database)};").split()
    for number in others:
        with suppress(OpsError):  # it has gone by itself
            run(door, None, f"KILL {int(number)};")


def _undo(door: Door, database: str, kept: str) -> None:
    """Make the programs anew that went before the tables were to go, where not a table has gone."""
    if not is_begun(door, kept):
        return
    if found := _written(door, kept):
        run(door, database, found["programs"])
    mariadb_load.remove(door, kept)


def _written(door: Door, database: str) -> dict[str, Any] | None:
    """What stands in its marker; None where there is none yet."""
    if mariadb_load.is_empty(door, database):
        return None
    with Client(door, database) as client:
        found = client.ask(f"SELECT content FROM {quote_ident(MARKER)};")
    return found[0] if found else None

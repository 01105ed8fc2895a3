"""Bringing a dump of MariaDB back: a new database, loaded, or dropped again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from opsctl.errors import OpsError, ProgramFailed, Refused, SafetyRefusal, UsageError
from opsctl.sources import dumps, mariadb_accounts
from opsctl.sources.mariadb_proof import number, shown
from opsctl.sources.mariadb_session import Client, Door, ServerError, failure, quote_ident, quote_literal, run

#: Names of ours that may be dropped; whatever is called otherwise is somebody's.
UNFINISHED = "_opsctl_"
#: The table in a database that is not all there yet: see ``mariadb_naming``.
MARKER = "_opsctl_unfinished"
_LONGEST_NAME = 64
_SERVERS_OWN = frozenset({"mysql", "sys", "information_schema", "performance_schema"})
#: What the client says of a command of its own in a dump.
_FORBIDDEN = re.compile(r"^ERROR at line (\d{1,18}): (?:Unknown command|Not allowed in the sandbox)", re.MULTILINE)
_PATIENCE = 7 * 86400.0  # seconds for the client to work off what it was given

_IDENT = rb"(?:`(?:[^`]|``)*`|[0-9A-Za-z$_\x80-\xff]+)"
_TRIGGER = re.compile(
    rb"(/\*!50003 CREATE\*/ (?:/\*!50017 DEFINER=" + _IDENT + rb"@" + _IDENT + rb"\*/ )?/\*!50003 TRIGGER\s+"
    rb"(?:IF\s+NOT\s+EXISTS\s+)?)(?:" + _IDENT + rb"\s*\.\s*)?(" + _IDENT + rb"\s+(?:BEFORE|AFTER)\s+"
    rb"(?:INSERT|UPDATE|DELETE)\s+ON\s+)(?:" + _IDENT + rb"\s*\.\s*)?(" + _IDENT + rb")(?=[\s])",
    re.IGNORECASE,
)


def load(door: Door, dump: Path, proof: Mapping[str, Any], database: str) -> None:
    """Make ``database`` like the recorded one and load the dump; leaves no half-loaded database.

    Raises ProgramFailed (server older than the recorded one, or a statement it refused), SafetyRefusal (the name is
    taken), DamagedData (the dump lacks its end), Refused (the user may not do it), Unreachable.
    """
    check_name(database)
    check_whole(dump)
    check_version(run(door, None, "SELECT VERSION();").strip(), proof)
    if there(door, database):
        raise SafetyRefusal(f"there is a database {database} at {door.address} already", hint="give another name")
    create(door, proof, database)
    try:
        _fill(door, dump, str(proof.get("database", "")), database)
    except BaseException:
        with suppress(OpsError):
            remove(door, database)
        raise


def create(door: Door, proof: Mapping[str, Any], database: str) -> None:
    """A new empty database with the character set and collation that were recorded."""
    words = f"CHARACTER SET {quote_literal(proof['encoding'])} COLLATE {quote_literal(proof['collate'])}"
    try:
        run(door, None, f"CREATE DATABASE {quote_ident(database)} {words};")
    except Refused as error:
        raise Refused(error.message, hint=f"GRANT ALL PRIVILEGES ON *.* TO {door.address.user or '…'} WITH GRANT OPTION; "
                                          "or restore as root") from error
    except ServerError as error:
        if error.number not in (1115, 1273):
            raise
        raise ProgramFailed(f"the server at {door.address} does not know collation {proof['collate']}",
                            hint="restore into a newer server (--server, --port)") from error


def _fill(door: Door, dump: Path, old: str, database: str) -> None:
    # Nothing that a dump prints is wanted, and nothing in it may be a command of the client's own.
    words = ["/bin/sh", "-c", 'exec "$@" >/dev/null', "sh"]
    client = door.client(database, "--loose-sandbox", "--max-allowed-packet=1G")
    file = open(os.open(dump, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=1 << 20)
    with file, door.shell.open([*words, *client]) as session:
        # A client that stopped reading says itself why.
        with suppress(BrokenPipeError):
            for piece in at_home(file, old, database):
                session.stdin.write(piece)
            session.stdin.flush()
        result = session.close(_PATIENCE)
    door.shell.check()
    if result.code:
        raise _load_failure(result.errors, door, database)


def _load_failure(errors: str, door: Door, database: str) -> OpsError:
    if forbidden := _FORBIDDEN.search(errors):
        return SafetyRefusal(
            f"the dump holds a command for the client itself in line {forbidden[1]}, which could run programs here; "
            "it was not run",
            hint="mariadb-dump writes none: find out who did, and look at the dump before anything else is done with it",
        )
    error = failure(errors, door.address, database)
    hint = "the user that restores needs all privileges where users and owners are restored"
    if isinstance(error, ServerError):
        if error.number == 1153:
            hint = "SET GLOBAL max_allowed_packet = 1073741824; there is a row that long"
        return ProgramFailed(f"the dump could not be loaded into {database}: {error.message}", hint=hint,
                             details={"errors": errors[-4000:]})
    if isinstance(error, Refused):
        return Refused(f"the dump could not be loaded into {database}: {error.message}", hint=hint)
    return error


def at_home(lines: Iterable[bytes], old: str, new: str) -> Iterator[bytes]:
    """A dump's lines without the name of the database it came from, where mariadb-dump leaves it in.

    ``CREATE TRIGGER old.t … ON old.x`` is dumped as somebody once wrote it, and would go into the old database; the
    default value of a column that comes from a sequence names it with its database. Programs stand between two lines of
    DELIMITER: what is written inside of them is somebody's own text, whatever it looks like; and so is what stands in
    quotation marks in the line of a column.
    """
    default = b"nextval(" + quote_ident(old).encode() + b"."
    here = b"nextval(" + quote_ident(new).encode() + b"."
    quoted_or_default = re.compile(rb"'(?:[^'\\]|\\.|'')*'|`(?:[^`]|``)*`|(" + re.escape(default) + rb")", re.DOTALL)
    trigger, program, opened, closing = b"", False, False, False
    for line in lines:
        # Only the first line of a program can be a header; only behind a ;; does one end.
        begins, opened = opened, not program and line == b"DELIMITER ;;\n"
        program = opened or (program and not (closing and line == b"DELIMITER ;\n"))
        closing = line.endswith(b";;\n")
        if trigger or (begins and line.startswith(b"/*!50003 CREATE*/ /*!50017 DEFINER=")):
            trigger += line
            if line.endswith(b";;\n"):
                yield _without_database(trigger)
                trigger = b""
        elif not program and line.startswith(b"  `") and default in line:
            yield quoted_or_default.sub(lambda found: here if found[1] else found[0], line)
        else:
            yield line
    if trigger:
        yield _without_database(trigger)


def _without_database(statement: bytes) -> bytes:
    if not re.match(rb"/\*!50003 CREATE\*/ /\*!50017 DEFINER=[^\n]*\*/ /\*!50003 TRIGGER", statement, re.IGNORECASE):
        return statement
    changed, number_of = _TRIGGER.subn(rb"\1\2\3", statement, count=1)
    if not number_of:
        shown_part = statement[:200].decode("utf-8", "replace")
        raise ProgramFailed(f"a trigger is written in a way that does not show which database it goes into: {shown_part}",
                            hint="load the dump by hand, into a server of its own")
    return changed


def check_version(version: str, proof: Mapping[str, Any], *, here: str = "") -> None:
    """ProgramFailed where the server is older than the dump's, or of the other make; ``here``: the machine on which one would be started."""
    make = "mariadb" if "mariadb" in version.lower() else "mysql"
    where = "here" if here == "this machine" else f"on {here}"
    which = f"the server programs on {here} are" if here else "the server is"
    theirs = "'s" if here else ""
    if make != proof["server"]:
        raise ProgramFailed(f"the dump comes from {_MAKES[proof['server']]} and {which} {_MAKES[make]}{theirs}",
                            hint=f"install {_MAKES[proof['server']]}'s {where}" if here
                            else "restore into a server of the same make (--server, --port)")
    if number(version) // 10000 < proof["server_version"] // 10000:
        series = shown(proof["server_version"]).rpartition(".")[0]
        raise ProgramFailed(
            f"{which} {_MAKES[make]} {shown(number(version))} and the dump comes from {shown(proof['server_version'])}",
            hint=f"install version {series} or newer {where}" if here
            else f"restore into a server of version {series} or newer (--server, --port)",
        )


_MAKES = {"mariadb": "MariaDB", "mysql": "MySQL"}


def check_name(database: str) -> None:
    if not database or len(database) > _LONGEST_NAME or "\0" in database or database.endswith(" "):
        raise UsageError(f"{database!r} is no name for a database: 1 to {_LONGEST_NAME} letters, no space at its end")
    if database.lower() in _SERVERS_OWN:
        raise UsageError(f"{database} is the server's own", hint="give another name")


def cut(database: str, ending: str) -> str:
    """A name with this ending, as much of the database's before it as fits."""
    return database[: _LONGEST_NAME - len(ending)] + ending


def check_whole(dump: Path) -> None:
    """A dump without its trailer would load as far as it goes."""
    dumps.check_whole(dump, mariadb_accounts.TRAILER)


def there(door: Door, database: str) -> bool:
    """Whether there is a database of that name, finished or not."""
    query = f"SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {quote_literal(database)};"
    return run(door, None, query).strip() == "1"


def is_empty(door: Door, database: str) -> bool:
    """Whether nothing is in a database that is there: what being cut off between two statements leaves."""
    name = quote_literal(database)
    held = (
        f"SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name})"
        f" + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {name})"
        f" + (SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {name});"
    )
    return run(door, None, held).strip() == "0"


def exists(door: Door, database: str) -> bool:
    """Whether there is one that is all there: not one that a restore was about to name when it was cut off.

    Under a name of the user's own an empty one is none: there is nothing in it that could be covered.
    """
    name = quote_literal(database)
    marked = (
        "SELECT COUNT(*) FROM information_schema.TABLES"
        f" WHERE TABLE_SCHEMA = {name} AND TABLE_NAME = {quote_literal(MARKER)};"
    )
    if not there(door, database) or run(door, None, marked).strip() != "0":
        return False
    return UNFINISHED in database or not is_empty(door, database)


def drop(door: Door, database: str) -> None:
    """Drop what a restore left unfinished. SafetyRefusal for a name that is not such a one."""
    if UNFINISHED not in database:
        raise SafetyRefusal(
            f"{database} is not one of opsctl's unfinished databases and is not dropped", hint="drop it yourself"
        )
    remove(door, database)


def remove(door: Door, database: str) -> None:
    """Drop a database and what anybody may do in it, which the server would keep for the next one of that name."""
    if there(door, database):
        with Client(door, database) as client:
            mariadb = "mariadb" in client.text("VERSION()").lower()
            known = mariadb_accounts.read(client, mariadb=mariadb, patterns=False)
            lines = [*mariadb_accounts.names(), *mariadb_accounts.statements(known.grants, "REVOKE")]
            client.plain("\n".join(lines))
            client.plain(f"DROP DATABASE {quote_ident(client.current)};")

"""Whether a user may read all that a dump needs, and the statement that would allow it."""

from __future__ import annotations

from opsctl.errors import Refused
from opsctl.sources import mariadb_accounts
from opsctl.sources.mariadb_session import Client, quote_ident, quote_literal

#: Without one of these parts of a database are not refused but just not seen: tables, triggers, events.
_READING = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_LOCK = "RELOAD"

#: Where the server keeps users, grants and the text of routines.
_SYSTEM = ("user", "db", "tables_priv", "procs_priv")
_OF_MARIADB = ("roles_mapping", "proc")


def check(client: Client, *, lock: bool, accounts: bool, mariadb: bool) -> None:
    """Raises Refused naming the privileges that are missing, with the statements that give them as the hint.

    ``lock``: whether the lock on everything is taken; ``accounts``: whether users and grants are read.
    """
    user = client.text("CURRENT_USER()")
    everywhere, here = _own(client)
    lacking = [name for name in _READING if name not in here]
    statements = []
    shown = _quoted(user)
    if lacking:
        database = quote_ident(client.text("DATABASE()").replace("_", "\\_").replace("%", "\\%"))
        statements.append(f"GRANT {', '.join(lacking)} ON {database}.* TO {shown};")
    if lock and _LOCK not in everywhere:
        lacking.append(_LOCK)
        statements.append(f"GRANT {_LOCK} ON *.* TO {shown};")
    hidden = _unreadable(client, mariadb, accounts)
    if hidden:
        lacking.append(f"SELECT on mysql.{hidden}")
        statements.append(f"GRANT SELECT ON mysql.* TO {shown};")
    if lacking:
        raise Refused(
            f"user {user} lacks {', '.join(lacking)}",
            hint=" ".join(statements),
            details={"lacking": lacking, "statements": statements},
        )


def _own(client: Client) -> tuple[set[str], set[str]]:
    """What we may do everywhere and in the current database, roles that are on and everybody's rights included."""
    everywhere, here = set(), set()
    for line in client.plain("SHOW GRANTS;"):
        found = mariadb_accounts.LINE.fullmatch(line)
        if found is None or found["object"] != "*":
            continue
        privileges = set(mariadb_accounts.split(found["what"]))
        if "ALL PRIVILEGES" in privileges:
            privileges |= {*_READING, _LOCK}
        if found["database"] == "*":
            everywhere |= privileges
        elif mariadb_accounts.like(client.current, mariadb_accounts.unquoted(found["database"])):
            here |= privileges
    return everywhere, everywhere | here


def _unreadable(client: Client, mariadb: bool, accounts: bool) -> str | None:
    """The first of the server's own tables that is needed and may not be read.

    What may not be read at all is not listed either, so that asking does not end the conversation.
    """
    wanted = [*(_SYSTEM if accounts else ()), *(_OF_MARIADB if mariadb and accounts else ())]
    if mariadb and not accounts:
        wanted = ["proc"]  # routines that one may not see are listed nowhere else, and would be missing without a word
    if not wanted:
        return None
    names = ", ".join(map(quote_literal, wanted))
    seen = client.ask(
        "SELECT JSON_ARRAY(TABLE_NAME, PRIVILEGES) FROM information_schema.COLUMNS"
        f" WHERE TABLE_SCHEMA = 'mysql' AND TABLE_NAME IN ({names}) AND ORDINAL_POSITION = 1;"
    )
    readable = {name for name, privileges in seen if "select" in privileges.split(",")}
    return next((name for name in wanted if name not in readable), None)


def _quoted(user: str) -> str:
    name, _, host = user.rpartition("@")
    return f"{quote_literal(name)}@{quote_literal(host)}"

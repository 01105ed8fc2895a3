"""Giving one PostgreSQL database the name of another, which is kept under a third: both in one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from opsctl.errors import Refused
from opsctl.shells.interface import Shell
from opsctl.sources.postgresql_load import ELSEWHERE, check_name
from opsctl.sources.postgresql_session import Address, ServerError, quote_ident, quote_literal, run

#: Where no database of anybody's own is; they cannot be renamed while we are connected to them, and nothing else would work.
SERVERS_OWN = frozenset({"postgres", "template0", "template1"})
#: Each try waits 5 s, by PostgreSQL itself, for those who were told to go.
_TRIES = 4
_IN_USE = "55006"
_BOUNDED = "SET lock_timeout = '20s'; SET statement_timeout = '60s';"

Environment = Mapping[str, str]


def identity(shell: Shell, address: Address, environment: Environment, database: str) -> str | None:
    """Its number on this server, which no renaming changes; None where there is no such database."""
    query = f"SELECT oid FROM pg_database WHERE datname = {quote_literal(database)};"
    return run(shell, address, ELSEWHERE, environment, query).strip() or None


def size(shell: Shell, address: Address, environment: Environment, database: str) -> int:
    """Bytes on the server's disks."""
    return int(run(shell, address, ELSEWHERE, environment, f"SELECT pg_database_size({quote_literal(database)});"))


def is_closed(shell: Shell, address: Address, environment: Environment, database: str) -> bool:
    """Whether nobody is let in, as it is while names are exchanged."""
    query = f"SELECT count(*) FROM pg_database WHERE NOT datallowconn AND datname = {quote_literal(database)};"
    return run(shell, address, ELSEWHERE, environment, query).strip() == "1"


def open_up(shell: Shell, address: Address, environment: Environment, database: str) -> None:
    """Let users in again."""
    run(shell, address, ELSEWHERE, environment, f"{_BOUNDED}\n{_let_in(database)}")


def exchange(shell: Shell, address: Address, environment: Environment, database: str, new: str | None, kept: str) -> None:
    """Name ``database``, where it is there, ``kept``, and give ``new`` its name; all of it or nothing.

    Nobody is let into ``database`` meanwhile, and who is in it is sent away. Where it cannot be done they are let in again:
    ServerError (somebody is still in it after 20 s, a prepared transaction holds it), Refused (the role may not).
    """
    check_name(kept)
    is_there = identity(shell, address, environment, database) is not None
    renames = [f"ALTER DATABASE {quote_ident(database)} RENAME TO {quote_ident(kept)};"] if is_there else []
    if new is not None:
        renames.append(f"ALTER DATABASE {quote_ident(new)} RENAME TO {quote_ident(database)};")
    if is_there:
        renames.append(_let_in(kept))
    closing = f"ALTER DATABASE {quote_ident(database)} WITH ALLOW_CONNECTIONS false;" if is_there else ""
    leaving = [_ending(name) for name in (database, new) if name is not None]
    script = "\n".join([_BOUNDED, closing, *leaving, "BEGIN;", *renames, "COMMIT;"])
    try:
        for left in reversed(range(_TRIES)):
            try:
                run(shell, address, ELSEWHERE, environment, script)
                return
            except ServerError as error:
                if error.sqlstate != _IN_USE or not left:
                    raise
    except BaseException as error:
        if is_there:
            open_up(shell, address, environment, database)
        if isinstance(error, ServerError) and error.sqlstate == _IN_USE:
            error.hint = "stop what uses it first; pg_prepared_xacts and pg_stat_activity show who holds it. It was left as it is"
        elif isinstance(error, Refused):
            error.hint = "renaming takes the owner with CREATEDB, sending sessions away pg_signal_backend; or a superuser"
        raise


def _let_in(database: str) -> str:
    return f"ALTER DATABASE {quote_ident(database)} WITH ALLOW_CONNECTIONS true;"


def _ending(database: str) -> str:
    return ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = {quote_literal(database)} AND pid <> pg_backend_pid()\n\\g /dev/null")

"""Bringing a PostgreSQL dump back: a new database, loaded, named, or dropped again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsctl.errors import OpsError, ProgramFailed, Refused, SafetyRefusal, UsageError
from opsctl.shells.interface import Shell
from opsctl.sources import dumps, postgresql_feed
from opsctl.sources.postgresql_session import (
    Address,
    ServerError,
    argv,
    failure,
    quote_ident,
    quote_literal,
    run,
)

TRAILER = "-- PostgreSQL database dump complete"
#: Names of ours that may be dropped; whatever is called otherwise is somebody's.
UNFINISHED = "_opsctl_"
_LONGEST_NAME = 63
_SORTED_IN = "256MB"
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
# Where no database of ours is meant. template1 is there on every server, but a copy of it fails while we are
# in it.
ELSEWHERE = "postgres"

Environment = Mapping[str, str]


def load(
    shell: Shell,
    address: Address,
    environment: Environment,
    dump: Path,
    proof: Mapping[str, Any],
    database: str,
) -> None:
    """Make ``database`` like the recorded one and load the dump; leaves no half-loaded database.

    Raises ProgramFailed (server older than the recorded one, locale it lacks, statement it refused),
    SafetyRefusal (the name is taken, the dump holds a command for psql itself), DamagedData (the dump lacks its
    end), Refused (role may not create databases), Unreachable.
    """
    check_name(database)
    check_whole(dump)
    check_version(version(shell, address, environment), proof["server_version"])
    if exists(shell, address, environment, database):
        raise SafetyRefusal(f"there is a database {database} at {address} already", hint="give another name")
    create(shell, address, environment, proof, database)
    try:
        _fill(shell, address, environment, dump, database)
    except BaseException:
        remove(shell, address, environment, database)
        raise


def _fill(shell: Shell, address: Address, environment: Environment, dump: Path, database: str) -> None:
    # Until the last statement nothing has to be on disk: a load that was cut off is thrown away. Indexes are sorted in memory.
    hurried = {**environment, "PGOPTIONS": f"-c synchronous_commit=off -c maintenance_work_mem={_SORTED_IN}"}
    try:
        result = postgresql_feed.feed(shell, argv(shell, address, database), hurried, dump)
    except OSError as error:
        raise ProgramFailed(f"{dump}: {error.strerror}") from error
    if result.code:
        raise _load_failure(result.errors, address, database)
    run(
        shell,
        address,
        database,
        environment,
        "SET synchronous_commit = on; SET statement_timeout = 0; ANALYZE;",
    )


def _load_failure(errors: str, address: Address, database: str) -> OpsError:
    if forbidden := postgresql_feed.FORBIDDEN.search(errors):
        return SafetyRefusal(
            f"the dump holds a command for psql itself in line {int(forbidden[1]) - 1}, which could run programs here; "
            "it was not run",
            hint="pg_dump writes none: find out who did, and look at the dump before anything else is done with it",
        )
    if postgresql_feed.TOO_OLD in errors:
        return ProgramFailed(
            "psql is too old to be kept from running programs that a dump may name (CVE-2025-8714)",
            hint="install psql 13.22, 14.19, 15.14, 16.10, 17.6 or newer; a dump that you trust can be restored "
            "without --database and loaded by `psql -f`",
        )
    first = next((line for line in errors.splitlines() if "ERROR:" in line or "FATAL:" in line), None)
    if first is None:
        return failure(errors, address, database)
    return ProgramFailed(
        f"the dump could not be loaded into {database}: {first.partition('ERROR:')[2].strip() or first}",
        hint="the role that restores needs the rights of a superuser where roles and owners are restored",
        details={"errors": errors[-4000:]},
    )


def create(
    shell: Shell,
    address: Address,
    environment: Environment,
    proof: Mapping[str, Any],
    database: str,
) -> None:
    """A new empty database with the encoding and locale that were recorded."""
    words = [
        f"ENCODING {quote_literal(proof['encoding'])}",
        f"LC_COLLATE {quote_literal(proof['collate'])}",
        f"LC_CTYPE {quote_literal(proof['ctype'])}",
    ]
    provider = _PROVIDERS.get(proof.get("locale_provider", "c"), "libc")
    if provider != "libc":
        words += [f"LOCALE_PROVIDER {provider}"]
        if "locale" in proof:
            words += [
                f"{'ICU_LOCALE' if provider == 'icu' else 'BUILTIN_LOCALE'} {quote_literal(proof['locale'])}"
            ]
        if "icu_rules" in proof:
            words += [f"ICU_RULES {quote_literal(proof['icu_rules'])}"]
    statement = f"CREATE DATABASE {quote_ident(database)} TEMPLATE template0 {' '.join(words)};"
    try:
        run(shell, address, ELSEWHERE, environment, statement)
    except Refused as error:
        raise Refused(
            error.message, hint=f"ALTER ROLE {address.user or '…'} CREATEDB; or restore as a superuser"
        ) from error
    except ServerError as error:
        if error.sqlstate not in ("22023", "42809"):
            raise
        names = ", ".join(
            dict.fromkeys(str(proof[key]) for key in ("collate", "ctype", "locale") if key in proof)
        )
        raise ProgramFailed(
            f"the server at {address} cannot make a database with locale {names}: {error.message}",
            hint=f"install that locale there (locale-gen {proof['collate']}) and restart the server",
        ) from error


def version(shell: Shell, address: Address, environment: Environment) -> int:
    """The server's version as a number, 150018."""
    return int(run(shell, address, ELSEWHERE, environment, "SHOW server_version_num;"))


def check_version(have: int, recorded: int, *, here: str = "") -> None:
    """ProgramFailed where a server is older than the one a dump comes from; ``here``: the machine on which one would be started."""
    if have // 10000 < recorded // 10000:
        major = recorded // 10000
        raise ProgramFailed(
            f"the server{f' programs on {here} are' if here else ' is'} PostgreSQL {shown(have)} and the dump comes from {shown(recorded)}",
            hint=f"install postgresql-{major} or newer {_on(here)}" if here
            else f"restore into a server of version {major} or newer (--server, --port)",
        )


def _on(place: str) -> str:
    return "here" if place == "this machine" else f"on {place}"


def shown(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"


def check_name(database: str) -> None:
    """PostgreSQL would cut a longer name off without a word, and then it is another database."""
    if not database or len(database.encode()) > _LONGEST_NAME or "\0" in database:
        raise UsageError(f"{database!r} is no name for a database: 1 to {_LONGEST_NAME} bytes")


def cut(database: str, ending: str) -> str:
    """A name with this ending, as much of the database's before it as fits."""
    return database.encode()[: _LONGEST_NAME - len(ending.encode())].decode(errors="ignore") + ending


def check_whole(dump: Path) -> None:
    """A dump without its trailer would load as far as it goes."""
    dumps.check_whole(dump, TRAILER)


def exists(shell: Shell, address: Address, environment: Environment, database: str) -> bool:
    query = f"SELECT count(*) FROM pg_database WHERE datname = {quote_literal(database)};"
    return run(shell, address, ELSEWHERE, environment, query).strip() == "1"


def rename(shell: Shell, address: Address, environment: Environment, old: str, new: str) -> None:
    """End all connections to ``old`` and give it its new name. SafetyRefusal where ``new`` is taken."""
    check_name(new)
    script = f"{_ending(old)}\nALTER DATABASE {quote_ident(old)} RENAME TO {quote_ident(new)};"
    _insist(shell, address, environment, script)


def drop(shell: Shell, address: Address, environment: Environment, database: str) -> None:
    """Drop what a restore left unfinished. SafetyRefusal for a name that is not such a one."""
    if UNFINISHED not in database:
        raise SafetyRefusal(
            f"{database} is not one of opsctl's unfinished databases and is not dropped",
            hint="drop it yourself",
        )
    remove(shell, address, environment, database)


def remove(shell: Shell, address: Address, environment: Environment, database: str) -> None:
    _insist(
        shell, address, environment, f"{_ending(database)}\nDROP DATABASE IF EXISTS {quote_ident(database)};"
    )


def _ending(database: str) -> str:
    return (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = {quote_literal(database)} AND pid <> pg_backend_pid()\n\\g /dev/null"
    )


def _insist(shell: Shell, address: Address, environment: Environment, script: str) -> None:
    """Applications connect again at once, and a session takes a moment to end: a few tries."""
    for left in (4, 3, 2, 1, 0):
        try:
            run(shell, address, ELSEWHERE, environment, script)
            return
        except ServerError as error:
            if error.sqlstate != "55006" or not left:  # object in use; PostgreSQL itself waits 5 s for it
                raise

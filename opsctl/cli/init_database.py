"""Whether the database that ``init`` was told of can be backed up, and what is missing otherwise."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from opsctl.errors import OpsError
from opsctl.shells.interface import Shell

LOOPBACK = "127.0.0.1"
SOCKETS = Path("/var/run/postgresql")
_NAMED = 8


@dataclass(frozen=True)
class Place:
    """Where a database is and who asks for it; None is libpq's own default. ``password`` was typed."""

    database: str
    kind: str = "postgresql"
    server: str | None = None
    port: int | None = None
    user: str | None = None
    password_file: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        where = self.server or "the socket of this machine"
        return f"{self.database} at {where}{f', port {self.port}' if self.port else ''}"


@dataclass(frozen=True)
class Trouble:
    """Why a database cannot be backed up as it is, and what to do.

    ``wants_password``: the server asks this role for one, or did not take the one it got. ``server`` and
    ``port`` are such as may do where these do not.
    """

    message: str
    hint: str | None = None
    wants_password: bool = False
    server: str | None = None
    port: str | None = None


Look = Callable[[Place], Trouble | None]


def looker(shell: Shell, sockets: Path = SOCKETS) -> Look:
    """What looks: as a backup will, up to what its role may read; it takes some ten seconds at most."""

    def look(place: Place) -> Trouble | None:
        if place.password is None:
            return _trouble(place, place.password_file, shell, sockets)
        with tempfile.TemporaryDirectory(prefix="opsctl-init-") as private:
            typed = Path(private) / "password"
            typed.touch(0o600)
            typed.write_text(place.password + "\n", encoding="utf-8")
            return _trouble(place, str(typed), shell, sockets)

    return look


def _trouble(place: Place, password_file: str | None, shell: Shell, sockets: Path) -> Trouble | None:
    from opsctl.wiring import mariadb_at, postgresql_at

    if place.kind == "mariadb":
        return _mariadb_trouble(place, mariadb_at(place.database, server=place.server, port=place.port, user=place.user,
                                                  password_file=password_file, shell=shell))
    source = postgresql_at(
        place.database, server=place.server, port=place.port, user=place.user, password_file=password_file, shell=shell
    )
    problem = next(iter(source.check(None)), None)
    if problem is None:
        return None
    message, role = problem.message, place.user or "this account"
    if "no password supplied" in message:
        return Trouble(f"the server asks role {role} for a password, and none was given",
                       "give a file that holds it, or `type` it", wants_password=True)
    if "password authentication failed" in message:
        return Trouble(f"the server does not take this password for role {role}",
                       f"it is another one, or there is no such role; {_make(role)}", wants_password=True)
    if "eer authentication failed" in message:
        return Trouble(f"over the socket of this machine PostgreSQL takes only the role that is named like the account; "
                       f"this is {_account()}, not {role}",
                       f"give {LOOPBACK} as the server and the role's password, or connect as {_account()}",
                       server=LOOPBACK)
    if "dent authentication failed" in message or "no pg_hba.conf entry" in message:
        return Trouble(message, f"let role {role} in: a line in the server's pg_hba.conf, then a reload")
    if "role" in message and "does not exist" in message:
        return Trouble(f"there is no role {role} at this server", _make(role))
    if message.startswith("there is no database"):
        return Trouble(f"there is no database {place.database} at this server", _others(place.database, source))
    if problem.code == 13:
        ports = _listening(place, sockets)
        if ports:
            return Trouble(message, f"is it the port? Here servers listen on port {', '.join(ports)}", port=ports[0])
    return Trouble(message, problem.hint)


def _mariadb_trouble(place: Place, source: Any) -> Trouble | None:
    problem = next(iter(source.check(None)), None)
    if problem is None:
        return None
    message, user = problem.message, place.user or "this account"
    if "Access denied for user" in message and "(using password:" in message:
        make = (f"to make it: CREATE USER {user}@localhost IDENTIFIED BY '…'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON "
                f"{place.database}.* TO {user}@localhost; GRANT RELOAD ON *.* TO {user}@localhost; "
                f"GRANT SELECT ON mysql.* TO {user}@localhost;")
        if "(using password: NO)" in message:
            return Trouble(f"the server does not let user {user} in without a password",
                           f"give a file that holds it, or `type` it; {make}", wants_password=True)
        return Trouble(f"the server does not take this password for user {user}",
                       f"it is another one, or there is no such user; {make}", wants_password=True)
    return Trouble(message, problem.hint)


def _make(role: str) -> str:
    return f"to make it, as a superuser: CREATE ROLE {role} LOGIN PASSWORD '…'; GRANT pg_read_all_data TO {role};"


def _account() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _others(database: str, source: Any) -> str | None:
    """Which databases there are instead."""
    try:
        names = source.databases()
    except OpsError:
        return None
    near = get_close_matches(database, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"there are: {', '.join(names[:_NAMED])}{more}"


def _listening(place: Place, sockets: Path) -> list[str]:
    """Other ports that have a socket on this machine, where that is what was asked for."""
    if place.server is not None and place.server.startswith("/"):
        sockets = Path(place.server)
    elif place.server not in (None, "localhost", LOOPBACK):
        return []
    ports = sorted(path.name.rpartition(".")[2] for path in sockets.glob(".s.PGSQL.*"))
    return [port for port in ports if port.isdigit() and port != str(place.port or 5432)]

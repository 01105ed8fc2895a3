"""Which database servers run on this machine, and which databases they have, as far as one may ask."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opsctl import programs
from opsctl.errors import OpsError
from opsctl.shells.interface import Shell

LOOPBACK = "127.0.0.1"
KINDS = ("postgresql", "mariadb")
PORTS = {"postgresql": 5432, "mariadb": 3306}

_SOCKET_FOLDERS = ("var/run/postgresql", "run/postgresql", "tmp")
_MARIADB_SOCKETS = ("run/mysqld/mysqld.sock", "var/run/mysqld/mysqld.sock", "var/lib/mysql/mysql.sock", "tmp/mysql.sock")
_SYSTEM = frozenset({"postgres", "information_schema", "performance_schema", "mysql", "sys"})
_SECONDS = 5.0
_MOST = 200

# By size, since the largest is the likeliest to be meant. Not one that takes no connections, nor a template.
_PSQL = ("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
         " ORDER BY CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END DESC NULLS LAST")
_LISTENING = "0A"
_PEOPLE, _NOBODY = 1000, 65534  # accounts of people, by Debian's policy


@dataclass(frozen=True)
class Server:
    """A server that runs here. ``server`` is what the configuration would say: None for the usual socket.

    ``databases``: the largest first; empty where one may not ask. ``tcp``: it also listens on loopback.
    """

    kind: str
    server: str | None
    port: int
    databases: Sequence[str] = ()
    tcp: bool = False

    def __str__(self) -> str:
        kind = "PostgreSQL" if self.kind == "postgresql" else "MariaDB"
        return f"{kind} at {self.server or 'its socket'}, port {self.port}"


def find(shell: Shell, euid: int, root: Path = Path("/")) -> list[Server]:
    """The servers with a socket, then those that only listen. Nothing is changed; each has some seconds to answer."""
    listening = set(_listening(root))
    found = [*_postgresql(shell, euid, root, listening), *_mariadb(shell, root, listening)]
    known = {one.kind for one in found}
    found += [Server(kind, LOOPBACK, port, tcp=True) for kind, port in PORTS.items()
              if port in listening and kind not in known]
    return sorted(found, key=lambda one: not one.databases)


def _postgresql(shell: Shell, euid: int, root: Path, listening: set[int]) -> Iterator[Server]:
    seen: set[tuple[int, int]] = set()
    for number, name in enumerate(_SOCKET_FOLDERS):
        for path in sorted((root / name).glob(".s.PGSQL.*")):
            port = path.name.rpartition(".")[2]
            if not port.isdigit() or (mark := _mark(path)) is None or mark in seen:
                continue
            seen.add(mark)
            folder = str(path.parent)
            databases = _list_postgresql(shell, euid, str(path.parent.resolve()), port)
            usual = number < 2 and root == Path("/")
            yield Server("postgresql", None if usual else folder, int(port), databases, int(port) in listening)


def _list_postgresql(shell: Shell, euid: int, folder: str, port: str) -> list[str]:
    """As the server's own account where we may be that, otherwise as ourselves."""
    psql = programs.find("psql")
    if psql is None:
        return []
    owner = _owner(Path(folder) / f".s.PGSQL.{port}")
    as_it = ["setpriv", "--reuid", str(owner), "--regid", str(owner), "--clear-groups"]
    prefix = as_it if euid == 0 and owner else []
    argv = [*prefix, psql, "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", f"--host={folder}",
            f"--port={port}", f"--username={_account(owner if prefix else euid)}", "--dbname=postgres",
            f"--command={_PSQL}"]
    return _asked(shell, argv, {"PGCONNECT_TIMEOUT": str(int(_SECONDS))})


def _mariadb(shell: Shell, root: Path, listening: set[int]) -> Iterator[Server]:
    seen: set[tuple[int, int]] = set()
    client = programs.find("mariadb") or programs.find("mysql")
    for number, name in enumerate(_MARIADB_SOCKETS):
        path = root / name
        if not path.is_socket() or (mark := _mark(path)) is None or mark in seen:
            continue
        seen.add(mark)
        argv = [client or "", "--no-defaults", "--protocol=socket", f"--socket={path}", "--batch", "--skip-column-names",
                "--local-infile=0", "--connect-timeout=5", "--execute=SHOW DATABASES"]
        usual = number < 2 and root == Path("/")
        yield Server("mariadb", None if usual else str(path), PORTS["mariadb"], _asked(shell, argv) if client else [],
                     PORTS["mariadb"] in listening)


def _asked(shell: Shell, argv: Sequence[str], env: dict[str, str] | None = None) -> list[str]:
    try:
        said = shell.run(argv, env=env, timeout=_SECONDS + 1).text.splitlines()
    except OpsError as error:
        if error.code >= 100:
            raise
        return []
    return [name for name in said if name and name not in _SYSTEM][:_MOST]


def _listening(root: Path) -> Iterator[int]:
    """Ports on which something listens for this machine itself."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (root / "proc/net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTENING and re.fullmatch(r"[0-9A-F]+:[0-9A-F]{4}", fields[1]):
                address, _, port = fields[1].partition(":")
                if set(address) == {"0"} or address in ("0100007F", "00000000000000000000000001000000"):
                    yield int(port, 16)


def _mark(path: Path) -> tuple[int, int] | None:
    """Which socket this is; None for what is not there, and for one that any user may have put there to be asked."""
    try:
        found, folder = os.stat(path), os.stat(path.parent)
    except OSError:
        return None
    if folder.st_mode & stat.S_IWOTH and _PEOPLE <= found.st_uid < _NOBODY and found.st_uid != os.geteuid():
        return None
    return found.st_dev, found.st_ino


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return 0


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

"""Talking with a MariaDB or MySQL server through its own client program."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsctl.errors import Busy, OpsError, Partial, ProgramFailed, Refused, SafetyRefusal, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.shells.interface import Session, Shell
from opsctl.shells.local import LocalShell, last_words
from opsctl.shells.secrets import read_secret
from opsctl.sources import conversation
from opsctl.sources.conversation import ANSWER_WITHIN, MARK, Conversation, not_vouched_for

LOCK_WITHIN = 20  # seconds to wait for somebody's lock; while we wait for the one on everything, others wait for us
IDLE_WITHIN = 60  # seconds after which the server lets a silent session of ours go, and with it every lock

#: What a value looks like as text depends on these. Proofs are made of that text, so they must never change.
SETTINGS = f"""
SET NAMES utf8mb4;
SET SESSION sql_mode = '', time_zone = '+00:00', lc_time_names = 'en_US', lock_wait_timeout = {LOCK_WITHIN},
  wait_timeout = {IDLE_WITHIN}, net_write_timeout = 600, sql_big_selects = 1, sql_select_limit = DEFAULT;
/*M!100100 SET SESSION max_statement_time = 0 */;
/*!80017 SET SESSION max_execution_time = 0, information_schema_stats_expiry = 0, print_identified_with_as_hex = 1 */;
"""


class ServerError(ProgramFailed):
    """The server refused a statement; ``number`` is its number for why."""

    def __init__(self, message: str, *, number: int, **more: Any) -> None:
        super().__init__(message, **more)
        self.number = number


class Address(conversation.Address):
    """Where a server is: a host name or address, or the path of its socket; None is the client's own default."""

    @property
    def options(self) -> list[str]:
        """The words that every client program takes, without secrets."""
        words = [] if self.user is None else [f"--user={self.user}"]
        if self.server is not None and self.server.startswith("/"):
            return [*words, "--protocol=socket", f"--socket={self.server}"]
        if self.server is None and self.port is None:
            return words
        # By the name localhost these programs would take the socket, whatever the port.
        words += ["--protocol=tcp", f"--host={self.server or '127.0.0.1'}", f"--port={self.port or 3306}"]
        if self.cacert is not None:
            # MariaDB's word for a server that has to prove its name, and MySQL's; each passes over the other's.
            words += [f"--ssl-ca={self.cacert}", "--loose-ssl-verify-server-cert", "--loose-ssl-mode=VERIFY_IDENTITY"]
        return words

    def __str__(self) -> str:
        where = self.server or ("the local socket" if self.port is None else "127.0.0.1")
        place = where + (f" of {self.host}" if self.host else "")
        return place if self.port is None or where.startswith("/") else f"{place}, port {self.port}"


def quote_ident(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def quote_literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True)
class Door:
    """How programs come in: the address, and the file that holds the password for as long as ``open_door`` lasts.

    On another machine there is no file (None), and the password is in ``env``.
    """

    shell: Shell
    address: Address
    file: str | None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def argv(self, names: tuple[str, ...], *words: str) -> list[str]:
        """One of the server's programs, the first of ``names`` that is there, told to read no other option file."""
        options = "--no-defaults" if self.file is None else f"--defaults-file={self.file}"
        return [self.shell.find(*names), options, *self.address.options, *words]

    def client(self, database: str | None, *words: str) -> list[str]:
        """The client reading statements from standard input, which may not hold commands of the client's own."""
        talking = [
            "--batch",
            "--raw",
            "--skip-column-names",
            "--unbuffered",
            "--binary-mode",
            "--skip-reconnect",
            "--local-infile=0",
            "--default-character-set=utf8mb4",
            f"--connect-timeout={ANSWER_WITHIN}",
        ]
        where = [] if database is None else [f"--database={database}"]
        return self.argv(("mariadb", "mysql"), *talking, *words, *where)


@contextmanager
def open_door(
    shell: Shell, address: Address, password: SecretRef | None, scratch: Path | None = None
) -> Iterator[Door]:
    """The way in; the password lies in a private file, which the programs read in place of every other one.

    An option file and not MYSQL_PWD: MySQL is giving the variable up, and whoever looks at processes finds it there. On
    another machine, where nothing of ours lies on disk, it is that variable, which only its own user and root can see.
    """
    if not shell.here:
        yield Door(shell, address, None, {"MYSQL_PWD": read_secret(password, LocalShell()).reveal()} if password else {})
        return
    with tempfile.TemporaryDirectory(prefix="opsctl-my-", dir=scratch) as folder:
        path = os.path.join(folder, "client.cnf")
        lines = "[client]\n"
        if password is not None:
            lines += f'password="{_escaped(read_secret(password, shell).reveal())}"\n'
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(lines)
        yield Door(shell, address, path)


def _escaped(text: str) -> str:
    for letter, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(letter, escape)
    return text


class Client(Conversation):
    """The client program of MariaDB or MySQL in conversation."""

    def __init__(self, door: Door, database: str | None) -> None:
        super().__init__(door.shell)
        self._door = door
        self._database = database
        self._current: str | None = None

    def open(self) -> Session:
        return self._door.shell.open(self._door.client(self._database), env=self._door.env)

    def settle(self) -> int:
        return int(self.ask(f"{SETTINGS}SELECT CONNECTION_ID();")[0])

    def marked(self, script: str) -> str:
        return f"{script}\nSELECT '{MARK}';\n"

    def kill(self, number: int) -> None:
        run(self._door, None, f"KILL {number};", timeout=ANSWER_WITHIN)

    def failure(self, errors: str) -> OpsError:
        return failure(errors, self._door.address, self._database)

    def one(self, query: str) -> Any:
        """The single JSON value of a query that has one row."""
        found = self.ask(f"SELECT {query};")
        return found[0] if found else None

    def text(self, expression: str) -> str:
        """The single text of an expression."""
        return str(self.one(f"JSON_ARRAY({expression})")[0])

    @property
    def current(self) -> str:
        """The database we are in, as the server writes its name."""
        if self._current is None:
            self._current = self.text("DATABASE()")
        return self._current


def run(door: Door, database: str | None, script: str, *, timeout: float | None = None) -> str:
    """Run statements once and for all; what they printed. Raises as ``Client.ask`` does."""
    settled = f"{SETTINGS}{script}\n".encode("utf-8", "surrogateescape")
    result = door.shell.run(door.client(database), stdin=settled, env=door.env, timeout=timeout, accept=None)
    if result.code:
        raise failure(result.errors, door.address, database)
    return result.text


_SERVER_SAID = re.compile(r"^ERROR (\d+) \(\w{5}\)(?: at line \d+)?: ([^\n]*)", re.MULTILINE)
#: What the client programs call an error in other places: ``Got error: 1045: "Access …"``, ``… denied … (1142)``.
_PROGRAM_SAID = re.compile(r"error:? (\d{4})\b|\((\d{4})\)\s*$", re.IGNORECASE)

_DENIED = frozenset({1044, 1045, 1130, 1142, 1143, 1227, 1251, 1370, 1410, 1524, 1698, 1820, 1862, 2026, 2054, 2059, 2061, 3118})
_AWAY = frozenset({1040, 1053, 1129, 1152, 1203, 1927, 2002, 2003, 2005, 2006, 2012, 2013, 2055})


def failure(errors: str, address: Address, database: str | None) -> OpsError:
    """What the client's standard error means for us. The server's texts may be in any language, its numbers not."""
    said = _SERVER_SAID.findall(errors)
    if said:
        number, message = said[-1]
        return server_error(int(number), _harmless(message), address, database)
    return ProgramFailed(f"the client of MariaDB failed: {last_words(errors.encode())}")


def number_in(said: list[str]) -> int | None:
    """The server's error number in what a program of its own said."""
    for line in said:
        if match := _PROGRAM_SAID.search(line):
            return int(match[1] or match[2])
    return None


def server_error(number: int, message: str, address: Address, database: str | None) -> OpsError:
    """An error that has a number."""
    if number == 1049:
        return Partial(f"there is no database {database} at {address}", hint="is the name right?")
    if number == 2026 and (unproven := not_vouched_for(f"MariaDB at {address}", address.cacert, message)) is not None:
        return unproven
    if number in _DENIED:
        return Refused(
            f"MariaDB at {address} refused us: {message}",
            hint="are user and password right, and may this user come from here and do this?",
        )
    if number in _AWAY:
        return Unreachable(f"MariaDB at {address} did not answer: {message}", hint="is the server running?")
    if number == 1205:
        return Busy(
            f"waited {LOCK_WITHIN} s for somebody's lock: {message}",
            hint="SHOW FULL PROCESSLIST shows the long statement that holds it",
        )
    if number in (1007, 1050):
        return SafetyRefusal(message, hint="give another name, or drop it yourself")
    return ServerError(message, number=number)


def _harmless(line: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in line).strip()[:500]

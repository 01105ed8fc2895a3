"""Talking with a PostgreSQL server through the psql program."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsctl.errors import Busy, OpsError, Partial, ProgramFailed, Refused, SafetyRefusal, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.shells.interface import Result, Session, Shell
from opsctl.shells.local import LocalShell, last_words
from opsctl.shells.secrets import read_secret

ANSWER_WITHIN = 10  # seconds a server may take to take a connection
LOCK_WITHIN = 60  # seconds to wait for somebody's lock on a table
_MARK = "--8<-- opsctl --8<--"

#: What a value looks like as text depends on these. Proofs are made of that text, so they must never change.
#: With the connection check (since 14) the server gives a question up whose asker was killed.
SETTINGS = f"""
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET extra_float_digits = 3;
SET bytea_output = 'hex';
SET xmloption = 'content';
SET xmlbinary = 'base64';
SET lc_monetary = 'C';
SET lc_numeric = 'C';
SET lc_time = 'C';
SET quote_all_identifiers = off;
SET standard_conforming_strings = on;
SET search_path = '';
SET row_security = off;
SET jit = off;
SET statement_timeout = 0;
SET lock_timeout = '{LOCK_WITHIN}s';
SET idle_in_transaction_session_timeout = 0;
SELECT set_config(name, CASE name WHEN 'client_connection_check_interval' THEN '1s' ELSE '0' END, false)
  FROM pg_settings
  WHERE name IN ('client_connection_check_interval', 'idle_session_timeout', 'transaction_timeout')
\\g /dev/null
"""


class ServerError(ProgramFailed):
    """The server refused a statement; ``sqlstate`` is its five-letter word for why."""

    def __init__(self, message: str, *, sqlstate: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.sqlstate = sqlstate


@dataclass(frozen=True)
class Address:
    """Where a server is: an address or the folder of its socket, port, role; None is libpq's own default.

    ``host`` is the name of the machine that it is seen from, None for this one.
    """

    server: str | None = None
    port: int | None = None
    user: str | None = None
    host: str | None = None
    cacert: str | None = None  # what the server's TLS is checked against; None: it is not checked

    def conninfo(self, database: str) -> str:
        """A connection string without secrets, safe for any name."""
        words = {
            "host": self.server,
            "port": self.port,
            "user": self.user,
            "dbname": database,
            "connect_timeout": ANSWER_WITHIN,
            "application_name": "opsctl",
            # A server that vanished without a word is noticed after a minute, not after two hours.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "sslmode": "verify-full" if self.cacert else None,
            "sslrootcert": self.cacert,
        }
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in words.items() if value is not None)

    def override(self, server: Mapping[str, str] | None) -> Address:
        """With the keys ``server port user`` of a mapping in place of ours."""
        if not server:
            return self
        port = server.get("port")
        return Address(
            server.get("server", self.server), int(port) if port else self.port, server.get("user", self.user), self.host,
            self.cacert,
        )

    def __str__(self) -> str:
        place = self.server or "the local socket"
        place += f" of {self.host}" if self.host else ""
        return place if self.port is None else f"{place}, port {self.port}"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return " E" + quoted if "\\" in text else quoted


@contextmanager
def credentials(
    shell: Shell, password: SecretRef | None, scratch: Path | None = None
) -> Iterator[dict[str, str]]:
    """The environment for libpq's programs; the password lies in a private file for as long as this lasts.

    On another machine nothing of ours lies on disk: there it is in their environment, which only they and root can see.
    """
    environment = {"PGCLIENTENCODING": "UTF8"}
    if password is None:
        yield environment
        return
    known = read_secret(password, LocalShell()).reveal()
    if not shell.here:
        yield {**environment, "PGPASSWORD": known}
        return
    secret = known.replace("\\", "\\\\").replace(":", "\\:")
    with tempfile.TemporaryDirectory(prefix="opsctl-pg-", dir=scratch) as folder:
        path = os.path.join(folder, "pgpass")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"*:*:*:*:{secret}\n")
        yield {**environment, "PGPASSFILE": path}


class Psql:
    """One psql in conversation: ``ask`` sends statements and reads what they print, a JSON value a line.

    It lasts for a ``with`` block, or until the first error. The settings are made once, at the start.
    """

    def __init__(self, shell: Shell, address: Address, database: str, environment: Mapping[str, str]) -> None:
        self._shell = shell
        self._address = address
        self._database = database
        self._environment = dict(environment)
        self._session: Session
        self._backend: int | None = None
        self._settled = False
        self._closing = threading.Lock()

    def ask(self, script: str) -> list[Any]:
        """What the statements print.

        Raises Refused, Unreachable, Busy, Partial (there is no such database), ServerError, Interrupted.
        """
        if not self._settled:
            self._settled = True
            self._backend = self.ask(
                f"\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n{SETTINGS}SELECT pg_backend_pid();"
            )[0]
        try:
            self._session.stdin.write(f"{script}\n\\echo {_MARK}\n".encode("utf-8", "surrogateescape"))
            self._session.stdin.flush()
        except OSError:
            raise self._ended() from None
        lines: list[bytes] = []
        mark = _MARK.encode("ascii")
        for line in self._session.stdout:
            line = line.rstrip(b"\n")
            if line == mark:
                return [json.loads(each.decode("utf-8", "backslashreplace")) for each in lines]
            if line:
                lines.append(line)
        raise self._ended()

    def one(self, query: str) -> Any:
        """The single value of a query that has one row."""
        found = self.ask(f"SELECT to_json(({query}));")
        return found[0] if found else None

    def close(self) -> None:
        """End the conversation."""
        self._close(0.5)

    def cancel(self) -> None:
        """End a conversation in the middle of a question, which the server would go on with otherwise.

        For another thread than the one that asks, which then sees its question fail.
        """
        backend, self._backend = self._backend, None
        if backend is None:
            return
        try:
            run(
                self._shell,
                self._address,
                self._database,
                self._environment,
                f"SELECT pg_terminate_backend({backend});",
                timeout=ANSWER_WITHIN,
            )
        except OpsError:
            with suppress(OpsError):
                self._close(0)

    def __enter__(self) -> Psql:
        self._session = self._shell.open(argv(self._shell, self._address, self._database), env=self._environment)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        self.cancel()
        with suppress(OpsError):  # the failure that is on its way is the one to hear of
            self.close()

    def _close(self, timeout: float) -> Result:
        with self._closing:
            return self._session.close(timeout)

    def _ended(self) -> OpsError:
        """Why psql is gone."""
        self._backend = None
        result = self._close(10)
        self._shell.check()
        return failure(result.errors, self._address, self._database)


def argv(shell: Shell, address: Address, database: str) -> list[str]:
    """psql reading statements from standard input; no start-up file, no question for a password."""
    return [
        shell.find("psql"),
        "-X",
        "-q",
        "-A",
        "-t",
        "-w",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        address.conninfo(database),
    ]


def run(
    shell: Shell,
    address: Address,
    database: str,
    environment: Mapping[str, str],
    script: str,
    *,
    timeout: float | None = None,
) -> str:
    """Run statements once and for all; what they printed. Raises as ``Psql.ask`` does."""
    result = shell.run(
        argv(shell, address, database),
        stdin=f"\\set VERBOSITY verbose\n{script}\n".encode(),
        env=environment,
        timeout=timeout,
        accept=None,
    )
    if result.code:
        raise failure(result.errors, address, database)
    return result.text


_SERVER_SAID = re.compile(r"^(?:psql:[^\n]*?:\d+: )?\w+:  ([0-9A-Z]{5}): ([^\n]*)", re.MULTILINE)
_NOT_ANSWERED = re.compile(
    "Connection refused|timeout expired|No such file or directory|could not translate host name|"
    "No route to host|Network is unreachable|server closed the connection|Connection reset|"
    "could not receive data|Connection timed out|starting up|shutting down|not yet accepting|"
    "in recovery mode|too many (clients|connections)|remaining connection slots"
)


def failure(errors: str, address: Address, database: str) -> OpsError:
    """What psql's standard error means for us. The server's texts may be in any language, its codes not."""
    said = _SERVER_SAID.findall(errors)
    if said:
        sqlstate, message = said[-1]
        return server_error(sqlstate, message)
    # What follows the first line explains it, or names the password file.
    message = last_words(errors.strip().partition("\n")[0].encode()).removeprefix("psql: error: ")
    if re.search("connection to server|could not connect", errors):
        if re.search(f'database "{re.escape(database)}" does not exist', errors):
            return Partial(f"there is no database {database} at {address}", hint="is the name right?")
        if _NOT_ANSWERED.search(errors):
            return Unreachable(
                f"PostgreSQL at {address} did not answer: {message}", hint="is the server running?"
            )
        if "no password supplied" in errors:
            return Refused(f"PostgreSQL at {address} asks for a password, and there is none: {message}",
                           hint="its password_file says where it is; psql also looks in ~/.pgpass (mode 0600) of this account")
        return Refused(
            f"PostgreSQL at {address} refused us: {message}",
            hint="are role and password right, and does pg_hba.conf let this role in?",
        )
    if _NOT_ANSWERED.search(errors):
        return Unreachable(
            f"the connection to PostgreSQL at {address} was lost: {message}", hint="is the server running?"
        )
    return ProgramFailed(f"psql: {message}")


def server_error(sqlstate: str, message: str) -> OpsError:
    """An error that the server gave a code to."""
    if sqlstate == "42501":
        return Refused(
            message,
            hint="reading all of a database takes pg_read_all_data, and BYPASSRLS where rows are hidden",
        )
    if sqlstate == "55P03":
        return Busy(
            f"waited {LOCK_WITHIN} s for somebody's lock: {message}", hint="pg_locks shows who holds it"
        )
    if sqlstate in ("57P01", "57P02", "57P03"):
        return Unreachable(message, hint="is the server running?")
    if sqlstate == "42P04":
        return SafetyRefusal(message, hint="give another name, or drop it yourself")
    return ServerError(message, sqlstate=sqlstate)

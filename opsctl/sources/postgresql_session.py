"""Talking with a PostgreSQL server through the psql program."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsctl.errors import Busy, OpsError, Partial, ProgramFailed, Refused, SafetyRefusal, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.shells.interface import Session, Shell
from opsctl.shells.local import LocalShell, last_words
from opsctl.shells.secrets import read_secret
from opsctl.sources import conversation
from opsctl.sources.conversation import ANSWER_WITHIN, MARK, Conversation, not_vouched_for

LOCK_WITHIN = 60  # seconds to wait for somebody's lock on a table

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


class Address(conversation.Address):
    """Where a server is: an address or the folder of its socket, port, role; None is libpq's own default."""

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


class Psql(Conversation):
    """psql in conversation."""

    def __init__(self, shell: Shell, address: Address, database: str, environment: Mapping[str, str]) -> None:
        super().__init__(shell)
        self._address = address
        self._database = database
        self._environment = dict(environment)

    def open(self) -> Session:
        return self._shell.open(argv(self._shell, self._address, self._database), env=self._environment)

    def settle(self) -> int:
        return int(self.ask(f"\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n{SETTINGS}SELECT pg_backend_pid();")[0])

    def marked(self, script: str) -> str:
        return f"{script}\n\\echo {MARK}\n"

    def kill(self, number: int) -> None:
        run(self._shell, self._address, self._database, self._environment, f"SELECT pg_terminate_backend({number});",
            timeout=ANSWER_WITHIN)

    def failure(self, errors: str) -> OpsError:
        return failure(errors, self._address, self._database)

    def one(self, query: str) -> Any:
        """The single value of a query that has one row."""
        found = self.ask(f"SELECT to_json(({query}));")
        return found[0] if found else None


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
        if (unproven := not_vouched_for(f"PostgreSQL at {address}", address.cacert, message)) is not None:
            return unproven
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

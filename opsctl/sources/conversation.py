"""A database's own client program in conversation: statements go in, their answers come out line by line."""

from __future__ import annotations

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from opsctl.errors import OpsError, Refused
from opsctl.shells.interface import Result, Session, Shell

ANSWER_WITHIN = 10  # seconds a server may take to take a connection
MARK = "--8<-- opsctl --8<--"  # printed after each answer
NOTHING = "none"  # said in place of a certificate: the server is not checked


def not_vouched_for(what: str, cacert: str | None, message: str) -> Refused | None:
    """The error where it is TLS that failed because the certificate ``cacert`` does not vouch for the server, else None."""
    if cacert is None or re.search(r"certificate|\bSSL\b|\bTLS\b", message) is None:
        return None
    return Refused(f"{what} could not prove that it is the one: {message}",
                   hint=f"{cacert} has to vouch for it; for the server of a restore, --server-cacert FILE names another certificate")


@dataclass(frozen=True)
class Address:
    """Where a server is: a host name, an address or its socket, and who comes; None is the client program's own default.

    ``host`` is the name of the machine that it is seen from, None for this one. ``cacert``: what the server's TLS is
    checked against; None: it is not checked.
    """

    server: str | None = None
    port: int | None = None
    user: str | None = None
    host: str | None = None
    cacert: str | None = None

    def override(self, server: Mapping[str, str] | None) -> Self:
        """With the keys ``server port user cacert`` of a mapping in place of ours; ``cacert`` may be NOTHING.

        Another server has to be vouched for by our certificate as well, unless its own is given: it gets our password.
        """
        if not server:
            return self
        port, cacert = server.get("port"), server.get("cacert", self.cacert)
        return replace(self, server=server.get("server", self.server), port=int(port) if port else self.port,
                       user=server.get("user", self.user), cacert=None if cacert == NOTHING else cacert)


class Conversation(ABC):
    """One client in conversation: ``ask`` sends statements and reads what they print, a JSON value a line.

    It lasts for a ``with`` block, or until the first error. The settings are made once, at the start.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._session: Session
        self._number: int | None = None  # of the connection, as the server counts
        self._settled = False
        self._closing = threading.Lock()

    @abstractmethod
    def open(self) -> Session:
        """Start the client."""

    @abstractmethod
    def settle(self) -> int:
        """Make the settings; the server's number of this connection."""

    @abstractmethod
    def marked(self, script: str) -> str:
        """Statements that print the MARK as a line of its own afterwards."""

    @abstractmethod
    def kill(self, number: int) -> None:
        """End the connection of this number by another one."""

    @abstractmethod
    def failure(self, errors: str) -> OpsError:
        """What the client's standard error means."""

    def ask(self, script: str) -> list[Any]:
        """What the statements print.

        Raises Refused, Unreachable, Busy, Partial (there is no such database), ServerError, Interrupted.
        """
        if not self._settled:
            self._settled = True
            self._number = self.settle()
        return [json.loads(line) for line in self.plain(script)]

    def plain(self, script: str) -> list[str]:
        """What the statements print, line by line, for answers that the server gives only as text. Raises as ``ask``."""
        try:
            self._session.stdin.write(self.marked(script).encode("utf-8", "surrogateescape"))
            self._session.stdin.flush()
        except OSError:
            raise self._ended() from None
        lines: list[bytes] = []
        mark = MARK.encode("ascii")
        for line in self._session.stdout:
            line = line.rstrip(b"\n")
            if line == mark:
                return [each.decode("utf-8", "backslashreplace") for each in lines]
            if line:
                lines.append(line)
        raise self._ended()

    def close(self) -> None:
        """End the conversation."""
        self._close(0.5)

    def cancel(self) -> None:
        """End a conversation in the middle of a question, which the server would go on with otherwise.

        For another thread than the one that asks, which then sees its question fail.
        """
        number, self._number = self._number, None
        if number is None:
            return
        try:
            self.kill(number)
        except OpsError:
            with suppress(OpsError):
                self._close(0)

    def __enter__(self) -> Self:
        self._session = self.open()
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
        """Why the client is gone."""
        self._number = None
        result = self._close(10)
        self._shell.check()
        return self.failure(result.errors)

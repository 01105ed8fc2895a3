"""Every failure that opsctl raises on purpose, with its exit code and its hint.

One class a row of the exit-code table (README, *Exit codes*). Only the engine and ``cli.main`` catch
``OpsError``; everything between adds what it knows and lets it pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar


class OpsError(Exception):
    """A failure with an exit code, a sentence for the person, and what to do next.

    ``hint`` is the next step in one sentence, ``where`` the thing concerned (``portal/portal-db``,
    ``/etc/opsctl/opsctl.yaml:12``), ``details`` JSON-able facts for ``--json``. None of them may hold a secret.
    """

    code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        where: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.details = dict(details or {})

    def as_dict(self) -> dict[str, Any]:
        """The shape of one entry of ``errors`` in a ``--json`` document."""
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            found["hint"] = self.hint
        if self.where:
            found["where"] = self.where
        if self.details:
            found["details"] = self.details
        return found


@contextlib.contextmanager
def concerning(where: str) -> Iterator[None]:
    """Say of failures that name no thing that they concern this one."""
    try:
        yield
    except OpsError as error:
        error.where = error.where or where
        raise


class UsageError(OpsError):
    """The command line was wrong."""

    code = 2


class Partial(OpsError):
    """It finished, but some part failed or is missing."""

    code = 3


class Waiting(OpsError):
    """A person has to say something first."""

    code = 4


class Overdue(OpsError):
    """A backup is late, never ran, or is unverified for too long."""

    code = 5


class ConfigError(OpsError):
    """A configuration or playbook file is wrong; nothing was touched.

    ``problems`` holds every mistake found, each as ``file:line: path: message``.
    """

    code = 10

    def __init__(self, message: str, *, problems: Sequence[str] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.problems = tuple(problems)
        if problems:
            self.details["problems"] = list(problems)


class Busy(OpsError):
    """Someone else is at work."""

    code = 11


class Refused(OpsError):
    """A password, key or host key was not accepted."""

    code = 12


class Unreachable(OpsError):
    """A host or store did not answer."""

    code = 13


class ProgramFailed(OpsError):
    """A program ran and said no."""

    code = 20


class NotConverged(OpsError):
    """It ran, and the world is not as asked."""

    code = 21


class DamagedData(OpsError):
    """Data did not verify."""

    code = 22


class SafetyRefusal(OpsError):
    """A safety rule said no."""

    code = 23


class Interrupted(OpsError):
    """A signal ended the work; ``opsctl resume`` goes on."""

    code = 130

    def __init__(self, message: str = "interrupted", *, signal: int = 2, **more: Any) -> None:
        super().__init__(message, **more)
        self.signal = signal

    @property
    def exit_code(self) -> int:
        return 128 + self.signal


def worst(codes: Sequence[int]) -> int:
    """The exit code of several things asked at once, from the codes of each (0 among them).

    One failure of one thing gives its own code. Where several were asked and some succeeded it is 3, except
    that 22, 23 and 21, in this order, always win.
    """
    failed = [code for code in codes if code]
    if not failed:
        return 0
    for always in (22, 23, 21):
        if always in failed:
            return always
    if len(set(failed)) == 1 and len(failed) == len(codes):
        return failed[0]
    if len(codes) == 1:
        return failed[0]
    return 3

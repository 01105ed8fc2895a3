"""What a place where commands run promises."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import IO

from opsctl.model.values import value

Word = str | bytes


@value
class Result:
    """How a finished command ended: exit code (negative: the signal), both streams, seconds."""

    argv: tuple[Word, ...]
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        return self.stderr.decode("utf-8", "replace")


class Session(ABC):
    """A running command to talk with (``psql`` holding a snapshot open)."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    @abstractmethod
    def close(self, timeout: float = 10) -> Result:
        """End standard input, wait, reap; never raises because of the exit code. Called once or more often.

        What was not read yet is in the result. A command still running after ``timeout`` seconds is ended.
        """

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Answering(ABC):
    """A shell that is asked one thing after another. Used by one thread at a time."""

    @abstractmethod
    def ask(self, request: str, timeout: float, partial: bytearray | None = None, then: tuple[bytes, float] | None = None) -> Result:
        """What ``request`` printed, and how it ended, whatever that is: a line or more of shell, in a process of its own.

        ``then``: once it has printed just these bytes at its beginning, it has so many seconds more.

        Raises Unreachable (no answer within ``timeout`` seconds, or the connection is gone), Interrupted, Refused, ProgramFailed;
        asking again afterwards begins anew. What had come by then is in ``partial``. A request is carried out whole or not begun.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it; what still runs is ended."""


_ASKED = """
request=$(cat)
exec </dev/null
eval "$request"
"""


class _Anew(Answering):
    """Each request as a command of its own."""

    def __init__(self, shell: Shell, script: str, prefix: Sequence[Word], env: Mapping[str, str]) -> None:
        self._shell = shell
        self._script = script
        self._prefix = tuple(prefix)
        self._env = env

    def ask(self, request: str, timeout: float, partial: bytearray | None = None, then: tuple[bytes, float] | None = None) -> Result:
        until: float | None = None

        def take(line: bytes) -> None:
            nonlocal until
            said.extend(line + b"\n")
            if then is not None and until is None and said.startswith(then[0]):
                until = time.monotonic() + then[1]

        said = bytearray() if partial is None else partial
        # On standard input, for the kernel takes no argument of 128 KiB.
        result = self._shell.run([*self._prefix, "sh", "-c", self._script + _ASKED], stdin=request.encode("utf-8", "surrogateescape"),
                                 env=self._env, timeout=timeout, accept=None, on_line=take,
                                 give_up=lambda: until is not None and time.monotonic() > until)
        return replace(result, stdout=bytes(said))

    def close(self) -> None:
        """Nothing is kept."""


class Shell(ABC):
    """Where commands run. ``argv`` only, never a command string. ``here``: on this machine."""

    name: str
    here: bool = True

    def find(self, *names: str) -> str:
        """How the first of these programs that is there is called; the first of them where none is."""
        return names[0]

    def streamed(
        self, argv: Sequence[Word], env: Mapping[str, str], prefix: Sequence[str] = (), *, gated: bool = False
    ) -> tuple[list[Word], dict[str, str]]:
        """A command of this machine, and its environment, that writes what ``argv`` writes, and ends as it ends.

        For programs that start commands themselves, as restic does. ``prefix`` (nice, ionice) is what that program stands
        behind, and its children with it; on another machine it has to be said again. ``gated``: a command for another
        machine writes an ``r`` to descriptor 3 when it has come there, and begins with a ``1`` on standard input.
        """
        return list(argv), dict(env)

    def reach(self) -> None:
        """Connect, where there is a connection to make and none is there. Raises Refused (12), Unreachable (13)."""
        self.check()

    def answering(self, script: str, *, prefix: Sequence[Word] = (), env: Mapping[str, str] | None = None) -> Answering:
        """A shell that has read ``script``, which prints nothing, behind ``prefix``; its requests get no standard input."""
        return _Anew(self, script, prefix, env or {})

    @abstractmethod
    def run(
        self,
        argv: Sequence[Word],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        accept: Collection[int] | None = (0,),
        on_line: Callable[[bytes], None] | None = None,
        cwd: str | None = None,
        give_up: Callable[[], bool] | None = None,
        on_data: Callable[[bytes], None] | None = None,
    ) -> Result:
        """Run a command to its end.

        Standard input is closed unless given. The environment is built from nothing (PATH, HOME, TMPDIR,
        LANG=C.UTF-8, the proxy and CA variables) plus ``env``, which may hold secrets and is never logged.
        Both streams are read at the same time. With ``on_line`` each line of standard output (without its
        newline) goes there instead of into the result, with ``on_data`` standard output in pieces as they come, none kept and
        none read faster than it takes them; an exception of either ends the command. ``give_up`` is asked twice a second; a yes ends the command as a
        time-out does. The child is in a process group of its own which is
        ended, all of it, when the child ends, on a time-out, on ``stop``, and when this process dies, even
        by SIGKILL.

        Raises ProgramFailed (exit code outside ``accept``; ``accept=None`` takes any; program not found),
        Unreachable (``timeout`` seconds passed, or it was given up), Interrupted (``stop`` was called).
        """

    @abstractmethod
    def check(self) -> None:
        """Raise Interrupted where ``stop`` was called (a session shows it only as an early end of output)."""

    @abstractmethod
    def open(self, argv: Sequence[Word], *, env: Mapping[str, str] | None = None) -> Session:
        """Start a command and talk with it. The caller closes the session."""

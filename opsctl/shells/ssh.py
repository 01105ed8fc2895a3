"""Commands on a host over SSH, with the promises that commands on this machine have.

Each command has a channel of its own, on one connection per host. How it ended is believed only where the host said
so *and* said that the output is whole: an exit code that comes before a lost connection is not success.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable
from opsctl.shells.interface import Answering, Result, Session, Shell, Word
from opsctl.shells.local import LocalShell, how_it_ended, last_words, not_finished, program
from opsctl.shells.ssh_connection import Connection, Target, lost
from opsctl.shells.ssh_wrapper import BEAT, END, NOT_INSTALLED, Fed, command, first_line, frames

if TYPE_CHECKING:
    from paramiko import Channel

MOST_OUTPUT = 64 << 20
"""Bytes of standard output that one result, or one line, may have: a host may be an attacker's."""

_MOST_ERRORS = 1 << 20  # what is kept of standard error: its end
_CHUNK = 1 << 16
_SMALL = 1 << 14
_TURN = 0.2  # seconds after which the stop, the time limit and the signs of life are looked at
_LOOK = 30.0  # seconds for a look at which programs there are
_REST = 10.0  # seconds for output that is still on its way when the command has ended
_SUDO_SAYS_NO = (b"a password is required", b"is not allowed to", b"not in the sudoers", b"may not run sudo",
                 b"must have a tty", b"a terminal is required")


class SshShell(Shell):
    """A host. With ``sudo`` each command runs as root there, where its sudoers allows exactly that command."""

    here = False

    def __init__(self, connection: Connection, *, sudo: bool | None = None, prefix: Sequence[str] = ()) -> None:
        self.connection = connection
        self.sudo = connection.target.sudo if sudo is None else sudo
        self.prefix = tuple(prefix)
        self._found: dict[tuple[str, ...], str] = {}

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.connection.target.name

    @property
    def target(self) -> Target:
        return self.connection.target

    def plain(self) -> SshShell:
        """The same host without sudo, on the same connection."""
        return SshShell(self.connection, sudo=False)

    def behind(self, prefix: Sequence[str]) -> SshShell:
        """The same host for commands that stand back: ``prefix`` (nice, ionice) stands before sudo, which they outlast."""
        return SshShell(self.connection, sudo=self.sudo, prefix=prefix)

    def find(self, *names: str) -> str:
        if len(names) > 1 and names not in self._found:
            look = ["sh", "-c", 'for n; do command -v "$n" >/dev/null && exec echo "$n"; done', "sh", *names]
            said = self.plain().run(look, accept=None, timeout=_LOOK).text.strip()
            self._found[names] = said if said in names else names[0]
        return self._found.get(names, names[0])

    def streamed(
        self, argv: Sequence[Word], env: Mapping[str, str], prefix: Sequence[str] = (), *, gated: bool = False
    ) -> tuple[list[Word], dict[str, str]]:
        from opsctl.shells.ssh_relay import relayed

        # sudo would have to allow them.
        words, environment = relayed(self.target, argv if self.sudo else [*prefix, *argv], env=env, sudo=self.sudo,
                                     gated=gated)
        return list(words), environment

    def run(
        self,
        argv: Sequence[Word],
        *,
        stdin: bytes | Iterable[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        accept: Collection[int] | None = (0,),
        on_line: Callable[[bytes], None] | None = None,
        cwd: str | None = None,
        give_up: Callable[[], bool] | None = None,
        on_data: Callable[[bytes], None] | None = None,
    ) -> Result:
        """As ``Shell.run`` promises, and takes ``stdin`` in pieces too, as it comes, read no faster than the other side takes it.

        The environment is what sshd gives, and ``env``. An exit code of 129 to 159 becomes the signal -1 to -31:
        a shell that says how a command ended can say it in no other way. A command that is given up (time limit,
        ``stop``, an exception of ``on_line``) is ended by the host, within about three seconds.

        Raises also Refused (host key, login, sudo) and Unreachable (no answer, connection lost).
        """
        begun = time.monotonic()
        given: Iterable[bytes] = [stdin] if isinstance(stdin, bytes) else stdin or ()
        lines = _Lines(on_line) if on_line is not None else None
        take = on_data or (lines.take if lines else None)
        running = Running(self, argv, env, cwd=cwd, limit=timeout, fed="frames" if stdin is not None else "")
        try:
            output = running.converse(given, None if timeout is None else begun + timeout, take, give_up)
            if lines is not None:
                lines.end()
            code = running.code()
        finally:
            running.close()
        errors = running.errors()
        self.refuse_what_sudo_refused(argv, code, errors)
        self.refuse_missing(argv, code, errors)
        result = Result(tuple(argv), code, output, errors, time.monotonic() - begun)
        if accept is not None and code not in accept:
            raise ProgramFailed(
                f"{program(argv)} on {self.name} {how_it_ended(code)}: {last_words(errors, output)}",
                where=self.name, details={"exit_code": code},
            )
        return result

    def check(self) -> None:
        LocalShell().check()

    def open(self, argv: Sequence[Word], *, env: Mapping[str, str] | None = None) -> Session:
        return SshSession(self, argv, Running(self, argv, env, fed="frames"))

    def reach(self) -> None:
        self.connection.transport()

    def answering(self, script: str, *, prefix: Sequence[Word] = (), env: Mapping[str, str] | None = None) -> Answering:
        from opsctl.shells.ssh_answering import SshAnswering

        return SshAnswering(self, script, prefix, env or {})

    def refuse_what_sudo_refused(self, argv: Sequence[Word], code: int, errors: bytes) -> None:
        """Raises Refused where it was sudo that said no, with the line that would allow it."""
        said = [line for line in errors.splitlines() if line.startswith((b"sudo:", b"Sorry, user"))]
        if not (self.sudo and code == 1 and any(word in line for line in said for word in _SUDO_SAYS_NO)):
            return
        user = self.target.user
        raise Refused(
            f"sudo on {self.target.place} does not let {user} run {program(argv)} without a password",
            where=self.name,
            hint=f"`opsctl hosts prepare {self.name}` prints the sudoers file; the line is: "
                 f"{user} ALL=(root) NOPASSWD: /usr/bin/{program(argv)}",
        )

    def refuse_missing(self, argv: Sequence[Word], code: int, errors: bytes) -> None:
        """Raises ProgramFailed where there is no such program."""
        if code == 127 and errors.endswith(NOT_INSTALLED):
            raise ProgramFailed(f"{program(argv)} is not installed on {self.target.place}", where=self.name,
                                hint=f"install {program(argv)} there", details={"exit_code": code})


class Running:
    """One command on one channel."""

    def __init__(
        self, shell: SshShell, argv: Sequence[Word], env: Mapping[str, str] | None, *,
        fed: Fed, cwd: str | None = None, limit: float | None = None,
    ) -> None:
        self.shell = shell
        self.argv = tuple(argv)
        self.limit = limit
        self.fed = fed
        self._said = bytearray()
        shell.check()
        start = first_line(argv, env or {}, raised=shell.sudo, fed=fed, cwd=cwd, limit=limit)
        self.channel: Channel = shell.connection.channel()
        self._heard = time.monotonic()
        try:
            self.channel.settimeout(shell.target.limits.handshake)
            self.channel.exec_command(command(argv, raised=shell.sudo, prefix=shell.prefix))
            self.channel.sendall(start)
        except Exception as error:
            self.close()
            raise lost(shell.target) from error
        self.channel.settimeout(None)
        # An event, not `channel.fileno()`: that is a pipe for each of hundreds of hosts.
        self.news = threading.Event()
        self.channel.in_buffer.set_event(self.news)

    def converse(
        self, given: Iterable[bytes], deadline: float | None, take: Callable[[bytes], None] | None,
        give_up: Callable[[], bool] | None,
    ) -> bytes:
        """Feed and read until the end; standard output, empty where ``take`` got it."""
        self.channel.in_stderr_buffer.set_event(self.news)
        feeder = _Feeder(self.channel, given if self.fed else None)
        output = bytearray()
        ended_at: float | None = None
        while True:
            self.shell.check()
            moved = self.hear_errors()
            if self.channel.recv_ready():
                try:
                    piece = self.channel.recv(_CHUNK)
                except (EOFError, OSError) as error:  # reading makes room, and saying so needs the connection
                    raise lost(self.shell.target) from error
                moved = True
                if take is not None:
                    take(piece)
                elif len(output) + len(piece) > MOST_OUTPUT:
                    raise ProgramFailed(f"{program(self.argv)} on {self.shell.name} said more than "
                                        f"{MOST_OUTPUT >> 20} MiB", where=self.shell.name)
                else:
                    output += piece
            now = time.monotonic()
            late = (deadline is not None and now >= deadline) or (give_up is not None and give_up())
            if moved:
                self._heard = now
                if not late:
                    continue
            if self.over():
                break
            if feeder.failure is not None:
                raise feeder.failure
            if late:
                raise Unreachable(f"{program(self.argv)} on {self.shell.name} {not_finished(self.limit)}", where=self.shell.name)
            if self.channel.exit_status_ready():
                ended_at = ended_at or now
                if now > ended_at + _REST:
                    raise ProgramFailed(f"{program(self.argv)} on {self.shell.name} ended and left something running "
                                        "that holds its output open", where=self.shell.name)
            elif now > self._heard + self.shell.target.limits.silence:
                self.shell.connection.close()
                raise Unreachable(f"{self.shell.target.place} has given no sign of life for "
                                  f"{now - self._heard:.0f} seconds", where=self.shell.name)
            self.wait(_TURN if deadline is None else min(_TURN, deadline - now))
        return bytes(output)

    def over(self) -> bool:
        """Whether nothing more can come: both streams are at their end, and how it ended was said or never will be."""
        channel = self.channel
        if channel.recv_ready() or channel.recv_stderr_ready():
            return False
        return bool(channel.closed or (channel.eof_received and channel.exit_status_ready()))

    def wait(self, seconds: float) -> None:
        """Until there is something to read, or for so long."""
        if self.channel.eof_received or self.channel.closed:
            self.channel.status_event.wait(seconds)
        else:
            self.news.wait(seconds)

    def wait_for_end(self, seconds: float) -> None:
        """Until how it ended was said, or for so long, while another thread reads."""
        if self.channel.status_event.wait(seconds):
            time.sleep(0.005)  # what is left to read is on its way

    def code(self) -> int:
        """How it ended. Unreachable where the connection went before that, or before the output was whole."""
        status = self.channel.exit_status if self.channel.exit_status_ready() else -1
        if not self.channel.eof_received:
            raise lost(self.shell.target)
        if status < 0:
            transport = self.channel.get_transport()
            transport.join(_TURN)
            if not transport.is_alive():
                raise lost(self.shell.target)
            raise ProgramFailed(f"what ran {program(self.argv)} on {self.shell.name} was ended there by a signal",
                                where=self.shell.name)
        return 128 - status if 128 < status < 160 else status

    def hear_errors(self) -> bool:
        """Take what there is of standard error; whether there was any."""
        if not self.channel.recv_stderr_ready():
            return False
        try:
            self._said += self.channel.recv_stderr(_CHUNK).replace(BEAT, b"")
        except (EOFError, OSError) as error:
            raise lost(self.shell.target) from error
        if len(self._said) > 2 * _MOST_ERRORS:
            del self._said[:-_MOST_ERRORS]
        return True

    def read_errors(self) -> None:
        """For a session's own thread: until the end of standard error."""
        while piece := self.channel.recv_stderr(_CHUNK):
            self._heard = time.monotonic()
            self._said += piece.replace(BEAT, b"")
            if len(self._said) > 2 * _MOST_ERRORS:
                del self._said[:-_MOST_ERRORS]

    def is_silent(self) -> bool:
        return time.monotonic() > self._heard + self.shell.target.limits.silence

    def errors(self) -> bytes:
        return bytes(self._said[-_MOST_ERRORS:])

    def close(self) -> None:
        with suppress(Exception):
            self.channel.close()


class _Feeder:
    """Sends standard input, large or slow input from a thread of its own: what reads must never wait for what writes."""

    def __init__(self, channel: Channel, given: Iterable[bytes] | None) -> None:
        self.failure: BaseException | None = None
        self._channel = channel
        if given is None:
            return
        self._given = given
        if isinstance(given, list | tuple) and sum(map(len, given)) <= _SMALL:
            self._feed()
        else:
            threading.Thread(target=self._feed, name="ssh-stdin", daemon=True).start()

    def _feed(self) -> None:
        try:
            for piece in self._given:
                if not all(send(self._channel, part) for part in frames(memoryview(piece))):
                    return
            send(self._channel, END)
        except BaseException as error:
            # Where its source failed, the command must not take what it has for the whole.
            self.failure = error


def send(channel: Channel, data: bytes | memoryview) -> bool:
    """Send all of it; False where the command ended without reading, as it may, or the connection did."""
    whole = memoryview(data)
    try:
        for start in range(0, len(whole), _CHUNK):
            channel.sendall(bytes(whole[start : start + _CHUNK]))
    except (OSError, EOFError):
        return False
    return True


class _Lines:
    """Cuts a stream into lines."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._rest = bytearray()

    def take(self, piece: bytes) -> None:
        self._rest += piece
        if b"\n" in piece:
            *lines, last = bytes(self._rest).split(b"\n")
            self._rest = bytearray(last)
            for line in lines:
                self._on_line(line)
        elif len(self._rest) > MOST_OUTPUT:
            raise ProgramFailed(f"a line of more than {MOST_OUTPUT >> 20} MiB came from a host")

    def end(self) -> None:
        if self._rest:
            self._on_line(bytes(self._rest))


class _Output(io.RawIOBase):
    """Standard output as a file. A lost connection raises Unreachable, and is never its end."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        running = self._running
        while not running.channel.recv_ready():
            if running.channel.eof_received:
                return 0
            if running.channel.closed:
                running.shell.check()
                raise lost(running.shell.target)
            if running.is_silent():
                running.shell.connection.close()
                raise lost(running.shell.target)
            running.shell.check()
            running.wait(_TURN)
        piece = running.channel.recv(len(view))
        view[: len(piece)] = piece
        self._line = self._line + len(piece) if b"\n" not in piece else len(piece) - piece.rindex(b"\n")
        if self._line > MOST_OUTPUT:
            raise ProgramFailed(f"a line of more than {MOST_OUTPUT >> 20} MiB came from {running.shell.name}")
        return len(piece)


class _Input(io.RawIOBase):
    """Standard input as a file."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = memoryview(data)  # type: ignore[arg-type]
        if not all(send(self._channel, part) for part in frames(piece)):
            raise BrokenPipeError("the command does not read any more")
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            super().close()
            send(self._channel, END)


class SshSession(Session):
    """A command of a host that is being talked with."""

    def __init__(self, shell: SshShell, argv: Sequence[Word], running: Running) -> None:
        self._shell = shell
        self._argv = tuple(argv)
        self._running = running
        self._begun = time.monotonic()
        self._result: Result | None = None
        self.stdin: IO[bytes] = io.BufferedWriter(_Input(running.channel), 1 << 20)
        self.stdout: IO[bytes] = io.BufferedReader(_Output(running), _CHUNK)
        self._errors = threading.Thread(target=running.read_errors, name="ssh-stderr", daemon=True)
        self._errors.start()

    def close(self, timeout: float = 10) -> Result:
        """As ``Session.close`` promises. Raises Unreachable where the connection was lost (nobody knows how it ended),
        Refused where sudo said no, ProgramFailed where there is no such program.
        """
        if self._result is None:
            running, rest = self._running, bytearray()
            deadline = time.monotonic() + timeout
            with suppress(OSError, ValueError):
                self.stdin.close()
            drain = threading.Thread(target=self._drain, args=(rest,), name="ssh-stdout", daemon=True)
            drain.start()
            try:
                while not running.over() and time.monotonic() < deadline:
                    running.wait_for_end(min(_TURN, timeout))
                drain.join(max(0.0, deadline - time.monotonic()) + _TURN)
                code = running.code() if running.over() else -15
            finally:
                running.close()
                self._errors.join(_TURN)
            self._shell.refuse_what_sudo_refused(self._argv, code, running.errors())
            self._shell.refuse_missing(self._argv, code, running.errors())
            seconds = time.monotonic() - self._begun
            self._result = Result(self._argv, code, bytes(rest), running.errors(), seconds)
        return self._result

    def _drain(self, rest: bytearray) -> None:
        with suppress(OSError, ValueError, OpsError):
            while piece := self.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
                if len(rest) + len(piece) <= MOST_OUTPUT:
                    rest += piece


__all__ = ["MOST_OUTPUT", "SshSession", "SshShell"]

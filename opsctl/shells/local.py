"""Commands on this machine, none of which outlives what it was started for."""

from __future__ import annotations

import glob
import io
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import IO

from opsctl import programs
from opsctl.errors import Interrupted, ProgramFailed, Unreachable
from opsctl.shells import watchdog
from opsctl.shells.complaints import Complaints
from opsctl.shells.interface import Result, Session, Shell, Word

_KEPT = (
    "PATH",
    "HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GRACE = 1.0  # seconds between SIGTERM and SIGKILL
_LINGER = 0.5  # seconds to wait for output that a gone command's children still hold open
_CHUNK = 1 << 16
# A command begins when the watchdog knows of it, and not at all where we are killed before that.
_GATE = 'read -r go || exit 125; exec "$@"'

# Plain dict and int: `stop` runs inside signal handlers, where waiting for a lock could wait for ourselves.
_live: dict[int, _Child] = {}
_stopped: int = 0
_stopped_at: float = 0.0


def stop(number: int = signal.SIGTERM) -> None:
    """End every command of this process and let every running and later one raise Interrupted.

    ``number`` is the signal that asked for it. Safe in a signal handler; does not wait.
    """
    global _stopped, _stopped_at
    _stopped_at = time.monotonic()
    _stopped = number
    for child in list(_live.values()):
        _signal_group(child.pid, signal.SIGTERM)


def reset() -> None:
    """Allow commands again after ``stop`` (for tests)."""
    global _stopped
    _stopped = 0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command gets to see of our environment, plus ``more``."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("XDG_")}
    kept.setdefault("PATH", _PATH)
    kept["LANG"] = "C.UTF-8"
    kept.update(more or {})
    return kept


class LocalShell(Shell):
    """This machine."""

    name = "local"

    def find(self, *names: str) -> str:
        return next((path for name in names if (path := programs.find(name))), names[0])

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
        begun = time.monotonic()
        child = _start(argv, env, stdin is not None, cwd)
        try:
            output, late = _converse(child, stdin, None if timeout is None else begun + timeout, on_line, give_up, on_data)
        finally:
            code, errors = _finish(child)
        self.check()
        if late:
            raise Unreachable(f"{program(argv)} {not_finished(timeout)}")
        result = Result(tuple(argv), code, output, errors, time.monotonic() - begun)
        if accept is not None and code not in accept:
            raise ProgramFailed(
                f"{program(argv)} {how_it_ended(code)}: {last_words(errors, output)}",
                details={"exit_code": code},
            )
        return result

    def check(self) -> None:
        if _stopped:
            raise Interrupted(signal=_stopped)

    def open(self, argv: Sequence[Word], *, env: Mapping[str, str] | None = None) -> Session:
        return LocalSession(argv, _start(argv, env, True, None))


class _Child(subprocess.Popen[bytes]):
    """A running command."""

    complaints: Complaints


class LocalSession(Session):
    """A command of this machine that is being talked with."""

    def __init__(self, argv: Sequence[Word], child: _Child) -> None:
        assert child.stdin is not None and child.stdout is not None
        self.stdin: IO[bytes] = child.stdin
        self.stdout: IO[bytes] = child.stdout
        self._argv = tuple(argv)
        self._child = child
        self._begun = time.monotonic()
        self._result: Result | None = None

    def close(self, timeout: float = 10) -> Result:
        if self._result is None:
            with suppress(OSError):
                self.stdin.close()
            rest = io.BytesIO()
            drain = threading.Thread(target=_pump, args=(self.stdout, rest), daemon=True)
            drain.start()
            self._wait(timeout)
            code, errors = _finish(self._child, drain)
            seconds = time.monotonic() - self._begun
            self._result = Result(self._argv, code, rest.getvalue(), errors, seconds)
        return self._result

    def _wait(self, seconds: float) -> None:
        descriptor = os.pidfd_open(self._child.pid)
        try:
            with selectors.DefaultSelector() as waiting:
                waiting.register(descriptor, selectors.EVENT_READ)
                waiting.select(seconds)
        finally:
            os.close(descriptor)


def program(argv: Sequence[Word]) -> str:
    """The name of a command as a person knows it."""
    return os.path.basename(os.fsdecode(argv[0]))


def not_finished(timeout: float | None) -> str:
    return "was given up" if timeout is None else f"did not finish within {timeout:g} seconds"


def how_it_ended(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"failed ({code})"


def last_words(*streams: bytes) -> str:
    """The last line that says something, of the first stream that has one; harmless to show."""
    for stream in streams:
        for line in reversed(stream[-_CHUNK:].decode("utf-8", "replace").splitlines()):
            shown = "".join(letter if letter.isprintable() else " " for letter in line).strip()
            if shown:
                return shown[:500]
    return "it said nothing"


def _start(argv: Sequence[Word], env: Mapping[str, str] | None, talk: bool, cwd: str | None) -> _Child:
    if _stopped:
        raise Interrupted(signal=_stopped)
    surroundings = environment(env)
    if cwd is not None and not os.path.isdir(cwd):
        raise ProgramFailed(f"{cwd} is not there")
    path = _find(argv[0], surroundings["PATH"], cwd)
    complaints = Complaints()
    try:
        child = _Child(
            ["/bin/sh", "-c", _GATE if talk else f"{_GATE} </dev/null", "sh", path, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints.descriptor,
            env=surroundings,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        complaints.close()
        raise ProgramFailed(f"{program(argv)} could not be started: {error.strerror}") from error
    child.complaints = complaints
    complaints.mind()
    _live[child.pid] = child
    watchdog.guard(child.pid, _live)
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        os.write(child.stdin.fileno(), b"\n")
    if not talk:
        child.stdin.close()
    if _stopped:  # `stop` came between the first look and the entry in `_live`
        _signal_group(child.pid, signal.SIGTERM)
    return child


def _find(name: Word, path: str, cwd: str | None) -> bytes:
    """Where a program is: on the child's PATH, not on ours; where it has a directory, from ``cwd`` on."""
    wanted = os.fsencode(name)
    if b"/" in wanted:
        candidates = [wanted]
    else:
        candidates = [os.path.join(os.fsencode(each), wanted) for each in os.get_exec_path({"PATH": path})]
    for candidate in candidates:
        place = os.path.join(os.fsencode(cwd or ""), candidate)
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return candidate
    shown = os.fsdecode(name)
    raise ProgramFailed(f"{shown} is not installed", hint=f"install {program([name])}, or run opsctl doctor")


def _converse(
    child: _Child,
    stdin: bytes | None,
    deadline: float | None,
    on_line: Callable[[bytes], None] | None,
    give_up: Callable[[], bool] | None,
    on_data: Callable[[bytes], None] | None = None,
) -> tuple[bytes, bool]:
    """Feed and read a command until it ends; (standard output, whether time ran out or it was given up)."""
    output, rest = bytearray(), bytearray()
    unsent = memoryview(stdin or b"")
    killed_at: float | None = None
    late = False
    ended = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(ended, selectors.EVENT_READ)
            assert child.stdout is not None
            os.set_blocking(child.stdout.fileno(), False)
            waiting.register(child.stdout, selectors.EVENT_READ)
            if stdin is not None and child.stdin is not None:
                os.set_blocking(child.stdin.fileno(), False)
                waiting.register(child.stdin, selectors.EVENT_WRITE)
            gone_at: float | None = None
            while True:
                now = time.monotonic()
                if (late or _stopped) and killed_at is not None and now >= killed_at + _GRACE:
                    _signal_group(child.pid, signal.SIGKILL)
                elif killed_at is None and _stopped:
                    killed_at = _stopped_at
                elif killed_at is None and gone_at is None and (
                        (deadline is not None and now >= deadline) or (give_up is not None and give_up())):
                    late, killed_at = True, now
                    _signal_group(child.pid, signal.SIGTERM)
                streams = len(waiting.get_map()) - (gone_at is None)
                if gone_at is not None and (not streams or now >= gone_at + _LINGER):
                    break
                for key, _ in waiting.select(_patience(now, deadline, killed_at, gone_at)):
                    if key.fd == ended:
                        waiting.unregister(ended)
                        gone_at = time.monotonic()
                        if child.stdin is not None and not child.stdin.closed:
                            with suppress(KeyError):
                                waiting.unregister(child.stdin)
                    elif key.fileobj is child.stdin:
                        if gone_at is None:  # otherwise it was unregistered in this same round
                            unsent = _feed(child, unsent, waiting)
                    else:
                        piece = _read(key.fd)
                        if piece is None:
                            continue
                        if not piece:
                            waiting.unregister(key.fileobj)
                        elif on_data is not None:
                            on_data(piece)
                        elif on_line is None:
                            output += piece
                        else:
                            rest += piece
                            if b"\n" in piece:
                                *lines, last = bytes(rest).split(b"\n")
                                rest = bytearray(last)
                                for line in lines:
                                    on_line(line)
            if on_line is not None and rest:
                on_line(bytes(rest))
    finally:
        os.close(ended)
    return bytes(output), late


def _patience(now: float, deadline: float | None, killed_at: float | None, gone_at: float | None) -> float:
    """Seconds until something has to be looked at again; at most half a second, so that `stop` is noticed."""
    until = [now + 0.5]
    if killed_at is not None:
        until.append(killed_at + _GRACE)
    elif deadline is not None:
        until.append(deadline)
    if gone_at is not None:
        until.append(gone_at + _LINGER)
    return min(moment for moment in until if moment > now) - now


def _feed(child: _Child, unsent: memoryview, waiting: selectors.BaseSelector) -> memoryview:
    assert child.stdin is not None
    try:
        unsent = unsent[os.write(child.stdin.fileno(), unsent[:_CHUNK]) :]
    except BlockingIOError:
        return unsent
    except BrokenPipeError:
        unsent = unsent[:0]
    if not unsent:
        waiting.unregister(child.stdin)
        with suppress(OSError):
            child.stdin.close()
    return unsent


def _read(descriptor: int) -> bytes | None:
    """What there is; empty at the end; None where there is nothing yet."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None


def _finish(child: _Child, reader: threading.Thread | None = None) -> tuple[int, bytes]:
    """Reap a command and end what is left of its group; its exit code and standard error.

    ``reader`` still reads its output and is given a moment for the rest.
    What is meant to outlive a command has to leave its group, as ``pg_ctl`` does.
    """
    _signal_group(child.pid, signal.SIGTERM)  # while the leader is not reaped its number cannot be another's
    try:
        code = child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        _signal_group(child.pid, signal.SIGKILL)
        code = child.wait()
    limit = time.monotonic() + _GRACE
    while _group_lives(child.pid):
        if time.monotonic() > limit:
            _signal_group(child.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    _live.pop(child.pid, None)
    watchdog.release(child.pid)
    if reader is not None:
        reader.join(_LINGER)
    errors = child.complaints.said()
    child.complaints.close()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    return code, errors


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_lives(group: int) -> bool:
    """Whether a process of the group still runs. Zombies that PID 1 is slow to bury do not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    for stat in glob.iglob("/proc/[0-9]*/stat"):
        with suppress(OSError, IndexError):
            with open(stat, "rb") as file:
                state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
            if int(its_group) == group and state != b"Z":
                return True
    return False


def _pump(source: IO[bytes], into: io.BytesIO) -> None:
    with suppress(OSError, ValueError):
        while piece := source.read1(_CHUNK):  # type: ignore[attr-defined]
            into.write(piece)

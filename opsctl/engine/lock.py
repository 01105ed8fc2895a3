"""Locks by ``flock``, whose holder can be named and whose end the kernel sees to."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opsctl.errors import Busy, OpsError, ProgramFailed, SafetyRefusal
from opsctl.model.values import value

_PAUSE = 0.05       # seconds between two tries
_DOUBT = 2.0        # seconds for a lock that is taken while nobody says by whom
_NAME_BYTES = 180
_HOLDER_BYTES = 65536


OF_THE_NETWORK = ("host ", "door ")
"""How the names of locks begin of which there is one, whatever the configuration and the state directory: an address is one host.

In another network namespace of this machine it may be another one.
"""


@value
class Holder:
    """Who is at work. ``user`` is the person behind sudo, where there is one; ``since`` is aware."""

    pid: int
    host: str
    user: str
    since: datetime
    run: str | None
    purpose: str

    def sentence(self, now: datetime) -> str:
        """``pid 4711 (asha) has been at work since 02:30 IST for run R: purpose``, in the time zone of ``now``."""
        since = self.since.astimezone(now.tzinfo)
        shown = since.strftime("%H:%M %Z" if since.date() == now.date() else "%Y-%m-%d %H:%M %Z")
        what = ": ".join(part for part in (f"run {self.run}" if self.run else "", self.purpose) if part)
        return f"pid {self.pid} ({self.user}) has been at work since {shown} for {what}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "since": self.since.isoformat()}


def file_name(name: str) -> str:
    """A lock's file name: no two names share one, and none leaves the directory."""
    raw = name.encode("utf-8", "surrogateescape")
    safe = re.sub(rb"[^A-Za-z0-9_.:@+-]", lambda found: b"%%%02X" % ord(found[0]), raw).decode()
    if len(safe) > _NAME_BYTES:
        safe = f"{safe[:_NAME_BYTES]}%{hashlib.sha256(raw).hexdigest()}"
    return f"{safe}.lock"


class Locks:
    """The locks in one directory. ``clock`` gives the aware time that a holder is said to have begun at, in the time zone that it
    is shown in.

    ``scope`` keeps the locks of several configurations on one machine apart, but for those of hosts (``OF_THE_NETWORK``).
    """

    def __init__(
        self, directory: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC), *, scope: str = ""
    ) -> None:
        self.directory = directory
        self._clock = clock
        self._scope = f"{scope}-" if scope else ""

    def _path(self, name: str) -> Path:
        return self.directory / file_name(f"{_network() if name.startswith(OF_THE_NETWORK) else self._scope}{name}")

    @contextlib.contextmanager
    def hold(self, name: str, *, run: str | None, purpose: str, wait: float = 0) -> Iterator[None]:
        """Hold the lock ``name``, which is also what the message begins with (``backup portal``).

        It is free again when the block ends or the process does, however that happens; started programs do
        not inherit it. Its file is gone after the block; the directory stays. Not reentrant. Raises Busy
        (after ``wait`` seconds; ``details["holder"]``), SafetyRefusal (the directory could be another user's), ProgramFailed (it cannot be used).
        """
        with self._explained():
            self.prepare()
            descriptor = self._take(name, wait)
        try:
            # A full disk must not stop the work; the lock then stands without a name on it.
            with contextlib.suppress(OSError):
                self._say(descriptor, run, purpose)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                self._clear(descriptor, self._path(name))
            os.close(descriptor)

    def _clear(self, descriptor: int, path: Path) -> None:
        """Take our lock's file away while we still hold it, so that whoever waits for it makes a new one.

        The directory stays: in /tmp anybody could lay one of its name there, and our locks would be refused.
        """
        if _same(descriptor, path):
            path.unlink()

    def holder(self, name: str) -> Holder | None:
        """Who holds the lock; None where nobody does. Does not wait, and holds nobody up."""
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._settled(descriptor)
        else:
            return None
        finally:
            os.close(descriptor)

    def _settled(self, descriptor: int) -> Holder:
        """What a held lock says, given a moment to be written; someone unknown where it says nothing."""
        until = time.monotonic() + 0.2
        while True:
            found = _read(descriptor)
            if found is not None:
                return found
            if time.monotonic() > until:
                return Holder(0, os.uname().nodename, "unknown", self._clock(), None, "something unsaid")
            time.sleep(_PAUSE / 10)

    def prepare(self) -> None:
        """Make the directory, and refuse one that another user could have laid there or can change. Raises OSError."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.directory, 0o700)
        found = os.lstat(self.directory)
        if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
            raise self._refusal("is not a directory but something else of that name")
        if found.st_uid != os.geteuid():
            raise self._refusal(f"belongs to user {found.st_uid}")
        if found.st_mode & 0o022:
            raise self._refusal("can be written by others")

    def _take(self, name: str, wait: float) -> int:
        path = self._path(name)
        begun = time.monotonic()
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            holder: Holder | None = None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(descriptor, path):
                    return descriptor
            except BlockingIOError:
                holder = _read(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            # Nobody's name, or that of one who is gone: somebody is only looking (`holder`), or just began.
            patience = max(wait, _DOUBT) if holder is None or not _alive(holder) else wait
            if time.monotonic() - begun >= patience:
                raise self._busy(name, holder)
            time.sleep(min(_PAUSE, max(0.001, patience)))

    def _busy(self, name: str, holder: Holder | None) -> Busy:
        if holder is None:
            return Busy(f"{name}: somebody is at work (their name could not be written)", where=name,
                        hint=f"`fuser -v {self._path(name)}` shows who")
        return Busy(f"{name}: {holder.sentence(self._clock())}", where=name,
                    hint="wait for it, or give --wait", details={"holder": holder.as_dict()})

    def _say(self, descriptor: int, run: str | None, purpose: str) -> None:
        holder = Holder(os.getpid(), os.uname().nodename, _user(), self._clock(), run, purpose)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder.as_dict(), sort_keys=True).encode() + b"\n", 0)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> OpsError:
        return ProgramFailed(f"locks in {self.directory} cannot be used: {error.strerror or error}",
                             where=str(self.directory),
                             hint="set XDG_RUNTIME_DIR to a directory of this user")

    def _refusal(self, why: str) -> SafetyRefusal:
        return SafetyRefusal(f"{self.directory} {why}: locks in it would protect nothing",
                             hint="find out who made it; with it away, opsctl makes it anew",
                             where=str(self.directory))


def _network() -> str:
    """What tells this network namespace from others of this machine, ``net-4026531840-``; empty where the kernel does not say."""
    try:
        found = re.search(r"\d+", os.readlink("/proc/thread-self/ns/net"))
    except OSError:
        return ""
    return f"net-{found[0]}-" if found else ""


def _same(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name, and not one that was cleaned away meanwhile."""
    mine = os.fstat(descriptor)
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _read(descriptor: int) -> Holder | None:
    try:
        found = json.loads(os.pread(descriptor, _HOLDER_BYTES, 0))
        return Holder(int(found["pid"]), str(found["host"]), str(found["user"]),
                      datetime.fromisoformat(found["since"]), found["run"], str(found["purpose"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(holder: Holder) -> bool:
    if holder.host != os.uname().nodename or holder.pid <= 0:
        return True
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    if os.geteuid() == 0 and (behind := os.environ.get("SUDO_USER")):
        return behind
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())

"""A database server that is thrown away: started from its own programs in a directory of its own, gone with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from opsctl.errors import ProgramFailed
from opsctl.shells.tether import Account, owned_directory, quiet_environment, server_account, tethered

LOOPBACK = "127.0.0.1"
SUN_PATH_LIMIT = 107  # bytes of a socket's path, on Linux
START_LIMIT = 60.0  # seconds
STOP_LIMIT = 10.0  # seconds
PORT_ATTEMPTS = 5


class Throwaway(ABC):
    """One server: `with Kind(directory) as server:`, or start() and stop(), which keeps the data.

    `directory` is made, or taken over, and then belongs to the OS account that the server runs under: `user`,
    or ourselves, or as root an ordinary account, who must be able to reach it. Leaving the `with` block removes
    what was made in it. With `tcp` the server listens on 127.0.0.1 as well. It ends with its parent, even when
    that is killed; see `tethered` about threads.
    """

    kind: ClassVar[str]
    superuser: ClassVar[str]
    #: What begins with these words in our environment would speak to the programs.
    spoken: ClassVar[tuple[str, ...]]
    #: The longest name that a socket can have in its directory.
    socket_name: ClassVar[str]
    default_port: ClassVar[int]
    #: Sent to end the server in order; and to it when its parent has ended.
    ending: ClassVar[signal.Signals]
    death_signal: ClassVar[str] = "KILL"
    #: Sent instead of ``ending`` to one whose data is used again: it has nothing to make good when it starts.
    orderly: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, directory: Path, *, user: str | None = None, tcp: bool = False,
                 inside: Sequence[str] = (), as_owner: Sequence[str] = ()) -> None:
        self.directory = directory
        self.inside = tuple(inside)
        self.as_owner = tuple(as_owner)
        self.user = user
        self.tcp = tcp
        self.port = 0  # chosen by the first start, then kept
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """The server's log, appended to by every start."""
        return self.directory / "server.log"

    @property
    def sockets(self) -> Path:
        """The unix socket's directory; raises ProgramFailed before the first start."""
        if self._sockets is None:
            raise ProgramFailed(f"this {self.kind} server was never started")
        return self._sockets

    @property
    def pid(self) -> int:
        """The server's process id; raises ProgramFailed when it is not running."""
        if self._process is None:
            raise ProgramFailed(f"this {self.kind} server is not running")
        if not self.inside:
            return self._process.pid
        below = children(self._process.pid)
        if not below:
            raise ProgramFailed(f"this {self.kind} server is not running")
        return below[0]

    @property
    @abstractmethod
    def address(self) -> Mapping[str, str]:
        """Where it takes its superuser, with the keys of ``Database.load``; raises ProgramFailed before the first start."""

    @property
    def own_pid(self) -> int:
        """The number by which the server knows itself; raises ProgramFailed when it is not running."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            raise ProgramFailed(f"this {self.kind} server is not running") from error
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])

    def start(self) -> Self:
        """Make the data directory unless it is there, start the server and wait until it answers.

        Raises ProgramFailed when a program is missing or fails; then nothing is left running.
        """
        if self._process is not None:
            return self
        account = server_account(self.user)
        owned_directory(self.directory, account)
        if not self.data.exists():
            self._initialise(account)
        self._sockets = self._socket_directory(account)
        attempts = PORT_ATTEMPTS if self.tcp and not self.port else 1
        for attempt in range(1, attempts + 1):
            port = self.port or (_free_port() if self.tcp else self.default_port)
            try:
                self._launch(account, port)
            except ProgramFailed as error:
                # A free port may be taken by another process between the look and the start.
                if attempt == attempts or "Address already in use" not in str(error):
                    raise
            else:
                self.port = port
                break
        return self

    def stop(self, number: signal.Signals | None = None) -> None:
        """End the server, its processes and its socket with it; the data stays."""
        if self._process is not None:
            self._signal(number or self.ending)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._sockets is not None and not self.inside:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def remove(self) -> None:
        """End the server and delete what it made in its directory, and that as well if it is then empty."""
        self.abandon()
        for path in (self.data, self.unfinished, self.directory / "socket", self.directory / "tmp"):
            shutil.rmtree(path, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def abandon(self) -> None:
        """End the server where nothing of its data is wanted any more."""
        self.stop()

    @property
    def unfinished(self) -> Path:
        """Where the data directory is made, until it is one."""
        return self.directory / "data.new"

    @abstractmethod
    def forget_the_last(self) -> None:
        """Remove what a server that was killed left to say that it runs: its number may be another's in new namespaces."""

    @abstractmethod
    def make(self, account: Account) -> list[str]:
        """The argv that makes a data directory at ``unfinished``. ProgramFailed where its program is missing."""

    @abstractmethod
    def serve(self, account: Account, port: int) -> list[str]:
        """The argv of the server itself."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server takes connections."""

    def program(self, argv: Sequence[str], account: Account) -> subprocess.CompletedProcess[str]:
        """Run a program of the server's as its account."""
        return subprocess.run(
            self._tethered(list(argv), account, "KILL"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=self.directory,
            env=self.quiet(),
            check=False,
        )

    def quiet(self) -> Mapping[str, str]:
        quiet = quiet_environment(without=self.spoken)
        return {**quiet, "HOME": "/tmp", "TMPDIR": "/tmp"} if self.inside else quiet

    def _signal(self, number: signal.Signals) -> None:
        if not self.inside and self._process is not None:
            self._process.send_signal(number)
            return
        with suppress(ProcessLookupError, ProgramFailed):
            os.kill(self.pid, number)

    def _tethered(self, argv: list[str], account: Account, death_signal: str) -> list[str]:
        words = tethered(argv, account, death_signal=death_signal)
        # Inside it ends with the namespaces, which end with us.
        return [*self.inside, *self.as_owner, *words] if self.inside else words

    def _initialise(self, account: Account) -> None:
        shutil.rmtree(self.unfinished, ignore_errors=True)
        argv = self.make(account)
        done = self.program(argv, account)
        if done.returncode:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            raise ProgramFailed(
                f"{Path(argv[0]).name} in {self.directory}: {(done.stdout + done.stderr).strip()[-2000:]}",
                hint=f"{account.name} must be able to enter every folder above it",
            )
        self.unfinished.rename(self.data)

    def _socket_directory(self, account: Account) -> Path:
        if self.inside:
            return self._inner_directory(Path("/run") / self.directory.name, account)
        if self._sockets is not None:  # a server that starts again is found where it was
            return owned_directory(self._sockets, account)
        place = self.directory.absolute() / "socket"
        if len(os.fsencode(place / self.socket_name)) <= SUN_PATH_LIMIT:
            return owned_directory(place, account)
        return owned_directory(Path(tempfile.mkdtemp(prefix="db-", dir="/tmp")), account)

    def _inner_directory(self, place: Path, account: Account) -> Path:
        """One that is only seen inside, where its path is short whatever ours is."""
        owner = ["-o", str(account.uid), "-g", str(account.gid)] if account.switch else []
        made = subprocess.run([*self.inside, "install", "-d", "-m", "0700", *owner, str(place)], stdin=subprocess.DEVNULL,
                              capture_output=True, env=self.quiet(), check=False)
        if made.returncode:
            raise ProgramFailed(f"{place} could not be made inside: {made.stderr.decode('utf-8', 'replace').strip()}")
        return place

    def _launch(self, account: Account, port: int) -> None:
        argv = self.serve(account, port)
        if self.inside:
            self.forget_the_last()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with open(os.open(self.log, flags, 0o600), "ab") as log:
            begins = log.tell()
            # A session of its own: an interrupt at the terminal is for us, and we stop the server.
            self._process = subprocess.Popen(
                self._tethered(argv, account, self.death_signal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.quiet(),
                start_new_session=True,
            )
        try:
            self._await_ready(begins, Path(argv[0]).name)
        except BaseException:
            self.abandon()
            raise

    def _await_ready(self, log_begins: int, program: str) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not self.is_ready():
            ended = self._process.poll() if self._process else 0
            if ended is None and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            said = self.log.read_bytes()[log_begins:].decode("utf-8", "replace").strip()
            what = f"not ready after {START_LIMIT:.0f} s" if ended is None else f"ended with {ended}"
            raise ProgramFailed(f"{program} in {self.directory}: {what}: {said[-2000:]}", hint=f"see {self.log}")


def children(parent: int) -> list[int]:
    """The processes whose parent it is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            state, its_parent = stat.read_bytes().rpartition(b")")[2].split()[:2]
            if int(its_parent) == parent and state != b"Z":
                found.append(int(stat.parent.name))
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port

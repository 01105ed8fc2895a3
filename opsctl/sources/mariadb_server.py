"""A throw-away MariaDB server, started from its own programs in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from opsctl.errors import ProgramFailed
from opsctl.programs import find
from opsctl.shells.tether import Account, owned_directory, quiet_environment, server_account, tethered

LOOPBACK = "127.0.0.1"
SUN_PATH_LIMIT = 107  # bytes of a socket's path, on Linux
START_LIMIT = 60.0  # seconds
STOP_LIMIT = 10.0  # seconds
PORT_ATTEMPTS = 5

# Speed before safety, since nothing here outlives its drill or test; yet each commit is written at once, so that a
# server which is stopped and started again has it.
SETTINGS = {
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "32M",
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-doublewrite": "0",
    "innodb-use-native-aio": "0",
    "aria-pagecache-buffer-size": "8M",
    "key-buffer-size": "8M",
    "max-allowed-packet": "1G",
    "performance-schema": "0",
    "skip-log-bin": "",
    "skip-name-resolve": "",
}


class Mariadb:
    """One server: ``with Mariadb(directory) as server:``, or start() and stop(), which keeps the data.

    ``directory`` is made, or taken over, and then belongs to the OS account that the server runs under: ``user``, or
    ourselves, or as root an ordinary account, who must be able to reach it. Leaving the ``with`` block removes what was
    made in it. ``root`` comes in through the socket without a password; whoever may enter the socket's directory (0700)
    is trusted. With ``tcp`` the server listens on 127.0.0.1 as well. It ends with its parent, even when that is killed;
    see ``tethered`` about threads.
    """

    superuser = "root"

    def __init__(self, directory: Path, *, user: str | None = None, tcp: bool = False) -> None:
        self.directory = directory
        self.user = user
        self.tcp = tcp
        self.port = 0  # chosen by the first start, then kept
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Mariadb:
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
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """The server's log, appended to by every start."""
        return self.directory / "server.log"

    @property
    def socket(self) -> Path:
        """The unix socket; raises ProgramFailed before the first start."""
        if self._socket_folder is None:
            raise ProgramFailed("this MariaDB server was never started")
        return self._socket_folder / "sock"

    @property
    def pid(self) -> int:
        """The server's process id; raises ProgramFailed when it is not running."""
        if self._process is None:
            raise ProgramFailed("this MariaDB server is not running")
        return self._process.pid

    def start(self) -> Mariadb:
        """Make the data directory unless it is there, start the server and wait until it answers.

        Raises ProgramFailed when a program is missing or fails; then nothing is left running.
        """
        if self._process is not None:
            return self
        account = server_account(self.user)
        owned_directory(self.directory, account)
        if not self.data.exists():
            self._initialise(account)
        self._socket_folder = self._socket_directory(account)
        attempts = PORT_ATTEMPTS if self.tcp and not self.port else 1
        for attempt in range(1, attempts + 1):
            port = self.port or (_free_port() if self.tcp else 0)
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

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server, its socket with it; the data stays."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def remove(self) -> None:
        """Kill the server and delete what it made in its directory, and that as well if it is then empty."""
        self.stop(signal.SIGKILL)
        for path in (self.data, self._unfinished, self.directory / "socket", self.directory / "tmp"):
            shutil.rmtree(path, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def sql(self, script: str, database: str | None = None, user: str | None = None) -> str:
        """What a script prints, tab-separated and without headers; as ``user``, who has no password, else as root.

        Raises ProgramFailed with the client's message at the first error; nothing after that is run.
        """
        argv = [_program("mariadb"), "--no-defaults", f"--socket={self.socket}", f"--user={user or self.superuser}"]
        argv += ["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
        done = subprocess.run(
            [*argv, *([database] if database else [])], input=script, capture_output=True, encoding="utf-8",
            env=quiet_environment(without=("MYSQL", "MARIADB")), check=False,
        )
        if done.returncode:
            raise ProgramFailed(f"mariadb: {done.stderr.strip()}", hint=f"see {self.log}")
        return done.stdout.rstrip("\n")

    @property
    def _unfinished(self) -> Path:
        return self.directory / "data.new"

    def _initialise(self, account: Account) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)
        argv = [_program("mariadb-install-db"), "--no-defaults", f"--datadir={self._unfinished.absolute()}"]
        argv += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        argv += ["--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
        argv += [f"--tmpdir={self._temporary(account)}"]
        done = subprocess.run(
            tethered(argv, account, death_signal="KILL"), stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", cwd=self.directory, check=False,
            env=quiet_environment(without=("MYSQL", "MARIADB")),
        )
        if done.returncode:
            raise ProgramFailed(
                f"mariadb-install-db in {self.directory}: {(done.stdout + done.stderr).strip()[-2000:]}",
                hint=f"{account.name} must be able to enter every folder above it",
            )
        self._unfinished.rename(self.data)

    def _temporary(self, account: Account) -> Path:
        """A folder of its own: a server that starts removes what others, of any directory, have in a shared one."""
        return owned_directory(self.directory.absolute() / "tmp", account)

    def _socket_directory(self, account: Account) -> Path:
        if self._socket_folder is not None:  # a server that starts again is found where it was
            return owned_directory(self._socket_folder, account)
        place = self.directory.absolute() / "socket"
        if len(os.fsencode(place / "sock")) <= SUN_PATH_LIMIT:
            return owned_directory(place, account)
        return owned_directory(Path(tempfile.mkdtemp(prefix="my-", dir="/tmp")), account)

    def _launch(self, account: Account, port: int) -> None:
        argv = [_program("mariadbd"), "--no-defaults", f"--datadir={self.data.absolute()}", f"--socket={self.socket}"]
        argv += [f"--pid-file={self.data.absolute()}/server.pid", f"--secure-file-priv={self.data.absolute()}"]
        argv += [f"--tmpdir={self._temporary(account)}"]
        argv += [f"--bind-address={LOOPBACK}", f"--port={port}"] if self.tcp else ["--skip-networking"]
        argv += [f"--{name}={value}" if value else f"--{name}" for name, value in SETTINGS.items()]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with open(os.open(self.log, flags, 0o600), "ab") as log:
            begins = log.tell()
            # A session of its own: an interrupt at the terminal is for us, and we stop the server.
            self._process = subprocess.Popen(
                tethered(argv, account, death_signal="KILL"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory, env=quiet_environment(without=("MYSQL", "MARIADB")), start_new_session=True,
            )
        try:
            self._await_ready(begins)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def _await_ready(self, log_begins: int) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not self._is_ready():
            ended = self._process.poll() if self._process else 0
            if ended is None and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            said = self.log.read_bytes()[log_begins:].decode("utf-8", "replace").strip()
            what = f"not ready after {START_LIMIT:.0f} s" if ended is None else f"ended with {ended}"
            raise ProgramFailed(f"mariadbd in {self.directory}: {what}: {said[-2000:]}", hint=f"see {self.log}")

    def _is_ready(self) -> bool:
        # It listens only once it is ready to answer.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True


def _program(name: str) -> str:
    found = find(name)
    if found is None:
        raise ProgramFailed(f"{name} is not installed", hint="apt-get install --no-install-recommends mariadb-server-core mariadb-client")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port

"""A throw-away PostgreSQL server, started from its own programs in a directory of its own."""

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
from opsctl.shells.tether import Account, owned_directory, quiet_environment, server_account, tethered

LOOPBACK = "127.0.0.1"
SUN_PATH_LIMIT = 107  # bytes of a socket's path, on Linux
START_LIMIT = 60.0  # seconds
STOP_LIMIT = 10.0  # seconds
PORT_ATTEMPTS = 5

# Speed before safety, since nothing here outlives its demo or test; yet each commit is written at once, or
# stop() would lose the last of them. `mmap` keeps dynamic shared memory below the data directory, so that a
# killed server leaves none in /dev/shm.
SETTINGS = {
    "unix_socket_permissions": "0777",
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "jit": "off",
    "timezone": "Asia/Kolkata",
    "log_timezone": "UTC",
    "lc_messages": "C",
}


def program_directory() -> Path:
    """Where initdb, postgres and psql of one version are: by PATH, else the newest in Debian's place.

    Raises ProgramFailed when there is none.
    """
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    candidates += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    for candidate in candidates:
        if all((candidate / name).is_file() for name in ("initdb", "postgres", "psql")):
            return candidate
    raise ProgramFailed("no PostgreSQL server programs were found", hint="apt-get install postgresql")


class Postgres:
    """One server: `with Postgres(directory) as server:`, or start() and stop(), which keeps the data.

    `directory` is made, or taken over, and then belongs to the OS account that the server runs under: `user`,
    or ourselves, or as root `postgres` or `nobody`, who must be able to reach it. Leaving the `with` block
    removes what was made in it. The superuser comes in through the unix socket without a password. With `tcp`
    the server listens on 127.0.0.1 as well and asks for SCRAM passwords there; `password` is the superuser's.
    It ends with its parent, even when that is killed; see `tethered` about threads.
    """

    superuser = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        user: str | None = None,
        tcp: bool = False,
        password: str | None = None,
        autovacuum: bool = False,
    ) -> None:
        self.directory = directory
        self.user = user
        self.tcp = tcp
        self.password = password
        self.autovacuum = autovacuum
        self.port = 0  # chosen by the first start, then kept
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postgres:
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
    def socket(self) -> Path:
        """The unix socket's directory, for PGHOST; raises ProgramFailed before the first start."""
        if self._socket is None:
            raise ProgramFailed("this PostgreSQL server was never started")
        return self._socket

    @property
    def pid(self) -> int:
        """The postmaster's process id; raises ProgramFailed when the server is not running."""
        if self._process is None:
            raise ProgramFailed("this PostgreSQL server is not running")
        return self._process.pid

    def start(self) -> Postgres:
        """Make the cluster unless it is there, start the server and wait until it takes connections.

        Raises ProgramFailed when a program is missing or fails; then nothing is left running.
        """
        if self._process is not None:
            return self
        programs = program_directory()
        account = server_account(self.user)
        owned_directory(self.directory, account)
        if not self.data.exists():
            self._initialise(programs, account)
        self._socket = self._socket_directory(account)
        attempts = PORT_ATTEMPTS if self.tcp and not self.port else 1
        for attempt in range(1, attempts + 1):
            port = self.port or (_free_port() if self.tcp else 5432)
            try:
                self._launch(programs, account, port)
            except ProgramFailed as error:
                # A free port may be taken by another process between the look and the start.
                if attempt == attempts or "Address already in use" not in str(error):
                    raise
            else:
                self.port = port
                break
        return self

    def stop(self) -> None:
        """End the server at once, its processes, sockets and shared memory with it; the data stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._socket is not None:
            shutil.rmtree(self._socket, ignore_errors=True)

    def remove(self) -> None:
        """Stop the server and delete what it made in its directory, and that as well if it is then empty."""
        self.stop()
        for path in (self.data, self._unfinished, self.directory / "socket"):
            shutil.rmtree(path, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def environment(self, *, tcp: bool = False) -> dict[str, str]:
        """PGHOST, PGPORT and PGUSER for libpq: by the socket, or with `tcp` by 127.0.0.1; no password."""
        host = LOOPBACK if tcp else str(self.socket)
        return {"PGHOST": host, "PGPORT": str(self.port), "PGUSER": self.superuser}

    def psql(self, sql: str, database: str = "postgres", user: str | None = None) -> str:
        """What `sql` prints in `database`, unaligned, no headers; as the role `user`, else the superuser.

        The text goes to the psql program over standard input, so psql's own commands work in it. Raises
        ProgramFailed with psql's message at the first error; nothing after that is run.
        """
        argv = [str(program_directory() / "psql"), "-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1"]
        environment = {
            **quiet_environment(without=("PG",)),
            **self.environment(),
            "PGUSER": user or self.superuser,
            "PGDATABASE": database,
            "PGCLIENTENCODING": "UTF8",
        }
        done = subprocess.run(
            [*argv, "-f", "-"], input=sql, capture_output=True, encoding="utf-8", env=environment, check=False
        )
        if done.returncode:
            raise ProgramFailed(f"psql in {database}: {done.stderr.strip()}", hint=f"see {self.log}")
        return done.stdout.rstrip("\n")

    def set_password(self, role: str, password: str) -> None:
        """Give `role` a password for TCP; raises ProgramFailed, which does not hold the password."""
        name, secret = role.replace('"', '""'), password.replace("'", "''")
        alter = f"""ALTER ROLE "{name}" PASSWORD '{secret}';"""
        try:
            # The server logs the text of a statement that failed, unless told otherwise.
            self.psql(f"SET log_min_error_statement = panic;\nSET standard_conforming_strings = on;\n{alter}")
        except ProgramFailed:
            failed = ProgramFailed(f"the password of role {role} could not be set", hint=f"see {self.log}")
        else:
            return
        raise failed

    @property
    def _unfinished(self) -> Path:
        return self.directory / "data.new"

    def _initialise(self, programs: Path, account: Account) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)
        argv = [str(programs / "initdb"), "-D", str(self._unfinished), "-U", self.superuser, "--no-sync"]
        argv += ["--encoding=UTF8", "--locale=C.UTF-8"]
        # Whoever may enter the socket's directory (0700) is trusted; TCP always asks for a password.
        argv += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        secret: Path | None = None
        try:
            if self.password is not None:
                handle, name = tempfile.mkstemp(prefix="password-", dir=self.directory)
                secret = Path(name)
                with open(handle, "w", encoding="utf-8") as file:
                    file.write(self.password + "\n")
                    os.fchown(file.fileno(), account.uid, account.gid)
                argv.append(f"--pwfile={secret}")
            done = subprocess.run(
                tethered(argv, account, death_signal="KILL"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                cwd=self.directory,
                env=quiet_environment(without=("PG",)),
                check=False,
            )
        finally:
            if secret is not None:
                secret.unlink()
        if done.returncode:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            raise ProgramFailed(
                f"initdb in {self.directory}: {done.stderr.strip()}",
                hint=f"{account.name} must be able to enter every folder above it",
            )
        self._unfinished.rename(self.data)

    def _socket_directory(self, account: Account) -> Path:
        if self._socket is not None:  # a server that starts again is found where it was
            return owned_directory(self._socket, account)
        place = self.directory.absolute() / "socket"
        if len(os.fsencode(place / ".s.PGSQL.65535")) <= SUN_PATH_LIMIT:
            return owned_directory(place, account)
        return owned_directory(Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp")), account)

    def _launch(self, programs: Path, account: Account, port: int) -> None:
        quoted = str(self.socket).replace('"', '""')
        settings = {
            **SETTINGS,
            "listen_addresses": LOOPBACK if self.tcp else "",
            "port": str(port),
            "unix_socket_directories": f'"{quoted}"',
            "autovacuum": "on" if self.autovacuum else "off",
        }
        argv = [str(programs / "postgres"), "-D", str(self.data.absolute())]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with open(os.open(self.log, flags, 0o600), "ab") as log:
            begins = log.tell()
            # A session of its own: an interrupt at the terminal is for us, and we stop the server.
            self._process = subprocess.Popen(
                tethered(argv, account, death_signal="QUIT"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=quiet_environment(without=("PG",)),
                start_new_session=True,
            )
        try:
            self._await_ready(begins)
        except BaseException:
            self.stop()
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
            message = f"postgres in {self.directory}: {what}: {said[-2000:]}"
            raise ProgramFailed(message, hint=f"see {self.log}")

    def _is_ready(self) -> bool:
        # The postmaster writes its id on the first line and its state on the eighth, as pg_ctl reads them.
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port

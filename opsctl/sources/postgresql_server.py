"""A throw-away PostgreSQL server, started from its own programs in a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsctl.errors import ProgramFailed
from opsctl.shells.tether import Account, quiet_environment
from opsctl.sources.throwaway import LOOPBACK, Throwaway

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


def program_version() -> int:
    """The version of the server that would be started, as a number: 150018. Raises ProgramFailed as ``program_directory``."""
    program = str(program_directory() / "postgres")
    said = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                          env=quiet_environment(without=("PG",)), check=False).stdout
    return version_said(said, program)


def version_said(said: str, program: str) -> int:
    """The same from what a program says of itself."""
    found = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", said)
    if found is None:
        raise ProgramFailed(f"{program} does not say its version: {said.strip()[:200]}")
    return int(found[1]) * 10000 + int(found[2] or 0)


class Postgres(Throwaway):
    """The superuser comes in through the unix socket without a password. With `tcp` the server asks for SCRAM passwords
    there; `password` is the superuser's.
    """

    kind = "PostgreSQL"
    superuser = "postgres"
    spoken = ("PG",)
    socket_name = ".s.PGSQL.65535"
    default_port = 5432
    ending = signal.SIGQUIT  # at once, its shared memory with it
    death_signal = "QUIT"
    orderly = signal.SIGINT

    def __init__(
        self,
        directory: Path,
        *,
        user: str | None = None,
        tcp: bool = False,
        password: str | None = None,
        autovacuum: bool = False,
        inside: Sequence[str] = (),
        as_owner: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, user=user, tcp=tcp, inside=inside, as_owner=as_owner)
        self.password = password
        self.autovacuum = autovacuum

    @property
    def socket(self) -> Path:
        """The unix socket's directory, for PGHOST; raises ProgramFailed before the first start."""
        return self.sockets

    @property
    def address(self) -> Mapping[str, str]:
        return {"server": str(self.socket), "port": str(self.port), "user": self.superuser}

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

    def make(self, account: Account) -> list[str]:
        argv = [str(program_directory() / "initdb"), "-D", str(self.unfinished), "-U", self.superuser, "--no-sync"]
        argv += ["--encoding=UTF8", "--locale=C.UTF-8"]
        # Whoever may enter the socket's directory (0700) is trusted; TCP always asks for a password.
        return [*argv, "--auth-local=trust", "--auth-host=scram-sha-256"]

    def program(self, argv: Sequence[str], account: Account) -> subprocess.CompletedProcess[str]:
        if self.password is None:
            return super().program(argv, account)
        handle, name = tempfile.mkstemp(prefix="password-", dir=self.directory)
        secret = Path(name)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(self.password + "\n")
                os.fchown(file.fileno(), account.uid, account.gid)
            return super().program([*argv, f"--pwfile={secret}"], account)
        finally:
            secret.unlink()

    def serve(self, account: Account, port: int) -> list[str]:
        quoted = str(self.socket).replace('"', '""')
        settings = {
            **SETTINGS,
            "listen_addresses": LOOPBACK if self.tcp else "",
            "port": str(port),
            "unix_socket_directories": f'"{quoted}"',
            "autovacuum": "on" if self.autovacuum else "off",
        }
        argv = [str(program_directory() / "postgres"), "-D", str(self.data.absolute())]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return argv

    def is_ready(self) -> bool:
        # The postmaster writes its id on the first line and its state on the eighth, as pg_ctl reads them.
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return len(lines) > 7 and lines[0] == str(self.own_pid) and lines[7].strip() == "ready"
        except (FileNotFoundError, ProgramFailed):
            return False

    def forget_the_last(self) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)

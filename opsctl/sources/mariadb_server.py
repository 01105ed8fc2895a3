"""A throw-away MariaDB server, started from its own programs in a directory of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from opsctl.errors import ProgramFailed
from opsctl.programs import find
from opsctl.shells.tether import Account, owned_directory
from opsctl.sources.throwaway import LOOPBACK, Throwaway

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


class Mariadb(Throwaway):
    """``root`` comes in through the socket without a password; whoever may enter the socket's directory (0700) is trusted."""

    kind = "MariaDB"
    superuser = "root"
    spoken = ("MYSQL", "MARIADB")
    socket_name = "sock"
    default_port = 0
    ending = signal.SIGTERM

    @property
    def socket(self) -> Path:
        """The unix socket; raises ProgramFailed before the first start."""
        return self.sockets / self.socket_name

    @property
    def address(self) -> Mapping[str, str]:
        return {"server": str(self.socket), "user": self.superuser}

    def abandon(self) -> None:
        self.stop(signal.SIGKILL)

    def sql(self, script: str, database: str | None = None, user: str | None = None) -> str:
        """What a script prints, tab-separated and without headers; as ``user``, who has no password, else as root.

        Raises ProgramFailed with the client's message at the first error; nothing after that is run.
        """
        argv = [_program("mariadb"), "--no-defaults", f"--socket={self.socket}", f"--user={user or self.superuser}"]
        argv += ["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
        done = subprocess.run(
            [*argv, *([database] if database else [])], input=script, capture_output=True, encoding="utf-8",
            env=self.quiet(), check=False,
        )
        if done.returncode:
            raise ProgramFailed(f"mariadb: {done.stderr.strip()}", hint=f"see {self.log}")
        return done.stdout.rstrip("\n")

    def make(self, account: Account) -> list[str]:
        argv = [_program("mariadb-install-db"), "--no-defaults", f"--datadir={self.unfinished.absolute()}"]
        argv += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        argv += ["--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
        return [*argv, f"--tmpdir={self._temporary(account)}"]

    def serve(self, account: Account, port: int) -> list[str]:
        argv = [_program("mariadbd"), "--no-defaults", f"--datadir={self.data.absolute()}", f"--socket={self.socket}"]
        argv += [f"--pid-file={self.data.absolute()}/server.pid", f"--secure-file-priv={self.data.absolute()}"]
        argv += [f"--tmpdir={self._temporary(account)}"]
        argv += [f"--bind-address={LOOPBACK}", f"--port={port}"] if self.tcp else ["--skip-networking"]
        return argv + [f"--{name}={value}" if value else f"--{name}" for name, value in SETTINGS.items()]

    def _temporary(self, account: Account) -> Path:
        """A folder of its own: a server that starts removes what others, of any directory, have in a shared one."""
        return owned_directory(self.directory.absolute() / "tmp", account)

    def forget_the_last(self) -> None:
        (self.data / "server.pid").unlink(missing_ok=True)

    def is_ready(self) -> bool:
        # It listens only once it is ready to answer.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(f"/proc/{self.pid}/root{self.socket}" if self.inside else str(self.socket))
            except (OSError, ProgramFailed):
                return False
        return True


def program_version() -> str:
    """The version of the server that would be started, ``10.11.6-MariaDB``. ProgramFailed where it is not installed."""
    program = _program("mariadbd")
    said = subprocess.run([program, "--no-defaults", "--version"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                          check=False).stdout
    return version_said(said, program)


def version_said(said: str, program: str) -> str:
    """The same from what a program says of itself."""
    found = re.search(r"Ver (\S+)", said)
    if found is None:
        raise ProgramFailed(f"{program} does not say its version: {said.strip()[:200]}")
    return found[1]


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

"""A real restic REST server on loopback, for tests of what an append-only store refuses."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from opsctl.errors import ProgramFailed
from opsctl.shells.tether import Account, owned_directory, quiet_environment, server_account, tethered
from tests.lab.server import Server, certify

START_LIMIT = 30.0  # seconds
PROGRAMS = ("restic-rest-server", "rest-server")  # Debian's name, and upstream's


class RestServer(Server):
    """One server: `with RestServer(directory) as server:`, or start() and stop(), which may alternate.

    `directory` is made, or taken over, and then belongs to the OS account that the server runs under: ours,
    or for root `postgres` or `nobody`, who must be able to reach it. Nothing in it is removed. With `user`
    and `password` nobody else is let in; without, everybody is. With `tls` the server shows `certificate`,
    which it signed itself. A second start() listens on the same port. `address` is the one that it listens on.
    """

    def __init__(
        self,
        directory: Path,
        *,
        append_only: bool = True,
        user: str | None = None,
        password: str | None = None,
        tls: bool = False,
        address: str = "127.0.0.1",
    ) -> None:
        self.directory = directory
        self.address = address
        self.append_only = append_only
        self.user = user
        self.password = password
        self.tls = tls
        self.port = 0  # chosen by the first start, then kept
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`http://ADDRESS:PORT`, or https; raises ProgramFailed before the first start."""
        if not self.port:
            raise ProgramFailed("this REST server was never started")
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.port}"

    def repository_url(self, name: str) -> str:
        """The repository `name` as restic writes it, without user and password."""
        return f"rest:{self.url}/{name}"

    def repository_path(self, name: str) -> Path:
        """Where the repository `name` lies on disk: the door for whoever owns the store."""
        return self.directory / "repositories" / name

    @property
    def pid(self) -> int:
        """The server's process id; raises ProgramFailed when it is not running."""
        if self._process is None:
            raise ProgramFailed("this REST server is not running")
        return self._process.pid

    @property
    def certificate(self) -> Path:
        """The self-signed certificate of `tls`, in PEM, for restic's --cacert."""
        return self.directory / "certificate.pem"

    @property
    def log(self) -> Path:
        """What the server said, appended to by every start."""
        return self.directory / "server.log"

    def start(self) -> Self:
        """Start the server and wait until it listens; raises ProgramFailed with what it said, if not."""
        if self._process is not None:
            return self
        account = server_account()
        owned_directory(self.directory, account)
        owned_directory(self.directory / "repositories", account)
        argv = [_program(), "--path", str(self.directory / "repositories")]
        argv += ["--listen", f"{self.address}:{self.port}"]
        if self.append_only:
            argv.append("--append-only")
        argv += self._access(account)
        if self.tls:
            argv += ["--tls", "--tls-cert", str(self.certificate), "--tls-key", str(self._certify(account))]
        with self.log.open("ab") as log:
            begins = log.tell()
            self._process = subprocess.Popen(
                tethered(argv, account, death_signal="KILL"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=quiet_environment(without=("RESTIC_",)),
                start_new_session=True,
            )
        try:
            self.port = self._await_port(begins)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server at once; the repositories stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _access(self, account: Account) -> list[str]:
        if self.user is None or self.password is None:
            return ["--no-auth"]
        digest = hashlib.sha1(self.password.encode(), usedforsecurity=False).digest()
        entry = f"{self.user}:{{SHA}}{base64.b64encode(digest).decode()}"
        passwords = self.directory / "htpasswd"
        passwords.touch(mode=0o600)
        passwords.write_text(entry + "\n", encoding="utf-8")
        os.chown(passwords, account.uid, account.gid)
        return ["--htpasswd-file", str(passwords)]

    def _certify(self, account: Account) -> Path:
        key = self.directory / "key.pem"
        if not key.exists():
            certify(self.address, key, self.certificate)
            os.chown(key, account.uid, account.gid)
        return key

    def _await_port(self, log_begins: int) -> int:
        deadline = time.monotonic() + START_LIMIT
        while True:
            said = self.log.read_bytes()[log_begins:].decode("utf-8", "replace")
            if found := re.search(r"start server on " + re.escape(self.address) + r":(\d+)", said):
                return int(found[1])
            ended = self._process.poll() if self._process else 0
            if ended is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"the REST server did not start: {said.strip()[-2000:]}")
            time.sleep(0.01)


def _program() -> str:
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise ProgramFailed("restic-rest-server is not installed", hint="opsctl doctor --fix")

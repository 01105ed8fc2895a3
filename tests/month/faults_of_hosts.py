"""What goes wrong on the way to the hosts, and with the locked copy, where the department has them."""

from __future__ import annotations

import os
import signal
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tests.badluck.faults import until
from tests.lab.sshd import Host, new_key
from tests.month.department import Department
from tests.month.faults import Fault
from tests.month.faults_of_sources import DumpFails

if TYPE_CHECKING:
    from tests.month.month import Month


class HostOff(Fault):
    """The host of the front office is off."""

    strikes, spoils, codes, tells = ("office",), ("office",), (13, 3), "office/"

    def inject(self, department: Department) -> None:
        stop(department, host_of(department))

    def heal(self, department: Department) -> None:
        start(department, host_of(department))


class HostKeyChanged(HostOff):
    """Another machine answers at the host's address, with another key."""

    codes = (12, 3)

    def inject(self, department: Department) -> None:
        host = host_of(department)
        self._kept = {path: path.read_bytes() for path in (host.folder / "key", host.folder / "key.pub")}
        stop(department, host)
        new_key(host.folder / "key")
        start(department, host)

    def heal(self, department: Department) -> None:
        host = host_of(department)
        stop(department, host)
        for path, content in self._kept.items():
            path.write_bytes(content)
        start(department, host)


class ConnectionLost(DumpFails):
    """The connection breaks in the middle of a dump."""

    codes = (13, 20, 3)
    script = "head -c 900 {file}; touch {file}.half; sleep 4711"

    def last(self, month: Month, at: datetime) -> None:
        department = month.department
        half = Path(f"{department.forms.file}.half")
        assert department.lab is not None
        lab = department.lab

        def cut() -> None:
            until(half.exists, "half a dump")
            lab.kill_sessions()

        cutter = threading.Thread(target=cut)
        half.parent.chmod(0o777)
        cutter.start()
        self.shown(month, at, month.tick(at))
        cutter.join()
        half.unlink()
        until(lambda: not lab.processes("sleep 4711"), "the end of what the dump had started")


class VaultLogin(Fault):
    """The locked store does not know our key any more."""

    strikes, codes, tells = ("portal",), (3,), "vault"

    def inject(self, department: Department) -> None:
        self._file = department.keys / "vault-secret"
        self._right = self._file.read_text()
        self._file.write_text("another\n")

    def heal(self, department: Department) -> None:
        self._file.write_text(self._right)


class VaultKeysStolen(Fault):
    """Somebody with the writer's keys deletes and writes over what is in the locked store."""

    strikes, codes = ("portal",), (0,)

    def inject(self, department: Department) -> None:
        assert department.bucket is not None
        self._held = department.bucket.keys()
        for key in self._held:
            if "/locks/" not in key:
                try:
                    department.bucket.writer.delete_object(Bucket=department.bucket.name, Key=key)
                except ClientError as error:
                    assert error.response["Error"]["Code"] == "AccessDenied", error
                else:
                    raise AssertionError(f"the store let its writer delete {key}")
        self._over = max(key for key in self._held if "/data/" in key)
        department.bucket.put(self._over, b"written over")

    def heal(self, department: Department) -> None:
        assert department.bucket is not None
        department.bucket.put(self._over, self._held[self._over], by="owner")

    def strike(self, month: Month, at: datetime) -> None:
        month.well(at)
        self.inject(month.department)
        self._verify(month, 22)
        self.heal(month.department)
        month.look(5)
        self._verify(month, 0)
        month.look(5 if month.late() else 0)
        month.mails()

    def _verify(self, month: Month, code: int) -> None:
        done = month.department.controller.opsctl(month.now, "verify", "vault", "--level", "data", "--share", "all")
        assert done.returncode == code, f"verify ended with {done.returncode}, not {code}: {done.stdout}{done.stderr}"


def host_of(department: Department) -> Host:
    assert department.lab is not None
    return department.lab.hosts[2]


def stop(department: Department, host: Host) -> None:
    assert department.lab is not None and host.server is not None
    for pid in department.lab.processes(f"{host.name}/config"):
        os.kill(pid, signal.SIGKILL)
    host.server.wait()
    department.lab.kill_sessions()


def start(department: Department, host: Host) -> None:
    assert department.lab is not None
    department.lab.start(host)
    until(lambda: b"Server listening" in (host.folder / "log").read_bytes(), "the host")


ALL: tuple[type[Fault], ...] = (HostOff, HostKeyChanged, ConnectionLost, VaultLogin, VaultKeysStolen)

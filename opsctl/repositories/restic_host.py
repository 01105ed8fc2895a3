"""restic on another machine, which writes into a repository of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opsctl.errors import ProgramFailed
from opsctl.model.snapshots import LockInfo
from opsctl.repositories.restic_locks import Locks
from opsctl.repositories.restic_program import OLDEST, Program
from opsctl.repositories.store import Store

if TYPE_CHECKING:
    from opsctl.shells.ssh import SshShell

_LOOK = 30.0  # seconds
_RUNS = 'read -r name <"/proc/$1/comm" && [ "$name" = restic ]'


def make_ready(program: Program, shell: SshShell) -> None:
    """What would stop restic there, asked first. Raises ProgramFailed, Unreachable, Refused."""
    try:
        program.version()
    except ProgramFailed as error:
        if error.details.get("exit_code") != 127:
            raise
        oldest = ".".join(map(str, OLDEST))
        raise ProgramFailed(
            f"{error.message}, and its files are backed up by restic there", where=shell.name,
            hint=f"install restic {oldest} or newer on {shell.name}; a host that cannot have it can send a stream: "
                 "kind: command with argv: [tar, --create, --file=-, …]",
        ) from error
    if program.cacert is not None and shell.plain().run(["test", "-r", program.cacert], accept=None, timeout=_LOOK).code:
        raise ProgramFailed(
            f"the certificate of the store, {program.cacert}, is not on {shell.target.place}", where=shell.name,
            hint=f"copy it from here to the same path there ({program.cacert}); it is no secret")


class HostLocks(Locks):
    """The locks that this host left behind, which can be asked whether restic still runs there; never one of ours, also
    where it says that its name is ours.
    """

    def __init__(self, program: Program, store: Store | None, shell: SshShell) -> None:
        super().__init__(program, store)
        self._shell = shell.plain()

    def remove_stale(self) -> list[LockInfo]:
        found = self.read()
        if not found or self._store is None:
            return []
        name = self._shell.run(["uname", "-n"], timeout=_LOOK).text.strip()
        stale = [lock for lock in found if lock.hostname == name != os.uname().nodename and not self._runs(lock.pid)]
        for lock in stale:
            self._store.remove_lock(lock.id)
        return stale

    def _runs(self, pid: int) -> bool:
        """Whether that process is restic still. Names of processes can be read by everybody."""
        return not self._shell.run(["sh", "-c", _RUNS, "sh", str(pid)], accept=None, timeout=_LOOK).code

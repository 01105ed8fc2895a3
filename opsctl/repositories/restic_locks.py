"""Locks in a repository: whose they are, and whether their owner is still alive."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from opsctl.model.snapshots import LockInfo, parse_time
from opsctl.repositories import restic_failures, restic_output
from opsctl.repositories.restic_program import Program
from opsctl.repositories.store import SHORTEST, Store, is_object_name

_SLACK = timedelta(seconds=5)  # between the kernel's clock ticks and the time that restic wrote
_DEAD = ("Z", "X")  # in /proc: ended and not reaped yet
_GLANCE = 0.2  # seconds between two looks at the store


class Locks:
    """The locks of one repository. A lock never changes, so each is read once."""

    def __init__(self, program: Program, store: Store | None) -> None:
        self._program = program
        self._store = store
        self._known: dict[str, LockInfo | None] = {}

    def read(self) -> list[LockInfo]:
        """All locks, oldest first. Costs a restic call for each unknown one, none where there is no lock."""
        found = [self._describe(name) for name in self._names()]
        return sorted((lock for lock in found if lock is not None), key=lambda lock: lock.time)

    def unreadable(self, *, ask: bool = True) -> list[str]:
        """Names in ``locks/`` that are no locks: restic waits half a minute for each, and then gives up.

        With ``ask=False`` only those that show without a restic call.
        """
        if self._store is None:
            return []
        listed = self._store.list("locks")
        if ask:
            self.read()
        wrong = [name for name, size in listed.items() if not is_object_name(name) or size < SHORTEST]
        return wrong + [name for name in listed if name not in wrong and self._known.get(name, ...) is None]

    def remove_stale(self) -> list[LockInfo]:
        """Remove the locks of dead processes of this host; returns them."""
        stale = [lock for lock in self.read() if is_stale(lock, Path(self._program.program).name)]
        if stale and self._store is None:
            # `restic unlock` leaves what it thinks alive: believe the listing.
            self._program.run(["unlock"])
            left = set(self._names())
            return [lock for lock in stale if lock.id not in left]
        for lock in stale:
            assert self._store is not None
            self._store.remove_lock(lock.id)
        return stale

    def await_change(self, seconds: float) -> None:
        """Wait until the set of locks changes, at most ``seconds``."""
        until = time.monotonic() + seconds
        before = self._glance()
        while (left := until - time.monotonic()) > 0 and self._glance() == before:
            self._program.shell.check()
            time.sleep(min(_GLANCE, left))

    def _glance(self) -> frozenset[str]:
        return frozenset(self._store.list("locks")) if self._store is not None else frozenset()

    def _names(self) -> Iterable[str]:
        if self._store is not None:
            return [
                name
                for name, size in self._store.list("locks").items()
                if is_object_name(name) and size >= SHORTEST
            ]
        return [
            name
            for name in self._program.run(["list", "locks", "--no-lock"]).text.split()
            if is_object_name(name)
        ]

    def _describe(self, name: str) -> LockInfo | None:
        """A lock's own words; None where it went away or is none."""
        if name not in self._known:
            result = self._program.run(["cat", "lock", name, "--no-lock"])
            if result.code and not restic_failures.is_damage(result.errors):
                return None
            try:
                raw = restic_output.document(result.stdout) if result.code == 0 else {}
                self._known[name] = LockInfo(
                    name,
                    parse_time(raw["time"]),
                    bool(raw.get("exclusive")),
                    raw.get("hostname", ""),
                    raw.get("username", ""),
                    int(raw.get("pid", 0)),
                )
            except (KeyError, ValueError, TypeError):
                self._known[name] = None
        return self._known[name]


def is_stale(lock: LockInfo, program: str) -> bool:
    """Whether the lock's process is certainly gone: of this host, and dead or its number another's by now.

    One that nobody has reaped yet is as dead as any; in a container nobody may ever do it.
    restic renews a lock's time, so a process that began after it is not the one that wrote it. A clock that
    was set makes every process look young, hence the look at the name.
    """
    if lock.hostname != os.uname().nodename or lock.pid <= 0:
        return False
    try:
        os.kill(lock.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    began, name, state = _process(lock.pid)
    if state in _DEAD:
        return True
    return began is not None and name != program[:15] and began > lock.time + _SLACK


def _process(pid: int) -> tuple[datetime | None, str, str]:
    """When a process began, its short name, and the letter of its state, from /proc."""
    with suppress(OSError, ValueError, StopIteration):
        head, _, rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        )
        booted = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
        ticks = int(rest.split()[19])
        began = datetime.fromtimestamp(booted, UTC) + timedelta(seconds=ticks / os.sysconf("SC_CLK_TCK"))
        return began, head.partition("(")[2], rest.split()[0]
    return None, "", ""

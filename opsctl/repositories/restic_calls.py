"""Calls of restic against one repository: surely that one, past the locks of others and keys that somebody planted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from opsctl.errors import OpsError, Unreachable
from opsctl.model.snapshots import Finding, LockInfo
from opsctl.repositories import restic_failures, restic_identity, restic_locks, restic_output, silence
from opsctl.repositories.interface import Identity
from opsctl.repositories.restic_failures import NO_LIMIT, Place
from opsctl.repositories.restic_program import Program
from opsctl.repositories.store import LocalStore, Store
from opsctl.shells.interface import Result, Word


class Calls:
    """One repository and how it is called. ``wait``: seconds to wait for somebody else's lock."""

    def __init__(self, name: str, url: str, program: Program, store: Store | None, wait: float) -> None:
        self.name = name
        self.url = url
        self.program = program
        self.store = store
        self.notes: list[str] = []
        self._wait = wait
        self._pinned: Identity | None = None
        self._confirmed = False
        self._locks = restic_locks.Locks(program, store)

    @property
    def place(self) -> Place:
        return Place(self.name, self.url, self.store, self._pinned)

    def make_sure(self) -> None:
        """Raise DamagedData where this is not the pinned repository, or lies here and would be read for ever; a restic call only when in doubt."""
        if isinstance(self.store, LocalStore):
            self.store.refuse_endless(packs=False)
        self._pinned, self._confirmed = restic_identity.sure(self, self._confirmed)

    def call(
        self,
        doing: str,
        words: Sequence[Word],
        *,
        accept: Collection[int] | None = (0,),
        sure: bool = True,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[bytes], None] | None = None,
        hidden: Collection[str] = (),
        cwd: str | None = None,
    ) -> Result:
        """One restic call against the pinned repository, waiting for locks; raises for a code not accepted.

        With ``accept=None`` every code comes back but those that mean the same for all commands: 10, 11, 12.
        ``timeout=0``: no limit. ``hidden`` (``kind/name``): objects that restic shall not see; it only reads.
        """
        if sure:
            self.make_sure()
        if hidden and self.store is not None:
            from opsctl.repositories.view import view  # an HTTP server, which a sound repository does not need

            with view(self.store, hidden) as url:
                words = [*words, *(() if "--no-lock" in words else ("--no-lock",))]
                return self._run(doing, words, {"RESTIC_REPOSITORY": url}, timeout, on_line)
        if "--no-lock" not in words and self.store is not None and self.store.list("locks"):
            self._refuse_planted_locks()
        begun = time.monotonic()
        while True:
            result = self._run(doing, words, env, timeout, on_line, cwd)
            if result.code == 1 and self._avoid_bad_keys(result):
                continue
            if result.code != 11:
                break
            self._wait_for_lock(begun)
        if result.code in (10, 12) or (accept is not None and result.code not in accept):
            raise self.failure(doing, result)
        return result

    def _run(
        self,
        doing: str,
        words: Sequence[Word],
        env: Mapping[str, str] | None,
        timeout: float | None,
        on_line: Callable[[bytes], None] | None,
        cwd: str | None = None,
    ) -> Result:
        limit = self.program.time_limit
        with silence.listening(self.store if timeout == NO_LIMIT else None, limit) as silent:
            give_up = silent.is_set if silent is not None else None
            try:
                return self.program.run(words, env=env, timeout=timeout, on_line=on_line, cwd=cwd, give_up=give_up)
            except Unreachable as error:
                if not self.program.shell.here and not (give_up and give_up()):  # the host itself
                    raise
                raise Unreachable(
                    f"restic could not {doing}: {self.place} did not answer in time ({limit:.0f} s)",
                    hint="is the store running, and the network up?",
                ) from error

    def failure(self, doing: str, result: Result) -> OpsError:
        """The error to raise for a call that ended badly; damage is looked up by name."""
        error = restic_failures.failure(doing, result, self.place)
        if error.details.get("kind") == "structure" and self.store is not None:
            from opsctl.repositories import restic_damage

            found = self.planted_locks() or restic_damage.bad_indexes(self)
            if found:
                return restic_failures.damage(found, self.place)
        return error

    def planted_locks(self) -> list[Finding]:
        return [
            restic_failures.junk("locks", name, "is no lock, but keeps restic from taking one")
            for name in self._locks.unreadable()
        ]

    def _refuse_planted_locks(self) -> None:
        """restic tries for half a minute to read what is no lock. Only what costs no call is looked at."""
        if self._locks.unreadable(ask=False):
            raise restic_failures.damage(self.planted_locks(), self.place)

    def _wait_for_lock(self, begun: float) -> None:
        """Come back when it is worth trying again; raises Busy when ``wait`` is over."""
        if self.unlock_stale():
            return
        waited = time.monotonic() - begun
        if waited >= self._wait:
            raise restic_failures.busy(self.place, self.locks(), time.time(), waited)
        self._locks.await_change(min(self._wait - waited, 5.0))

    def _avoid_bad_keys(self, result: Result) -> bool:
        """A planted or damaged key object stops restic from trying the others: point it at a good one."""
        if self.store is None or self.program.key is not None:
            return False
        if "Unmarshal" not in result.errors and "LoadRaw(<key/" not in restic_output.plain(result.stderr):
            return False
        bad = {finding.object for finding in restic_failures.suspicious(self.store, ("keys",), self._pinned)}
        good = [name for name in self.store.list("keys") if f"keys/{name}" not in bad]
        if bad and good:
            self.program.key = good[0]
        return bool(bad and good)

    def locks(self) -> list[LockInfo]:
        return self._locks.read()

    def unlock_stale(self) -> list[LockInfo]:
        removed = self._locks.remove_stale()
        self.notes += [
            f"removed the lock of process {lock.pid} of this host, which is gone, from {self.place}"
            for lock in removed
        ]
        return removed

"""One restic repository, through the restic program, believed only as far as the store confirms it."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.errors import OpsError, ProgramFailed, Refused, SafetyRefusal, Unreachable
from opsctl.model.limits import Limits
from opsctl.model.secrets import SecretRef
from opsctl.model.snapshots import BackupSummary, Finding, LockInfo, Node, Snapshot, Unreferenced
from opsctl.repositories import (
    restic_copy,
    restic_failures,
    restic_host,
    restic_locks,
    restic_output,
    restic_restore,
    restic_snapshots,
)
from opsctl.repositories.interface import Identity, OnProgress, Repository, SnapshotCache
from opsctl.repositories.restic_backup import Backup
from opsctl.repositories.restic_failures import NO_LIMIT, Place
from opsctl.repositories.restic_program import Program
from opsctl.repositories.sftp import SftpDoor
from opsctl.repositories.store import LocalStore, Store, public_url, store_for
from opsctl.shells.interface import Result, Shell, Word

if TYPE_CHECKING:
    from opsctl.shells.ssh import SshShell

_TIME_LIMIT = 120.0


class Restic(Repository):
    """A repository that restic keeps.

    ``s3_keys``: where the id and the secret of the access key to an S3 store are found. ``environment`` holds what
    else a storage needs. ``wait`` is the seconds to wait
    for somebody else's lock. ``time_limit`` (seconds) bounds the calls that only look. ``cache_dir=None``: no
    cache. A repository in a local directory never gets one: it would hide damage and save nothing. ``sftp``: the way to
    a repository behind an SFTP server.
    ``version`` is the program's, where it is known and new enough; otherwise the program is asked before the first
    call. ``calls`` counts the restic calls that open the repository.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        password: SecretRef,
        rest_user: str | None = None,
        rest_secret: SecretRef | None = None,
        cacert: str | None = None,
        shell: Shell,
        cache_dir: Path | None,
        snapshot_cache: SnapshotCache | None = None,
        program: str = "restic",
        version: tuple[int, ...] | None = None,
        wait: float = 0,
        time_limit: float = _TIME_LIMIT,
        environment: Mapping[str, str] | None = None,
        s3_keys: tuple[SecretRef, SecretRef] | None = None,
        s3_region: str | None = None,
        sftp: SftpDoor | None = None,
    ) -> None:
        self.name = name
        self.url = public_url(url)
        self.notes: list[str] = []
        self.program = Program(
            shell,
            program,
            version,
            sftp.url if sftp is not None else url,
            password=password,
            rest_user=rest_user,
            rest_secret=rest_secret,
            cacert=cacert,
            cache_dir=cache_dir,
            time_limit=time_limit,
            environment={**(environment or {}), **_s3_environment(s3_keys, s3_region)},
            words=sftp.words if sftp is not None else None,
        )
        self.store = sftp.store() if sftp is not None else store_for(
            url,
            user=rest_user,
            secret=self.program.rest_password,
            cacert=cacert,
            keys=(lambda: (self.program.secret(s3_keys[0]), self.program.secret(s3_keys[1]))) if s3_keys else None,
            region=s3_region,
        )
        if cache_dir is None or isinstance(self.store, LocalStore):
            self.program.options = ("--no-cache",)
        self._cache_dir = cache_dir
        self._wait = wait
        self._pinned: Identity | None = None
        self._confirmed = False
        self._listing = restic_snapshots.Listing(snapshot_cache)
        self._locks = restic_locks.Locks(self.program, self.store)

    @property
    def calls(self) -> int:
        return self.program.calls

    @property
    def place(self) -> Place:
        return Place(self.name, self.url, self.store, self._pinned)

    def use_no_cache(self) -> None:
        self.program.options = ("--no-cache",)

    def is_away(self) -> bool:
        if self.store is None:
            return False
        return self.store.config() is None and self.store.is_empty()

    def limited(self, limits: Limits) -> Restic:
        if limits == Limits():
            return self
        found, found.program = copy.copy(self), copy.copy(self.program)
        found.program.prefix = limits.prefix
        found.program.options = (*self.program.options, *limits.options)
        return found

    def on(self, shell: SshShell) -> Restic:
        found = copy.copy(self)
        found.program = self.program.on(shell)
        found.name = f"{self.name}, from {shell.name}"
        restic_host.make_ready(found.program, shell)
        found._locks = restic_host.HostLocks(self.program, self.store, shell)
        return found

    # Which repository this is

    def create(self, *, chunker_from: Repository | None = None, begun: bool = False) -> Identity:
        refusal = SafetyRefusal(
            f"something is already at {self.url} ({self.name}); a repository is only made in an empty place",
            hint="is it a repository of yours? then it needs no backup init; otherwise choose another place",
        )
        if begun and self.store is not None and self.store.is_only_begun():
            self._clear_begun(self.store)
        elif self.store is not None and not self.store.is_empty():
            raise refusal
        words = ["init", "--json", "--repository-version", "2"]
        if chunker_from is None:
            result = self.program.run(words)
        elif isinstance(chunker_from, Restic):
            with restic_copy.reading(chunker_from, self) as env:
                result = self.program.run([*restic_copy.way(chunker_from, self), *words, "--copy-chunker-params"], env=env)
        else:
            raise TypeError("the chunker parameters come from another restic repository")
        if result.code:
            if "already" in result.errors:
                raise refusal
            raise self.failure("make a repository", result)
        return self.identity()

    def _clear_begun(self, store: Store) -> None:
        try:
            store.remove_keys()
        except Refused as error:
            keys = ", ".join(f"keys/{name}" for name in store.list("keys"))
            raise SafetyRefusal(
                f"making {self.place} was begun and not finished, and the store does not let its key be removed",
                hint=f"on the store's own machine remove {keys} (it opens nothing), then try again",
            ) from error

    def identity(self) -> Identity:
        stored = self.store.config() if self.store is not None else None
        if self.store is not None and stored is None:
            raise restic_failures.gone(self.place)
        found = self._document("read the config", ["cat", "config", "--no-lock"], sure=False)
        keys = list(self.store.list("keys")) if self.store is not None else []
        key = keys[0] if len(keys) == 1 else None
        if len(keys) > 1:
            result = self.call("list the keys", ["key", "list", "--json", "--no-lock"], sure=False)
            key = next(
                (each["id"] for each in restic_output.array(result.stdout) if each.get("current")), None
            )
        return Identity(
            found["id"],
            found["chunker_polynomial"],
            hashlib.sha256(stored).hexdigest() if stored is not None else None,
            key,
        )

    def pin(self, identity: Identity | None) -> None:
        self._pinned = identity
        self._confirmed = False
        self.program.key = identity.key if identity is not None else None
        self._listing.repository_id = identity.id if identity is not None else None

    def make_sure(self) -> None:
        """Raise DamagedData where this is not the pinned repository; a restic call only when in doubt."""
        stored = None
        if self.store is not None:
            stored = self.store.config()
            if stored is None:
                raise restic_failures.gone(self.place)
        if self._pinned is None or (stored is None and self._confirmed):
            return
        digest = hashlib.sha256(stored).hexdigest() if stored is not None else None
        if digest is not None and digest == self._pinned.config_sha256:
            return
        try:
            found = self.identity()
        except OpsError as error:
            locked_out = error.code == 12 or error.details.get("kind") == "key-missing"
            if locked_out and self._pinned.config_sha256 is not None:
                raise restic_failures.replaced(self.place, None) from error
            raise
        if found.id != self._pinned.id:
            raise restic_failures.replaced(self.place, found.id)
        if self._pinned.config_sha256 is not None and digest is not None:
            self.notes.append(f"the config of {self.place} was stored anew (same repository)")
        self._pinned = replace(self._pinned, config_sha256=digest)
        self._confirmed = True

    # What is in it

    def snapshots(self) -> list[Snapshot]:
        self.make_sure()
        if self._listing.needs_id:
            self._listing.repository_id = self.identity().id
        return self._listing.read(self)

    def junk(self) -> list[Finding]:
        return list(self._listing.junk)

    def read(self, snapshot_id: str, path: str) -> bytes:
        return self.call(
            f"read {path} of snapshot {snapshot_id[:8]}",
            ["dump", "--no-lock", snapshot_id, "--", path],
            timeout=NO_LIMIT,
        ).stdout

    def ls(self, snapshot_id: str, path: str | None = None) -> Iterator[Node]:
        self.make_sure()
        below = ["--recursive", snapshot_id, "--", path] if path is not None else [snapshot_id]
        session = self.program.open(["ls", "--json", "--no-lock", *below])
        finished = False
        try:
            for line in session.stdout:
                raw = restic_output.parse_line(line)
                if raw is not None and raw.get("message_type", raw.get("struct_type")) == "node":
                    yield restic_output.node(raw)
            finished = True
        finally:
            result = session.close() if finished else session.close(timeout=0)
        self.program.shell.check()
        if result.code:
            raise self.failure(f"list snapshot {snapshot_id[:8]}", result)

    # Putting things in

    def backup_paths(
        self,
        paths: Sequence[Word],
        *,
        excludes: Sequence[str] = (),
        tags: Sequence[str],
        host: str,
        parent: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> BackupSummary:
        return self._backup(tags, host, on_progress).paths(paths, excludes, parent)

    def backup_command(
        self,
        argv: Sequence[Word],
        *,
        filename: str,
        env: Mapping[str, str] | None = None,
        tags: Sequence[str],
        host: str,
        on_progress: OnProgress | None = None,
    ) -> BackupSummary:
        return self._backup(tags, host, on_progress).command(argv, filename, env)

    def backup_bytes(self, content: bytes, *, filename: str, tags: Sequence[str], host: str) -> BackupSummary:
        return self._backup(tags, host, None).document(content, filename)

    def _backup(self, tags: Sequence[str], host: str, on_progress: OnProgress | None) -> Backup:
        return Backup(self, self.program, self._cache_dir, tags, host, on_progress)

    def copy_from(
        self,
        source: Repository,
        snapshot_ids: Sequence[str],
        *,
        expected: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        if not isinstance(source, Restic):
            raise TypeError("snapshots are copied from another restic repository")
        restic_copy.copy(source, self, snapshot_ids, expected, on_progress)

    # Getting things out

    def restore(
        self,
        snapshot_id: str,
        target: Path,
        *,
        include: Sequence[Word] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        restic_restore.restore(self, snapshot_id, target, include, on_progress)

    def dump_to(self, snapshot_id: str, path: str, target: Path) -> None:
        restic_restore.dump_to(self, snapshot_id, path, target)

    # Whether it is whole, and who is in it

    def check(self, share: tuple[int, int] | None = None, on_progress: OnProgress | None = None) -> list[Finding]:
        from opsctl.repositories import restic_damage  # much to load, and most commands find no damage

        return restic_damage.check(self, share, on_progress)

    def unreferenced(self, shares: Sequence[tuple[int, int]]) -> list[Unreferenced]:
        from opsctl.repositories import restic_orphans

        return restic_orphans.find(self, shares)

    def locks(self) -> list[LockInfo]:
        return self._locks.read()

    def unlock_stale(self) -> list[LockInfo]:
        removed = self._locks.remove_stale()
        self.notes += [
            f"removed the lock of process {lock.pid} of this host, which is gone, from {self.place}"
            for lock in removed
        ]
        return removed

    # Calling restic

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
            result = self._run(doing, words, env, timeout, on_line)
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
    ) -> Result:
        try:
            return self.program.run(words, env=env, timeout=timeout, on_line=on_line)
        except Unreachable as error:
            if not self.program.shell.here:  # the host itself
                raise
            raise Unreachable(
                f"restic could not {doing}: {self.place} did not answer in time",
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

    def _document(self, doing: str, words: Sequence[Word], *, sure: bool = True) -> dict[str, str]:
        result = self.call(doing, words, sure=sure)
        try:
            return restic_output.document(result.stdout)
        except (ValueError, json.JSONDecodeError) as error:
            raise ProgramFailed(
                f"restic could not {doing} ({self.place}): it printed something else"
            ) from error


def _s3_environment(keys: tuple[SecretRef, SecretRef] | None, region: str | None) -> dict[str, str | SecretRef]:
    """What restic needs for an S3 store, so that it takes neither a file's nor a cloud machine's own credentials."""
    if keys is None:
        return {}
    return {
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_SESSION_TOKEN": "",
        "AWS_DEFAULT_REGION": region or "us-east-1",
    }

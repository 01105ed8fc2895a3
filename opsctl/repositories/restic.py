"""One restic repository, through the restic program, believed only as far as the store confirms it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.model.limits import Limits
from opsctl.model.secrets import SecretRef, SecretText
from opsctl.model.snapshots import BackupSummary, Compared, Finding, Node, Snapshot, Unreferenced
from opsctl.repositories import (
    restic_copy,
    restic_host,
    restic_identity,
    restic_keys,
    restic_listing,
    restic_restore,
    restic_snapshots,
)
from opsctl.repositories.interface import Identity, Key, OnProgress, Repository, SnapshotCache
from opsctl.repositories.restic_backup import Backup
from opsctl.repositories.restic_calls import Calls
from opsctl.repositories.restic_failures import NO_LIMIT
from opsctl.repositories.restic_program import Program
from opsctl.repositories.sftp import SftpDoor
from opsctl.repositories.store import LocalStore, public_url, store_for
from opsctl.shells.interface import Shell, Word

if TYPE_CHECKING:
    from opsctl.shells.ssh import SshShell

_TIME_LIMIT = 120.0


class Restic(Calls, Repository):
    """A repository that restic keeps.

    ``s3_keys``: where the id and the secret of the access key to an S3 store are found. ``environment`` holds what
    else a storage needs. ``time_limit`` (seconds) bounds the calls that only look. ``cache_dir=None``: no cache. A
    repository in a local directory never gets one: it would hide damage and save nothing. ``sftp``: the way to a
    repository behind an SFTP server. ``version`` is the program's, where it is known and new enough; otherwise the
    program is asked before the first call. ``calls`` counts the restic calls that open the repository.
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
        restic = Program(
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
        store = sftp.store() if sftp is not None else store_for(
            url,
            user=rest_user,
            secret=restic.rest_password,
            cacert=cacert,
            keys=(lambda: (restic.secret(s3_keys[0]), restic.secret(s3_keys[1]))) if s3_keys else None,
            region=s3_region,
        )
        if cache_dir is None or isinstance(store, LocalStore):
            restic.options = ("--no-cache",)
        super().__init__(name, public_url(url), restic, store, wait)
        self._cache_dir = cache_dir
        self._listing = restic_snapshots.Listing(snapshot_cache)

    @property
    def calls(self) -> int:
        return self.program.calls

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
        return restic_identity.create(self, chunker_from, begun)

    def identity(self) -> Identity:
        return restic_identity.identity(self)

    def pin(self, identity: Identity | None) -> None:
        self._pinned = identity
        self._confirmed = False
        self.program.key = identity.key if identity is not None else None
        self._listing.repository_id = identity.id if identity is not None else None

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
        below = ["--recursive", snapshot_id, "--", path] if path is not None else [snapshot_id]
        return restic_listing.ls(self, snapshot_id, below)

    def entries(self, snapshot_id: str, folders: Sequence[str]) -> Iterator[Node]:
        return restic_listing.ls(self, snapshot_id, [snapshot_id, "--", *folders])

    def diff(self, before: str, after: str, take: Callable[[str, str], None]) -> Mapping[str, Any]:
        return restic_listing.diff(self, before, after, take)

    # Its keys

    def keys(self) -> list[Key]:
        return restic_keys.listed(self)

    def add_key(self, password: SecretText, *, user: str, host: str) -> None:
        restic_keys.add(self, password, user, host)

    def opens_with(self, password: SecretText) -> bool:
        return restic_keys.opens(self, password)

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

    def backup_bytes(
        self, content: bytes | Callable[[], bytes], *, filename: str, tags: Sequence[str], host: str, beside: Path | None = None
    ) -> BackupSummary:
        backup = self._backup(tags, host, None)
        make = content if callable(content) else lambda: content
        return backup.document(make(), filename) if beside is None or not any(beside.iterdir()) else backup.folder(make, filename, beside)

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

    def compare_files(
        self, snapshot_id: str, target: Path, *, below: str | None = None, on_progress: OnProgress | None = None
    ) -> Compared:
        from opsctl.repositories import restic_compare

        return restic_compare.compare(self, snapshot_id, target, below, on_progress)

    def dump_to(self, snapshot_id: str, path: str, target: Path) -> None:
        restic_restore.dump_to(self, snapshot_id, path, target)

    # Whether it is whole

    def check(self, share: tuple[int, int] | None = None, on_progress: OnProgress | None = None) -> list[Finding]:
        from opsctl.repositories import restic_damage  # much to load, and most commands find no damage

        return restic_damage.check(self, share, on_progress)

    def unreferenced(self, shares: Sequence[tuple[int, int]]) -> list[Unreferenced]:
        from opsctl.repositories import restic_orphans

        return restic_orphans.find(self, shares)

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

"""What a repository promises to those who write into it and read from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opsctl.model.limits import Limits
from opsctl.model.secrets import SecretText
from opsctl.model.snapshots import BackupSummary, Compared, Finding, LockInfo, Node, Progress, Snapshot, Unreferenced
from opsctl.model.values import value
from opsctl.shells.interface import Word

if TYPE_CHECKING:
    from opsctl.shells.ssh import SshShell

OnProgress = Callable[[Progress], None]


@value
class Identity:
    """Which repository this is: restic's id, the chunker polynomial, the SHA-256 of its stored ``config``.

    ``config_sha256`` is None where the store cannot be read directly. ``key`` is the name of the key object
    that our password opens (None where not known): with it a deleted key is told from a wrong password even
    where another key, an escrowed one, is left.
    """

    id: str
    chunker: str
    config_sha256: str | None
    key: str | None = None


@value
class Key:
    """One of the keys of a repository; each is opened by a password of its own. ``created`` as restic says it."""

    id: str
    user: str
    host: str
    created: str
    current: bool


class SnapshotCache(Protocol):
    """What is known of snapshots already: an id is the hash of the content, so none is read twice."""

    def get_snapshots(self, repository_id: str) -> Mapping[str, Mapping[str, Any]]: ...

    def put_snapshots(self, repository_id: str, found: Mapping[str, Mapping[str, Any]]) -> None: ...


class Repository(ABC):
    """One restic repository. Nothing here ever creates one except ``create``.

    Reading (``identity snapshots read ls entries diff restore dump_to locks``) takes no lock and works under somebody
    else's exclusive lock and with no byte free. ``backup_*`` take a shared lock, ``check`` an exclusive one
    (none where a full or write-protected store cannot take it); where they meet a lock they wait up to
    ``wait`` and then raise Busy naming host, pid and age. Locks of dead processes of this host are removed
    and said (``notes``).

    All raise Refused (password, key or key object: says which), Unreachable (store did not answer in time),
    DamagedData (the repository is gone, is another one, or cannot be read; ``details["kind"]`` and
    ``["object"]`` as in Finding), ProgramFailed (restic said no; for a full disk ``details`` holds
    ``needed`` and ``free`` in bytes, as far as they can be known), Interrupted.
    """

    name: str
    url: str
    notes: list[str]

    @abstractmethod
    def limited(self, limits: Limits) -> Repository:
        """The same repository for work that takes no more than this of the machine and of its line."""

    @abstractmethod
    def on(self, shell: SshShell) -> Repository:
        """The same repository for ``backup_paths`` and ``unlock_stale`` of files on another machine, for ``restore`` of all of a snapshot
        and ``compare_files`` there: restic runs there,
        its password goes over standard input, and nothing is kept on that machine's disk.

        ProgramFailed where it has no restic, one that is too old, or not the certificate of the store.
        """

    @abstractmethod
    def create(self, *, chunker_from: Repository | None = None, begun: bool = False) -> Identity:
        """Make the repository. Raises SafetyRefusal where something is already there.

        ``begun``: an earlier attempt of ours found the place empty and was killed. What that can have left,
        folders and a key that opens nothing, is then cleared away first.
        """

    @abstractmethod
    def identity(self) -> Identity:
        """Read the config anew: one restic call, two where several keys exist.

        DamagedData with kind ``config-missing`` where there is none.
        """

    @abstractmethod
    def pin(self, identity: Identity | None) -> None:
        """From now on every call first makes sure that it is this one, without restic where possible."""

    @abstractmethod
    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first; no restic call where the store's listing holds nothing unknown.

        What is in the store's ``snapshots/`` but is no readable snapshot is left out, and said by ``junk``.
        """

    @abstractmethod
    def junk(self) -> list[Finding]:
        """Objects that the last ``snapshots`` met and could not use (planted, damaged), each named."""

    @abstractmethod
    def backup_paths(
        self, paths: Sequence[Word], *, excludes: Sequence[str] = (), tags: Sequence[str], host: str,
        parent: str | None = None, on_progress: OnProgress | None = None,
    ) -> BackupSummary:
        """Back up files. What is unreadable or missing is in the summary; the snapshot is kept.

        Without ``parent`` everything is read. One that cannot be used is done without, and said (``notes``).
        """

    @abstractmethod
    def backup_command(
        self, argv: Sequence[Word], *, filename: str, env: Mapping[str, str] | None = None,
        tags: Sequence[str], host: str, on_progress: OnProgress | None = None,
    ) -> BackupSummary:
        """Back up what a command writes to standard output. One that fails leaves no snapshot: ProgramFailed.

        One that writes nothing as well, but restic has saved an empty snapshot by then: ``details["stray"]``.
        ``env`` is the command's own (restic passes its environment on), e.g. PGPASSFILE.
        """

    @abstractmethod
    def backup_bytes(
        self, content: bytes | Callable[[], bytes], *, filename: str, tags: Sequence[str], host: str, beside: Path | None = None
    ) -> BackupSummary:
        """Back up a small document (a manifest, a record) from memory; all that is in ``beside``, a folder of our own, with it.

        One that is still to be made may be made while the repository is being opened, and may ask that repository.
        """

    @abstractmethod
    def copy_from(
        self, source: Repository, snapshot_ids: Sequence[str], *, expected: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Copy snapshots of another repository to here, in the order given; each gets an id of its own here.

        SafetyRefusal where the two cut data up differently. ``expected``: about how many bytes are new here.
        """

    @abstractmethod
    def use_no_cache(self) -> None:
        """From now on read everything from the store: a cache would hide that something there is damaged."""

    @abstractmethod
    def is_away(self) -> bool:
        """Whether nothing at all is at the place: a disk that is not plugged in, or was never prepared."""

    @abstractmethod
    def read(self, snapshot_id: str, path: str) -> bytes:
        """The content of one small file of a snapshot."""

    @abstractmethod
    def ls(self, snapshot_id: str, path: str | None = None) -> Iterator[Node]:
        """Stream the entries of a snapshot; memory does not grow with their number."""

    @abstractmethod
    def entries(self, snapshot_id: str, folders: Sequence[str]) -> Iterator[Node]:
        """Stream what lies right in these folders of a snapshot, and the folders themselves."""

    @abstractmethod
    def diff(self, before: str, after: str, take: Callable[[str, str], None]) -> Mapping[str, Any]:
        """Hand every path that differs to ``take``, with how: ``+ - M T``, ``?`` where only the content did. One restic call.

        Folders end in ``/``. Names that are not UTF-8 have U+FFFD in them. Returns restic's statistics.
        """

    @abstractmethod
    def restore(
        self, snapshot_id: str, target: Path, *, include: Sequence[Word] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        """Restore into ``target`` and verify what was written. ``include``: absolute paths, not patterns.

        Raises DamagedData (files that could not be restored, in ``details["files"]``), ProgramFailed (no
        space; paths that are not in the snapshot, in ``details["missing"]``).
        """

    @abstractmethod
    def compare_files(
        self, snapshot_id: str, target: Path, *, below: str | None = None, on_progress: OnProgress | None = None
    ) -> Compared:
        """Hold what is at ``target`` against a snapshot, content by content; of it only what is ``below`` a folder of it.

        Paths are as in the snapshot, or begin at ``below``. What is there besides is not seen. No link is followed for a file.
        """

    @abstractmethod
    def dump_to(self, snapshot_id: str, path: str, target: Path) -> None:
        """Write one file of a snapshot to ``target`` (whole or not at all)."""

    @abstractmethod
    def check(
        self, share: tuple[int, int] | None = None, on_progress: OnProgress | None = None
    ) -> list[Finding]:
        """Structure, and with ``share=(n, M)``, M up to 256, that share of the packs read back.

        Includes what restic does not see but the store shows: objects whose content is not their name.
        Packs that no index names are not read: one finding of kind ``pack-unreferenced`` says that there are some.
        Findings on packs already carry ``files`` and, in ``sets``, the *snapshot ids* they reach.
        """

    @abstractmethod
    def unreferenced(self, shares: Sequence[tuple[int, int]]) -> list[Unreferenced]:
        """The packs that no index names, those of ``shares`` read back, where the store can be read directly.

        As dear as a check of the structure: for where ``check`` of a share said that there are any (``pack-unreferenced``).
        """

    @abstractmethod
    def keys(self) -> list[Key]:
        """The keys that are there; ``current`` is the one that our password opens."""

    @abstractmethod
    def add_key(self, password: SecretText, *, user: str, host: str) -> None:
        """A further key, for another password, marked with these names. The others stay."""

    @abstractmethod
    def opens_with(self, password: SecretText) -> bool:
        """Whether this password opens the repository. Raises Unreachable, DamagedData."""

    @abstractmethod
    def locks(self) -> list[LockInfo]: ...

    @abstractmethod
    def unlock_stale(self) -> list[LockInfo]:
        """Remove locks of dead processes of this host; returns them. Costs nothing where there is no lock."""

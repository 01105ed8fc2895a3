"""What restic says about a snapshot, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, NamedTuple

from opsctl.model.values import value


@value
class Snapshot:
    """One restic snapshot. ``id`` is the SHA-256 of its stored form, so it never changes its meaning.

    ``original`` is set by copy, tag, rewrite and repair, never by backup. ``raw`` is restic's own JSON object.
    """

    id: str
    time: datetime
    tree: str
    paths: tuple[str, ...]
    hostname: str
    tags: tuple[str, ...] = ()
    original: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Snapshot:
        """Read one object of ``restic snapshots --json``; raises KeyError or ValueError on another shape."""
        return cls(
            id=raw["id"],
            time=parse_time(raw["time"]),
            tree=raw["tree"],
            paths=tuple(raw.get("paths") or ()),
            hostname=raw.get("hostname", ""),
            tags=tuple(raw.get("tags") or ()),
            original=raw.get("original"),
            summary=raw.get("summary") or {},
            raw=raw,
        )

    def tag(self, name: str) -> str | None:
        """The value of the first tag ``name=value``."""
        start = f"{name}="
        return next((tag[len(start):] for tag in self.tags if tag.startswith(start)), None)


def parse_time(text: str) -> datetime:
    """RFC 3339 with any number of fractional digits (Go prints nine) to an aware datetime."""
    body, _, rest = text.partition(".")
    if rest:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{body}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text}: no time zone")
    return moment


@value
class BackupSummary:
    """How one ``restic backup`` ended: ``snapshot`` is None where nothing was saved.

    ``unreadable`` holds (path, message) of what could not be read at the source, each path once; ``anew``: paths whose
    earlier content the repository lacks, so that they were read and stored again; ``torn``: (folder, message) where the
    repository cannot read what it holds of the folder as it was before, and would not store the same again.
    """

    snapshot: str | None
    files: int
    bytes: int
    data_added: int
    data_added_packed: int
    seconds: float
    unreadable: tuple[tuple[str, str], ...] = ()
    anew: tuple[str, ...] = ()
    torn: tuple[tuple[str, str], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def touched(self) -> int | None:
        """How many files are new or other than in the parent, all where there was none; None where restic does not say it."""
        new, changed = self.raw.get("files_new"), self.raw.get("files_changed")
        return new + changed if isinstance(new, int) and isinstance(changed, int) else None


class Node(NamedTuple):
    """One entry of ``restic ls``. Names that are not UTF-8 arrive with U+FFFD; ``path`` is never shown raw."""

    path: str
    type: str
    size: int
    mode: int
    uid: int
    gid: int
    mtime: str
    inode: int = 0


@value
class Compared:
    """What of a snapshot is on disk. ``equal``: how many files have the content that it knows.

    ``different``: paths of files with another content, or none; ``more`` of them are not named. ``unsure``: what has no
    content of its own: folders, links, empty files, and further names of files with several.
    """

    equal: int
    different: tuple[str, ...]
    unsure: frozenset[str]
    more: int = 0


@value
class LockInfo:
    """A lock in a repository, as its holder described itself; restic renews ``time`` every five minutes."""

    id: str
    time: datetime
    exclusive: bool
    hostname: str
    username: str
    pid: int


@value
class Finding:
    """One thing that is wrong in a repository.

    ``kind`` is a word of ours (``pack-missing``, ``pack-damaged``, ``pack-truncated``, ``index-damaged``,
    ``index-missing``, ``snapshot-damaged``, ``snapshot-deleted``, ``snapshot-foreign``, ``snapshot-altered``,
    ``snapshot-future``, ``key-missing``, ``key-damaged``, ``config-missing``, ``config-damaged``,
    ``repository-replaced``, ``junk-object``, ``manifest-damaged``, ``structure``, ``prune-forged``, ``thaw-forged``, ``choice-forged``
    (nobody agreed to what they say); ``pack-unreferenced``, which is no
    damage: there are packs that no index names). ``object`` is ``TYPE/NAME``
    in the store. ``sets`` and ``files`` are what it reaches (``sets`` empty and ``reaches_all``: all of them;
    a file that ends in ``/``: all below it); ``of`` says whose the sets are, each as ``BACKUP/SET``, for the sets that two
    backups took in one run have one id; ``repair`` is what a person may do about it, safest first.
    """

    kind: str
    message: str
    object: str | None = None
    sets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    reaches_all: bool = False
    repair: str | None = None
    of: tuple[str, ...] = ()


@value
class Unreferenced:
    """A pack that no index names: a run was killed before it wrote one. No snapshot needs it, so restic does not read it.

    ``whole``: whether its content is what its name says; None where it was not read.
    """

    name: str
    bytes: int
    whole: bool | None


@value
class Progress:
    """How far a long thing is. Bytes and files; ``None`` where not known; ``seconds_left`` an estimate.

    ``unit``: what is counted where it is no files.
    """

    what: str
    bytes_done: int = 0
    bytes_total: int | None = None
    files_done: int = 0
    files_total: int | None = None
    seconds_left: float | None = None
    unit: str = "file"

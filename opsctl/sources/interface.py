"""What a source promises: to be checked, captured with its proof from one moment, and brought back."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from opsctl.errors import ProgramFailed
from opsctl.model.limits import Limits
from opsctl.model.signals import Signals, unknown
from opsctl.model.snapshots import Snapshot
from opsctl.model.values import value
from opsctl.repositories.interface import OnProgress, Repository

if TYPE_CHECKING:
    from opsctl.shells.interface import Shell
    from opsctl.sources.throwaway import Throwaway

#: How many paths a Problem names; the rest is a number.
LISTED = 100


@value
class Problem:
    """Something a backup lacks; ``code`` is the exit code it stands for: 3 missing or unreadable, 12, 13, 20.

    ``acceptable`` ones (a path missing on purpose, a tree that shrank) a person may accept by name; others
    not.
    """

    code: int
    message: str
    hint: str | None = None
    paths: tuple[str, ...] = ()
    more_paths: int = 0
    acceptable: bool = False


@value
class Captured:
    """One source in the repository, with the proof that a restore is compared with. All of it JSON-able.

    ``proof`` always has ``kind`` (``files``, ``rows``, ``content``) and ``algorithm``; its other keys belong to the kind.
    ``notes`` is what a person should know of a capture that lacks nothing. ``origin``: the path at home of the one file that it
    is the content of, where that lies in the snapshot under another name. ``touched``: how many files are new or other than in the
    snapshot before; None where that is not known. It is not part of a manifest.
    """

    snapshot: str
    proof: Mapping[str, Any]
    files: int
    bytes: int
    data_added: int
    data_added_packed: int
    seconds: float
    paths: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    origin: str | None = None
    touched: int | None = None


@value
class Difference:
    """One place where restored data is not what was backed up."""

    where: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


@value
class Context:
    """What a capture gets from its run. ``scratch`` is private, empty, and removed afterwards.

    ``limits`` is for programs that the source runs itself; ``repository`` keeps to it already.
    """

    repository: Repository
    tags: tuple[str, ...]
    host: str
    now: datetime
    scratch: Path
    parent: str | None = None
    previous: Mapping[str, Any] | None = None
    on_progress: OnProgress | None = None
    limits: Limits = field(default_factory=Limits)


@value
class Evidence:
    """What a source's change signals are taken from: its snapshot in one set and in the set before it, in one repository.

    ``entry`` and ``previous`` are its entries in the manifests, the one of ``entry`` perhaps not complete yet; ``previous`` is
    None for its first set. ``touched``: as in what was captured. ``so_far`` says, perhaps after a wait, what its signals were in the sets
    before, newest first, where those have any. ``live``: the source still is as it was captured, so that its content may be read where
    it is. ``scratch`` is private and empty.
    """

    repository: Repository
    entry: Mapping[str, Any]
    previous: Mapping[str, Any] | None
    so_far: Callable[[], tuple[Mapping[str, Any], ...]]
    scratch: Path
    live: bool = False
    touched: int | None = None

    @property
    def earlier(self) -> tuple[Mapping[str, Any], ...]:
        """Its signals in the sets before. What takes long comes before this is asked for."""
        return self.so_far()

    @property
    def same(self) -> bool:
        """Whether it is known already that nothing in it changed since the set before."""
        entry, previous = self.entry, self.previous
        if previous is None:
            return False
        known = entry.get("tree") is not None and entry.get("tree") == previous.get("tree")
        return known or (self.touched == 0 and entry["files"] == previous["files"])


class Source(ABC):
    """One thing to back up. Constructors only store."""

    kind: ClassVar[str]
    name: str

    @abstractmethod
    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        """Before: what is missing now. Reads only; ``capture`` does not depend on it and looks anew.

        ``previous`` is this source's entry in the last good set, or None; it has at least ``files``,
        ``bytes``, ``proof``.
        """

    @abstractmethod
    def capture(self, context: Context) -> Captured:
        """Take snapshot and proof; looks again afterwards and puts what it misses into ``problems``.

        Raises OpsError where there is no usable snapshot (dump died, wrong password); then nothing is left.
        """

    def look_again(self, captured: Captured, snapshot: Snapshot) -> list[Problem]:
        """After: what is not in the snapshot, as the repository lists it, although it was given to restic.

        restic 0.18 ends with 0 where a path has vanished between our look and its own.
        """
        lost = tuple(sorted(set(captured.paths) - set(snapshot.paths)))
        if not lost:
            return []
        return [
            Problem(
                3,
                f"not in the snapshot: {', '.join(lost[:LISTED])}",
                hint="did it vanish during the backup?",
                paths=lost[:LISTED],
                more_paths=max(0, len(lost) - LISTED),
                acceptable=True,
            )
        ]

    def signals(self, evidence: Evidence) -> Signals:
        """Whether what changed since the set before looks like an attack. May raise any OpsError: then it is unknown.

        At most two restic calls for a set that was just taken.
        """
        return unknown(f"what changes in a source of kind {self.kind} is not looked at")

    @abstractmethod
    def restored_files(self, entry: Mapping[str, Any], place: Path) -> list[Difference]:
        """Compare files restored below ``place`` with the entry, by all that the kind knows of them."""

    def tables_in(self, entry: Mapping[str, Any], file: Path | None) -> list[Difference] | None:
        """Compare the tables of a database that is one file, at ``file`` or where it always is; None for what is no such database."""
        return None


class Database(Source):
    """A source that is loaded into a server to be used: by programs that ``shell`` runs, for a backup those that ``there`` does."""

    shell: Shell
    there: Shell

    @abstractmethod
    def load(
        self, dump: Path, entry: Mapping[str, Any], database: str, *, server: Mapping[str, str] | None = None
    ) -> None:
        """Load ``dump`` into a new database ``database``.

        SafetyRefusal where it exists; ProgramFailed where the server is older. One that fails leaves nothing.

        ``server`` overrides where (keys ``server port user cacert``); the default is where the source is.
        """

    @abstractmethod
    def prove(
        self, entry: Mapping[str, Any], database: str, *, server: Mapping[str, str] | None = None
    ) -> list[Difference]:
        """Compute the proof in ``database`` and compare it, table by table."""

    @abstractmethod
    def exists(self, database: str, *, server: Mapping[str, str] | None = None) -> bool: ...

    @abstractmethod
    def rename(self, old: str, new: str, *, server: Mapping[str, str] | None = None) -> None: ...

    @abstractmethod
    def refuse_own(self, database: str) -> None:
        """SafetyRefusal, or UsageError, for a database that is the server's own, or can be none."""

    @abstractmethod
    def identity(self, database: str, *, server: Mapping[str, str] | None = None) -> str | None:
        """What tells it from every other one of its server, whatever it is called; None where there is none of that name."""

    @abstractmethod
    def exchange(
        self, database: str, new: str | None, kept: str, *, server: Mapping[str, str] | None = None
    ) -> None:
        """Send everybody away from ``database``, name it ``kept``, and give ``new`` its name; either may be missing.

        Called again after having been cut off, it goes on. Raises SafetyRefusal, ServerError, Refused; then it is as it was.
        """

    @abstractmethod
    def is_closed(self, database: str, other: str, *, server: Mapping[str, str] | None = None) -> bool:
        """Whether an exchange that was cut off left it so that it cannot be used; ``other``: the other name that it dealt with."""

    @abstractmethod
    def open_up(self, database: str, other: str, *, server: Mapping[str, str] | None = None) -> None:
        """Make it fit for use again."""

    @abstractmethod
    def size(self, database: str, *, server: Mapping[str, str] | None = None) -> int:
        """Bytes that it takes on the server."""

    @abstractmethod
    def discard(self, database: str, *, server: Mapping[str, str] | None = None) -> None:
        """Drop a database that a person has named, whatever it is called."""

    @abstractmethod
    def dated(self, database: str, word: str, stamp: str, number: int) -> str:
        """``NAME_before_20261220_1402``, no longer than the server takes; from the second on with its number."""

    @abstractmethod
    def where(self, server: Mapping[str, str] | None = None) -> str:
        """The server, in words."""

    def throwaway(self, directory: Path, *, inside: Sequence[str] = (), as_owner: Sequence[str] = ()) -> Throwaway:
        """A server of this kind that is not started yet, in a directory of its own; see ``Throwaway``.

        ProgramFailed where its programs are not here.
        """
        raise ProgramFailed(f"{self.name}: no server of kind {self.kind} can be started here",
                            hint="its dump was restored and compared, its tables were not")

    @abstractmethod
    def refuse_older(self, entry: Mapping[str, Any], *, server: Mapping[str, str] | None = None) -> None:
        """ProgramFailed, naming both versions, where the server is older than the one that the dump comes from."""

    @abstractmethod
    def refuse_older_here(self, entry: Mapping[str, Any], said: str = "", place: str = "this machine") -> None:
        """The same of the programs that ``throwaway`` would start. ProgramFailed also where they are not here.

        ``said``: what the server's program on another ``place`` says of its version.
        """

    def beside(self) -> Self:
        """The same, whose programs run where those of a backup do, and reach the server as they do: for production on another machine."""
        found = copy.copy(self)
        found.shell = self.there
        return found

    @property
    def _beside(self) -> bool:
        """Whether a restore's programs run on the machine from which the server is seen as the configuration says."""
        return self.there.here or self.shell is self.there

    @abstractmethod
    def drop(self, database: str, *, server: Mapping[str, str] | None = None) -> None:
        """Drop what a restore left unfinished; SafetyRefusal for a name without ``_opsctl_``."""


class BroughtBack(Source):
    """A source that a program of the user's own brings back, into a place that nothing here can look into."""

    @property
    @abstractmethod
    def brings_back(self) -> bool:
        """Whether there is such a program."""

    @abstractmethod
    def bring_back(self, entry: Mapping[str, Any], place: Path, target: str) -> list[Difference]:
        """Feed the files restored below ``place`` to the program, which makes ``target`` of them.

        Compares what it was fed with the entry. ProgramFailed where it says no; then nobody knows what is there.
        """


def shrunken(previous: Mapping[str, Any] | None, files: int, bytes_: int) -> list[Problem]:
    """A source that has less than half of what the last good set held of it."""
    if previous is None:
        return []
    before = {"files": int(previous.get("files") or 0), "bytes": int(previous.get("bytes") or 0)}
    fallen = [
        f"{now:,} {what} where the last set had {before[what]:,}"
        for what, now in (("files", files), ("bytes", bytes_))
        if now * 2 < before[what]
    ]
    if not fallen:
        return []
    return [
        Problem(
            3,
            f"less than half is left: {', '.join(fallen)}",
            hint="is everything mounted, and was nothing deleted?",
            acceptable=True,
        )
    ]


def difference(where: str, expected: Any, found: Any) -> Sequence[Difference]:
    """No difference or one."""
    return () if expected == found else (Difference(where, expected, found),)

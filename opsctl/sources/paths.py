"""Files and folders as a source."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from opsctl.errors import Partial
from opsctl.model.canaries import content
from opsctl.model.changes import Sealed
from opsctl.model.signals import Signals
from opsctl.model.snapshots import BackupSummary
from opsctl.model.values import value
from opsctl.proofs import files
from opsctl.repositories.interface import Repository
from opsctl.shells.interface import Shell
from opsctl.sources import paths_signals
from opsctl.sources.interface import LISTED, Captured, Context, Difference, Evidence, Problem, Source, shrunken

#: What a file system that was just made holds by itself.
NOTHING = frozenset({"lost+found"})


@value
class Seen:
    """One configured path as it is now. ``trouble`` is the system's word where it could not be looked at; ``target`` is
    what a link points to.
    """

    path: str
    kind: str  # missing, folder, link, file
    empty: bool = False
    mounted: bool = False
    trouble: str = ""
    target: str = ""


class Eyes(Protocol):
    """How files are looked at on the machine where they are."""

    def look(self, path: str) -> Seen:
        """How one path is now; a link is not followed, since restic does not follow it either."""

    def is_mount(self, path: str) -> bool: ...

    def is_there(self, path: str) -> bool: ...

    def is_folder(self, path: str) -> bool:
        """Whether it is one, or a link to one."""


class Paths(Source):
    """What restic makes of ``paths``, held against what was configured and what was there last time.

    ``marker`` is a file that has to be there: absolute, or below each of the folders. ``mountpoint`` names
    what has to be a mount point: True for every path, or those given. ``at_least`` has ``files`` and
    ``bytes``. ``canaries``: files below the paths that nobody has to touch; ``sealed``: patterns of names
    of files that are encrypted on purpose.
    """

    kind: ClassVar[str] = "paths"

    def __init__(
        self,
        name: str,
        *,
        paths: Sequence[str],
        exclude: Sequence[str] = (),
        at_least: Mapping[str, int | None] | None = None,
        marker: str | None = None,
        mountpoint: bool | str | Sequence[str] | None = None,
        shell: Shell | None = None,
        canaries: Sequence[str] = (),
        sealed: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.sealed = tuple(sealed)
        self.canaries = tuple(canaries)
        self.paths = tuple(paths)
        self.exclude = tuple(exclude)
        self.at_least = at_least
        self.marker = marker
        self.mountpoint = mountpoint
        self.shell = shell

    @property
    def eyes(self) -> Eyes:
        return OurEyes()

    @property
    def here(self) -> bool:
        """Whether the files are on this machine."""
        return True

    def repository(self, context: Context) -> Repository:
        """The repository, with restic run where the files are."""
        return context.repository

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        return [
            *self._unmounted(),
            *self._unmarked(),
            *problems_before([self.eyes.look(path) for path in self.paths], previous),
        ]

    def capture(self, context: Context) -> Captured:
        seen = [self.eyes.look(path) for path in self.paths]
        there = [each.path for each in seen if each.kind != "missing"]
        before = [*self._unmounted(), *self._unmarked(), *problems_before(seen, context.previous)]
        if not there:
            raise Partial(
                "; ".join(problem.message for problem in before) or "no path is configured",
                where=self.name,
                hint=next((problem.hint for problem in before if problem.hint), None),
                details={"paths": list(self.paths)},
            )
        summary = self.repository(context).backup_paths(
            there,
            excludes=self.exclude,
            tags=context.tags,
            host=context.host,
            parent=context.parent,
            on_progress=context.on_progress,
        )
        if summary.snapshot is None:
            raise Partial("restic kept no snapshot", where=self.name, details={"paths": there})
        proof = files.proof(summary.files, summary.bytes)
        empty = [each.path for each in seen if each.empty]
        if empty:
            proof["empty"] = empty
        return Captured(
            snapshot=summary.snapshot,
            proof=proof,
            files=summary.files,
            bytes=summary.bytes,
            data_added=summary.data_added,
            data_added_packed=summary.data_added_packed,
            seconds=summary.seconds,
            paths=tuple(os.path.normpath(path) for path in there),
            excluded=self.exclude,
            touched=summary.touched,
            problems=(*before, *problems_after(summary, self.at_least, context.previous)),
        )

    def signals(self, evidence: Evidence) -> Signals:
        return paths_signals.of(evidence, here=self.here, sealed=Sealed(self.sealed),
                                canaries={path: content(self.name, path) for path in self.canaries})

    def restored_files(self, entry: Mapping[str, Any], place: Path) -> list[Difference]:
        return list(files.compare(entry["proof"], files.count(place)))

    def _unmounted(self) -> list[Problem]:
        wanted: Sequence[str] = ()
        if self.mountpoint is True:
            wanted = self.paths
        elif isinstance(self.mountpoint, str):
            wanted = (self.mountpoint,)
        elif self.mountpoint:
            wanted = self.mountpoint
        return [
            Problem(3, f"{path} is not a mount point", hint=f"mount {path}", paths=(path,), acceptable=True)
            for path in wanted
            if not self.eyes.is_mount(path)
        ]

    def _unmarked(self) -> list[Problem]:
        if not self.marker:
            return []
        places = (
            [self.marker]
            if os.path.isabs(self.marker)
            else [
                os.path.join(path, self.marker)
                for path in self.paths
                if self.eyes.is_folder(path) or not self.eyes.is_there(path)
            ]
        )
        return [
            Problem(
                3,
                f"the marker {place} is missing",
                hint="is the right file system mounted there?",
                paths=(place,),
                acceptable=True,
            )
            for place in places
            if not self.eyes.is_there(place)
        ]


class OurEyes:
    """This machine's files."""

    def look(self, path: str) -> Seen:
        path = os.path.normpath(path)
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return Seen(path, "missing")
        except OSError as error:
            return Seen(path, "missing", trouble=error.strerror or str(error))
        if stat.S_ISLNK(mode):
            return Seen(path, "link", target=os.path.realpath(path))
        if not stat.S_ISDIR(mode):
            return Seen(path, "file")
        try:
            with os.scandir(path) as entries:
                empty = all(entry.name in NOTHING for entry in entries)
        except OSError:  # restic will say so, and then it is in the summary
            empty = False
        return Seen(path, "folder", empty=empty, mounted=os.path.ismount(path))

    def is_mount(self, path: str) -> bool:
        return os.path.ismount(path)

    def is_there(self, path: str) -> bool:
        return os.path.lexists(path)

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)


def problems_before(seen: Sequence[Seen], previous: Mapping[str, Any] | None) -> list[Problem]:
    """What is wrong with the configured paths as they were found."""
    found = []
    known_empty = () if previous is None else previous.get("proof", {}).get("empty", ())
    for each in seen:
        if each.kind == "missing" and each.trouble:
            found.append(
                Problem(
                    3,
                    f"{each.path} cannot be looked at: {each.trouble}",
                    hint="may this user read it?",
                    paths=(each.path,),
                    acceptable=True,
                )
            )
        elif each.kind == "missing":
            found.append(
                Problem(
                    3,
                    f"{each.path} does not exist",
                    hint="is it mounted, and is the path right?",
                    paths=(each.path,),
                    acceptable=True,
                )
            )
        elif each.kind == "link":
            found.append(
                Problem(
                    3,
                    f"{each.path} is a symbolic link, and only the link would be saved",
                    hint=f"name what it points to: {each.target}",
                    paths=(each.path,),
                    acceptable=True,
                )
            )
        elif each.empty and each.path not in known_empty:
            what = "an empty mount point" if each.mounted else "empty"
            found.append(
                Problem(
                    3,
                    f"{each.path} is {what}",
                    hint="is the right file system mounted there?",
                    paths=(each.path,),
                    acceptable=True,
                )
            )
    return found


def problems_after(
    summary: BackupSummary,
    at_least: Mapping[str, int | None] | None,
    previous: Mapping[str, Any] | None,
) -> list[Problem]:
    """What is wrong with what restic saved."""
    found = []
    if summary.unreadable:
        paths = tuple(path for path, _ in summary.unreadable[:LISTED])
        first, why = summary.unreadable[0]
        number = len(summary.unreadable)
        found.append(
            Problem(
                3,
                f"{number:,} could not be read, first {first}: {why}",
                hint="may this user read it? A file that vanished meanwhile is named here too",
                paths=paths,
                more_paths=number - len(paths),
                acceptable=True,
            )
        )
    if summary.torn:
        first, why = summary.torn[0]
        found.append(
            Problem(
                3,
                f"the repository cannot read what it holds of {first} as it was before, so this set may lack it too: {why}",
                hint="`opsctl verify --level data --share all` names what is damaged, and how it is mended",
                paths=tuple(path for path, _ in summary.torn[:LISTED]),
                more_paths=max(0, len(summary.torn) - LISTED),
                acceptable=True,
            )
        )
    for what, least in (at_least or {}).items():
        have = {"files": summary.files, "bytes": summary.bytes}[what]
        if least is not None and have < least:
            found.append(Problem(3, f"{have:,} {what}, and at least {least:,} are expected", acceptable=True))
    if not summary.files:
        found.append(Problem(3, "not a single file was backed up", hint="is everything mounted?"))
        return found
    return found + shrunken(previous, summary.files, summary.bytes)

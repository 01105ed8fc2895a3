"""An SQLite database that is promoted: a file, and what SQLite keeps beside it."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from opsctl.actions import into_view
from opsctl.actions.promoting.exchange import Exchange, Missing
from opsctl.actions.promoting.files import BroughtFiles, Files
from opsctl.errors import SafetyRefusal

#: The log and the journal of changes that are not in the file itself yet belong to it, and would spoil any other.
_BESIDE = ("-wal", "-journal", "-shm")
#: Where in a file SQLite locks, by its own file format.
_LOCKED_FROM, _LOCKED = 0x40000000, 512
_FLOCK = struct.Struct("hhqqi4x")


class SqliteFile(Files):
    """The file, with what belongs to it. ``kept``: the name under which that was kept when it was replaced."""

    def __init__(self, place: str, kept: str) -> None:
        super().__init__(place)
        self.kept = kept

    def missing(self, wanted: Exchange) -> Missing:
        left = super().missing(wanted)
        if left is Missing.NOTHING and wanted.new is not None and any(_belonging(self.kept)):
            return Missing.OPEN
        return left

    def swap(self, wanted: Exchange) -> None:
        """Raises SafetyRefusal where a program has it open, as far as its locks show."""
        _make_way(self.look(wanted.place), wanted)
        super().swap(wanted)
        if wanted.new is not None:
            _take(self.kept, wanted.place)

    def discard(self, name: str) -> None:
        for end in _belonging(name):
            os.unlink(name + end)
        super().discard(name)


class BroughtSqlite(BroughtFiles):
    """One of a set."""

    def swap(self, wanted: Exchange) -> None:
        _make_way(self.look(wanted.place), wanted)
        super().swap(wanted)

    def bring(self) -> None:
        super().bring()
        staged, place = Path(self.source), Path(self.place)
        if place.exists():  # a snapshot of what a program wrote knows no owner
            found = os.stat(place)
            shutil.copymode(place, staged)
            os.chown(staged, found.st_uid, found.st_gid)


def _make_way(there: str | None, wanted: Exchange) -> None:
    """Before the file itself goes, what belongs to it: without it the file is what it was a moment ago, and with it any other is spoilt."""
    if there is not None and there == wanted.old:
        refuse_in_use(Path(wanted.place))
        _take(wanted.place, wanted.kept)


def refuse_in_use(place: Path) -> None:
    """SafetyRefusal where a program holds one of SQLite's locks on it."""
    with open(place, "rb+", buffering=0) as file:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_FROM, _LOCKED, 0)
        kind, _, _, _, holder = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    if kind != fcntl.F_UNLCK:
        raise SafetyRefusal(f"{place} is in use by process {holder}", hint="stop it, then resume", where=str(place))


def _belonging(place: str) -> Iterator[str]:
    return (end for end in _BESIDE if os.path.lexists(place + end))


def _take(old: str, new: str) -> None:
    for end in _belonging(old):
        into_view.move(Path(old + end), Path(new + end))

"""Break-glass: the journal and the runs of times in which the state directory cannot be used."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from opsctl.engine.journal import Clock, Journal, Pending
from opsctl.engine.journal_files import START, Head, try_room
from opsctl.engine.journal_lines import Entry, seal, stamp
from opsctl.errors import DamagedData, OpsError, ProgramFailed

ADOPTED_MARK = "adopted"
"""A file in a spool whose lines are in the journal by now: what comes later goes to the next one."""


def trouble(state: Path, journal: Journal) -> OpsError | None:
    """Why nothing can be written down in the state directory; None where it can."""
    try:
        journal.check()
        try_room(state / "runs")
    except OpsError as error:
        return error
    return None


def spools(directory: Path, scope: str) -> list[Path]:
    """The spools of a state directory, oldest first."""
    found = {int(match[1]): path for path in directory.glob(f"spool-{scope}-*")
             if (match := re.fullmatch(rf"spool-{re.escape(scope)}-(\d+)", path.name))}
    return [found[number] for number in sorted(found)]


def open_spool(directory: Path, scope: str) -> Path | None:
    """The spool that has lines and was not adopted; None where there is none."""
    found = [path for path in spools(directory, scope) if not (path / ADOPTED_MARK).exists() and spool_file(path).exists()]
    return found[-1] if found else None


def next_spool(directory: Path, scope: str) -> Path:
    """Where the next lines go: the open spool, or a new one, which is not made here."""
    known = spools(directory, scope)
    if known and not (known[-1] / ADOPTED_MARK).exists():
        return known[-1]
    return directory / f"spool-{scope}-{int(known[-1].name.rpartition('-')[2]) + 1 if known else 1}"


def spool_file(place: Path) -> Path:
    """The journal in a spool, which is one file."""
    return place / "journal" / "000001.jsonl"


class Spool(Journal):
    """A journal in one file, for ``journal adopt``. Reading goes first through the one that cannot be written."""

    segmented: ClassVar[bool] = False

    def __init__(self, place: Path, clock: Clock, behind: Journal) -> None:
        super().__init__(place / "journal", clock)
        self.behind = behind

    def read(self, run: str | None = None, since_seq: int | None = None, types: Collection[str] | None = None,
             on_damage: Callable[[DamagedData], None] | None = None) -> Iterator[Entry]:
        """What of the journal in the state directory can be read at all, and then the spool."""
        with contextlib.suppress(OpsError):
            yield from self.behind.read(run, since_seq, types, lambda problem: None)
        yield from self._own(run, since_seq, types, on_damage)

    def _own(self, run: str | None, since_seq: int | None, types: Collection[str] | None,
             on_damage: Callable[[DamagedData], None] | None) -> Iterator[Entry]:
        return super().read(run, since_seq, types, on_damage)


class Spoken(Spool):
    """A journal that is only said, line by line, where no file can be written; ``say`` raises OSError."""

    def __init__(self, place: Path, clock: Clock, behind: Journal, say: Callable[[bytes], None]) -> None:
        super().__init__(place, clock, behind)
        self._say = say
        self._entries: list[Entry] = []

    def head(self) -> Head | None:
        self.flush()
        last = self._entries[-1] if self._entries else None
        return Head(1, 0, last.seq, last.hash, stamp(last.time)) if last else None

    def _own(self, run: str | None, since_seq: int | None, types: Collection[str] | None,
             on_damage: Callable[[DamagedData], None] | None) -> Iterator[Entry]:
        self.flush()
        return iter([entry for entry in self._entries if (run is None or entry.run == run)
                     and (types is None or entry.type in types) and (since_seq is None or entry.seq > since_seq)])

    def _write_batch(self, lines: Sequence[Pending]) -> None:
        last = self._entries[-1] if self._entries else None
        seq, digest = (last.seq, last.hash) if last else (START.seq, START.hash)
        content = bytearray()
        for line in lines:
            assert line.body is not None
            seq, prev = seq + 1, digest
            written, digest = seal(line.body, seq, prev)
            content += written
            line.entry = Entry(seq, digest, prev, line.body.time, line.type, line.run, line.data)
        try:
            self._say(bytes(content))
        except OSError as error:
            raise ProgramFailed(f"the journal cannot even be said on standard error: {error.strerror or error}",
                                hint="nothing was begun that is not written down") from error
        self._entries += [line.entry for line in lines if line.entry is not None]

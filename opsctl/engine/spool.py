"""Break-glass: the journal and the runs of times in which the state directory cannot be used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from opsctl.engine.journal import Clock, Journal, Pending, chained
from opsctl.engine.journal_files import START, Head, try_room
from opsctl.engine.journal_lines import Entry, stamp
from opsctl.errors import DamagedData, OpsError, ProgramFailed


def trouble(state: Path, journal: Journal) -> OpsError | None:
    """Why nothing can be written down in the state directory; None where it can."""
    try:
        journal.check()
        try_room(state / "runs")
    except OpsError as error:
        return error
    return None


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

    def state(self) -> tuple[Any, ...]:
        behind: tuple[Any, ...] = ()
        with contextlib.suppress(OpsError, OSError):
            behind = self.behind.state()
        return (behind, super().state())


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

    def state(self) -> tuple[Any, ...]:
        return (super().state(), len(self._entries))

    def _own(self, run: str | None, since_seq: int | None, types: Collection[str] | None,
             on_damage: Callable[[DamagedData], None] | None) -> Iterator[Entry]:
        self.flush()
        return iter([entry for entry in self._entries if (run is None or entry.run == run)
                     and (types is None or entry.type in types) and (since_seq is None or entry.seq > since_seq)])

    def _write_batch(self, lines: Sequence[Pending]) -> None:
        last = self._entries[-1] if self._entries else None
        content, _, _ = chained(lines, *((last.seq, last.hash) if last else (START.seq, START.hash)))
        try:
            self._say(content)
        except OSError as error:
            raise ProgramFailed(f"the journal cannot even be said on standard error: {error.strerror or error}",
                                hint="nothing was begun that is not written down") from error
        self._entries += [line.entry for line in lines if line.entry is not None]

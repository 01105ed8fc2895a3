"""The journal: an append-only chain of lines, on disk before anything happens that they speak of."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import io
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

from opsctl.engine.journal_end import find_end, rebuild_head
from opsctl.engine.journal_files import (
    ADOPTED,
    START,
    Head,
    adopted_place,
    damaged,
    line_number,
    make_directory,
    read_blocks,
    read_head,
    replace_head,
    segment_name,
    segments,
    try_room,
    unusable,
    write_all,
)
from opsctl.engine.journal_lines import Body, Entry, canonical, read_line, seal, stamp, write_body
from opsctl.errors import Busy, DamagedData, OpsError

Clock = Callable[[], datetime]

SEGMENT_BYTES = 16 << 20
"""A segment that would grow beyond this is followed by the next. Never by calendar: clocks jump."""

_ADOPTED = b'"type":' + canonical(ADOPTED).encode()
_QUEUE_LINES = 1000
_QUEUE_SECONDS = 0.2
_PATIENCE = 30.0   # seconds for another process's commit: milliseconds, unless that process is stopped


@dataclass(slots=True, eq=False)
class Pending:
    """A line on its way. Without a body it is only a place in the queue to wait for."""

    body: Body | None
    durable: bool = True
    type: str = ""
    run: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    entry: Entry | None = None
    done: bool = False
    error: OpsError | None = None
    #: Of a line that somebody waits for while another thread writes: set when it is done, or this thread is to write.
    called: threading.Event | None = None
    leads: bool = False


def chained(lines: Sequence[Pending], seq: int, digest: str) -> tuple[bytes, int, str]:
    """Give lines their places behind one of this number and hash: what to write, and number and hash of the last."""
    content = bytearray()
    for line in lines:
        assert line.body is not None
        seq, prev = seq + 1, digest
        written, digest = seal(line.body, seq, prev)
        content += written
        line.entry = Entry(seq, digest, prev, line.body.time, line.type, line.run, line.data)
    return bytes(content), seq, digest


class Journal:
    """The journal in ``directory``, for any number of threads and processes at once.

    Nothing is opened or made until the first line. ``append`` and ``flush`` raise ProgramFailed (full disk,
    unusable directory; the lines are then not in the journal, not even half), DamagedData (what is there does
    not go on from where ``HEAD`` says; names file and line) and Busy (another process sits on the journal).
    Damage before ``HEAD`` does not hold an append up: finding it is ``journal_verify``'s work.
    """

    #: Whether it goes on in a further segment where one has grown to ``SEGMENT_BYTES``.
    segmented: ClassVar[bool] = True

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._guard = threading.Lock()
        self._queue: list[Pending] = []
        self._queued_since = 0.0
        self._leading = False
        self._known: Head | None = None
        self._at_exit = False
        #: What this process repaired at the journal's end, in words; each is also a line of the journal.
        self.repairs: list[str] = []

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @overload
    def append(self, type: str, data: Mapping[str, Any], *, run: str | None = None,
               durable: Literal[True] = True) -> Entry: ...

    @overload
    def append(self, type: str, data: Mapping[str, Any], *, run: str | None = None,
               durable: bool) -> Entry | None: ...

    def append(self, type: str, data: Mapping[str, Any], *, run: str | None = None,
               durable: bool = True) -> Entry | None:
        """Write a line; returns what was written once it is flushed to the disk.

        With ``durable=False`` it is only queued and None is returned; it goes out, in order, with the next
        durable line, with the first append when 1,000 are waiting or 0.2 s have passed, and with ``flush`` or
        ``close``. ``data`` is JSON (str, int within ±(2**53-1), float, bool, None, lists, dicts), otherwise
        ValueError; it must hold no secret. Not for signal handlers: the thread they interrupt may be the one
        that writes.
        """
        line = self._pending(type, data, run, durable)
        if durable:
            self._commit(line)
            return line.entry
        with self._guard:
            if not self._queue:
                self._queued_since = time.monotonic()
            self._queue.append(line)
            due = len(self._queue) >= _QUEUE_LINES or time.monotonic() - self._queued_since > _QUEUE_SECONDS
            if not self._at_exit:
                self._at_exit = True
                atexit.register(self._flush_at_exit)
        if due:
            try:
                self.flush()
            except OpsError:
                # The caller hears of this one; those whose callers have gone on stay queued for better times.
                with self._guard, contextlib.suppress(ValueError):
                    self._queue.remove(line)
                raise
        return None

    def flush(self) -> None:
        """Return when every line appended so far is on disk."""
        with self._guard:
            idle = not self._queue and not self._leading
        if not idle:
            self._commit(Pending(None))

    def close(self) -> None:
        """Flush. Must be called before the process ends; the journal can be used again afterwards."""
        self.flush()
        atexit.unregister(self._flush_at_exit)
        self._at_exit = False

    def head(self) -> Head | None:
        """The last line on disk, as ``HEAD`` has it, for anchoring; None where nothing was ever written."""
        self.flush()
        try:
            return read_head(self.directory)
        except ValueError as error:
            raise DamagedData(f"{self.directory / 'HEAD'}: {error}", where=str(self.directory / "HEAD"),
                              hint="the next line that is written makes it anew") from error

    def read(self, run: str | None = None, since_seq: int | None = None, types: Collection[str] | None = None,
             on_damage: Callable[[DamagedData], None] | None = None) -> Iterator[Entry]:
        """Stream the lines in order: of ``run``, of ``types``, with a seq above ``since_seq``, where given.

        Each line is held against its own hash, not against its neighbours. A damaged one raises DamagedData,
        or goes to ``on_damage`` and is left out. A line that is still being written is not there yet. The lines of a
        spool that was adopted follow the one that says so, and have its seq.
        """
        if self._queue:
            self.flush()
        numbers = segments(self.directory)
        for number in self._from(numbers, since_seq):
            path = self.directory / segment_name(number)
            for start, adopted, line in _lines(path, run, types, last=number == numbers[-1]):
                try:
                    entry = read_line(line)
                except ValueError as error:
                    problem = damaged(path, line_number(path, start), str(error))
                    if on_damage is None:
                        raise problem from error
                    on_damage(problem)
                    continue
                if since_seq is not None and entry.seq <= since_seq:
                    continue
                if (run is None or entry.run == run) and (types is None or entry.type in types):
                    yield entry
                if adopted and entry.type == ADOPTED:
                    yield from self._taken_in(entry, run, types, on_damage)

    def _taken_in(self, told: Entry, run: str | None, types: Collection[str] | None,
                  on_damage: Callable[[DamagedData], None] | None) -> Iterator[Entry]:
        place = adopted_place(self.directory, told.data)
        if place is not None:
            for entry in Journal(place, self._clock).read(run, told.data["statement"].get("after", 0), types, on_damage):
                yield replace(entry, seq=told.seq)

    def state(self) -> tuple[Any, ...]:
        """Something that is another once a line was written, by whomever; of a journal that nobody writes to it stays the same."""
        self.flush()
        found = [(number, os.stat(self.directory / segment_name(number))) for number in segments(self.directory)]
        return tuple((number, one.st_size, one.st_mtime_ns) for number, one in found)

    def check(self) -> None:
        """Raise what a run's lines would meet, as far as it shows without writing one."""
        with self._explained(), self._locked():
            find_end(self.directory, None)
            try_room(self.directory)

    def go_on(self, reason: str) -> Entry:
        """Start a new segment after damage that ``append`` refuses, leaving all files as they are.

        The line that says so follows the highest seq that anything knows of. The gap stays a finding of
        ``journal_verify`` for ever.
        """
        with self._explained(), self._locked():
            numbers = segments(self.directory)
            known: list[Head] = [START]
            with contextlib.suppress(ValueError):
                known.append(read_head(self.directory) or START)
            with contextlib.suppress(DamagedData):
                known.append(rebuild_head(self.directory, numbers))
            base = max(known, key=lambda head: head.seq)
            base = replace(base, segment=max([base.segment, *numbers]) + 1, offset=0)
            line = self._pending("journal.damaged", {"reason": reason, "after": base.seq})
            self._write(base, [line])
        assert line.entry is not None
        return line.entry

    def _from(self, numbers: list[int], since_seq: int | None) -> list[int]:
        """The segments from the one on that holds the first line after ``since_seq``."""
        first = 0
        for place, number in enumerate(numbers[1:] if since_seq else [], 1):
            with (self.directory / segment_name(number)).open("rb") as file:
                try:
                    if read_line(file.readline()).seq > (since_seq or 0):
                        break
                except ValueError:
                    break
            first = place
        return numbers[first:]

    def _pending(self, type: str, data: Mapping[str, Any], run: str | None = None,
                 durable: bool = True) -> Pending:
        return Pending(write_body(type, data, run, self._clock()), durable, type, run, data)

    def _flush_at_exit(self) -> None:
        # `close` has told whoever could still act; a trace at the very end helps nobody.
        with contextlib.suppress(OpsError):
            self.flush()

    def _commit(self, mine: Pending) -> None:
        """Wait until ``mine`` is on disk: one thread writes for all that have queued meanwhile.

        Wherever an interrupt of this thread comes, who leads hands over: others wait for somebody who writes.
        """
        batch: list[Pending] = []
        try:
            with self._guard:
                self._queue.append(mine)
                if self._leading:
                    mine.called = threading.Event()
                else:
                    self._leading = mine.leads = True
            if mine.called is not None:
                mine.called.wait()
            if not mine.done:
                with self._guard:
                    batch, self._queue = self._queue, []
                lines = [line for line in batch if line.body is not None]
                if lines:
                    self._write_batch(lines)
                for line in batch:
                    line.done = True
            elif mine.error is not None:
                raise _again(mine.error)
        except BaseException as error:
            with self._guard:
                mine.called = None
                self._queue[:0] = self._unfinished(batch, mine, error)
            raise
        finally:
            if mine.leads:
                self._hand_over(batch)

    def _hand_over(self, batch: Sequence[Pending]) -> None:
        """Wake those whose lines are done, and one that writes next; each by itself, since hundreds may wait."""
        with self._guard:
            heir = next((line for line in self._queue if line.called is not None), None)
            self._leading = heir is not None
            if heir is not None:
                heir.leads = True
            calls = [line.called for line in (*batch, *([heir] if heir else [])) if line.called is not None and (line.done or line is heir)]
        for call in calls:
            call.set()

    def _unfinished(self, batch: list[Pending], mine: Pending, error: BaseException) -> list[Pending]:
        """What stays queued when a batch was not written: lines nobody waits for.

        Where it was no failure but an interrupt of this thread, also the others': one of them leads next.
        """
        if not isinstance(error, OpsError):
            return [line for line in batch if line is not mine and not line.done]
        for line in batch:
            if line.durable:
                line.error, line.done = error, True
        return [line for line in batch if not line.durable]

    def _write_batch(self, lines: list[Pending]) -> None:
        with self._explained(), self._locked():
            head, notices = find_end(self.directory, self._known)
            said = [self._pending("journal.repaired", notice) for notice in notices]
            self._write(head, said + lines)
            self.repairs += map(_in_words, notices)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unusable(self.directory, error) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.directory / "lock"
        if not os.path.exists(path):
            make_directory(self.directory)
        until = time.monotonic() + _PATIENCE
        pause = 0.0002
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                there = os.stat(path)
                mine = os.fstat(descriptor)
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                    break
            except (BlockingIOError, FileNotFoundError):
                if time.monotonic() > until:
                    os.close(descriptor)
                    raise Busy(f"another process has held the journal for {_PATIENCE:.0f} seconds",
                               where=str(path), hint=f"is one stopped? see `fuser -v {path}`") from None
            os.close(descriptor)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        try:
            yield
        finally:
            os.close(descriptor)

    def _write(self, head: Head, lines: list[Pending]) -> None:
        """Seal the lines, write, flush, replace HEAD; or leave everything as it was."""
        content, seq, digest = chained(lines, head.seq, head.hash)
        segment, offset = head.segment, head.offset
        if self.segmented and offset and offset + len(content) > SEGMENT_BYTES:
            segment, offset = segment + 1, 0
        path = self.directory / segment_name(segment)
        new = Head(segment, offset + len(content), seq, digest, stamp(self._clock()))
        try:
            self._put(path, offset, bytes(content), new)
        except OSError as error:
            raise unusable(self.directory, error, len(content)) from error
        except BaseException:  # an interrupt that came when all was there: nobody writes it once more
            if self._is_head(new):
                for line in lines:
                    line.done = True
            raise
        self._known = new

    def _put(self, path: Path, offset: int, content: bytes, head: Head) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            write_all(descriptor, content)
            os.fdatasync(descriptor)
            if not offset:
                _sync_directory(self.directory)
            replace_head(self.directory, head)
        except BaseException:
            if not self._is_head(head):     # an interrupt may have come just after the rename
                os.ftruncate(descriptor, offset)
            raise
        finally:
            os.close(descriptor)

    def _is_head(self, head: Head) -> bool:
        try:
            return read_head(self.directory) == head
        except (ValueError, OpsError):
            return False


def _lines(path: Path, run: str | None, types: Collection[str] | None, *, last: bool) -> Iterator[tuple[int, bool, bytes]]:
    """The lines of a segment that may be asked for: (where it starts, whether it takes a spool in, the line); without parsing them.

    Most blocks of a journal hold nothing of what is asked, and are looked through whole.
    """
    needle = b'"run":' + canonical(run).encode() if run is not None else b""
    kinds = tuple(b'"type":' + canonical(kind).encode() for kind in types) if types is not None else (b"",)
    common = os.path.commonprefix(kinds) or b""  # noqa: RUF071  (of characters, not of parts)
    for start, block in read_blocks(path, last=last):
        if _ADOPTED not in block and (needle not in block or common not in block):
            continue
        for line in io.BytesIO(block):
            # Of several keys of that name the last is the line's own: what its data holds stands before it.
            at = max(line.rfind(b'"type":'), 0)
            adopted = line.startswith(_ADOPTED, at)
            if adopted or (needle in line and line.startswith(kinds, at)):
                yield start, adopted, line
            start += len(line)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _in_words(notice: Mapping[str, Any]) -> str:
    if notice["what"] == "HEAD":
        return f"the journal's HEAD was made anew from its lines ({notice['why']})"
    return (f"the journal's last line was cut short by a crash; what there was of it lies in {', '.join(notice['kept'])}, "
            f"and the journal goes on after the line before")


def _again(error: OpsError) -> OpsError:
    """The same failure for another thread, which must not share the traceback of the first."""
    fresh = type(error)(error.message, hint=error.hint, where=error.where, details=error.details)
    fresh.__cause__ = error
    return fresh

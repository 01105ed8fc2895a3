"""Whether the journal is what was written, line by line, and what outside this machine vouches for it.

Each line names the hash of the one before, ``HEAD`` that of the last one, anchors (in signed manifests) those
of single lines. A rewrite of everything from some line on, ``HEAD`` included, shows only where an anchor lies
behind it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from opsctl.engine.journal_files import ADOPTED, Head, adopted_place, read_head, segment_name, segments, unusable
from opsctl.engine.journal_lines import FORMAT, GENESIS, dissect

MOST_PROBLEMS = 1000
"""Beyond this, problems are counted and no longer kept."""


@dataclass(frozen=True)
class Anchor:
    """That line ``seq`` has this hash, as ``vouched_by`` says (``set portal/20261124-0230``)."""

    seq: int
    hash: str
    vouched_by: str


@dataclass(frozen=True)
class Problem:
    """``line`` counts from 1 within ``file``, 0 where the file as a whole is meant; ``seq`` where known."""

    file: str
    line: int
    seq: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True)
class Verdict:
    """``problems`` is empty where everything holds; ``more_problems`` counts those beyond ``MOST_PROBLEMS``.

    An anchor confirms the lines ``vouched_from`` to ``vouched_seq`` (both 0: none); the rest stands on this
    machine's word alone. ``notes`` say what a crash leaves and the next append repairs. ``adopted``: seq and data of each
    line that took in a spool, whose lines were looked at as well; who signed it was not.
    """

    lines: int
    last_seq: int
    last_hash: str
    problems: list[Problem]
    vouched_seq: int
    vouched_by: str | None
    vouched_from: int = 0
    notes: list[str] = field(default_factory=list)
    more_problems: int = 0
    adopted: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)


def verify(directory: Path, anchors: Iterable[Anchor] = ()) -> Verdict:
    """Read the whole journal once, in memory that does not grow with it, while others may go on writing.

    Raises ProgramFailed where it cannot be read at all.
    """
    try:
        return _Walk(directory, anchors).verdict()
    except OSError as error:
        raise unusable(directory, error) from error


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as found: ``seq`` and ``prev`` as it claims, None where it cannot be read.

    ``hashes`` are those that the next line may rightly name: the one it claims, and that of its content.
    """

    file: str
    number: int
    start: int
    end: int
    seq: int | None
    prev: str | None
    hashes: frozenset[str]
    problem: str | None
    after_missing: bool = False     # the file before this line's file is not there
    adopted: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A point in the chain. ``hashes`` None: its line cannot be read, and anything may follow."""

    seq: int
    hashes: frozenset[str] | None
    file: str
    number: int
    blamed: bool = False

    def leads_to(self, line: _Line) -> bool:
        return line.seq == self.seq + 1 and (self.hashes is None or line.prev in self.hashes)


class _Walk:
    """One pass over the journal. ``here`` is the last line with a place in the chain, ``before`` its own."""

    def __init__(self, directory: Path, anchors: Iterable[Anchor]) -> None:
        self.directory = directory
        self.anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self.anchors.setdefault(anchor.seq, []).append(anchor)
        self.problems: list[Problem] = []
        self.more = 0
        self.notes: list[str] = []
        self.lines = 0
        self.here = self.before = _Place(0, frozenset([GENESIS]), segment_name(1), 0)
        self.moved: list[_Line] = []
        self.moved_files: set[str] = set()
        self.checked: set[int] = set()
        self.sound_from = 1
        self.vouched: Anchor | None = None
        self.vouched_from = 0
        self.head: Head | None = None
        self.head_found = False
        self.adopted: list[tuple[int, Mapping[str, Any]]] = []

    def verdict(self) -> Verdict:
        numbers, limit = self._snapshot()
        lines = self._lines(numbers, limit)
        line = next(lines, None)
        while line is not None:
            following = next(lines, None)
            self._take(line, following)
            line = following
        self._settle()
        for stray in self.moved:
            self._stray(stray)
        self._judge_end()
        self._judge_anchors()
        for seq, data in self.adopted:
            self._judge_adopted(seq, data)
        last = self.here
        digest = next(iter(last.hashes)) if last.seq and last.hashes and len(last.hashes) == 1 else ""
        self.problems.sort(key=lambda problem: (problem.file, problem.line))
        vouched = self.vouched or Anchor(0, "", "")
        return Verdict(self.lines, last.seq, digest, self.problems, vouched.seq, vouched.vouched_by or None,
                       self.vouched_from, self.notes, self.more, self.adopted)

    def _snapshot(self) -> tuple[list[int], int]:
        """The segments, and the size of the last one, at a moment when nobody is writing."""
        with ExitStack() as stack:
            with suppress(FileNotFoundError, PermissionError):   # a copy may lie without a lock
                descriptor = os.open(self.directory / "lock", os.O_RDONLY)
                stack.callback(os.close, descriptor)
                _share(descriptor)
            numbers = segments(self.directory)
            limit = os.stat(self.directory / segment_name(numbers[-1])).st_size if numbers else 0
            try:
                self.head = read_head(self.directory)
            except ValueError as error:
                self._problem("HEAD", 0, None, f"cannot be read: {error}")
            else:
                if self.head is None and numbers and (limit or len(numbers) > 1):
                    self._problem("HEAD", 0, None, "is missing")
        return numbers, limit

    def _lines(self, numbers: list[int], limit: int) -> Iterator[_Line]:
        expected = 1
        for number in numbers:
            for missing in range(expected, min(number, expected + MOST_PROBLEMS)):
                self._problem(segment_name(missing), 0, None, "the file is missing")
            after_missing, expected = number != expected, number + 1
            for line in self._file_lines(number, limit if number == numbers[-1] else None):
                yield replace(line, after_missing=True) if after_missing else line
                after_missing = False

    def _file_lines(self, number: int, limit: int | None) -> Iterator[_Line]:
        name = segment_name(number)
        with (self.directory / name).open("rb") as file:
            start = 0
            for position, raw in enumerate(file, 1):
                if limit is not None and start >= limit:
                    return
                line = _look(name, position, start, raw)
                start += len(raw)
                if limit is not None and start >= limit and line.seq is None and self._is_torn(number, line):
                    self.notes.append(f"{name}:{position}: the last line is torn, as a crash leaves it; "
                                      "the next line that is written repairs that")
                    return
                self.lines += 1
                yield line

    def _is_torn(self, number: int, line: _Line) -> bool:
        return self.head is None or (number, line.start) >= (self.head.segment, self.head.offset)

    def _take(self, line: _Line, following: _Line | None) -> None:
        """Find the place of a line in the chain, with the next one's help; name what is wrong with it."""
        here, before = self.here, self.before
        if line.problem:
            self._problem(line.file, line.number, line.seq, line.problem)
        if here.leads_to(line):
            self._accept(line)
        elif line.seq is None:
            # Unreadable: an insertion where the next line follows without it, else a line of the chain.
            if following is None or not here.leads_to(following):
                self._pass_over(line)
        elif line.problem and here.hashes and line.prev in here.hashes:
            self._accept(line, seq=here.seq + 1)
        elif following is not None and here.leads_to(following):
            self._set_aside(line)
        elif before.leads_to(line) and here.seq == before.seq + 1:
            if not here.blamed:
                self._problem(here.file, here.number, here.seq,
                              "was put in: the next line follows the one before it")
            self.here = before
            self._accept(line)
        elif line.seq > here.seq + 1:
            self._settle()
            if line.seq > self.here.seq + 1 and not line.after_missing:
                self._gap(line)
            self._accept(line)
        elif line.seq == here.seq + 1:
            # Its number is right and what it follows is not: the line before is not the one that stood there.
            if not line.problem and not here.blamed:
                self._replaced(line)
            self._accept(line)
        else:
            self._set_aside(line)

    def _replaced(self, line: _Line) -> None:
        if self.here.number == 0:
            self._problem(line.file, line.number, line.seq, "begins the journal and names a line before it")
        else:
            self._problem(self.here.file, self.here.number, self.here.seq,
                          "is not the line that the next one follows: it was changed and given a new hash")

    def _gap(self, line: _Line) -> None:
        self.moved_files.add(line.file)
        first, last = self.here.seq + 1, (line.seq or 0) - 1
        what = f"seq {first} is" if first >= last else f"seq {first} to {last} are"
        if line.number == 1 and self.here.number:
            self._problem(self.here.file, self.here.number, self.here.seq, f"{what} missing after this line")
        else:
            self._problem(line.file, line.number, line.seq, f"{what} missing before this line")

    def _set_aside(self, line: _Line) -> None:
        if len(self.moved) < MOST_PROBLEMS:
            self.moved.append(line)
        else:
            self._stray(line)

    def _settle(self) -> None:
        """Give lines that were set aside their place where it is here after all: they were swapped."""
        while found := next((stray for stray in self.moved if self.here.leads_to(stray)), None):
            self.moved.remove(found)
            self._problem(found.file, found.number, found.seq,
                          f"is out of order: it stands before seq {self.here.seq} (lines swapped)")
            self._accept(found, in_order=False)

    def _stray(self, line: _Line) -> None:
        self._problem(line.file, line.number, line.seq,
                      f"does not belong here: seq {line.seq} was put in, copied or moved")

    def _pass_over(self, line: _Line) -> None:
        """A line that cannot be read, where one has to be: nothing more is asked of its place."""
        seq = self.here.seq + 1
        self.checked.add(seq)
        self.head_found = self.head_found or (self.head is not None and self.head.seq == seq)
        self.before, self.here = self.here, _Place(seq, None, line.file, line.number, blamed=True)
        self.sound_from = seq + 1

    def _accept(self, line: _Line, seq: int | None = None, *, in_order: bool = True) -> None:
        place = line.seq if seq is None else seq
        assert place is not None
        blamed = line.problem is not None
        self.before, self.here = self.here, _Place(place, line.hashes, line.file, line.number, blamed)
        if line.adopted is not None and not blamed:
            self.adopted.append((place, line.adopted))
        for anchor in self.anchors.get(place, ()):
            self.checked.add(place)
            if anchor.hash not in line.hashes:
                since = f"after seq {self.vouched.seq}" if self.vouched else "from the beginning on"
                self._problem(line.file, line.number, place,
                              f"is not the line that {anchor.vouched_by} vouches for: "
                              f"it, or lines before it ({since}), were rewritten")
            elif not blamed:
                self.vouched, self.vouched_from = anchor, min(self.sound_from, place)
        head = self.head
        if head is not None and place == head.seq:
            self.head_found = True
            if head.hash not in line.hashes:
                self._problem(line.file, line.number, place,
                              "is not the line that HEAD knows: it, or lines before it, or HEAD were changed")
            elif in_order and not self._ends_at(head, line):
                self._problem("HEAD", 0, place,
                              f"was changed: seq {place} ends in {line.file} at byte {line.end}")

    def _ends_at(self, head: Head, line: _Line) -> bool:
        """Whether HEAD names the line's end; where lines of the file are known to be wrong, they moved it."""
        if line.file in self.moved_files or any(problem.file == line.file for problem in self.problems):
            return True
        return (segment_name(head.segment), head.offset) == (line.file, line.end)

    def _judge_end(self) -> None:
        last, head = self.here, self.head
        if head is None:
            return
        if head.seq > last.seq and not (self.directory / segment_name(head.segment)).exists():
            self._problem(segment_name(head.segment), 0, None,
                          f"the file is missing; HEAD ends in it, at seq {head.seq}")
        elif head.seq > last.seq:
            self._problem(last.file, last.number, last.seq,
                          f"the journal was cut after this line: HEAD knows of seq {head.seq}")
        elif not self.head_found:
            self._problem("HEAD", 0, head.seq, f"names seq {head.seq}, which has no line")
        elif head.seq < last.seq:
            self.notes.append(f"HEAD is behind, at seq {head.seq} of {last.seq}, as after a power cut; "
                              "the next line that is written puts it right")

    def _judge_anchors(self) -> None:
        last = self.here
        beyond = max((seq for seq in self.anchors if seq > last.seq), default=None)
        if beyond is not None:
            self._problem(last.file, last.number, last.seq,
                          "the journal was cut after this line, or an older one put in its place: "
                          f"{self.anchors[beyond][0].vouched_by} knows of seq {beyond}")
        for seq in sorted(self.anchors.keys() - self.checked):
            if seq <= last.seq:
                self._problem(last.file, 0, seq,
                              f"seq {seq}, for which {self.anchors[seq][0].vouched_by} vouches, has no line")

    def _judge_adopted(self, seq: int, data: Mapping[str, Any]) -> None:
        """The lines of a spool, which the line of ``seq`` took in."""
        place = adopted_place(self.directory, data)
        name = f"adopted/{place.name}" if place else "adopted"
        if place is None or not segments(place):
            self._tell(name, 0, seq, f"is missing: the spool that seq {seq} took in")
            return
        said = data["statement"]
        found = _Walk(place, [Anchor(said["lines"], said["last"], f"seq {seq}, which took it in,")]).verdict()
        for problem in found.problems:
            self._tell(f"{name}/{problem.file}", problem.line, seq, problem.message)
        self.more += found.more_problems
        file = place / segment_name(1)
        if not found.problems and sha256(file.read_bytes()).hexdigest() != said["sha256"]:
            self._tell(f"{name}/{file.name}", found.lines, seq, f"goes on after what seq {seq} took in, or is not that file")

    def _tell(self, file: str, line: int, seq: int | None, message: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(file, line, seq, message))
        else:
            self.more += 1

    def _problem(self, file: str, line: int, seq: int | None, message: str) -> None:
        self.sound_from = max(self.sound_from, self.here.seq + 1, (seq or 0) + 1)
        self._tell(file, line, seq, message)


def _share(descriptor: int) -> None:
    """Take the journal's lock, to read with nobody writing; go without it where somebody sits on it."""
    for _ in range(500):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)


def _look(file: str, number: int, start: int, raw: bytes) -> _Line:
    end = start + len(raw)
    try:
        found, made = dissect(raw)
    except ValueError as error:
        return _Line(file, number, start, end, None, None, frozenset(), f"is no journal line: {error}")
    problem = None
    if found["hash"] != made:
        problem = "was edited: its content does not match its hash"
    elif found["v"] != FORMAT:
        problem = f"is of format {found['v']}, which this version does not know"
    hashes = frozenset([found["hash"], made])
    return _Line(file, number, start, end, found["seq"], found["prev"], hashes, problem,
                 adopted=found["data"] if found["type"] == ADOPTED else None)

"""Where the journal lies on disk: its segments, and ``HEAD``, which says how far they go."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from opsctl.engine.journal_lines import FORMAT, GENESIS, Entry, canonical, read_line
from opsctl.errors import DamagedData, OpsError, ProgramFailed

ADOPTED = "journal.adopted"
"""Type of the line that takes the journal of break-glass runs in; its lines lie in ``adopted_place``."""

IN_AN_EMERGENCY = "in an emergency, --break-glass works without it"

ROOM = 1 << 20
"""Bytes that have to be free where runs are to be written down: those of hundreds of hosts take as much."""

_SEGMENT = re.compile(r"(\d{6,})\.jsonl", re.ASCII)
_BLOCK = 1 << 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the journal: ``offset`` is the number of bytes of ``segment`` after its last line.

    ``seq`` 0 and 64 zeros: nothing was written yet. ``time`` is that of the commit, RFC 3339.
    """

    segment: int
    offset: int
    seq: int
    hash: str
    time: str

    def encode(self) -> bytes:
        return canonical({"format": FORMAT, "segment": segment_name(self.segment), "offset": self.offset,
                          "seq": self.seq, "hash": self.hash, "time": self.time}).encode() + b"\n"


START = Head(1, 0, 0, GENESIS, "")


def make_directory(directory: Path) -> None:
    """With all that is missing above it, for this user alone."""
    if not directory.parent.exists():
        make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)


def segment_name(number: int) -> str:
    return f"{number:06d}.jsonl"


def adopted_place(directory: Path, data: Mapping[str, Any]) -> Path | None:
    """Where the lines lie that a line of type ``ADOPTED`` takes in; None where its data is not that of one."""
    said = data.get("statement")
    digest = said.get("sha256") if isinstance(said, dict) else None
    if not isinstance(digest, str) or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        return None
    return directory / "adopted" / digest[:16]


def try_room(directory: Path) -> None:
    """Raise what a run that is written down in ``directory`` would soon meet: there is no room, or no right."""
    try:
        make_directory(directory)
        handle, name = tempfile.mkstemp(dir=directory, prefix=".room-")
        try:
            write_all(handle, bytes(ROOM))
            os.fdatasync(handle)
        finally:
            os.close(handle)
            os.unlink(name)
    except OSError as error:
        raise unusable(directory, error, ROOM) from error


def segments(directory: Path) -> list[int]:
    """The numbers of the segments that are there, in order; none where there is no directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unusable(directory, error) from error
    return sorted(int(found[1]) for name in names if (found := _SEGMENT.fullmatch(name)))


def read_head(directory: Path) -> Head | None:
    """None where there is none; ValueError where it cannot be read as one."""
    try:
        content = (directory / "HEAD").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(directory, error) from error
    found = json.loads(content)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError("not a HEAD of a format that this version knows")
    name = _SEGMENT.fullmatch(str(found.get("segment")))
    offset, seq, digest = found.get("offset"), found.get("seq"), found.get("hash")
    if not name or type(offset) is not int or type(seq) is not int or not isinstance(digest, str):
        raise ValueError("its fields are not those of a HEAD")
    if offset <= 0 or seq <= 0:
        raise ValueError("its numbers are not those of a HEAD")
    return Head(int(name[1]), offset, seq, digest, str(found.get("time")))


def replace_head(directory: Path, head: Head) -> None:
    """Whole, by rename. Not flushed: after a power cut an older one is caught up with from the segments."""
    new = directory / "HEAD.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(descriptor, head.encode())
    finally:
        os.close(descriptor)
    os.rename(new, directory / "HEAD")


def last_entry(file: IO[bytes], end: int) -> tuple[int, Entry | None, int]:
    """The last whole line before byte ``end``: where it starts, what it says, where it ends.

    What it says is None where it cannot be read. (0, None, 0) where there is no whole line.
    """
    tail = b""
    start = end
    while start and tail.count(b"\n") < 2:
        step = min(_BLOCK, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    stop = tail.rfind(b"\n") + 1
    if not stop:
        return 0, None, 0
    begin = tail.rfind(b"\n", 0, stop - 1) + 1
    try:
        entry: Entry | None = read_line(tail[begin:stop])
    except ValueError:
        entry = None
    return start + begin, entry, start + stop


def line_number(path: Path, offset: int) -> int:
    """The number, from 1, of the line that starts at ``offset``."""
    count = 1
    with path.open("rb") as file:
        while offset > 0 and (block := file.read(min(_BLOCK, offset))):
            count += block.count(b"\n")
            offset -= len(block)
    return count


def read_blocks(path: Path, *, last: bool) -> Iterator[tuple[int, bytes]]:
    """(where it starts, whole lines) of a segment, block by block; of the last one without a line that is still being written."""
    try:
        with path.open("rb") as file:
            start = 0
            while block := file.read(_BLOCK):
                block += file.readline()
                if last and not block.endswith(b"\n"):
                    block = block[:block.rfind(b"\n") + 1]
                yield start, block
                start += len(block)
    except OSError as error:
        raise unusable(path.parent, error) from error


def write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left):]


def damaged(path: Path, line: int, problem: str) -> DamagedData:
    return DamagedData(
        f"the journal is damaged: {path} line {line}: {problem}", where=f"{path}:{line}",
        hint="`opsctl journal verify` names everything that is wrong with it; `opsctl journal go-on` starts a new part "
             f"after it, and leaves the damage for all to see; {IN_AN_EMERGENCY}",
        details={"file": str(path), "line": line, "problem": problem})


def unusable(directory: Path, error: OSError, needed: int = 0) -> OpsError:
    """What to raise for an operating system's no; a full disk says what was needed and is free, in bytes."""
    if error.errno in _FULL:
        free = _free(directory)
        return ProgramFailed(
            f"the disk of the journal is full: {needed} bytes needed, {free} free in {directory}",
            hint=f"make room there; nothing was begun that is not written down; {IN_AN_EMERGENCY}", where=str(directory),
            details={"needed": needed, "free": free})
    return ProgramFailed(f"the journal in {directory} cannot be used: {error.strerror or error}",
                         hint=f"`state:` must name a directory of this user on a local disk; {IN_AN_EMERGENCY}",
                         where=str(directory))


def _free(directory: Path) -> int:
    for place in (directory, *directory.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return 0

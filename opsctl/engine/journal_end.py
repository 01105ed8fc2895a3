"""Where the next line of the journal goes, and the repair of what a crash left there.

All of it runs under the journal's lock. Only what lies after ``HEAD`` is read: old damage holds nobody up.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsctl.engine.journal_files import (
    START,
    Head,
    damaged,
    last_entry,
    line_number,
    read_head,
    segment_name,
    segments,
    write_all,
)
from opsctl.engine.journal_lines import read_line, stamp


def find_end(directory: Path, known: Head | None) -> tuple[Head, list[dict[str, Any]]]:
    """The end of the journal, and the data of a ``journal.repaired`` line for each repair that it needed.

    ``known`` is what the caller itself wrote last: where nobody came after it, nothing is read.
    Raises DamagedData where the lines do not go on from HEAD, OSError.
    """
    notices: list[dict[str, Any]] = []
    why = "it was missing"
    try:
        head = read_head(directory)
    except ValueError as error:
        head, why = None, str(error)
    if head is not None and head == known and _is_end(directory, head):
        return head, notices
    if head is None:
        numbers = segments(directory)
        head = rebuild_head(directory, numbers)
        if head.seq or why != "it was missing":     # else a first line that failed left an empty file
            notices.append({"what": "HEAD", "why": why, "segment": segment_name(head.segment),
                            "seq": head.seq})
    head = _follow(directory, head)
    kept = sorted(found.name for pattern in (f"torn-{head.seq + 1}", f"torn-{head.seq + 1}.*")
                  for found in directory.glob(pattern))
    if kept:
        notices.append({"what": "torn line", "segment": segment_name(head.segment), "offset": head.offset,
                        "kept": kept})
    return head, notices


def rebuild_head(directory: Path, numbers: list[int]) -> Head:
    """HEAD from the last readable line of the segments, which may be the one before a torn line."""
    for number in reversed(numbers):
        path = directory / segment_name(number)
        with path.open("rb") as file:
            start, entry, end = last_entry(file, file.seek(0, os.SEEK_END))
            if entry is None and start:
                start, entry, end = last_entry(file, start)
                if entry is None:
                    raise damaged(path, line_number(path, start), "this is no journal line, and HEAD is gone")
        if entry is not None:
            return Head(number, end, entry.seq, entry.hash, stamp(entry.time))
    return replace(START, segment=numbers[0]) if numbers else START


def _is_end(directory: Path, head: Head) -> bool:
    try:
        size = os.stat(directory / segment_name(head.segment)).st_size
    except FileNotFoundError:
        return False
    return size == head.offset and not os.path.exists(directory / segment_name(head.segment + 1))


def _follow(directory: Path, head: Head) -> Head:
    """Past the lines after HEAD, of a process that died or that a power cut made HEAD forget."""
    _check_line_at(directory, head)
    while True:
        path = directory / segment_name(head.segment)
        following = (directory / segment_name(head.segment + 1)).exists()
        if path.exists():
            head = _follow_segment(path, head, last=not following)
        if not following:
            return head
        head = replace(head, segment=head.segment + 1, offset=0)


def _follow_segment(path: Path, head: Head, *, last: bool) -> Head:
    begun = head
    with path.open("rb") as file:
        file.seek(head.offset)
        for line in file:
            try:
                entry = read_line(line)
            except ValueError as error:
                # NUL bytes are blocks that a power cut left unwritten: nothing after them counts.
                torn = last and (b"\0" in line or not file.read(1))
                if not torn:
                    raise damaged(path, line_number(path, head.offset), str(error)) from error
                _cut(path, head)
                break
            if entry.seq != head.seq + 1 or entry.prev != head.hash:
                raise damaged(path, line_number(path, head.offset),
                              f"seq {entry.seq} does not follow seq {head.seq}, to which HEAD leads")
            head = replace(head, offset=head.offset + len(line), seq=entry.seq, hash=entry.hash)
        if head != begun:
            os.fdatasync(file.fileno())
    return head


def _check_line_at(directory: Path, head: Head) -> None:
    if not head.seq:
        return
    path = directory / segment_name(head.segment)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start, entry, end = last_entry(file, min(size, head.offset))
    except FileNotFoundError as error:
        raise damaged(path, 1, f"the file is missing; HEAD ends in it, at seq {head.seq}") from error
    if size < head.offset:
        last = f"seq {entry.seq}" if entry else "a line that cannot be read"
        raise damaged(path, line_number(path, start),
                      f"the file ends with {last}; HEAD knows of seq {head.seq}")
    line = line_number(path, start if end == head.offset else end)
    if entry is None or end != head.offset or (entry.seq, entry.hash) != (head.seq, head.hash):
        raise damaged(path, line, f"this is not the line of seq {head.seq} that HEAD knows")


def _cut(path: Path, head: Head) -> None:
    """Move a torn line aside to ``torn-SEQ``; ``find_end`` says so in line SEQ, also if we die before."""
    name = path.with_name(f"torn-{head.seq + 1}")
    again = 0
    while name.exists():
        again += 1
        name = path.with_name(f"torn-{head.seq + 1}.{again}")
    new = path.with_name("torn.new")
    with path.open("r+b") as file:
        file.seek(head.offset)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            while block := file.read(1 << 20):
                write_all(descriptor, block)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, name)
        file.truncate(head.offset)

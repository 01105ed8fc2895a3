"""A spool taken into the journal: read and held against itself first, then laid beside the journal as one hashed segment."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from opsctl.engine.journal import Journal
from opsctl.engine.journal_end import rebuild_head
from opsctl.engine.journal_files import (
    ADOPTED,
    adopted_place,
    make_directory,
    replace_head,
    segment_name,
    unusable,
    write_all,
)
from opsctl.engine.journal_lines import Entry, read_line
from opsctl.engine.journal_verify import verify
from opsctl.errors import DamagedData, OpsError, SafetyRefusal, UsageError
from opsctl.model.values import value

_LINE = b'{"data":'
_MOST_TORN = 10_000
"""Bytes of a torn line that are kept in words."""


@value
class Segment:
    """A spool that is whole. ``first`` and ``last`` are hashes of lines; ``torn``: what there was of a line cut short.

    ``others`` counts lines of another kind that stood between (a spool that was said on standard error).
    """

    content: bytes
    lines: int
    first: str
    last: str
    since: datetime
    until: datetime
    runs: tuple[str, ...]
    torn: bytes = b""
    others: int = 0

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()


def read_spool(path: Path) -> Segment:
    """Read a spool. UsageError where it is none, DamagedData (22) naming the line where it is not what was written."""
    try:
        *whole, torn = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="--break-glass said where the journal went") from error
    kept = [(number, line) for number, line in enumerate(whole, 1) if line.startswith(_LINE)]
    if not kept:
        raise UsageError(f"{path} holds no line of a journal", hint="--break-glass said where the journal went")
    content = b"".join(line + b"\n" for _, line in kept)
    with tempfile.TemporaryDirectory(prefix="opsctl-adopt-") as place:
        _lay_down(Path(place), content, sure=False)
        problems = verify(Path(place)).problems
    if problems:
        position = kept[problems[0].line - 1][0] if problems[0].line else len(whole)
        raise _damaged(path, position, problems[0].message)
    entries = []
    for number, line in kept:
        try:
            entries.append(read_line(line + b"\n"))
        except ValueError as error:  # the last line alone passes for a torn one until here
            raise _damaged(path, number, f"is no journal line: {error}") from error
    if any(entry.type == ADOPTED for entry in entries):
        raise UsageError(f"{path} is a journal that took in others itself, no spool")
    return Segment(content, len(entries), entries[0].hash, entries[-1].hash, min(entry.time for entry in entries),
                   max(entry.time for entry in entries), tuple(dict.fromkeys(entry.run for entry in entries if entry.run)),
                   torn if torn.startswith(_LINE[: len(torn)]) else b"", len(whole) - len(kept))


def _damaged(path: Path, line: int, problem: str) -> DamagedData:
    return DamagedData(f"{path} line {line}: {problem}", where=f"{path}:{line}",
                       hint="nothing was adopted; is there another copy of it?")


def adopted_before(segment: Segment, journal: Journal) -> int:
    """How many of its first lines are in the journal already. SafetyRefusal (23) where all of them are."""
    before = 0
    for entry in journal.read(types=(ADOPTED,)):
        said = entry.data["statement"]
        if said["first"] != segment.first:
            continue
        if segment.lines <= said["lines"]:
            raise SafetyRefusal(f"this spool was adopted at {said['time']} by {said['by']}, with {said['lines']} lines (seq {entry.seq})",
                                hint=f"opsctl journal show --since {said['since']}")
        if read_line(segment.content.split(b"\n")[said["lines"] - 1] + b"\n").hash != said["last"]:
            raise DamagedData(f"its first {said['lines']} lines are not the ones that were adopted at {said['time']} (seq {entry.seq})",
                              hint="one of the two was rewritten")
        before = max(before, said["lines"])
    return before


def take_in(segment: Segment, journal: Journal, data: Mapping[str, Any]) -> Entry:
    """Lay a segment beside the journal, and write the line that takes it in. ProgramFailed where it cannot be written."""
    place = adopted_place(journal.directory, data)
    assert place is not None
    try:
        make_directory(place.parent)
        new = Path(tempfile.mkdtemp(dir=place.parent, prefix=".new-"))
        try:
            _lay_down(new, segment.content, sure=True)
            shutil.rmtree(place, ignore_errors=True)  # of an attempt that was killed before its line
            os.rename(new, place)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    except OSError as error:
        raise unusable(journal.directory, error, len(segment.content)) from error
    torn = segment.torn[:_MOST_TORN].decode("utf-8", "backslashreplace")
    return journal.append(ADOPTED, {**data, "torn": torn, "others": segment.others})


def bring_runs(place: Path, state: Path, runs: Sequence[str]) -> list[str]:
    """Bring what a spool keeps of runs and incidents, and the hosts that it isolated, into the state directory; what could not be, in words."""
    problems = []
    for run in runs:
        source, target = place / "runs" / run, state / "runs" / run
        if not source.is_dir():
            continue
        try:
            make_directory(target.parent)
            shutil.copytree(source, target, dirs_exist_ok=True)
            if not (source / "result.json").exists():
                (target / "result.json").unlink(missing_ok=True)
        except OSError as error:
            problems.append(f"what run {run} kept stays in {source}: {error.strerror or 'not all of it could be copied'}")
    try:
        for path in sorted((place / "isolated").glob("*.json")):
            make_directory(state / "isolated")
            there = state / "isolated" / path.name
            newer = there if there.exists() and there.stat().st_mtime_ns > path.stat().st_mtime_ns else path
            if newer.read_bytes() == b"null\n":
                there.unlink(missing_ok=True)
            elif newer is path:
                shutil.copy2(path, there)
    except OSError as error:
        problems.append(f"which hosts were isolated stays in {place / 'isolated'}: {error.strerror}")
    return [*problems, *_bring_incidents(place / "incidents", state / "incidents")]


def _bring_incidents(source: Path, target: Path) -> list[str]:
    """Copy evidence and drafts beside what an incident has already; nothing that is there is written over."""
    problems = []
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        try:
            if path.is_dir():
                make_directory(there)
            elif not there.exists():
                shutil.copy2(path, there, follow_symlinks=False)
            elif path.name != "incident.yaml" and path.read_bytes() != there.read_bytes():
                problems.append(f"{path} stays where it is: {there} is another one")
        except OSError as error:
            problems.append(f"{path} stays where it is: {error.strerror}")
    return problems


def _lay_down(directory: Path, content: bytes, *, sure: bool) -> None:
    descriptor = os.open(directory / segment_name(1), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(descriptor, content)
        if sure:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with contextlib.suppress(OpsError):  # its last lines are none, and `verify` says so
        replace_head(directory, rebuild_head(directory, [1]))

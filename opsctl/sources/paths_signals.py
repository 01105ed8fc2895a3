"""Change signals of files: the repository tells what changed, and a bounded sample of that is looked into."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opsctl.model.changes import Changes
from opsctl.model.content import WINDOW, Piece
from opsctl.model.signals import Sample, Signals, Sizes, of_files, unknown
from opsctl.repositories.interface import Repository
from opsctl.sources.interface import Evidence

Read = Callable[[Sequence[str]], Mapping[str, Piece]]

#: Out of a repository come whole files: no larger ones than this, and no more than this together.
_LARGEST, _TOGETHER = 8 << 20, 48 << 20


def of(evidence: Evidence, read: Read | None = None) -> Signals:
    """Judge a source of files. ``read`` reads them where they are, while they are as they were captured."""
    entry, previous = evidence.entry, evidence.previous
    if previous is None:
        return unknown("the first set of this source: there is nothing to compare it with")
    changes = Changes(seed=entry["snapshot"])
    if entry["snapshot"] != previous["snapshot"]:
        evidence.repository.diff(previous["snapshot"], entry["snapshot"], changes.take)
    pieces: Mapping[str, Piece] = {}
    if changes.sample:
        pieces = read(changes.sample) if read is not None and evidence.live else _read_stored(evidence, changes.sample)
    sizes = Sizes(entry["files"], previous["files"], entry.get("data_added", 0), entry.get("data_added_packed", 0))
    return of_files(changes, sizes, Sample.of(pieces), evidence.earlier)


def read_here(paths: Sequence[str]) -> dict[str, Piece]:
    """Pieces of files of this machine. What is gone again, or cannot be read, is left out."""
    found = {}
    for path in paths:
        try:
            # What became a pipe meanwhile must not stop us, nor a link lead elsewhere.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            continue
        try:
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode):
                head = os.pread(handle, WINDOW, 0)
                found[path] = Piece(head, os.pread(handle, WINDOW, status.st_size // 2), status.st_size)
        except OSError:
            continue
        finally:
            os.close(handle)
    return found


def _read_stored(evidence: Evidence, paths: Sequence[str]) -> dict[str, Piece]:
    """Pieces of files out of the repository, of those that are not too large: two restic calls."""
    snapshot, repository = evidence.entry["snapshot"], evidence.repository
    chosen = _affordable(repository, snapshot, paths)
    if not chosen:
        return {}
    place = evidence.scratch / "sample"
    repository.restore(snapshot, place, include=chosen)
    found = read_here([_below(place, path) for path in chosen])
    return {path: found[_below(place, path)] for path in chosen if _below(place, path) in found}


def _affordable(repository: Repository, snapshot: str, paths: Sequence[str]) -> list[str]:
    wanted = {path for path in paths if "\ufffd" not in path}  # its name is not what restic printed
    sizes = {node.path: node.size for node in repository.entries(snapshot, sorted({os.path.dirname(path) for path in wanted}))
             if node.path in wanted and node.type == "file"} if wanted else {}
    chosen, left = [], _TOGETHER
    for path in paths:
        size = sizes.get(path)
        if size is not None and size <= min(_LARGEST, left):
            chosen.append(path)
            left -= size
    return chosen


def _below(place: Path, path: str) -> str:
    return f"{place}{path}"

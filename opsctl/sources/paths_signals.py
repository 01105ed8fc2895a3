"""Change signals of files: the repository tells what changed, and a bounded sample of that is looked into."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from opsctl.model.changes import Changes, Sealed
from opsctl.model.content import WINDOW, Piece
from opsctl.model.signals import Sample, Signals, Sizes, of_files, of_first
from opsctl.repositories.interface import Repository
from opsctl.sources.canaries import ABSENT, THERE, stands
from opsctl.sources.interface import Evidence

#: Out of a repository come whole files: no larger ones than this, and no more than this together.
_LARGEST, _TOGETHER = 8 << 20, 48 << 20


def of(evidence: Evidence, *, here: bool, canaries: Mapping[str, bytes], sealed: Sealed) -> Signals:
    """Judge a source of files. ``here``: they are on this machine; ``canaries``: what each file that nobody touches holds."""
    entry, previous = evidence.entry, evidence.previous
    changes = Changes(seed=entry["snapshot"], watched=canaries, sealed=sealed)
    if previous is not None and not evidence.same:
        evidence.repository.diff(previous["snapshot"], entry["snapshot"], changes.take)
    before = _before(evidence)
    watched = [path for path in canaries if before.get(path) != "there" or path in changes.watched]
    below = "" if here and evidence.live else _fetch(evidence, [*watched, *changes.sample])
    found = {path: _canary(stands(f"{below}{path}", canaries[path]), before.get(path)) if path in watched else "there" for path in canaries}
    if previous is None:
        return of_first(found)
    sizes = Sizes(entry["files"], previous["files"], entry.get("data_added", 0), entry.get("data_added_packed", 0))
    return of_files(changes, sizes, Sample.of(read(changes.sample, below), sealed), evidence.earlier, found)


def _before(evidence: Evidence) -> Mapping[str, str]:
    """How each canary was in the set before."""
    numbers = evidence.earlier[0]["numbers"] if evidence.earlier else {}
    found: Mapping[str, str] = numbers.get("canaries", {})
    return found


def _canary(how: str, before: str | None) -> str:
    if how == ABSENT:
        return "unplanted" if before in (None, "unplanted") else "gone"
    return "there" if how == THERE else "changed"


def read(paths: Sequence[str], below: str = "") -> dict[str, Piece]:
    """Pieces of files of this machine, by path; ``below`` is put before each. What is not there, or cannot be read, is left out."""
    found = {}
    for path in paths:
        try:
            # What became a pipe meanwhile must not stop us, nor a link lead elsewhere.
            handle = os.open(f"{below}{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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


def _fetch(evidence: Evidence, paths: Sequence[str]) -> str:
    """Get those of these files out of the repository that are not too large: two restic calls. Returns below which folder they are."""
    place = evidence.scratch / "sample"
    chosen = _affordable(evidence.repository, evidence.entry["snapshot"], paths)
    if chosen:
        evidence.repository.restore(evidence.entry["snapshot"], place, include=chosen)
    return str(place)


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

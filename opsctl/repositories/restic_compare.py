"""Files on disk held against a snapshot, content by content, without bringing any of it here again.

A dry run of ``restore`` hashes each chunk of every file that is there and compares it with its id in the snapshot, which is
the SHA-256 of the chunk; what it would leave as it is, is equal. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsctl.errors import DamagedData
from opsctl.model.snapshots import Compared, Progress
from opsctl.repositories import restic_output
from opsctl.repositories.interface import OnProgress
from opsctl.repositories.restic_failures import NO_LIMIT, Caller
from opsctl.shells.interface import Word

#: Paths of each sort that are kept; of more there is only the number.
_MOST = 10_000
_EACH = 1000


def compare(caller: Caller, snapshot_id: str, target: Path, below: str | None, on_progress: OnProgress | None) -> Compared:
    """As ``Repository.compare_files`` promises."""
    which = snapshot_id if below is None else f"{snapshot_id}:{below}"
    # --overwrite is said, since what it is by default is what makes this look at the content at all.
    words: list[Word] = ["restore", "--dry-run", "--overwrite", "always", "--json", "-vv", "--no-lock", "--target", str(target), which]
    seen = _Seen(on_progress)
    result = caller.call(f"compare with snapshot {snapshot_id[:8]}", words, accept=None, timeout=NO_LIMIT, on_line=seen.take)
    errors = restic_output.restore_errors(restic_output.sort_lines(result.stderr).objects)
    if result.code or errors:
        if not errors:
            raise caller.failure(f"compare with snapshot {snapshot_id[:8]}", result)
        path, why = next(iter(sorted(errors.items())))
        raise DamagedData(f"{len(errors)} paths below {target} could not be compared with snapshot {snapshot_id[:8]}: {path}: {why}",
                          details={"files": sorted(errors)[:_EACH]})
    return Compared(seen.equal, tuple(seen.different), frozenset(seen.unsure), seen.more)


class _Seen:
    """What the dry run says of each path."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.on_progress = on_progress
        self.equal = self.more = self.bytes = 0
        self.different: list[str] = []
        self.unsure: set[str] = set()

    def take(self, line: bytes) -> None:
        said = restic_output.parse_line(line)
        if said is None or said.get("message_type") != "verbose_status":
            return
        path, action, size = str(said.get("item", "")), said.get("action"), said.get("size", 0)
        if action == "unchanged":
            self.equal += 1
            self._tell(said)
        elif action == "restored" and not size:
            self.unsure.add(path)
        elif len(self.different) < _MOST:
            self.different.append(path)
        else:
            self.more += 1

    def _tell(self, said: Mapping[str, Any]) -> None:
        self.bytes += said.get("size", 0)
        if self.on_progress is not None and self.equal % _EACH == 0:
            self.on_progress(Progress("comparing", bytes_done=self.bytes, files_done=self.equal))

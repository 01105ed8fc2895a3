"""Files that were found in a clean room and removed on purpose: which of a run, and what is left without them."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.actions.interface import World
from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model.values import value
from opsctl.proofs.content import of_file
from opsctl.proofs.files import Count
from opsctl.scanning.interface import path_of

PLAYBOOK = "remove-finding"
#: The entry in the journal that tells of one file.
REMOVED = "finding.removed"
QUARANTINE = "quarantine"
#: The only kind of source of which one file can be left out: a dump without one of its lines is another dump.
KIND = "paths"


@value
class Removed:
    """One file that was moved out of a clean room. ``path``: from the root of its snapshot on; ``shown``: as a scan shows it;
    ``run``: the run that removed it, ``kept``: where it lies since.
    """

    source: str
    set: str
    path: str
    shown: str
    sha256: str
    size: int
    rule: str
    run: str
    by: str
    reason: str
    kept: Path

    @property
    def words(self) -> str:
        return f"{self.shown} (SHA-256 {self.sha256[:16]}…, rule {self.rule}) removed on purpose by {self.by}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "path": self.shown, "sha256": self.sha256, "bytes": self.size, "rule": self.rule,
                "by": self.by, "reason": self.reason, "run": self.run, "kept": str(self.kept)}


def removed_of(world: World, source: str = "", set_id: str = "") -> tuple[Removed, ...]:
    """What was removed for this run, as the journal has it; of one source of a set, where they are named."""
    found: dict[str, Removed] = {}
    for other in world.runs_of(PLAYBOOK):
        if other.inputs.get("restoration") != world.run:
            continue
        for _, data in other.entries((REMOVED,)):
            one = Removed(data["source"], data["set"], f"/{path_of(data['source'], data['path'])}", data["path"], data["sha256"],
                          int(data["bytes"]), data["rule"], other.run, other.by, data["reason"],
                          other.kept_by(other.run, QUARANTINE) / data["sha256"])
            found[one.shown] = one
    return tuple(one for one in found.values() if source in ("", one.source) and set_id in ("", one.set))


def left_of(entry: Mapping[str, Any], removed: Collection[Removed]) -> Mapping[str, Any]:
    """The manifest's entry of a source as it is without them."""
    if not removed:
        return entry
    less = less_of(Count(entry["proof"]["files"], entry["proof"]["bytes"]), removed)
    return {**entry, "proof": {**entry["proof"], "files": less.files, "bytes": less.bytes}}


def less_of(count: Count, removed: Collection[Removed]) -> Count:
    return Count(count.files - len(removed), count.bytes - sum(one.size for one in removed))


def take_out(root: Path, removed: Sequence[Removed]) -> None:
    """Leave those files out of a snapshot that was restored anew into ``root``. What their folders are like stays.

    DamagedData where one of them is another file there; SafetyRefusal where what was kept of it is not in its place.
    """
    for one in removed:
        place = Path(f"{root}{one.path}")
        if not os.path.lexists(place):
            continue
        if of_file(place).sha256 != one.sha256:
            raise DamagedData(f"{one.shown} is not the file that run {one.run} removed", where=one.source,
                              hint="begin a new restoration; what it finds is decided anew")
        if not is_kept(one.kept, one.sha256):
            raise SafetyRefusal(f"{one.shown} was removed by run {one.run}, and {one.kept} is not it any more", where=one.source,
                                hint="find out who was at it; a new restoration begins anew")
        drop(place)


def drop(place: Path) -> None:
    """Remove a file of which we have another; its folder keeps its times and, where it is ours, its mode."""
    folder = place.parent
    found = os.lstat(folder)
    ours = os.geteuid() and not found.st_mode & stat.S_IWUSR
    if ours:
        os.chmod(folder, stat.S_IMODE(found.st_mode) | stat.S_IWUSR)
    place.unlink()
    if ours:
        os.chmod(folder, stat.S_IMODE(found.st_mode))
    os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns))


def is_kept(place: Path, sha256: str) -> bool:
    return place.is_file() and of_file(place).sha256 == sha256

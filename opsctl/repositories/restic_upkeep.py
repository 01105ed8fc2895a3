"""The door on the store's own side, through which snapshots are forgotten and their data is removed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from opsctl.errors import NotConverged, ProgramFailed, SafetyRefusal
from opsctl.model.quantities import counted
from opsctl.model.snapshots import Finding
from opsctl.repositories.restic import Restic
from opsctl.repositories.restic_failures import NO_LIMIT
from opsctl.repositories.store import KINDS, LocalStore

_AT_ONCE = 500  # ids on one command line
_TOTAL = re.compile(r"^total prune:\s+(\d+) blobs", re.MULTILINE)


class Upkeep:
    """One repository's folder on the machine that holds it. ``repository`` is pinned to what the everyday door shows."""

    def __init__(self, repository: Restic, folder: Path) -> None:
        self.repository = repository
        self.store = LocalStore(folder)

    def require(self) -> None:
        """SafetyRefusal where the folder is not here or not ours, DamagedData where another repository is in it.

        What root writes there the account of the store's server could not read, so root works as the folder's owner.
        """
        name, folder = self.repository.name, self.store.root
        try:
            owner = (folder / "config").stat()
        except OSError as error:
            raise SafetyRefusal(
                f"{name} is pruned on the machine that holds it, and {folder} is not here: {error.strerror}", where=name,
                hint="run opsctl there, with this repository and its maintenance: in the configuration of that machine",
            ) from error
        if os.geteuid() == 0 and owner.st_uid != 0:
            self.repository.program.prefix = ("setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups")
        elif os.geteuid() != owner.st_uid:
            raise SafetyRefusal(f"{folder} belongs to another user (uid {owner.st_uid}), who has to prune it", where=name,
                                hint="run it as that user, or as root")
        self.repository.make_sure()

    def size(self) -> int:
        """Bytes of all objects, as the folder shows them."""
        return sum(size for kind in KINDS for size in self.store.list(kind).values())

    def left_of(self, ids: Collection[str]) -> set[str]:
        """Those of these snapshots that are there."""
        return {*ids} & self.store.list("snapshots").keys()

    def forget(self, ids: Sequence[str]) -> None:
        """Forget snapshots by id; those that are gone are none of our business. NotConverged where one is there still."""
        self.repository.unlock_stale()
        left = [name for name in ids if name in self.left_of(ids)]
        for first in range(0, len(left), _AT_ONCE):
            part = left[first:first + _AT_ONCE]
            self.repository.call(f"forget {counted(len(part), 'snapshot')}", ["forget", *part], timeout=NO_LIMIT)
        if stayed := self.left_of(ids):
            raise NotConverged(f"{counted(len(stayed), 'snapshot')} in {self.repository.name} stayed, though restic said that they were forgotten",
                               hint=f"does something else write to {self.store.root}?", where=self.repository.name)

    def unneeded(self) -> int:
        """How many blobs nothing needs any more and restic would remove. Takes no lock and changes nothing."""
        said = self.repository.call("look for what is not needed any more", ["prune", "--dry-run", "--no-lock"], timeout=NO_LIMIT)
        found = _TOTAL.search(said.text)
        if found is None:
            raise ProgramFailed("restic did not say what a prune would remove", where=self.repository.name)
        return int(found[1])

    def sweep(self) -> None:
        """Remove what nothing needs any more. Killed anywhere, it is done again from the beginning."""
        self.repository.unlock_stale()
        self.repository.call("prune", ["prune"], timeout=NO_LIMIT)

    def check(self) -> list[Finding]:
        """The structure of what is left."""
        return self.repository.check()

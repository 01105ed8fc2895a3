"""A folder or a file that is promoted: restored beside its place, and renamed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from opsctl.actions import into_view
from opsctl.actions.interface import World
from opsctl.actions.promoting.exchange import Exchange
from opsctl.actions.promoting.identity import identity, mount_of
from opsctl.actions.promoting.piece import Brought, Piece
from opsctl.actions.removing import Removed, less_of, take_out
from opsctl.actions.restoring import (
    in_the_way,
    let_go,
    make_staging,
    refuse_differences,
    refuse_own_places,
    refuse_small_disk,
    settle,
    short,
    staging,
)
from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model.quantities import counted
from opsctl.proofs.files import Count, count
from opsctl.repositories.interface import Repository
from opsctl.repositories.private import remove_tree
from opsctl.sources.interface import Difference


class Files(Piece):
    """One path, as it is on this machine."""

    def __init__(self, place: str) -> None:
        self.key = place
        self.place = place

    def look(self, name: str) -> str | None:
        return identity(Path(name))

    def free_name(self, word: str, stamp: str) -> str:
        place = Path(self.place)
        first = found = place.parent / f"{short(place.name)}.{word}-{stamp}"
        number = 1
        while os.path.lexists(found):
            number += 1
            found = first.with_name(f"{first.name}-{number}")
        return str(found)

    def swap(self, wanted: Exchange) -> None:
        """In one step where the file system has one: then there is no moment at which nothing has the name."""
        place, source, kept = Path(wanted.place), Path(wanted.source), Path(wanted.kept)
        try:
            self._swap(place, source, kept, wanted)
        except FileExistsError as error:
            raise SafetyRefusal(f"{error.filename2 or kept} came into being while this run was at work",
                                hint="move it away, then resume", where=self.place) from error
        for folder in {place.parent, kept.parent}:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def size(self, name: str) -> int:
        return count(name).bytes

    def discard(self, name: str) -> None:
        if stat.S_ISDIR(os.lstat(name).st_mode):
            remove_tree(Path(name))
        else:
            os.unlink(name)

    def sweep(self, note: Mapping[str, Any]) -> None:
        if not os.path.lexists(note["staged"]):
            with suppress(FileNotFoundError):
                remove_tree(Path(note["beside"]))

    def _swap(self, place: Path, source: Path, kept: Path, wanted: Exchange) -> None:
        if wanted.new is None:
            into_view.move(place, kept)
            return
        if identity(place) == wanted.old is not None:
            if into_view.exchange(place, source):
                if identity(source) != wanted.old:  # somebody was quicker: back, and nothing has happened
                    into_view.exchange(place, source)
                    raise FileExistsError(errno.EEXIST, "", str(source), None, str(place))
            else:
                into_view.move(place, kept)
        if identity(place) is None:
            into_view.move(source, place)
        if identity(source) == wanted.old is not None:
            into_view.move(source, kept)


class BroughtFiles(Files, Brought):
    """A path of a set. ``inside``: where it lies in the snapshot; ``expected``: what the set holds of it; ``proof``: what else
    there is to compare below the folder that it was restored into; ``removed``: what is left out of it on purpose.
    """

    def __init__(self, place: str, *, inside: str, snapshot: str, expected: Count, repository: Repository, world: World,
                 proof: Callable[[Path], Sequence[Difference]] = lambda _: (), removed: Sequence[Removed] = ()) -> None:
        super().__init__(place)
        self.inside = inside
        self.snapshot = snapshot
        self.expected = expected
        self.proof = proof
        self.removed = removed
        self.repository = repository
        self.world = world
        self.staging = staging(Path(place), world.run)
        self.source = f"{self.staging}{inside}"

    def refuse(self, old: str | None, replace: bool) -> None:
        place = Path(self.place)
        refuse_own_places(self.world, place)
        if self.place == "/" or os.path.ismount(place):
            raise SafetyRefusal(f"{place} is where a file system is mounted, and cannot be renamed",
                                hint="restore into a folder of it (`restore set --into`), or give the source commands of your own",
                                where=self.place)
        if old is not None and in_the_way(place) and not replace:
            raise SafetyRefusal(f"there is data at {place}, and the plan does not say that it is replaced",
                                hint="look at it; --replace keeps it under a dated name", where=self.place)
        refuse_small_disk(place, self.expected.bytes, [self.staging])

    def bring(self) -> None:
        make_staging(self.staging, anew=True)
        self.repository.restore(self.snapshot, self.staging, include=(self.inside,), on_progress=self.world.progress)
        back = count(Path(self.source))
        if back != self.expected:
            raise DamagedData(
                f"{self.place} holds {_words(self.expected)} in the set; {_words(back)} came back",
                hint=f"what came back lies in {self.staging}, not in production; try an older set", where=self.place)
        refuse_differences(self.place, self.proof(self.staging), f"what came back lies in {self.staging}, not in production")
        take_out(self.staging, self.removed)
        settle(self.world, self.staging)

    def is_proven(self) -> bool:
        return count(Path(self.source)) == less_of(self.expected, self.removed)

    def swap(self, wanted: Exchange) -> None:
        mode = let_go(Path(self.source), self.staging) if os.path.lexists(self.source) else None
        super().swap(wanted)
        if mode is not None:
            os.chmod(self.place, mode)

    def facts(self) -> Mapping[str, Any]:
        return {"beside": str(self.staging)}

    def mount(self) -> str:
        return mount_of(Path(self.place))

    def left_over(self) -> str | None:
        return str(self.staging) if os.path.lexists(self.staging) else None

    def tidy(self) -> None:
        if os.path.lexists(self.source):
            raise SafetyRefusal(f"there is something at {self.source}", hint="find out what it is; nothing of it was removed")
        with suppress(FileNotFoundError):
            remove_tree(self.staging)


def _words(found: Count) -> str:
    return f"{counted(found.files, 'file')} with {counted(found.bytes, 'byte')}"

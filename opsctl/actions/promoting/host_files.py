"""A folder or a file of another host that is promoted there: restored beside its place by restic on that host, and renamed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.actions.interface import World
from opsctl.actions.promoting.exchange import Exchange
from opsctl.actions.promoting.piece import Brought, Piece
from opsctl.actions.removing import Removed, less_of
from opsctl.actions.restoring import short, staging
from opsctl.errors import DamagedData, ProgramFailed, SafetyRefusal
from opsctl.model.quantities import counted, format_size
from opsctl.proofs.files import Count
from opsctl.repositories.history import History

_SECONDS = 120.0
_LONG = 6 * 3600.0

# Number and birth of what has the name, whatever it is; nothing where nothing has it.
_LOOK = 'if [ -e "$1" ] || [ -L "$1" ]; then stat -c "%i:%W" -- "$1"; fi'
# The target must have no name yet, nor must it come into being in between: `mv -n` leaves it, and so is looked at again.
_MOVE = """
if [ -e "$2" ] || [ -L "$2" ]; then echo "$2 came into being" >&2; exit 9; fi
mv -nT -- "$1" "$2"
if [ -e "$1" ] || [ -L "$1" ]; then echo "$2 came into being" >&2; exit 9; fi
sync -f "$(dirname -- "$2")"
"""
_COUNT = """find "$1" -type f -printf '%s\\n' | awk '{ files++; bytes += $1 } END { printf "%.0f %.0f\\n", files, bytes }'"""
_MAKE = """
if [ -e "$1" ] || [ -L "$1" ]; then
  if [ -L "$1" ] || [ ! -O "$1" ]; then echo "$1 was not made by us" >&2; exit 9; fi
  rm -rf -- "$1"
fi
mkdir -m 700 -- "$1"
"""
_TAKE_OUT = """
if [ ! -e "$1" ]; then exit 0; fi
found=$(sha256sum <"$1"); if [ "${found%% *}" != "$2" ]; then echo "$1 is another file than the one that was removed" >&2; exit 9; fi
folder=$(dirname -- "$1"); stamp=$(mktemp); touch -r "$folder" "$stamp"; rm -- "$1"; touch -r "$stamp" "$folder"; rm -f "$stamp"
"""


class HostFiles(Piece):
    """One path of a host. ``world.shell_on`` gives the shell there, which has to be root's."""

    def __init__(self, place: str, host: str, world: World) -> None:
        self.key = place
        self.place = place
        self.host = host
        self.world = world

    def look(self, name: str) -> str | None:
        return self.asked(_LOOK, name).strip() or None

    def free_name(self, word: str, stamp: str) -> str:
        place = Path(self.place)
        first = found = place.parent / f"{short(place.name)}.{word}-{stamp}"
        number = 1
        while self.look(str(found)) is not None:
            number += 1
            found = first.with_name(f"{first.name}-{number}")
        return str(found)

    def swap(self, wanted: Exchange) -> None:
        """In two steps, for a moment with nothing in the place; what is missing after a kill is seen by who has which name."""
        if wanted.new is None:
            self.asked(_MOVE, wanted.place, wanted.kept)
            return
        if wanted.old is not None and self.look(wanted.place) == wanted.old:
            self.asked(_MOVE, wanted.place, wanted.kept)
        if self.look(wanted.place) is None:
            self.asked(_MOVE, wanted.source, wanted.place)
        if wanted.old is not None and self.look(wanted.source) == wanted.old:
            self.asked(_MOVE, wanted.source, wanted.kept)

    def size(self, name: str) -> int:
        return self.counted(name).bytes

    def discard(self, name: str) -> None:
        self.asked('rm -rf --one-file-system -- "$1"', name, seconds=_LONG)

    def sweep(self, note: Mapping[str, Any]) -> None:
        if self.look(note["staged"]) is None:
            self.discard(note["beside"])

    def counted(self, name: str) -> Count:
        files, size = self.asked(_COUNT, name, seconds=_LONG).split()
        return Count(int(files), int(size))

    def asked(self, script: str, *words: str, seconds: float = _SECONDS) -> str:
        """What a script there prints. SafetyRefusal where it finds something strange, ProgramFailed where it cannot be done."""
        result = self.world.shell_on(self.host).run(["sh", "-c", f"set -eu\n{script}", "opsctl", *words], timeout=seconds, accept=None)
        if result.code == 9:
            raise SafetyRefusal(f"on {self.host}: {result.errors.strip()}", where=self.place, hint="find out who did it and move it away, then resume")
        if result.code:
            raise ProgramFailed(f"on {self.host}: {result.errors.strip()[-300:] or f'exit code {result.code}'}", where=self.place,
                                hint=f"renaming there takes root: opsctl hosts prepare {self.host}")
        return str(result.text)


class BroughtHostFiles(HostFiles, Brought):
    """A path of a set on its host. ``there``: the shell that restic runs by there, as for backups; the rest as ``BroughtFiles``."""

    def __init__(self, place: str, host: str, *, there: Any, snapshot: str, expected: Count, history: History, world: World,
                 removed: Sequence[Removed] = ()) -> None:
        super().__init__(place, host, world)
        self.there = there
        self.snapshot = snapshot
        self.expected = expected
        self.history = history
        self.removed = removed
        self.staging = str(staging(Path(place), world.run))
        self.source = f"{self.staging}{place}"

    def refuse(self, old: str | None, replace: bool) -> None:
        if self.asked("id -u").strip() != "0":
            raise SafetyRefusal(f"files on {self.host} come back with their owners by root alone", where=self.place,
                                hint=f"become: sudo of the host, as `opsctl hosts prepare {self.host}` lays out")
        if self.place == "/" or self.asked('if mountpoint -q -- "$1"; then echo yes; fi', self.place).strip():
            raise SafetyRefusal(f"{self.place} on {self.host} is where a file system is mounted, and cannot be renamed", where=self.place,
                                hint="give the source commands of your own (promotion:)")
        empty = 'if [ -d "$1" ] && [ ! -L "$1" ] && [ -z "$(ls -A -- "$1")" ]; then echo yes; fi'
        if old is not None and not replace and not self.asked(empty, self.place).strip():
            raise SafetyRefusal(f"there is data at {self.place} on {self.host}, and the plan does not say that it is replaced",
                                hint="look at it; --replace keeps it under a dated name", where=self.place)
        free = self.asked('df --output=avail -B1 -- "$1" | tail -n 1', os.path.dirname(self.place)).strip()
        if free.isdigit() and int(free) < self.expected.bytes and self.look(self.staging) is None:
            raise ProgramFailed(f"{os.path.dirname(self.place)} on {self.host} has {format_size(int(free))} free and the restore needs "
                                f"{format_size(self.expected.bytes)}", where=self.place, hint="free some space there")

    def bring(self) -> None:
        self.asked(_MAKE, self.staging, seconds=_LONG)
        self.history.repository.on(self.there).restore(self.snapshot, Path(self.staging), on_progress=self.world.progress)
        back = self.counted(self.source)
        if back != self.expected:
            raise DamagedData(f"{self.place} on {self.host} has {_words(self.expected)} in the set; {_words(back)} came back", where=self.place,
                              hint=f"what came back lies in {self.staging} there, not in production; try an older set")
        for one in self.removed:
            self.asked(_TAKE_OUT, f"{self.staging}{one.path}", one.sha256)
        self.asked('sync -f "$1"', self.staging, seconds=_LONG)

    def is_proven(self) -> bool:
        return self.counted(self.source) == less_of(self.expected, self.removed)

    def facts(self) -> Mapping[str, Any]:
        return {"beside": self.staging, "on_host": self.host}

    def mount(self) -> str:
        mounted = self.asked('stat -c %m -- "$1"', os.path.dirname(self.place)).strip()
        return f"{mounted} of {self.host}"

    def left_over(self) -> str | None:
        return f"{self.staging} on {self.host}" if self.look(self.staging) is not None else None

    def tidy(self) -> None:
        if self.look(self.source) is not None:
            raise SafetyRefusal(f"there is something at {self.source} on {self.host}", hint="find out what it is; nothing of it was removed")
        self.discard(self.staging)


def _words(found: Count) -> str:
    return f"{counted(found.files, 'file')} with {counted(found.bytes, 'byte')}"

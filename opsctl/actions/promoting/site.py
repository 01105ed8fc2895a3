"""A source that comes into production by the site's own commands; whether it is there, only its `promoted` command tells."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from opsctl.actions.interface import World
from opsctl.actions.promoting.exchange import Exchange, Found, Missing
from opsctl.actions.promoting.piece import Brought, Piece
from opsctl.actions.removing import left_of, removed_of, take_out
from opsctl.actions.restoring import bring, make_staging, refuse_differences, refuse_small_disk, settle
from opsctl.errors import ProgramFailed, SafetyRefusal
from opsctl.model.config_promotion import FOLDER, SET, Promotion
from opsctl.repositories.history import History
from opsctl.repositories.private import remove_tree
from opsctl.sources import outside

#: What stands in production where the set does not.
BEFORE = "what was there before"


class Placed(Piece):
    """A source that was brought by its ``promote`` command."""

    def __init__(self, name: str, spec: Promotion, set_id: str, world: World) -> None:
        self.key = self.place = name
        self.spec = spec
        self.set = set_id
        self.world = world

    def look(self, name: str) -> str | None:
        if name != self.place:
            return None
        result = self.world.shell.run(self.filled(self.spec.promoted), timeout=self.spec.limit.total_seconds(), accept=None)
        if result.code not in (0, 1):
            said = result.errors.strip().splitlines()
            raise ProgramFailed(f"the command that tells whether {self.place} is in production ended with {result.code}"
                                f"{f': {said[-1]}' if said else ''}", where=self.place,
                                hint=f"sources: {self.place}: promotion: promoted: has to end with 0 or 1")
        return self.set if result.code == 0 else BEFORE

    def found(self, wanted: Exchange) -> Found:
        return Found(self.look(self.place), wanted.new, None)

    def missing(self, wanted: Exchange) -> Missing:
        return Missing.NOTHING if self.look(self.place) == wanted.new else Missing.ALL

    def free_name(self, word: str, stamp: str) -> str:
        return f"what the {'promote' if word == 'before' else 'rollback'} command of {self.place} keeps"

    def swap(self, wanted: Exchange) -> None:
        self.run(self.spec.rollback, "rollback")

    def run(self, argv: tuple[str, ...], word: str, folder: str = "") -> None:
        outside.run(self.world.shell, self.filled(argv, folder), what=f"the {word} command of {self.place}",
                    limit=self.spec.limit.total_seconds())

    def filled(self, argv: tuple[str, ...], folder: str = "") -> list[str]:
        return outside.filled(argv, **{SET: self.set, FOLDER: folder})

    def size(self, name: str) -> int:
        return 0

    def discard(self, name: str) -> None:
        raise SafetyRefusal(f"what the commands of {self.place} keep, they remove", where=self.place)

    def sweep(self, note: Mapping[str, Any]) -> None:
        with suppress(FileNotFoundError):
            remove_tree(Path(note["beside"]))


class BroughtBySite(Placed, Brought):
    """The same, on its way: its files lie below ``scratch`` until the command has taken them."""

    def __init__(self, name: str, spec: Promotion, *, entry: Mapping[str, Any], set_id: str, history: History, world: World,
                 scratch: str) -> None:
        super().__init__(name, spec, set_id, world)
        self.entry = entry
        self.history = history
        self.beside = Path(scratch) / f".{name}.opsctl-{world.run}"
        self.source = str(self.beside / "files")

    def look(self, name: str) -> str | None:
        if name == self.source:
            return self.set if Path(name).is_dir() else None
        return super().look(name)

    def found(self, wanted: Exchange) -> Found:
        return Found(self.look(self.place), self.look(self.source), None)

    def refuse(self, old: str | None, replace: bool) -> None:
        refuse_small_disk(self.beside, self.entry["bytes"], [self.beside],
                          hint="free some space, or choose another place for the files (scratch)")

    def mount(self) -> str:
        return "production"

    def facts(self) -> Mapping[str, Any]:
        return {"beside": str(self.beside), "server": None, "by_site": True}

    def bring(self) -> None:
        make_staging(self.beside, anew=True)
        files = Path(self.source)
        refuse_differences(self.place, bring(self.world.source(self.place, self.entry), self.entry, files, self.history, self.world),
                           f"what came back lies in {files}")
        take_out(files, removed_of(self.world, self.place, self.set))
        settle(self.world, files)

    def is_proven(self) -> bool:
        left = left_of(self.entry, removed_of(self.world, self.place, self.set))
        return not self.world.source(self.place, self.entry).restored_files(left, Path(self.source))

    def swap(self, wanted: Exchange) -> None:
        self.run(self.spec.promote, "promote", self.source)

    def left_over(self) -> str | None:
        return str(self.beside) if self.beside.exists() else None

    def tidy(self) -> None:
        with suppress(FileNotFoundError):
            remove_tree(self.beside)

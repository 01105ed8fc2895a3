"""A database that is promoted: loaded into the same server under a name of this run's own, proven there, and named."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from opsctl.actions.interface import World
from opsctl.actions.promoting.exchange import Exchange, Missing
from opsctl.actions.promoting.piece import Brought, Piece
from opsctl.actions.restoring import (
    bring,
    make_staging,
    refuse_differences,
    refuse_small_disk,
    settle,
    staged_name,
)
from opsctl.errors import SafetyRefusal
from opsctl.repositories.history import History
from opsctl.repositories.private import remove_tree
from opsctl.sources.interface import Database


class Named(Piece):
    """One database of a server, by its name; ``server`` as ``Database.load`` takes it."""

    def __init__(self, place: str, database: Database, server: Mapping[str, str] | None) -> None:
        self.key = place
        self.place = place
        self.database = database
        self.server = server

    def look(self, name: str) -> str | None:
        return self.database.identity(name, server=self.server)

    def free_name(self, word: str, stamp: str) -> str:
        number = 1
        while self.look(name := self.database.dated(self.place, word, stamp.replace("-", "_"), number)) is not None:
            number += 1
        return name

    def missing(self, wanted: Exchange) -> Missing:
        left = super().missing(wanted)
        if left is Missing.NOTHING and wanted.new is not None and self.database.is_closed(self.place, wanted.source, server=self.server):
            return Missing.OPEN
        return left

    def swap(self, wanted: Exchange) -> None:
        if self.missing(wanted) is Missing.OPEN:
            self.database.open_up(self.place, wanted.source, server=self.server)
            return
        self.database.exchange(self.place, wanted.source if wanted.new is not None else None, wanted.kept, server=self.server)

    def size(self, name: str) -> int:
        return self.database.size(name, server=self.server)

    def discard(self, name: str) -> None:
        self.database.discard(name, server=self.server)

    def sweep(self, note: Mapping[str, Any]) -> None:
        with suppress(FileNotFoundError):
            remove_tree(Path(note["beside"]))


class BroughtDatabase(Named, Brought):
    """A database of a set. Its dump lies below ``scratch`` of this machine until it is loaded; ``on_its_host``: by programs on the machine that
    it was backed up on.
    """

    def __init__(self, place: str, database: Database, server: Mapping[str, str] | None, *, name: str, entry: Mapping[str, Any],
                 history: History, world: World, scratch: str, on_its_host: bool = False) -> None:
        super().__init__(place, database, server)
        self.name = name
        self.entry = entry
        self.history = history
        self.world = world
        self.on_its_host = on_its_host
        self.source = staged_name(name, place, world.run)
        self.beside = Path(scratch) / f".{name}.opsctl-{world.run}"

    def refuse(self, old: str | None, replace: bool) -> None:
        self.database.refuse_own(self.place)
        self.database.refuse_older(self.entry, server=self.server)
        if old is not None and not replace:
            raise SafetyRefusal(f"there is a database {self.place} at {self.mount()}, and the plan does not say that it is replaced",
                                hint="look at it; --replace keeps it under a dated name", where=self.place)
        refuse_small_disk(self.beside, self.entry["bytes"], [self.beside],
                          hint="free some space, or choose another place for the dump (scratch)")

    def bring(self) -> None:
        make_staging(self.beside, anew=True)
        try:
            files = self.beside / "files"
            refuse_differences(self.name, bring(self.database, self.entry, files, self.history, self.world), "it was not loaded")
            settle(self.world, files)
            if self.database.exists(self.source, server=self.server):
                self.database.drop(self.source, server=self.server)
            self.database.load(files / str(self.entry["paths"][0]).lstrip("/"), self.entry, self.source, server=self.server)
            refuse_differences(self.name, self.database.prove(self.entry, self.source, server=self.server),
                               f"what was loaded is database {self.source}")
        finally:
            self.tidy()

    def is_proven(self) -> bool:
        return True  # its identity says that it is the one that was proven, and nobody else knows its name

    def facts(self) -> Mapping[str, Any]:
        return {"beside": str(self.beside), "server": dict(self.server) if self.server else None, "on_its_host": self.on_its_host}

    def mount(self) -> str:
        return self.database.where(self.server)

    def left_over(self) -> str | None:
        return str(self.beside) if self.beside.exists() else None

    def tidy(self) -> None:
        with suppress(FileNotFoundError):
            remove_tree(self.beside)

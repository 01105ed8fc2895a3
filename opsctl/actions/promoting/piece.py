"""What the words promote and rollback need of one thing that has a name and can be given another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from opsctl.actions.promoting.exchange import Exchange, Found, Missing, missing


class Piece(ABC):
    """One thing of a source: a folder, a file, a database. Constructors only store.

    ``key`` names it within its source, ``place`` is what it is called in production.
    """

    key: str
    place: str

    @abstractmethod
    def look(self, name: str) -> str | None:
        """The identity of what has this name now; None where nothing has it."""

    @abstractmethod
    def free_name(self, word: str, stamp: str) -> str:
        """A dated name beside the place that nothing has yet: ``word`` is ``before`` or ``promoted``."""

    @abstractmethod
    def swap(self, wanted: Exchange) -> None:
        """Give both their names. May be killed anywhere; called again it goes on. Raises SafetyRefusal, and OSError."""

    @abstractmethod
    def sweep(self, note: Mapping[str, Any]) -> None:
        """After a rollback: remove what a promotion that was cut off has left of its work, where nothing of worth is in it."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of what has this name."""

    @abstractmethod
    def discard(self, name: str) -> None:
        """Remove what has this name for good."""

    def missing(self, wanted: Exchange) -> Missing:
        """What is left to do. Raises as ``exchange.missing`` does."""
        return missing(wanted, self.found(wanted))

    def found(self, wanted: Exchange) -> Found:
        return Found(self.look(wanted.place), self.look(wanted.source), self.look(wanted.kept))


class Brought(Piece):
    """A piece that a set has, and that comes back from it."""

    source: str

    @abstractmethod
    def refuse(self, old: str | None, replace: bool) -> None:
        """SafetyRefusal, before anything is done, where what has the name in production cannot be renamed, or holds data and
        may not be replaced. ProgramFailed where there is no room.
        """

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What a rollback needs to know to make the piece anew; JSON-able, no secret."""

    @abstractmethod
    def mount(self) -> str:
        """What carries the place: where its file system is mounted, or which server. It must not be another one later."""

    @abstractmethod
    def bring(self) -> None:
        """Restore it as ``source`` and prove it there. DamagedData where it is not what was backed up."""

    @abstractmethod
    def is_proven(self) -> bool:
        """Whether what is called ``source`` is still as ``bring`` left it, as far as a quick look tells."""

    @abstractmethod
    def left_over(self) -> str | None:
        """What ``bring`` made and nobody needs once the piece is in production; None where there is nothing."""

    @abstractmethod
    def tidy(self) -> None:
        """Remove it."""

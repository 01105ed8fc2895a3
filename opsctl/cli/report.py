"""What a command hands back: a result for programs, a text for people, what went wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Any

from opsctl.errors import Interrupted, OpsError, worst
from opsctl.model.values import value


class Tone(Enum):
    """How a word is meant; a terminal shows it in colour, nothing else does."""

    GOOD = "green"
    WARN = "yellow"
    BAD = "red"
    QUIET = "dim"
    STRONG = "bold"


@value
class Mark:
    """A cell or a line with its tone."""

    text: str
    tone: Tone


Cell = str | Mark


@value
class Column:
    """A column of a table. ``right`` aligns numbers; ``flexible`` may be broken where the terminal is narrow.

    Give ``flexible`` to messages and paths, never to ids, names, times and numbers.
    """

    name: str
    right: bool = False
    flexible: bool = False


@value
class Table:
    """Rows under columns (a plain string is a column that is neither right nor flexible).

    ``empty`` stands in place of a table without rows. On a terminal too narrow for the columns that must
    not be broken, each row becomes a block of ``name  value`` lines.
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]
    title: str | None = None
    empty: str = "nothing to show"

    @property
    def heads(self) -> tuple[Column, ...]:
        return tuple(column if isinstance(column, Column) else Column(column) for column in self.columns)


class Out(ABC):
    """Where the text for people goes. Every string is one line; what it holds is shown harmless.

    Nothing from outside needs escaping before: control characters, newlines, bytes that are no UTF-8 and the
    markup of the terminal library are shown as what they are.
    """

    width: int

    @abstractmethod
    def line(self, text: Cell = "") -> None:
        """One line, of any length."""

    @abstractmethod
    def heading(self, text: str) -> None:
        """A line that stands out, with an empty one before it unless it is the first."""

    @abstractmethod
    def facts(self, pairs: Mapping[str, Cell] | Sequence[tuple[str, Cell]]) -> None:
        """Names and values, one pair a line, values aligned."""

    @abstractmethod
    def table(self, table: Table) -> None:
        """A table."""

    def lines(self, texts: Sequence[Cell]) -> None:
        """Several lines."""
        for text in texts:
            self.line(text)


Text = Callable[[Out], None]


@value
class Listing:
    """More entries than should be held at once: printed as they come, for programs as a list ``name`` in the result.

    ``entries`` may raise OpsError, also in the middle; ``line`` is what a person sees of an entry.
    """

    name: str
    entries: Iterator[Mapping[str, Any]]
    line: Callable[[Mapping[str, Any]], Cell]


@value
class Report:
    """What a command returns to ``main``, which prints it and ends with its exit code.

    ``result`` is what ``--json`` gives: dicts, lists, strings, numbers; also paths, aware datetimes and
    enums, which become strings. ``text`` writes the same for people and is called only where a person
    reads. ``exit_code`` None means: the code of the one error, of several the one that ``errors.worst``
    says, without one 0. ``last`` is a line for people that stands below everything, errors too. ``listing`` comes behind
    the text, and makes of ``result`` a mapping.
    """

    result: Mapping[str, Any] | Sequence[Any] = field(default_factory=dict)
    text: Text | None = None
    exit_code: int | None = None
    run: str | None = None
    errors: Sequence[OpsError] = ()
    warnings: Sequence[str] = ()
    last: Cell | None = None
    listing: Listing | None = None

    @property
    def code(self) -> int:
        if self.exit_code is not None:
            return self.exit_code
        return worst([code_of(error) for error in self.errors])


def code_of(error: OpsError) -> int:
    """The exit code of an error; an interruption's depends on its signal."""
    return error.exit_code if isinstance(error, Interrupted) else error.code

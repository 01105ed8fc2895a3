"""Reports on a terminal, by rich."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from opsctl.cli.render import aligned, fits, text_of, tone_of
from opsctl.cli.report import Cell, Out, Table
from opsctl.model.safe_text import shown


def make_console(stream: IO[str], *, coloured: bool) -> Console:
    """A console that takes nothing for markup and nothing for a thing to highlight."""
    return Console(
        file=stream, markup=False, highlight=False, emoji=False, no_color=not coloured, force_terminal=True
    )


def styled(cell: Cell) -> Text:
    """A cell as rich's text, which is never markup."""
    tone = tone_of(cell)
    return Text(text_of(cell), style=tone.value if tone else "")


class RichOut(Out):
    """Tables that fit the terminal; words coloured by their tone."""

    def __init__(self, stream: IO[str], *, coloured: bool) -> None:
        self.console = make_console(stream, coloured=coloured)
        self.width = self.console.width
        self._begun = False

    def line(self, text: Cell = "") -> None:
        self._begun = True
        # The terminal breaks long lines better than we: a path copied from it has no newline of ours in it.
        self.console.print(styled(text), soft_wrap=True)

    def heading(self, text: str) -> None:
        if self._begun:
            self.line()
        self._begun = True
        self.console.print(Text(shown(text), style="bold"))

    def facts(self, pairs: Mapping[str, Cell] | Sequence[tuple[str, Cell]]) -> None:
        self._begun = True
        grid = RichTable.grid(padding=0)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in aligned(pairs):
            grid.add_row(Text(name, style="dim"), styled(value))
        self.console.print(grid)

    def table(self, table: Table) -> None:
        if table.title:
            self.heading(table.title)
        self._begun = True
        if not table.rows:
            self.line(table.empty)
        elif fits(table, self.width):
            self._grid(table)
        else:
            self._blocks(table)

    def _grid(self, table: Table) -> None:
        drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for head in table.heads:
            drawn.add_column(
                Text(shown(head.name)), justify="right" if head.right else "left", no_wrap=not head.flexible,
                overflow="fold",
            )
        for row in table.rows:
            drawn.add_row(*map(styled, row))
        self.console.print(drawn)

    def _blocks(self, table: Table) -> None:
        for number, row in enumerate(table.rows):
            if number:
                self.line()
            self.facts([(head.name, cell) for head, cell in zip(table.heads, row, strict=True)])

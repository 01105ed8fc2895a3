"""What goes wrong in the month: each fault with how it begins and ends, and what the world must show meanwhile."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tests.month.controller import Tick
    from tests.month.department import Department
    from tests.month.month import Month
Backups: TypeAlias = tuple[str, ...]
Codes: TypeAlias = tuple[int, ...]


class Fault:
    """One fault. ``strikes``: the backups that have to be due when it begins, else it would show nothing.

    ``codes``: how cron's line may end while it lasts. ``spoils``: the backups that cannot be taken meanwhile; all others
    have to be. ``tells``: what a notice to the person on call says; None where nobody is told.
    """

    strikes: Backups = ()
    codes: Codes = (3,)
    spoils: Backups = ()
    tells: str | None = None

    @property
    def name(self) -> str:
        return type(self).__name__

    def inject(self, department: Department) -> None:
        """Make it so."""

    def heal(self, department: Department) -> None:
        """Put everything back."""

    def strike(self, month: Month, at: datetime) -> None:
        """Begin, let cron fire, look what is shown, end."""
        self.inject(month.department)
        try:
            self.last(month, at)
        finally:
            self.heal(month.department)

    def last(self, month: Month, at: datetime) -> None:
        """What happens while it lasts: a tick."""
        self.shown(month, at, month.tick(at))

    def shown(self, month: Month, at: datetime, tick: Tick) -> None:
        """What a tick that met it has to show."""
        assert tick.code in self.codes, f"ended with {tick.code}, not {self.codes}: {tick}"
        claimed = {one[0] for one in tick.done}
        assert not claimed & set(self.spoils), f"called done what cannot be: {tick}"
        for name, backup in month.department.backups.items():
            due = name not in self.spoils and at - month.newest(name, at) >= backup.every
            assert not due, f"{name} was due, and is kept back: {tick}"
        if tick.code:
            assert tick.notices, f"nobody was told: {tick}"
        if self.tells is not None:
            assert any(self.tells in text for text in tick.notices), f"{self.tells!r} was not told: {tick.notices} {tick}"

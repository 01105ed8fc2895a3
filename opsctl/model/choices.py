"""Which set people decided to go back to: a choice that two of them signed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from opsctl.model.values import value


@value
class Choice:
    """One decision. ``before``: the first bad time that it was made for; None where none was named."""

    backup: str
    set: str
    time: datetime
    run: str
    people: tuple[str, ...]
    why: str = ""
    before: datetime | None = None


def standing(choices: Iterable[Choice], backup: str) -> Choice | None:
    """The newest one of a backup."""
    return max((one for one in choices if one.backup == backup), key=lambda one: one.time, default=None)

"""How much of a machine and of its line a backup may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from opsctl.model.values import value

IONice = Literal["idle", "best-effort"]

_FIRST_WAIT, _LONGEST_WAIT = 10.0, 300.0  # seconds


@value
class Limits:
    """``bandwidth``: bytes a second that are sent to the store; ``nice``: 0 to 19; None: as it comes."""

    bandwidth: int | None = None
    nice: int | None = None
    ionice: IONice | None = None

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command so that it, and all that it starts, gets out of others' way."""
        words: tuple[str, ...] = ()
        if self.nice is not None:
            words += ("nice", "-n", str(self.nice))
        if self.ionice is not None:
            words += ("ionice", "-c", "3") if self.ionice == "idle" else ("ionice", "-c", "2", "-n", "7")
        return words

    @property
    def options(self) -> tuple[str, ...]:
        """The same for restic's own traffic: it counts in KiB a second."""
        return () if self.bandwidth is None else ("--limit-upload", str(max(1, self.bandwidth // 1024)))


def waits(retries: int) -> Sequence[float]:
    """Seconds before each further try of a store that did not answer: 10, 30, 90, and so on up to 300."""
    return [min(_FIRST_WAIT * 3**number, _LONGEST_WAIT) for number in range(retries)]

"""What the status board shows, as values: incidents with their clocks, hosts cut off, stages, backups, and what waits for whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from opsctl.model.values import value

CUT_STATES = FREE, UNCONFIRMED, UNPROVEN, UNKNOWN, ARMED, OPENING, HELD = "free", "unconfirmed", "unproven", "unknown", "armed", "opening", "isolated"
"""How a host of a zone stands by what was written down, worst first: not cut off; ordered, and neither confirmed in time nor known to have
been reached; confirmed, and not probed, or something got through; what is written down cannot be read; about to lift itself; about to be
opened; cut off, confirmed and probed."""


@value
class Duty:
    """One clock of an incident. ``state`` as ``model.clocks.Clock``; ``said``: by what it was met, or why it is not."""

    id: str
    what: str
    to: str
    state: str
    due: datetime | None = None
    since: datetime | None = None
    said: str = ""

    @property
    def counts(self) -> bool:
        """Whether it has a time that is still to be met, or was missed."""
        return self.due is not None and self.state in ("running", "overdue")


@value
class Opened:
    """An open incident; ``noticed`` is the first notice. ``latest``: (when, by whom, what) of its newest entries, of ``entries`` in all."""

    id: str
    title: str
    drill: bool
    noticed: datetime
    noticed_by: str
    signal: str
    in_charge: str
    types: Sequence[str]
    zones: Sequence[str]
    duties: Sequence[Duty]
    latest: Sequence[tuple[datetime, str, str]]
    entries: int


@value
class Cut:
    """A host and how it stands, one of ``CUT_STATES``. ``lifts``: when it lifts itself unless somebody confirms it."""

    host: str
    state: str
    since: datetime | None = None
    by: str = ""
    incident: str = ""
    lifts: datetime | None = None


@value
class Zone:
    """A zone in which something is cut off, or which an open incident names; ``name`` is empty for hosts without one."""

    name: str
    title: str
    hosts: Sequence[Cut]

    def count(self, state: str) -> int:
        return sum(one.state == state for one in self.hosts)


@value
class Step:
    """A service on its way back: its outcome, the target for its time and for what is lost, and what it waits for."""

    service: str
    outcome: str
    at: str
    set: str
    back_by: datetime | None
    after: timedelta | None
    rto: timedelta | None
    lost: timedelta | None
    rpo: timedelta | None
    because: str


@value
class Restoration:
    """A restoration in stages that has not ended."""

    run: str
    state: str
    started: datetime
    steps: Sequence[Step]


@value
class Backup:
    """How a backup stands. ``state``: the word of its verdict; ``late``: whether ``status`` exits 5 for it."""

    name: str
    state: str
    late: bool
    newest: datetime | None
    every: timedelta
    due: datetime | None
    copies: Sequence[tuple[str, datetime | None, str]]
    signals: str
    because: str
    drilled: datetime | None = None
    drill_ok: bool = True

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return self.late or self.state != "ok" or bool(self.signals) or any(late for _, _, late in self.copies)


@value
class Waiting:
    """A step of a run that waits for a person, and the commands by which they answer."""

    run: str
    playbook: str
    step: str
    why: str
    commands: Sequence[str]


@value
class Board:
    """The whole page. ``ahead``: seconds by which opsctl's clock is ahead of this machine's, as in a drill. ``trouble``: why no look was had.

    ``ready``: how many items of readiness stand; ``lacking``: (what, how it was seen) of the others.
    """

    organisation: str
    now: datetime
    ahead: int = 0
    incidents: Sequence[Opened] = ()
    zones: Sequence[Zone] = ()
    restorations: Sequence[Restoration] = ()
    backups: Sequence[Backup] = ()
    waiting: Sequence[Waiting] = ()
    lacking: Sequence[tuple[str, str]] = ()
    ready: int = 0
    remarks: Sequence[str] = ()
    checked: datetime | None = None
    trouble: str = ""

    @property
    def drill(self) -> bool:
        """Whether the whole page is of an exercise; beside an incident in earnest only the drill itself is marked."""
        return bool(self.incidents) and all(one.drill for one in self.incidents)

"""When ``backup run`` was last asked, by whom it matters to: a small stamp in the state directory.

It says only that the timer fired, and how that and the calls of people ended. What is due is never read from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.session import Session
from opsctl.errors import OpsError
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.wiring import Site


@value
class Stamp:
    """``fired``: the last time that nobody at a terminal asked; ``running``: the process that still works, since then.

    ``began``, ``seconds``, ``exit_code``: the last call that came to an end. Times are RFC 3339.
    ``failed``: the backups whose own last call did not go well, each with when it ``began`` and its ``exit_code``;
    ``by_hand``: the same of calls without ``--due``, which no timer repeats.
    """

    fired: str | None = None
    running: int | None = None
    began: str | None = None
    seconds: float | None = None
    exit_code: int | None = None
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_hand: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def last(self) -> datetime | None:
        return parse_time(self.fired) if self.fired else None

    @property
    def at_work(self) -> bool:
        """Whether the process that began last is still there."""
        if self.running is None:
            return False
        try:
            os.kill(self.running, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class Tick:
    """One call under way; ``code`` and ``outcomes`` (of each backup) are set by whoever knows how it ended."""

    def __init__(self) -> None:
        self.code = 1
        self.outcomes: Mapping[str, str] = {}

    def failed(self, chosen: Sequence[str]) -> set[str]:
        """The backups that did not go well; all of them where it is not known which."""
        if not self.code:
            return set()
        return {name for name in chosen if self.outcomes.get(name) not in ("changed", "ok", "skipped")} or set(chosen)

    def taken(self, chosen: Sequence[str]) -> set[str]:
        """The backups of which there is a new set, so that no earlier failure matters."""
        return {name for name in chosen if self.outcomes.get(name) == "changed"} - self.failed(chosen)


def read(state: Path) -> Stamp:
    """The stamp; an empty one where there is none or it has decayed."""
    try:
        found = json.loads((state / "due.json").read_text("utf-8"))
        stamp = Stamp(**found)
        for moment in (stamp.fired, *(one["began"] for one in (*stamp.failed.values(), *stamp.by_hand.values()))):
            if moment is not None:
                parse_time(moment)
        return stamp
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Stamp()


@contextlib.contextmanager
def ticking(site: Site, session: Session, asked: bool, chosen: Sequence[str]) -> Iterator[Tick]:
    """Stamp a call for the ``chosen`` backups at its end, however it ends; one of ``--due`` (``asked``) at its beginning, too.

    A stamp that cannot be written is said and never stands in the way of a backup.
    """
    tick = Tick()
    if session.dry_run:
        yield tick
        return
    began, started = site.clock().isoformat(timespec="seconds"), time.monotonic()
    before = read(site.state)
    fired = before.fired if session.interactive or not asked else began
    if asked:
        # Of two at once the first is at work, and the other ends at once.
        _write(site, replace(before, fired=fired, running=before.running if before.at_work else os.getpid()))
    try:
        yield tick
    except OpsError as error:
        tick.code = getattr(error, "exit_code", error.code)
        raise
    except KeyboardInterrupt as error:
        tick.code = 128 + int(getattr(error, "number", 2))
        raise
    finally:
        now = read(site.state)
        taken = tick.taken(chosen)
        failed = {name: {"began": began, "exit_code": tick.code} for name in tick.failed(chosen)}
        by_hand = {name: one for name, one in now.by_hand.items() if name not in taken} | ({} if asked else failed)
        if not asked and by_hand != now.by_hand:
            _write(site, replace(now, by_hand=by_hand))
        if asked:
            latest = max(filter(None, (now.fired, fired)), key=parse_time, default=None)
            still = now.running if now.running != os.getpid() and now.at_work else None
            # One that was left alone, since somebody is at work on it, stands as before.
            kept = {name: one for name, one in now.failed.items() if name not in chosen or tick.outcomes.get(name) == "skipped"}
            _write(site, Stamp(latest, still, began, round(time.monotonic() - started, 3), tick.code, kept | failed, by_hand))


def is_over(site: Site, backups: Sequence[str]) -> None:
    """A run of these that had failed was brought to its end."""
    now = read(site.state)
    if set(now.by_hand) & set(backups):
        _write(site, replace(now, by_hand={name: one for name, one in now.by_hand.items() if name not in backups}))


def _write(site: Site, stamp: Stamp) -> None:
    from opsctl.repositories.whole import write_whole

    try:
        write_whole(site.state / "due.json", json.dumps(asdict(stamp)).encode() + b"\n")
    except OpsError as error:
        site.notes.append(f"how this ended could not be noted for `opsctl status`: {error.message}")


def as_json(stamp: Stamp) -> dict[str, Any]:
    """For ``--json``."""
    return {"fired": stamp.fired, "began": stamp.began, "seconds": stamp.seconds, "exit_code": stamp.exit_code}

"""When ``backup run --due`` was last asked, by whom it matters to: a small stamp in the state directory.

It says only that the timer fired and how that ended. What is due is never read from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
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
    """

    fired: str | None = None
    running: int | None = None
    began: str | None = None
    seconds: float | None = None
    exit_code: int | None = None

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
    """One call under way; ``code`` is set by whoever knows how it ended."""

    code = 1


def read(state: Path) -> Stamp:
    """The stamp; an empty one where there is none or it has decayed."""
    try:
        found = json.loads((state / "due.json").read_text("utf-8"))
        stamp = Stamp(**found)
        if stamp.fired is not None:
            parse_time(stamp.fired)
        return stamp
    except (OSError, ValueError, TypeError):
        return Stamp()


@contextlib.contextmanager
def ticking(site: Site, session: Session, asked: bool) -> Iterator[Tick]:
    """Stamp a call of ``--due`` at its beginning and its end, however it ends. ``asked`` False: do nothing.

    A stamp that cannot be written is said and never stands in the way of a backup.
    """
    tick = Tick()
    if not asked or session.dry_run:
        yield tick
        return
    began, started = site.clock().isoformat(timespec="seconds"), time.monotonic()
    before = read(site.state)
    fired = before.fired if session.interactive else began
    # Of two at once the first is at work, and the other ends at once.
    _write(site, Stamp(fired, before.running if before.at_work else os.getpid(), before.began, before.seconds, before.exit_code))
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
        latest = max(filter(None, (now.fired, fired)), key=parse_time, default=None)
        still = now.running if now.running != os.getpid() and now.at_work else None
        _write(site, Stamp(latest, still, began, round(time.monotonic() - started, 3), tick.code))


def _write(site: Site, stamp: Stamp) -> None:
    from opsctl.repositories.history import write_whole

    try:
        write_whole(site.state / "due.json", json.dumps(asdict(stamp)).encode() + b"\n")
    except OpsError as error:
        site.notes.append(f"that --due was asked could not be noted: {error.message}")


def as_json(stamp: Stamp) -> dict[str, Any]:
    """For ``--json``."""
    return {"fired": stamp.fired, "began": stamp.began, "seconds": stamp.seconds, "exit_code": stamp.exit_code}

"""watch: a wave that was opened is watched until its time is over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.model.moments import local
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value


class WatchParams(Params):
    """``seconds``: how long it is watched, of the ``stays`` after which it closes itself."""

    step: str
    wave: str
    seconds: int
    stays: int


@value
class Seen:
    """``began``: when the watch began, None where it has not; the moments are shown in ``zone``."""

    run: str
    began: datetime | None
    now: datetime
    zone: Any


class Watch(GateAction[WatchParams, Seen]):
    """Waits until a wave that was opened has been watched for its time, counted from when this step was first asked.

    with:
      wave     the wave
      seconds  how long it is watched
      stays    how long it stays open from when it was opened, unless it is settled

    At a terminal the run waits; without one it exits 4, and `opsctl resume RUN` goes on when the time is over.
    """

    word = "watch"
    Params = WatchParams

    def observe(self, params: WatchParams, world: World) -> Seen:
        began = next((parse_time(data["at"]) for _, data in world.entries(("watch.begun",)) if data["step"] == params.step), None)
        return Seen(world.run, began, world.clock(), world.config.organisation.tz)

    def waits_for(self, params: WatchParams, seen: Seen) -> str | None:
        until = (seen.began or seen.now) + timedelta(seconds=params.seconds)
        if seen.began is not None and seen.now >= until:
            return None
        closes = (seen.began or seen.now) + timedelta(seconds=params.stays)
        return (f"wave {params.wave} is open and watched until {local(until, seen.zone)}: then `opsctl resume {seen.run}` keeps it open; "
                f"hosts close themselves at {local(closes, seen.zone)} unless that was done")

    def ask(self, params: WatchParams, seen: Seen, world: World) -> None:
        if seen.began is None:
            world.note("watch.begun", {"step": params.step, "wave": params.wave, "at": seen.now.isoformat()})

    def result(self, params: WatchParams, seen: Seen) -> Mapping[str, Any]:
        return {"wave": params.wave, "began": seen.began.isoformat() if seen.began else None, "seconds": params.seconds}

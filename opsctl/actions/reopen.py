"""reopen: one wave of people let in for a time, then for good where its watch went well, and taken back where it did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from opsctl.actions.agreeing import refuse_alone
from opsctl.actions.interface import DONE, Change, StateAction, World
from opsctl.actions.isolating import let_go, lock_of
from opsctl.actions.reopening import Seen, WaveParams, door
from opsctl.errors import NotConverged, SafetyRefusal
from opsctl.model.config_reopening import needed
from opsctl.model.quantities import format_duration
from opsctl.model.values import value

_CLOSED = ("shut", "closed itself")


class ReopenParams(WaveParams):
    """``seconds``: how long it stays open unless it is settled; ``watched``: the step of this run that watches it."""

    to: Literal["open", "settled", "shut"]
    seconds: float | int = 3600
    watched: str = ""
    step: str = ""


@value
class SeenWave:
    """How the wave stands, and whether its watch went well (``settled`` asks)."""

    at: Seen
    held: bool = False


class Reopen(StateAction[ReopenParams, SeenWave]):
    """Opens one wave of `reopening:` at a host that is cut off, or by the wave's own command, and settles it or takes it back.

    with:
      wave      internal, pilot, all-bodies or public
      host      a host of the wave; the wave's own name, where commands open it
      allow     who is let in at a host, as in the configuration
      to        `open`: for a time, after which the host's own kernel closes it again; `settled`: for good where the step
                `watched` ended well, and else taken back; `shut`: taken back, its connections ended
      seconds   how long it stays open unless it is settled
      watched   the step of this run that watches it
      incident  the incident that the host is cut off for

    A wave opens only when all waves before it are open for good, and when as many people as `reopening: WAVE: people` says (2 for
    public) have signed for it at a step `approve` before this one, whatever the playbook says (23). What a command opened does not
    close itself.
    """

    word = "reopen"
    Params = ReopenParams
    break_glass = False

    def locks(self, params: ReopenParams) -> Sequence[str]:
        return (f"wave {params.wave} {params.host}",)

    def locks_there(self, params: ReopenParams, world: World) -> Sequence[str]:
        return lock_of(params, world) if params.host in world.config.hosts else ()

    def let_go(self, params: ReopenParams, world: World) -> None:
        if params.host in world.config.hosts:
            let_go(params, world)

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        waves = config.reopening.waves if config is not None else {}
        wave = params["wave"]
        return needed(wave, waves[wave]) if params["to"] == "open" and wave in waves else 0

    def observe(self, params: ReopenParams, world: World) -> SeenWave:
        held = params.to == "settled" and _went_well(params.watched, world)
        at = door(params, world).look()
        people = needed(params.wave, world.config.reopening.waves[params.wave])
        if people and params.to == "open" and at.stands in _CLOSED and not at.earlier:
            refuse_alone(params.step, world, f"wave {params.wave} is let in", people)
        return SeenWave(at, held)

    def plan(self, params: ReopenParams, seen: SeenWave) -> list[Change]:
        at = seen.at
        if params.to != "shut" and at.incident not in (None, params.incident or None):
            raise SafetyRefusal(f"{params.host} is cut off for incident {at.incident}, which was not named: nothing of it is opened",
                                where=params.host, hint=f"the same command with --incident {at.incident}")
        who = ", ".join(params.allow) or params.wave
        if params.to == "open":
            return _opening(params, at, who)
        if params.to == "settled" and seen.held:
            if at.stands == "timed":
                return [Change("settle", f"let {who} in for good {at.place}")]
            if at.stands in _CLOSED:
                raise NotConverged(f"wave {params.wave} had closed itself {at.place} before it was settled", where=params.host,
                                   hint=f"nobody is let in any more; open it once more: opsctl restore reopen {params.wave}")
        elif at.stands != "shut":
            return [Change("shut", f"take wave {params.wave} back {at.place} and end its connections")]
        return [] if at.noted else [Change("note", f"write down how wave {params.wave} stands {at.place}")]

    def apply(self, params: ReopenParams, change: Change, world: World) -> None:
        at = door(params, world)
        if change.key == "open":
            at.open(params.seconds)
            if not at.closes_itself:
                world.warn(f"wave {params.wave} was opened by the site's own command and does not close itself: go on with the run when its "
                           f"watch is over, or take it back: opsctl restore reopen --back {params.wave}")
        elif change.key == "settle":
            at.settle()
        elif change.key == "shut":
            at.shut()
        else:
            at.note()

    def result(self, params: ReopenParams, seen: SeenWave) -> Mapping[str, Any]:
        return {"wave": params.wave, "host": params.host, "allow": list(params.allow), "stands": seen.at.stands, "left": seen.at.left}


def _opening(params: ReopenParams, at: Seen, who: str) -> list[Change]:
    if at.earlier:
        raise SafetyRefusal(f"wave {params.wave} comes after {', '.join(at.earlier)}, which is not open for good", where=params.host,
                            hint=f"opsctl restore reopen {at.earlier[0]}")
    if at.stands in _CLOSED:
        return [Change("open", f"let {who} in {at.place} for {format_duration(timedelta(seconds=params.seconds))}, unless that is settled")]
    return [] if at.noted else [Change("note", f"write down how wave {params.wave} stands {at.place}")]


def _went_well(step: str, world: World) -> bool:
    """Whether the watch of this run ended well, by the journal."""
    ended = [data["outcome"] for _, data in world.entries(("step.end",)) if data["step"] == step]
    return bool(ended) and ended[-1] in DONE

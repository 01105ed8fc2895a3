"""release: a host is open again, as it was before it was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.isolating import HostParams, driver, keep, let_go, lock_of
from opsctl.errors import SafetyRefusal
from opsctl.isolation.register import Entry
from opsctl.model import isolation_guard
from opsctl.model.approvals import signers
from opsctl.model.isolation import Mark, Stand
from opsctl.model.two_people import PEOPLE
from opsctl.model.values import value


class ReleaseParams(HostParams):
    """``incident``: the one that the host was cut off for; ``said``: names that a person typed in full; ``step``: this one's id."""

    step: str = ""
    incident: str = ""
    said: tuple[str, ...] = ()
    retry_for: float | int = 30.0


@value
class Seen:
    """How the host stands, what this machine has written down of it, its zone, and who opens it when.

    ``agreed``: how many people have signed for it at a step before this one, counted where it takes them; ``signers``: how many could, counted where it takes them.
    ``incidents``: those that are open.
    """

    stand: Stand
    entry: Entry | None
    zone: str | None
    person: str
    now: datetime
    agreed: int = 0
    signers: int = 0
    incidents: tuple[str, ...] = ()

    @property
    def mark(self) -> Mark | None:
        """Who cut it off: by what is written here, else by what stands on the host."""
        return self.entry.order.mark if self.entry is not None else self.stand.mark

    def not_alone(self, mark: Mark) -> str | None:
        """Why more than one person's word is needed; None where it is not."""
        return isolation_guard.not_alone(mark, self.person, self.now, self.incidents)


class Release(StateAction[ReleaseParams, Seen]):
    """Opens a host that was cut off: takes our own tables away, and nothing else.

    with:
      host      a host of the configuration, or `user@address[:port]`
      logins    of such hosts: `user@address[:port] SHA256:… KEYFILE`
      incident  the incident that it was cut off for; a host of another one is refused (23)
      said      names that a person typed in full: the host's, its zone's or the incident's
      retry_for seconds for which a host that does not answer is tried again (30)

    Who cut it off may open it alone within 30 minutes where it was for no incident and none is open. Otherwise a step `approve` with two
    people has to stand before it. Where fewer than two under `people` have a key, a name has to be said instead.
    Old connections stay dead. Releasing what is open does nothing.
    """

    word = "release"
    Params = ReleaseParams
    people_if_asked = PEOPLE

    def locks_there(self, params: ReleaseParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def patience(self, params: ReleaseParams) -> float:
        return params.retry_for

    def let_go(self, params: ReleaseParams, world: World) -> None:
        let_go(params, world)

    def observe(self, params: ReleaseParams, world: World) -> Seen:
        spec = world.config.hosts.get(params.host)
        seen = Seen(driver(params, world).observe(), world.isolated.get(params.host), spec.zone if spec else None,
                    world.by, world.clock())
        mark = seen.mark
        if mark is None:
            return seen
        seen = replace(seen, incidents=tuple(world.open_incidents()))
        if not seen.not_alone(mark):
            return seen
        seen = replace(seen, agreed=world.agreed(params.step) if params.step else 0)
        return seen if seen.agreed >= PEOPLE else replace(seen, signers=signers(world.members()))

    def plan(self, params: ReleaseParams, seen: Seen) -> list[Change]:
        if seen.mark is not None and (refusal := refused(params, seen.mark, seen)) is not None:
            raise refusal
        if seen.stand.standing != "open" or seen.stand.persisted:
            return [Change("release", f"open {params.host} again"),
                    Change("forget", f"write down that {params.host} is open", after=("release",))]
        return [Change("forget", f"write down that {params.host} is open")] if seen.entry is not None else []

    def apply(self, params: ReleaseParams, change: Change, world: World) -> None:
        if change.key == "release":
            way = driver(params, world)
            keep(params, world, way=way.name)  # for the second look, when nothing of it is written down any more
            world.isolated.stage(params.host, "releasing")
            way.release()
        else:
            world.isolated.drop(params.host)

    def result(self, params: ReleaseParams, seen: Seen) -> Mapping[str, Any]:
        return {"host": params.host, "stand": seen.stand.as_json()}


def refused(params: ReleaseParams, mark: Mark, seen: Seen) -> SafetyRefusal | None:
    """Why it is not opened on this word."""
    if (mark.incident or "") != params.incident:
        ours = f"not for {params.incident}" if params.incident else "which was not named"
        whose = f"for incident {mark.incident}, {ours}" if mark.incident else f"for no incident, {ours}"
        return SafetyRefusal(f"{params.host} was cut off {whose}", where=params.host,
                             hint=f"opsctl isolate release {params.host}{f' --incident {mark.incident}' if mark.incident else ''}")
    why = seen.not_alone(mark)
    if why is None or seen.agreed >= PEOPLE:
        return None
    if seen.signers >= PEOPLE:
        return SafetyRefusal(f"{params.host}: {why}, so two people have to approve that it is opened", where=params.host,
                             hint=f"opsctl isolate release {params.host}; then opsctl approve RUN agree")
    if {params.host, seen.zone, mark.incident} & set(params.said):
        return None
    return SafetyRefusal(f"{params.host}: {why}, so its name has to be typed in full to open it", where=params.host,
                         hint=f"at a terminal: opsctl isolate release {params.host}")

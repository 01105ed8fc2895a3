"""release: a host is open again, as it was before it was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.isolating import HostParams, driver, lock_of
from opsctl.isolation.register import Entry
from opsctl.model.isolation import Stand
from opsctl.model.values import value


class ReleaseParams(HostParams):
    """``incident``: the one that the host was cut off for."""

    incident: str = ""


@value
class Seen:
    """How the host stands, and what this machine has written down of it."""

    stand: Stand
    entry: Entry | None


class Release(StateAction[ReleaseParams, Seen]):
    """Opens a host that was cut off: takes our own tables away, and nothing else.

    with:
      host      a host of the configuration, or `user@address[:port]`
      logins    of such hosts: `user@address[:port] SHA256:… KEYFILE`
      incident  the incident that it was cut off for

    Old connections stay dead. Releasing what is open does nothing.
    """

    word = "release"
    Params = ReleaseParams

    def locks_there(self, params: ReleaseParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def observe(self, params: ReleaseParams, world: World) -> Seen:
        return Seen(driver(params, world).observe(), world.isolated.get(params.host))

    def plan(self, params: ReleaseParams, seen: Seen) -> list[Change]:
        if seen.stand.standing != "open" or seen.stand.persisted:
            return [Change("release", f"open {params.host} again"),
                    Change("forget", f"write down that {params.host} is open", after=("release",))]
        return [Change("forget", f"write down that {params.host} is open")] if seen.entry is not None else []

    def apply(self, params: ReleaseParams, change: Change, world: World) -> None:
        if change.key == "release":
            world.isolated.stage(params.host, "releasing")
            driver(params, world).release()
        else:
            world.isolated.drop(params.host)

    def result(self, params: ReleaseParams, seen: Seen) -> Mapping[str, Any]:
        return {"host": params.host, "stand": seen.stand.as_json()}

"""start: services or machines started, what they need first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.stopping import Seen, ServiceParams, known, look
from opsctl.errors import NotConverged
from opsctl.model.config_services import to_start


class Start(StateAction[ServiceParams, Seen]):
    """Starts services or machines, in the order in which they need each other: whatever they need goes first.

    with:
      services  names of services of the configuration

    Where one does not start, what needs it is not started.
    """

    word = "start"
    Params = ServiceParams

    def locks(self, params: ServiceParams) -> Sequence[str]:
        return ("services",)

    def observe(self, params: ServiceParams, world: World) -> Seen:
        services = known(params, world)
        return look(to_start(params.services, services), services, world)

    def plan(self, params: ServiceParams, seen: Seen) -> list[Change]:
        stopped = [name for name, one in seen.found.items() if not one.runs]
        return [Change(name, f"start {name}{seen.places[name]}", after=tuple(one for one in seen.needs[name] if one in stopped))
                for name in stopped]

    def apply(self, params: ServiceParams, change: Change, world: World) -> None:
        service = world.service(change.key)
        service.start()
        if not service.look().runs:
            raise NotConverged(f"{change.key} was started, and does not run", where=change.key)

    def result(self, params: ServiceParams, seen: Seen) -> Mapping[str, Any]:
        return {"services": {name: "running" if one.runs else "stopped" for name, one in seen.found.items()}}

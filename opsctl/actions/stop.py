"""stop: services or machines stopped, what needs them first; the last resort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.stopping import Seen, ServiceParams, known, look
from opsctl.errors import NotConverged
from opsctl.model.config_services import to_stop


class Stop(StateAction[ServiceParams, Seen]):
    """Stops services or machines, in the order in which they need each other: whatever needs one of them goes first.

    with:
      services  names of services of the configuration

    The last resort: cutting off (`isolate`) keeps the evidence that stopping destroys. What is lost of each, memory,
    connections and temporary files, is said and stands in the journal before it is stopped. Where one does not stop, what
    it needs is left running.
    """

    word = "stop"
    Params = ServiceParams

    def locks(self, params: ServiceParams) -> Sequence[str]:
        return ("services",)

    def observe(self, params: ServiceParams, world: World) -> Seen:
        services = known(params, world)
        return look(to_stop(params.services, services), services, world)

    def plan(self, params: ServiceParams, seen: Seen) -> list[Change]:
        running = [name for name, one in seen.found.items() if one.runs]
        return [Change(name, f"stop {name}{seen.places[name]}; lost for good: {seen.found[name].lost}",
                       after=tuple(other for other in running if name in seen.needs[other])) for name in running]

    def apply(self, params: ServiceParams, change: Change, world: World) -> None:
        world.tell(change.text)
        service = world.service(change.key)
        service.stop()
        if service.look().runs:
            raise NotConverged(f"{change.key} was stopped, and still runs", where=change.key)

    def result(self, params: ServiceParams, seen: Seen) -> Mapping[str, Any]:
        return {"services": {name: "running" if one.runs else "stopped" for name, one in seen.found.items()}}

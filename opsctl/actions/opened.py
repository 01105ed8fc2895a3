"""The incident that a step is about, as it stands now."""

from __future__ import annotations

from opsctl.actions.interface import World
from opsctl.model.incident import Incident


def opened(name: str, world: World) -> Incident | None:
    """The incident of this id; None where a run that is only looked at would have opened it. UsageError where there is none."""
    found: Incident | None = world.incidents.all().get(name) if world.dry else world.incidents.get(name)
    return found

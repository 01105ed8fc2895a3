"""What stopping and starting services have in common: which they are, and how they were seen to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from opsctl.actions.interface import Params, World
from opsctl.errors import ConfigError
from opsctl.model.config_services import Service
from opsctl.model.fields import meant
from opsctl.model.values import value
from opsctl.shells.services import Running


class ServiceParams(Params):
    """``services``: names of services of the configuration; what needs them, or what they need, goes with them."""

    services: tuple[str, ...]


@value
class Seen:
    """In the order in which it is done: each service, and how it runs. ``needs``: which of these each one needs."""

    found: Mapping[str, Running]
    needs: Mapping[str, tuple[str, ...]]
    places: Mapping[str, str]


def known(params: ServiceParams, world: World) -> Mapping[str, Service]:
    """All services. ConfigError where one that is asked for is not among them."""
    services: Mapping[str, Service] = world.config.services
    for name in params.services:
        if name not in services:
            raise ConfigError(f"there is no service {name!r} in the configuration{meant(name, services)}",
                              hint=f"there are: {', '.join(services) or 'none'}")
    return services


def look(names: Sequence[str], services: Mapping[str, Service], world: World) -> Seen:
    """How each of them runs, asked at once."""
    with ThreadPoolExecutor(max(1, min(len(names), 16))) as pool:
        found = dict(zip(names, pool.map(lambda name: world.service(name).look(), names), strict=True))
    needs = {name: tuple(one for one in services[name].needs if one in found) for name in names}
    return Seen(found, needs, {name: f" on {services[name].on}" if services[name].on else "" for name in names})

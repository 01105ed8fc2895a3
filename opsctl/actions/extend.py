"""extend: a host that is cut off for a time lifts itself only later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import EventAction, World
from opsctl.actions.isolating import HostParams, driver, lock_of
from opsctl.model.isolation import Stand


class ExtendParams(HostParams):
    """``seconds`` from now until it lifts itself."""

    seconds: float | int


class Extend(EventAction[ExtendParams, Stand]):
    """Lets a host that is cut off and not confirmed lift itself only in so many seconds from now.

    with:
      host     a host of the configuration, or `user@address[:port]`
      logins   of such hosts: `user@address[:port] SHA256:… KEYFILE`
      seconds  from now

    Where it has lifted itself meanwhile, that fails (21) and the host stays open.
    """

    word = "extend"
    Params = ExtendParams

    def locks_there(self, params: ExtendParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def observe(self, params: ExtendParams, world: World) -> Stand:
        return driver(params, world).observe()

    def happen(self, params: ExtendParams, world: World) -> Mapping[str, Any]:
        way = driver(params, world)
        way.extend(params.seconds)
        return {"host": params.host, "stand": way.observe().as_json()}

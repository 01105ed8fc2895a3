"""rehearse: a host cut off for a minute, so that a team can try it on a Tuesday."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import EventAction, World
from opsctl.actions.isolating import HostParams, driver, lock_of, look_first, pause, place, probed, proof
from opsctl.errors import Interrupted, NotConverged, OpsError, SafetyRefusal
from opsctl.model.isolation import WITHIN, Mark, Order, Stand
from opsctl.model.probes import Matrix, few

_LATE = 15.0  # seconds beyond the time after which a host that has not lifted itself never will


class RehearseParams(HostParams):
    """``seconds`` until it lifts itself."""

    seconds: float | int = WITHIN


class Rehearse(EventAction[RehearseParams, Stand]):
    """Cuts a host off for a minute, tries what gets through, waits until it has lifted itself, and takes the rules away.

    with:
      host     a host of the configuration, or `user@address[:port]`
      logins   of such hosts: `user@address[:port] SHA256:… KEYFILE`
      seconds  until it lifts itself (60)

    It is never confirmed and ends no connection: they pause and go on. A host that is cut off already is refused (23).
    """

    word = "rehearse"
    Params = RehearseParams

    def locks_there(self, params: RehearseParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def observe(self, params: RehearseParams, world: World) -> Stand:
        return driver(params, world).observe()

    def happen(self, params: RehearseParams, world: World) -> Mapping[str, Any]:
        way, host = driver(params, world), params.host
        before = way.observe()
        if before.standing in ("armed", "isolated"):
            raise SafetyRefusal(f"{host} is cut off already; a rehearsal would open it", where=host, hint=f"opsctl isolate status {host}")
        if not way.lifts_itself:
            raise SafetyRefusal(f"{host} is cut off by {way.name}, which does not lift itself", where=host)
        _, port = place(host, world.config)
        mark = Mark(world.run, world.by, world.now.isoformat())
        order = Order(mark, tuple(world.config.isolation.managers), port, seconds=params.seconds)
        look_first(params, world, before)  # there is no hurry here
        way.load(order, before)
        began = time.monotonic()
        way.close()  # that a new connection can be made is what is rehearsed
        matrix: Matrix | None = None
        try:
            during = way.observe()
            matrix = probed(params, world, order, during)
        except Interrupted:
            raise
        except OpsError as error:
            during, unreachable = None, error
        lifted = _wait(params, world, began)
        way.release()
        after = way.observe()
        if during is None:
            raise NotConverged(f"{host} let nobody in while it was cut off, and lifted itself after {lifted:.0f} s: "
                               "its isolation could not be confirmed", where=host,
                               hint="rules of others there may drop new connections from this machine: nft list ruleset") from unreachable
        if matrix is not None and matrix.findings:
            through = few(matrix.findings, f"opsctl journal show --run {world.run} --json")
            raise NotConverged(f"{host} was cut off by its rules, and yet {through}", where=host, details={"proof": proof(matrix)})
        if during.standing != "armed":
            raise NotConverged(f"{host} was {during.standing} when it should have been cut off", where=host)
        return {"host": host, "stand": during.as_json(), "lifted_after": round(lifted, 1), "after": after.as_json(),
                "proof": proof(matrix) if matrix is not None else None}


def _wait(params: RehearseParams, world: World, began: float) -> float:
    """Until the host is seen to have lifted itself; seconds since it was loaded."""
    way = driver(params, world)
    pause(world, params.seconds - (time.monotonic() - began))
    while True:
        stand: Stand | None = None
        try:
            stand = way.observe()
        except Interrupted:
            raise
        except OpsError as error:
            trouble: OpsError | None = error
        if stand is not None and stand.standing in ("lifted", "open"):
            return time.monotonic() - began
        if time.monotonic() - began > params.seconds + _LATE:
            if stand is None and trouble is not None:
                raise trouble
            raise NotConverged(f"{params.host} has not lifted itself after {params.seconds:g} s", where=params.host,
                               hint=f"opsctl isolate release {params.host}")
        pause(world, 0.5)

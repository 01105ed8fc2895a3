"""confirm: a host that is cut off for a time stays cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.isolating import HostParams, confirm, cut, driver, let_go, lock_of, note, place, snapshot
from opsctl.errors import NotConverged
from opsctl.isolation.register import Entry
from opsctl.model.isolation import Mark, Order, Stand
from opsctl.model.values import value


class ConfirmParams(HostParams):
    """Which host."""


@value
class Seen:
    """How the host stands, and what this machine has written down of it."""

    stand: Stand
    entry: Entry | None


class Confirm(StateAction[ConfirmParams, Seen]):
    """Makes permanent, over a new connection, what was loaded and would lift itself; then ends old connections.

    with:
      host    a host of the configuration, or `user@address[:port]`
      logins  of such hosts: `user@address[:port] SHA256:… KEYFILE`

    Where it has lifted itself meanwhile, that fails (21) and the host stays open.
    """

    word = "confirm"
    Params = ConfirmParams

    def locks_there(self, params: ConfirmParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def let_go(self, params: ConfirmParams, world: World) -> None:
        let_go(params, world)

    def observe(self, params: ConfirmParams, world: World) -> Seen:
        return Seen(driver(params, world).observe(), world.isolated.get(params.host))

    def plan(self, params: ConfirmParams, seen: Seen) -> list[Change]:
        host = params.host
        if seen.stand.standing not in ("armed", "isolated"):
            lifted = "had lifted itself before it was confirmed" if seen.stand.standing == "lifted" else "is not cut off"
            raise NotConverged(f"{host} {lifted}: it is open", where=host, hint=f"opsctl isolate apply {host}")
        changes = []
        if seen.stand.standing == "armed":
            changes = [Change("confirm", f"connect to {host} anew and make it permanent"),
                       Change("snapshot", f"note sockets, connections and processes of {host}", after=("confirm",)),
                       Change("cut", f"end old connections of {host}", after=("confirm",))]
        elif seen.entry is None or seen.entry.stage != "confirmed":
            changes = [Change("note", f"write down that {host} is cut off")]
        return changes

    def apply(self, params: ConfirmParams, change: Change, world: World) -> None:
        order = _order(params, world)
        if change.key == "confirm":
            confirm(params, world, order)
            note(params, world, order)
        elif change.key == "snapshot":
            snapshot(params, world)
        elif change.key == "cut":
            cut(params, world, order)
        else:
            note(params, world, order)

    def result(self, params: ConfirmParams, seen: Seen) -> Mapping[str, Any]:
        return {"host": params.host, "stand": seen.stand.as_json()}


def _order(params: ConfirmParams, world: World) -> Order:
    """What it was cut down to: as it is written here; of another machine's work only the mark is known."""
    entry = world.isolated.get(params.host)
    if entry is not None:
        return entry.order
    _, port = place(params.host, world.config)
    return Order(Mark(world.run, world.by, world.now.isoformat()), tuple(world.config.isolation.managers), port)

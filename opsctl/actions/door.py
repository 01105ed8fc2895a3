"""door: a host is shut out at the machine of the backup store, or let in there again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.isolating import HostParams, place, refuse_after_reopening
from opsctl.isolation.knock import Knocked
from opsctl.model import isolation_guard
from opsctl.model.connections import bare
from opsctl.model.isolation import Mark, Order, Stand
from opsctl.model.values import value
from opsctl.shells.own_addresses import is_own


class DoorParams(HostParams):
    """``to`` is ``shut`` or ``open``; ``incident``: the one that it is done for; ``named``: hosts that a person named themselves."""

    to: Literal["shut", "open"]
    incident: str = ""
    named: tuple[str, ...] = ()
    retry_for: float | int = 60.0


@value
class Seen:
    """How the host stands at the store's door (None where no machine of the store is named), and what it still reaches there.

    ``left``: it stays as it is, since the host is not cut off with others, or is not opened.
    """

    stand: Stand | None
    knocked: Knocked = Knocked()
    left: bool = False


class Door(StateAction[DoorParams, Seen]):
    """Shuts a host out at the machine of the backup store (`isolation: store:`), so that it harms no backup; or lets it in again.

    with:
      host       a host of the configuration
      to         `shut` or `open`
      incident   the incident that it is done for
      named      hosts that a person named: only these are shut out where they are this machine, a manager or one that stays
      retry_for  seconds for which a store that does not answer is tried again (60)

    It lifts itself unless confirmed, over a new connection. A host that can still be asked is let call there, before by which of
    its addresses, and after as the proof; what it reaches is exit 21. Where `isolation: store:` names nothing, there is nothing to do.
    Beside a step `release` only those are let in again that it opened, or that a run of this machine had shut out.
    """

    word = "door"
    Params = DoorParams

    def locks_there(self, params: DoorParams, world: World) -> Sequence[str]:
        address, port = place(params.host, world.config)
        return (f"door {address} port {port}",)

    def patience(self, params: DoorParams) -> float:
        return params.retry_for

    def observe(self, params: DoorParams, world: World) -> Seen:
        if params.to == "shut":
            refuse_after_reopening(params.host, world)
        door = world.door(params.host)
        if door is None or (params.to == "shut" and _stays(params, world)):
            return Seen(None)
        stand = door.observe()
        if params.to == "open" and _is_held(params.host, stand, world):
            return Seen(stand, left=True)
        shut = params.to == "shut" and stand.standing == "isolated"
        return Seen(stand, world.knock(params.host) if shut else Knocked())

    def plan(self, params: DoorParams, seen: Seen) -> list[Change]:
        if seen.stand is None or seen.left:
            return []
        if params.to == "open":
            return [] if seen.stand.standing == "open" else [Change("open", f"let {params.host} in at the backup store again")]
        if seen.stand.standing == "isolated" and not seen.knocked.reached:
            return []
        return [Change("shut", f"shut {params.host} out at the backup store"),
                Change("confirm", f"make it permanent that {params.host} is shut out", after=("shut",)),
                Change("cut", f"end connections of {params.host} to the backup store", after=("confirm",))]

    def apply(self, params: DoorParams, change: Change, world: World) -> None:
        door = world.door(params.host)
        mark = Mark(world.run, world.by, world.now.isoformat(), params.incident or None)
        order = Order(mark, tuple(world.config.isolation.managers))
        if change.key == "shut":
            door.known(_its_own(params.host, world.knock(params.host).sources, world))
            door.load(order, door.observe())
        elif change.key == "confirm":
            door.confirm()
        elif change.key == "cut":
            door.cut(order)
        else:
            door.release()

    def missing(self, params: DoorParams, seen: Seen, changes: Sequence[Change]) -> str:
        if seen.knocked.reached:
            return f"{params.host} is shut out at the backup store, and still reaches {', '.join(seen.knocked.reached)} there"
        return super().missing(params, seen, changes)

    def result(self, params: DoorParams, seen: Seen) -> Mapping[str, Any]:
        return {"host": params.host, "door": seen.stand.standing if seen.stand is not None else None,
                "asked": seen.knocked.asked, "reached": list(seen.knocked.reached)}


def _stays(params: DoorParams, world: World) -> bool:
    """Whether the host is not cut off with others, so that nobody would let it in again either."""
    why = isolation_guard.stays(params.host, world.config, here=is_own(place(params.host, world.config)[0]))
    if why is None or params.host in params.named:
        return False
    world.warn(f"{why}, and is not shut out at the backup store with others")
    return True


def _is_held(host: str, stand: Stand, world: World) -> bool:
    """Whether it is somebody else's to let in: nobody opened it in this run, and it is cut off still, or another machine shut it out."""
    opened = {params["host"] for _, params, outcome in world.outcomes_before("release") if outcome in ("ok", "changed", "planned")}
    if not opened or host in opened:  # by itself the step is a person's word
        return False
    return world.isolated.get(host) is not None or (stand.mark is not None and not world.standing(stand.mark.run))


def _its_own(host: str, told: Sequence[str], world: World) -> list[str]:
    """The addresses that a host says it calls from, without those of others: it might want these to be shut out."""
    whose = {address: name for name, spec in world.config.hosts.items() if name != host
             for address in map(bare, (spec.address, *spec.addresses))}
    whose |= dict.fromkeys(map(bare, world.config.isolation.managers), "a manager")
    found = []
    for address in map(bare, told):
        other = "this machine" if is_own(address) else whose.get(address)
        if other is None:
            found.append(address)
        else:
            world.warn(f"{host} calls the backup store from {address}, which is {other}'s: that address is not shut out with it")
    return found

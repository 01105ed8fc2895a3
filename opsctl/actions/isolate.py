"""isolate: a host cut off from everything but its manager, proven over a new connection, or lifting itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.isolating import HostParams, driver, keep, kept, lock_of, place
from opsctl.errors import Interrupted, NotConverged, OpsError, SafetyRefusal, Unreachable
from opsctl.isolation.register import Entry
from opsctl.model import isolation_guard
from opsctl.model.isolation import WITHIN, Mark, Order, Stand, opening
from opsctl.model.values import value
from opsctl.repositories.history import write_whole
from opsctl.shells.own_addresses import is_own

_PAUSE = 0.5  # seconds between two new connections to a host that is to be confirmed


class IsolateParams(HostParams):
    """``within``: seconds until what was not confirmed lifts itself; ``named``: hosts that a person named themselves."""

    incident: str = ""
    allow: tuple[str, ...] = ()
    profile: Literal["full", "backup-only", "outbound-only"] = "full"
    within: float = WITHIN
    options: tuple[Literal["hold", "persist", "keep", "dhcp"], ...] = ()
    named: tuple[str, ...] = ()
    retry_for: float = 180.0


@value
class Seen:
    """What was ordered, how the host stands, what this machine has written down of it, and what this run has done to it."""

    order: Order
    stand: Stand
    entry: Entry | None
    kept: Mapping[str, Any]

    @property
    def loaded(self) -> bool:
        """Whether the rules that are there are the ones that were ordered, as they were confirmed."""
        if self.stand.digest is None and self.stand.seal is None:  # a tool of the site tells only that it is cut off
            return self.entry is None or self.entry.order.digest == self.order.digest
        seal = self.entry.seal if self.entry is not None and self.entry.order.digest == self.order.digest else None
        return self.stand.digest == self.order.digest and seal in (None, self.stand.seal)


class Isolate(StateAction[IsolateParams, Seen]):
    """Cuts a host off: nothing in, nothing out, but for its manager and what is let through; its old connections die.

    with:
      host      a host of the configuration, or `user@address[:port]`
      logins    of such hosts: `user@address[:port] SHA256:… KEYFILE`, fingerprint of its key and the private key to log in with
      incident  the incident that it is done for
      allow     what stays: `10.0.0.5`, `in:10.0.0.5:443`, `out:udp:10.0.0.5:123`
      profile   `full`, `backup-only`, `outbound-only`
      within    seconds after which it lifts itself unless confirmed (60)
      options   `hold`: loaded permanent at once, for hosts with a console or a gateway; `persist`: it comes back after a
                reboot; `keep`: `isolate status` cuts off again what was lifted; `dhcp`: the host may renew its address
      named     hosts that a person named: only these are cut off where they are this machine, a manager, a store or one that stays
      retry_for seconds for which a host that does not answer is tried again (180)

    It loads rules that lift themselves, connects anew, and only then makes them permanent: a host that opsctl would have
    shut itself out from opens again. After that sockets and processes are noted, and old connections ended. What is to be undone
    is written down first.
    """

    word = "isolate"
    Params = IsolateParams

    def locks_there(self, params: IsolateParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def patience(self, params: IsolateParams) -> float:
        return params.retry_for

    def observe(self, params: IsolateParams, world: World) -> Seen:
        if (refusal := _refusal(params, world)) is not None:  # before anything is sent to it
            raise refusal
        return Seen(order=_order(params, world), stand=driver(params, world).observe(), entry=world.isolated.get(params.host),
                    kept=kept(params, world))

    def plan(self, params: IsolateParams, seen: Seen) -> list[Change]:
        host, stand = params.host, seen.stand
        changes = []
        if not (seen.loaded and stand.standing in ("armed", "isolated")):
            changes.append(Change("load", f"cut {host} off{_lifting(seen.order)}"))
        if changes or stand.standing == "armed":
            changes.append(Change("confirm", f"connect to {host} anew and make it permanent", after=("load",)))
        if changes or stand.connections:
            needs = ("load", "confirm")
            changes.append(Change("snapshot", f"note sockets, connections and processes of {host}", after=needs))
            changes.append(Change("cut", f"end old connections of {host}", after=needs))
        elif seen.entry is None or seen.entry.stage != "confirmed":
            changes.append(Change("note", f"write down that {host} is cut off"))
        return changes

    def apply(self, params: IsolateParams, change: Change, world: World) -> None:
        way, order = driver(params, world), _order(params, world)
        if change.key == "load":
            _register(params, world, Entry(params.host, way.name, order, keep="keep" in params.options))
            way.load(order, way.observe())
            keep(params, world, loaded=world.clock().isoformat())
        elif change.key == "confirm":
            _confirm(params, world, order)
            keep(params, world, confirmed=world.clock().isoformat())
            self._note(params, world)
        elif change.key == "snapshot":
            _snapshot(params, world)
        elif change.key == "cut":
            done = way.cut(order)
            keep(params, world, cut={"before": done.before, "after": done.after, "notes": list(done.notes)})
        else:
            self._note(params, world)

    def _note(self, params: IsolateParams, world: World) -> None:
        way = driver(params, world)
        stand = way.observe()
        known = world.isolated.get(params.host)
        order = _order(params, world)
        if stand.mark is not None and stand.mark != order.mark and known is None:
            order = Order(**{**vars(order), "mark": stand.mark})  # whoever cut it off first answers for it
        _register(params, world, Entry(params.host, way.name, known.order if known else order, "confirmed", stand.seal,
                                       "keep" in params.options or bool(known and known.keep)))

    def result(self, params: IsolateParams, seen: Seen) -> Mapping[str, Any]:
        return {"host": params.host, "stand": seen.stand.as_json(), "order": seen.order.digest, **seen.kept}

    def missing(self, params: IsolateParams, seen: Seen, changes: Sequence[Change]) -> str:
        stand = seen.stand
        if stand.standing != "isolated":
            return f"{params.host} is {stand.standing}, not isolated"
        if stand.connections:
            return f"{params.host} is isolated, and {stand.connections} of its old connections are still alive"
        return super().missing(params, seen, changes)


def _order(params: IsolateParams, world: World) -> Order:
    mark = Mark(run=world.run, by=world.by, at=world.now.isoformat(), incident=params.incident or None)
    _, port = place(params.host, world.config)
    allow = [*map(opening, params.allow), *(isolation_guard.stores(world.config) if params.profile == "backup-only" else ())]
    return Order(mark=mark, managers=tuple(world.config.isolation.managers), port=port,
                 allow=tuple(dict.fromkeys(allow)), profile=params.profile, dhcp="dhcp" in params.options,
                 seconds=None if "hold" in params.options else params.within, persist="persist" in params.options)


def _refusal(params: IsolateParams, world: World) -> SafetyRefusal | None:
    """What would shut opsctl, the backups or what has to stay out of reach, unless a person said it by name."""
    host = params.host
    address, _ = place(host, world.config)
    why = isolation_guard.stays(host, world.config, here=is_own(address))
    if why is not None and host not in params.named:
        return SafetyRefusal(f"{why}, and is not cut off with others", where=host,
                             hint=f"leave it out with --except {host}, or name it: opsctl isolate apply {host}")
    way = driver(params, world)
    if "hold" in params.options:
        spec = world.config.hosts.get(host)
        if way.enforced == "host" and not (spec is not None and (spec.console or spec.gateway)):
            return SafetyRefusal(f"{host} has no console and no gateway, so --hold could strand it", where=host,
                                 hint="without --hold it lifts itself unless confirmed; or say console: true where it has one")
    elif not way.lifts_itself:
        return SafetyRefusal(f"{host} is cut off by {way.name}, which does not lift itself", where=host,
                             hint=f"opsctl isolate apply {host} --hold")
    return None


def _confirm(params: IsolateParams, world: World, order: Order) -> None:
    """Make it permanent over a new connection, tried for as long as it does not lift itself.

    Raises NotConverged where the rules shut us out, Unreachable where the host is gone otherwise.
    """
    way, until = driver(params, world), time.monotonic() + (order.seconds or 0.0)
    while True:
        try:
            way.confirm()
            return
        except Unreachable as error:
            if time.monotonic() > until:
                if order.seconds is None:
                    raise
                shut_out = error
                break
        world.shell.check()
        time.sleep(_PAUSE)
    way.close()
    way.observe()
    raise NotConverged(
        f"{params.host} could not be reached while it was cut off, so it lifted itself: it is open again", where=params.host,
        hint="rules of others there may drop new connections from this machine, or it was away for a moment: "
             f"look on it with `nft list ruleset`, or cut it off again: opsctl isolate apply {params.host}") from shut_out


def _lifting(order: Order) -> str:
    return f", lifting itself after {order.seconds:g} s" if order.seconds is not None else ", permanently at once"


def _register(params: IsolateParams, world: World, entry: Entry) -> None:
    """The journal has a line of it already, and the host's own rules say whose they are: no full disk may hold it up."""
    try:
        world.isolated.put(entry)
    except OpsError as error:
        world.warn(f"{params.host}: `isolate status` will not know of it: {error.message}")


def _snapshot(params: IsolateParams, world: World) -> None:
    """Never prevents what follows."""
    try:
        found = driver(params, world).snapshot()
        path = world.keep("isolation") / f"{params.host}.snapshot"
        write_whole(path, found)
    except Interrupted:
        raise
    except (OpsError, OSError) as error:
        world.warn(f"{params.host}: its sockets and processes were not noted: {error}")
    else:
        keep(params, world, snapshot=str(path))

"""isolate: a host cut off from everything but its manager, proven over a new connection, or lifting itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from opsctl.actions.interface import Change, StateAction, World
from opsctl.actions.isolating import (
    HostParams,
    confirm,
    cut,
    driver,
    keep,
    kept,
    let_go,
    load,
    lock_of,
    look_first,
    note,
    place,
    probed,
    proof,
    refuse_after_reopening,
    register,
    snapshot,
)
from opsctl.errors import SafetyRefusal
from opsctl.isolation.register import Entry
from opsctl.model import isolation_guard
from opsctl.model.isolation import WITHIN, Mark, Order, Stand, opening
from opsctl.model.probes import Finding, Matrix, few
from opsctl.model.values import value
from opsctl.shells.own_addresses import is_own


class IsolateParams(HostParams):
    """``within``: seconds until what was not confirmed lifts itself; ``named``: hosts that a person named themselves."""

    incident: str = ""
    allow: tuple[str, ...] = ()
    profile: Literal["full", "backup-only", "outbound-only"] = "full"
    within: float | int = WITHIN
    options: tuple[Literal["hold", "persist", "keep", "dhcp", "gateway", "probe-first"], ...] = ()
    named: tuple[str, ...] = ()
    retry_for: float | int = 180.0


@value
class Seen:
    """What was ordered, how the host stands, what this machine has written down of it, and what this run has done to it.

    ``loaded``: the rules that are there are the ones that were ordered, as they were confirmed. ``matrix``: what probes showed
    of a host that is cut off as ordered. ``holder``: what cuts it off without lifting itself, where nobody asked for ``hold``.
    """

    order: Order
    stand: Stand
    loaded: bool
    entry: Entry | None
    kept: Mapping[str, Any]
    matrix: Matrix | None = None
    holder: str = ""

    @property
    def through(self) -> Sequence[Finding]:
        """What got through although the host is cut off."""
        return self.matrix.findings if self.matrix is not None else ()


class Isolate(StateAction[IsolateParams, Seen]):
    """Cuts a host off: nothing in, nothing out, but for its manager and what is let through; its old connections die.

    with:
      host      a host of the configuration, or `user@address[:port]`
      logins    of such hosts: `user@address[:port] SHA256:… KEYFILE`, fingerprint of its key and the private key to log in with
      incident  the incident that it is done for
      allow     what stays: `10.0.0.5`, `in:10.0.0.5:443`, `out:udp:10.0.0.5:123`
      profile   `full`, `backup-only`, `outbound-only`
      within    seconds after which it lifts itself unless confirmed (60)
      options   `hold`: loaded permanent at once, for hosts with a console or a gateway (others of a zone lift themselves as ever); `persist`: it comes back after a
                reboot; `keep`: `isolate status` cuts off again what was lifted; `dhcp`: the host may renew its
                address; `gateway`: cut off by the host that forwards for it, although it could be entered; `probe-first`:
                it is tried before as well what answers, which takes two seconds and shows what silence is worth
      named     hosts that a person named: only these are cut off where they are this machine, a manager, a store or one that stays
      retry_for seconds for which a host that does not answer is tried again (180)

    It loads rules that lift themselves, connects anew, and only then makes them permanent: a host that opsctl would have
    shut itself out from opens again. After that sockets and processes are noted, and old connections ended. Then it is tried,
    from here, from the witness and from the host itself, over IPv4 and IPv6, whether anything gets through (21). What is to
    be undone is written down first.
    """

    word = "isolate"
    Params = IsolateParams

    def locks_there(self, params: IsolateParams, world: World) -> Sequence[str]:
        return lock_of(params, world)

    def patience(self, params: IsolateParams) -> float:
        return params.retry_for

    def let_go(self, params: IsolateParams, world: World) -> None:
        let_go(params, world)

    def observe(self, params: IsolateParams, world: World) -> Seen:
        refuse_after_reopening(params.host, world)
        if (refusal := _refusal(params, world)) is not None:  # before anything is sent to it
            raise refusal
        way = driver(params, world)
        way.brief = not world.dry and params.profile != "outbound-only" and "probe-first" not in params.options
        order, stand, entry, known = _order(params, world), way.observe(), world.isolated.get(params.host), kept(params, world)
        loaded = _as_ordered(order, stand, entry)
        matrix = probed(params, world, order, stand) if loaded and stand.standing == "isolated" else None
        return Seen(order, stand, loaded, entry, known, matrix, "" if way.lifts_itself or "hold" in params.options else way.name)

    def plan(self, params: IsolateParams, seen: Seen) -> list[Change]:
        host, stand = params.host, seen.stand
        changes = []
        if (refusal := _of_another(params, seen)) is not None:
            raise refusal
        if seen.through or not (seen.loaded and stand.standing in ("armed", "isolated")) or _newly_for(seen):
            if seen.holder and not (seen.loaded and stand.standing == "isolated"):
                raise SafetyRefusal(f"{host} is cut off by {seen.holder}, which does not lift itself", where=host,
                                    hint=f"opsctl isolate apply {host} --hold")
            changes.append(Change("load", f"cut {host} off{_lifting(seen.order)}"))
        if changes or stand.standing == "armed":
            changes.append(Change("confirm", f"connect to {host} anew and make it permanent", after=("load",)))
        if stand.standing != "isolated" or changes or stand.connections:
            needs = ("load", "confirm")
            changes.append(Change("snapshot", f"note sockets, connections and processes of {host}", after=needs))
            changes.append(Change("cut", f"end old connections of {host}", after=needs))
        if (seen.order.persist and (changes or stand.persisted is False)) or (changes and stand.persisted):
            wish = "comes back" if seen.order.persist else "does not come back"
            changes.append(Change("persist", f"see to it that this {wish} after a reboot of {host}", after=("load", "confirm")))
        # Confirming writes it down; who was killed between the two may still have connections to end.
        if not any(one.key == "confirm" for one in changes) and (seen.entry is None or seen.entry.stage != "confirmed"):
            changes.append(Change("note", f"write down that {host} is cut off"))
        return changes

    def apply(self, params: IsolateParams, change: Change, world: World) -> None:
        way, order = driver(params, world), _order(params, world)
        if change.key == "load":
            stand, known = way.last or way.observe(), world.isolated.get(params.host)
            order = replace(order, mark=_who_answers(order, known, stand))
            keep(params, world, later=True, mark=asdict(order.mark))
            register(params, world, Entry(params.host, way.name, order, keep="keep" in params.options, login=params.line,
                                          shown=known.shown if known else None))
            if "probe-first" in params.options and stand.standing == "open":
                look_first(params, world, stand)
            if stand.standing == "isolated" and (way.enforced == "host" or not way.lifts_itself):
                order = replace(order, seconds=None)  # it is off and we are in: a timer could only open it, should we die now
            load(params, world, order)
            keep(params, world, later=True, loaded=world.clock().isoformat())
        elif change.key == "confirm":
            confirm(params, world, order)
            keep(params, world, later=True, confirmed=world.clock().isoformat())
            note(params, world, order, again="keep" in params.options)
        elif change.key == "persist":
            way.persist(order)
        elif change.key == "snapshot":
            snapshot(params, world)
        elif change.key == "cut":
            cut(params, world, order)
        else:
            note(params, world, order, again="keep" in params.options)

    def result(self, params: IsolateParams, seen: Seen) -> Mapping[str, Any]:
        return {"host": params.host, "stand": seen.stand.as_json(), "order": seen.order.digest,
                **{key: fact for key, fact in seen.kept.items() if key != "earlier"},
                "proof": proof(seen.matrix) if seen.matrix is not None else None}

    def missing(self, params: IsolateParams, seen: Seen, changes: Sequence[Change]) -> str:
        stand = seen.stand
        if stand.standing != "isolated":
            return f"{params.host} is {stand.standing}, not isolated"
        if seen.through:
            through = few(seen.through, f"opsctl isolate status {params.host} --json")
            return f"{params.host} is cut off by its rules, and yet {through}"
        if stand.connections:
            return f"{params.host} is isolated, and {stand.connections} of its old connections are still alive"
        return super().missing(params, seen, changes)


def _as_ordered(order: Order, stand: Stand, entry: Entry | None) -> bool:
    """Whether the rules that are there are the ones that were ordered, as they were confirmed."""
    ours = entry is not None and entry.order.digest == order.digest
    if stand.digest is None and stand.seal is None:  # a tool of the site tells only that it is cut off
        return entry is None or ours
    return stand.digest == order.digest and (not ours or entry is None or entry.seal in (None, stand.seal))


def _order(params: IsolateParams, world: World) -> Order:
    mark = _mark(params, world)
    _, port = place(params.host, world.config)
    allow = [*map(opening, params.allow), *(isolation_guard.stores(world.config) if params.profile == "backup-only" else ())]
    return Order(mark=mark, managers=tuple(world.config.isolation.managers), port=port,
                 allow=tuple(dict.fromkeys(allow)), profile=params.profile, dhcp="dhcp" in params.options,
                 seconds=None if _held(params, world) else params.within, persist="persist" in params.options)


def _mark(params: IsolateParams, world: World) -> Mark:
    """As this run has given it already, also where it was killed and taken up again."""
    if known := kept(params, world).get("mark"):
        return Mark(**known)
    entry = world.isolated.get(params.host)
    if entry is not None and entry.order.mark.run == world.run:
        mark: Mark = entry.order.mark
        return mark
    return Mark(world.run, world.by, world.now.isoformat(), params.incident or None)


def _held(params: IsolateParams, world: World) -> bool:
    """Whether it is loaded permanent at once: where that is asked, and the host could be brought back without its network.

    Of a zone, the others lift themselves as ever: one word has to do for a zone of hosts of every sort.
    """
    if "hold" not in params.options:
        return False
    spec = world.config.hosts.get(params.host)
    return driver(params, world).enforced != "host" or (spec is not None and bool(spec.console or spec.gateway))


def _refusal(params: IsolateParams, world: World) -> SafetyRefusal | None:
    """What would shut opsctl, the backups or what has to stay out of reach, unless a person said it by name."""
    host = params.host
    address, _ = place(host, world.config)
    why = isolation_guard.stays(host, world.config, here=is_own(address))
    if why is not None and host not in params.named:
        return SafetyRefusal(f"{why}, and is not cut off with others", where=host,
                             hint=f"leave it out with --except {host}, or name it: opsctl isolate apply {host}")
    if "hold" in params.options and host in params.named and not _held(params, world):
        return SafetyRefusal(f"{host} has no console and no gateway, so --hold could strand it", where=host,
                             hint="without --hold it lifts itself unless confirmed; or say console: true where it has one")
    return None


def _first(entry: Entry | None, stand: Stand) -> Mark | None:
    """Who cut it off until now: by what is written here, else by what stands on the host."""
    if entry is not None:
        return None if entry.stage == "releasing" and stand.standing == "open" else entry.order.mark
    return stand.mark if stand.standing in ("armed", "isolated") else None


def _who_answers(order: Order, entry: Entry | None, stand: Stand) -> Mark:
    """Whoever cut it off first, or nobody would need the incident's name any more to open it; an incident comes before none."""
    first = _first(entry, stand)
    if first is None:
        return order.mark
    off = stand.standing == "isolated"
    if first.incident is not None:
        return first if off or order.mark.incident in (None, first.incident) else order.mark
    again = entry is not None and entry.stage == "confirmed" and entry.order.digest == order.digest
    return first if order.mark.incident is None and (off or again) else order.mark


def _of_another(params: IsolateParams, seen: Seen) -> SafetyRefusal | None:
    """Why what a host lets through is not changed on this word: what opens a part of it takes what opens all of it."""
    first, host = _first(seen.entry, seen.stand), params.host
    ordered = seen.entry.order.digest if seen.entry is not None else seen.stand.digest
    if (seen.stand.standing != "isolated" or ordered in (None, seen.order.digest) or first is None or first.incident is None
            or first.incident == params.incident):
        return None
    ours = f"not for {params.incident}" if params.incident else "which was not named"
    return SafetyRefusal(f"{host} is cut off for incident {first.incident}, {ours}: what it lets through stays as it is", where=host,
                         hint=f"the same command with --incident {first.incident}; or leave it out with --except {host}")


def _newly_for(seen: Seen) -> bool:
    """Whether it was cut off for no incident, and now is for one."""
    mark = seen.stand.mark
    return seen.order.mark.incident is not None and mark is not None and mark.incident is None


def _lifting(order: Order) -> str:
    return f", lifting itself after {order.seconds:g} s" if order.seconds is not None else ", permanently at once"

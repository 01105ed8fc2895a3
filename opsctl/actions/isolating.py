"""What the words that isolate have in common: which host it is, how it is confirmed, what is kept and written down of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsctl.actions.interface import Params, World
from opsctl.errors import ConfigError, Interrupted, NotConverged, OpsError, Partial, SafetyRefusal, Unreachable
from opsctl.isolation.register import Entry, Shown
from opsctl.model.connections import bare
from opsctl.model.given_host import given_host, is_given
from opsctl.model.isolation import Order, Stand
from opsctl.model.probes import PLACES, Look, Matrix, read_brief
from opsctl.repositories.whole import write_whole
from opsctl.shells.resolve import resolved

_PAUSE = 1.0  # seconds between two new connections to a host that does not answer while it is cut off


class HostParams(Params):
    """``host``: a configured host, or ``user@address[:port]``; of these ``logins`` says how to log in.

    Each of them is ``user@address[:port] SHA256:…``, and the path of a private key where no agent holds it.
    """

    host: str
    logins: tuple[str, ...] = ()

    @property
    def login(self) -> tuple[str, str]:
        """Fingerprint and key file of the host; empty where nothing is said of it."""
        host_key, key = (*self.line.split(" ", 2), "", "")[1:3]
        return host_key, key

    @property
    def line(self) -> str:
        """What ``logins`` says of the host; empty where that is nothing."""
        return next((line for line in self.logins if line.split(" ", 1)[0] == self.host), "")


def driver(params: HostParams, world: World) -> Any:
    """The way in which the host is cut off, one a run. Partial (3) where a person has to do it."""
    spec = world.config.hosts.get(params.host)
    if by_gateway(params, world):
        return world.gateway_for(params.host)
    if spec is not None and spec.isolation is None:
        raise Partial(f"no software can cut {params.host} off: {spec.by_hand or 'it has no isolation: and no by_hand:'}", where=params.host,
                      hint="a person has to do it, now" if spec.by_hand else "pull its cable or its switch port, and write by_hand: for the next time")
    return world.isolation(params.host, *params.login)


def by_gateway(params: HostParams, world: World) -> bool:
    """Whether the host is cut off by its gateway although it has a way of its own: as it is asked, or was written down."""
    if "gateway" in getattr(params, "options", ()):
        return True
    spec = world.config.hosts.get(params.host)
    if spec is not None and spec.gateway is None:
        return False
    entry = world.isolated.get(params.host)
    return (entry.driver if entry is not None else kept(params, world).get("way")) == "gateway"


def let_go(params: HostParams, world: World) -> None:
    """Close the host's own connection: hundreds that stand idle cost time. A gateway's serves other hosts, too.

    Before that the hash of the rules is written down, as the second look found them, and what probes showed.
    """
    with contextlib.suppress(OpsError):
        way = driver(params, world)
        entry, stand = world.isolated.get(params.host), way.last
        if entry is not None and entry.stage == "confirmed" and not world.dry:
            known = replace(entry, shown=world.remembered.get(f"shown {params.host}", entry.shown))
            if entry.seal is None and stand is not None and stand.standing == "isolated" and stand.digest == entry.order.digest:
                known = replace(known, seal=stand.seal)
            if known != entry:
                register(params, world, known)
        if way.enforced == "host":
            way.close()


def place(host: str, config: Any) -> tuple[str, int]:
    """Address and port of a host. ConfigError where there is no such host."""
    if is_given(host):
        spec = given_host(host)
        return spec.address, spec.port
    if host not in config.hosts:
        raise ConfigError(f"there is no host {host!r} in the configuration")
    return config.hosts[host].address, config.hosts[host].port


def lock_of(params: HostParams, world: World) -> tuple[str, ...]:
    """One run at a time for an address and port, however the host is called: by its name, one of its addresses, or in another configuration."""
    address, port = place(params.host, world.config)
    spec = world.config.hosts.get(params.host)
    found = [address]
    if spec is not None and spec.isolation == "nftables":  # of others nobody logs in, and no name server is to hold them up
        with contextlib.suppress(Unreachable):
            found += resolved(address)
    if spec is not None:
        found += [one for one in map(bare, spec.addresses) if _holders(world)[one] == 1]
    return tuple(f"host {one} port {port}" for one in dict.fromkeys(found))


def _holders(world: World) -> Counter[str]:
    """How many hosts have an address beside the one that they are known by: several may share one, and none is to wait for the others."""
    if "holders" not in world.remembered:
        world.remembered["holders"] = Counter(one for spec in world.config.hosts.values()
                                              for one in {bare(spec.address), *map(bare, spec.addresses)})
    found: Counter[str] = world.remembered["holders"]
    return found


def kept(params: HostParams, world: World) -> Mapping[str, Any]:
    """What this run wrote down about the host, for people; nothing is decided by it."""
    name = f"isolation {params.host}"
    if name not in world.remembered:
        found: Any = {}
        with contextlib.suppress(OSError, ValueError, OpsError):
            found = json.loads((world.keep("isolation") / f"{params.host}.json").read_text())
        found = found if isinstance(found, dict) else {}
        with contextlib.suppress(OSError, OpsError):
            if (path := _snapshot(params, world)).exists():  # a run that was killed had not come to write down where it is
                found.setdefault("snapshot", str(path))
        world.remembered[name] = found
    known: Mapping[str, Any] = world.remembered[name]
    return known


def keep(params: HostParams, world: World, *, later: bool = False, **facts: Any) -> None:
    """Write down more about the host; what comes ``later`` takes it along. A disk that is full, or would have to be waited for, holds nothing up."""
    known = world.remembered[f"isolation {params.host}"] = {**kept(params, world), **facts}
    if later:
        return
    with contextlib.suppress(OSError, OpsError):
        write_whole(world.keep("isolation") / f"{params.host}.json", json.dumps(known).encode(), durable=False)


def load(params: HostParams, world: World, order: Order) -> None:
    """Cut it off. Raises NotConverged where the rules shut us out and have lifted themselves."""
    way = driver(params, world)
    try:
        stand = way.last or way.observe()  # the engine has just looked
        way.load(order, stand)
        if stand.facts.leased is not None and not order.dhcp:
            world.warn(f"{params.host}: its address is leased for {stand.facts.leased / 60:.0f} minutes more and cannot be renewed while it is "
                       "cut off; then nobody reaches it any more, nor can release it: cut it off with --dhcp, or release it before")
    except Unreachable as error:  # its answer may be what the rules hold back
        stand = _after_silence(params, world, order, error)
        if stand.standing == "lifted" and stand.mark == order.mark:
            raise _shut_out(params) from error
        if stand.standing == "open":
            raise


def confirm(params: HostParams, world: World, order: Order) -> None:
    """Make it permanent over a new connection, tried for as long as it does not lift itself.

    Raises NotConverged where it had lifted itself or its rules shut us out, Unreachable where the host is gone otherwise.
    """
    way = driver(params, world)
    while True:
        try:
            way.confirm()
            return
        except Unreachable as error:
            if _after_silence(params, world, order, error).standing not in ("armed", "isolated"):
                raise _shut_out(params) from error


def _after_silence(params: HostParams, world: World, order: Order, error: Unreachable) -> Stand:
    """How it stands once it can be connected to anew, at the latest when it has lifted itself. Raises the error otherwise."""
    way, until = driver(params, world), time.monotonic() + (order.seconds or 0.0) + _PAUSE
    while True:
        way.close()
        try:
            found: Stand = way.observe()
        except Unreachable:
            if time.monotonic() > until:
                raise error from None
        else:
            return found
        pause(world, _PAUSE)


def _shut_out(params: HostParams) -> NotConverged:
    return NotConverged(
        f"{params.host} could not be reached while it was cut off, so it lifted itself: it is open again", where=params.host,
        hint="rules of others there may drop new connections from this machine, or it was away for a moment: "
             f"look on it with `nft list ruleset`, or cut it off again: opsctl isolate apply {params.host}")


def pause(world: World, seconds: float) -> None:
    """Wait; Interrupted where the run is told to stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        world.shell.check()
        time.sleep(min(left, 0.25))


def snapshot(params: HostParams, world: World) -> None:
    """Sockets, connections and processes, for evidence, behind what was noted before. What goes wrong with it never prevents what follows."""
    try:
        found, path = driver(params, world).snapshot(), _snapshot(params, world)
        write_whole(path, (path.read_bytes() if path.exists() else b"") + found)
    except Interrupted:
        raise
    except (OpsError, OSError) as error:
        world.warn(f"{params.host}: its sockets and processes were not noted: {error}")


def _snapshot(params: HostParams, world: World) -> Path:
    return world.keep("isolation") / f"{params.host}.snapshot"


def cut(params: HostParams, world: World, order: Order) -> None:
    """End old connections, and keep how many there were, and where it was noted before what there was."""
    path = _snapshot(params, world)
    noted: dict[str, Any] = {"snapshot": str(path)} if path.exists() else {}
    try:
        done = driver(params, world).cut(order)
    except OpsError:
        keep(params, world, **noted)
        raise
    keep(params, world, **noted, cut={"before": done.before, "after": done.after, "notes": list(done.notes)})


def look_first(params: HostParams, world: World, stand: Stand) -> None:
    """Keep what answers before the host is cut off: then it is known what silence afterwards is worth."""
    _, port = place(params.host, world.config)
    keep(params, world, earlier=world.prober(params.host, driver(params, world)).look(stand.facts, port).brief())


def probed(params: HostParams, world: World, order: Order, stand: Stand) -> Matrix:
    """What gets through, tried from here, from the witness and from the host. Raises nothing but Interrupted."""
    known = kept(params, world)
    done = known.get("cut")
    earlier: Look | None = None
    with contextlib.suppress(KeyError, ValueError, TypeError):
        earlier = read_brief(known["earlier"])
    entry, prober = world.isolated.get(params.host), world.prober(params.host, driver(params, world))
    if entry is not None and entry.shown is not None:
        prober.ports = (*prober.ports, *entry.shown.ports)
    matrix: Matrix = prober.probe(
        order, stand, earlier=earlier,
        before=done["before"] if done else stand.connections if stand.standing == "armed" else None,
        after=stand.connections if stand.connections is not None else done["after"] if done else None)
    world.remembered[f"shown {params.host}"] = shown(matrix, entry.shown if entry is not None else None, world.clock().isoformat())
    return matrix


def shown(matrix: Matrix, before: Shown | None, at: str) -> Shown:
    """What is written down of it; what was found from where nobody could look this time stands."""
    tried = {one.place for one in matrix.look.probes if one.outcome != "cannot"}
    if before is not None and not matrix.findings and not tried.issuperset(before.places):
        return before
    return Shown(matrix.verdict, tuple(map(str, matrix.findings)), at,
                 tuple(dict.fromkeys(one.probe.to.port for one in matrix.findings if one.probe.place != "out")),
                 tuple(dict.fromkeys(one.probe.place for one in matrix.findings)))


def refuse_after_reopening(host: str, world: World) -> None:
    """SafetyRefusal where this run has let people in again: what failed weeks ago is not made up for by taking the run up again."""
    for step, params, outcome in world.outcomes_before("other_run"):
        if outcome in ("ok", "changed") and not {"reopen", "reopen-approved", "release", "release-agreed"}.isdisjoint(params["playbook"]):
            raise SafetyRefusal(f"{host} was not cut off when this run began, and people were let in again since ({step}): it is left as it is",
                                where=host, hint=f"where it has to be: opsctl isolate apply {host}")


def proof(matrix: Matrix) -> dict[str, Any]:
    """A matrix as JSON, with the words of its cells."""
    cells = {place: {str(version): matrix.cell(place, version) for version in matrix.versions} for place in PLACES}
    return {**matrix.as_json(), "cells": cells, "says": matrix.says()}


def register(params: HostParams, world: World, entry: Entry) -> None:
    """The journal has a line of it already, and the host's own rules say whose they are: no full disk may hold it up."""
    try:
        world.isolated.put(entry)
    except OpsError as error:
        world.warn(f"{params.host}: `isolate status` will not know of it: {error.message}")


def note(params: HostParams, world: World, order: Order, *, again: bool = False) -> None:
    """Write down that it is confirmed. Whoever cut it off first answers for it."""
    way = driver(params, world)
    known = world.isolated.get(params.host)
    if known is not None:
        order = known.order
    else:
        order = replace(order, mark=(way.last or way.observe()).mark or order.mark)
    # Drivers that keep what they found are asked once more anyway, when all is done.
    seal = way.observe().seal if way.last is None else None
    register(params, world, Entry(params.host, way.name, order, "confirmed", seal, again or bool(known and known.keep),
                                  params.line or (known.login if known else ""), known.shown if known else None))

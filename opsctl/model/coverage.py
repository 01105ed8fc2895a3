"""What of a zone can be cut off and proven to be, in part, or only by a person; and what stops working with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from opsctl.model.hosts import Host
from opsctl.model.isolation import Stand
from opsctl.model.isolation_guard import known_by, server_of
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.model.config import Config

Word = Literal["provable", "partial", "not reachable by software"]
_EGRESS = (5, 16)  # the kernel from which on rules stand at the ports for what leaves by them


@value
class Cover:
    """How far one machine, switch or appliance is covered. ``why`` limits it; ``by_hand`` is what a person has to do."""

    host: str
    word: Word
    how: str
    why: tuple[str, ...] = ()
    by_hand: str | None = None


def cover(name: str, host: Host, stand: Stand | None, trouble: str | None) -> Cover:
    """By what is configured, and how it was just seen to stand; ``trouble``: why it was not seen."""
    if host.isolation is None:
        return Cover(name, "not reachable by software", host.os, ("no isolation: is configured",),
                     host.by_hand or "nothing says how: write by_hand: with whom to call and which plug to pull")
    how = f"its gateway {host.gateway}" if host.isolation == "gateway" else host.isolation if host.tool is None else f"the tool {host.tool}"
    if trouble is not None:
        more = f"; its gateway {host.gateway} can: --by-gateway" if host.gateway and host.isolation != "gateway" else ""
        return Cover(name, "not reachable by software", how, (f"{trouble}{more}",), host.by_hand)
    why = list(stand.partial if stand is not None else ())
    if host.isolation == "gateway" and not why:
        why.append("hosts of its own segment still reach it")
    if host.isolation in ("command", "aws_security_group") and not host.ports:
        why.append("no ports: are configured, so probes may meet nothing that would answer")
    if host.isolation == "nftables" and stand is not None and _kernel(stand) < _EGRESS and not stand.partial:
        why.append(f"its kernel {stand.facts.versions.get('kernel', '')} has no rules for what leaves by a port: raw frames pass")
    return Cover(name, "partial" if why else "provable", how, tuple(why), host.by_hand)


def _kernel(stand: Stand) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", stand.facts.versions.get("kernel", ""))
    return tuple(map(int, found.groups())) if found else _EGRESS


def stops(hosts: Sequence[str], config: Config) -> Iterator[str]:
    """What no longer works when these hosts are cut off, a sentence each."""
    zones = dict.fromkeys(zone for name in hosts if name in config.hosts and (zone := config.hosts[name].zone))
    for zone in zones:
        inside = [name for name, host in config.hosts.items() if host.zone == zone]
        left = [name for name in inside if name not in hosts]
        for service in config.zones[zone].public_services:
            yield f"{service}: people lose it with the zone {zone}" + (f", unless {', '.join(left)} alone can serve it" if left else "")
    for backup, spec in config.backups.items():
        there = {str(config.sources[source].host): source for source in spec.sources if config.sources[source].host in hosts}
        if there:
            what = ", ".join(f"{source} on {host}" for host, source in there.items())
            yield f"backup {backup}: no new set while it is cut off ({what})"
    for repository, store in config.repositories.items():
        server = server_of(store.url)
        for name in hosts:
            if server is not None and name in config.hosts and known_by(config.hosts[name], server[0]):
                yield f"repository {repository}: nothing is stored or restored, for {name} serves it"


def goes_on(hosts: Sequence[str], config: Config) -> Iterator[str]:
    """What is not touched, a sentence each."""
    touched = {config.hosts[name].zone for name in hosts if name in config.hosts}
    for zone, spec in config.zones.items():
        if zone not in touched:
            services = f": {', '.join(spec.public_services)}" if spec.public_services else ""
            yield f"zone {zone} is not touched{services}"
    for name in sorted(one for one in touched if one is not None):
        left = [each for each, host in config.hosts.items() if host.zone == name and each not in hosts]
        if left:
            yield f"of zone {name} these are not touched: {', '.join(left)}"
    if config.isolation.managers:
        yield f"logins from {', '.join(config.isolation.managers)}, and from this machine, to the hosts"
    else:
        yield "logins from this machine to the hosts"

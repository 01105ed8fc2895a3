"""What is not cut off, or not opened again, unless a person says it by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opsctl.model.isolation import Mark, Opening
from opsctl.model.probes import Endpoint
from opsctl.model.sftp import is_sftp, sftp_address
from opsctl.model.snapshots import parse_time

if TYPE_CHECKING:
    from opsctl.model.config import Config
    from opsctl.model.hosts import Host

ALONE = timedelta(minutes=30)
"""For so long after it, the person who cut a host off may open it again alone."""


def stays(name: str, config: Config, *, here: bool) -> str | None:
    """Why a host is not cut off as one of many; None where nothing speaks against it. ``here``: it is this machine."""
    host = config.hosts.get(name)
    if here:
        return f"{name} is the machine that opsctl runs on"
    if host is None:
        return None
    if any(known_by(host, address) for address in config.isolation.managers):
        return f"{name} is a manager: isolation: managers: names its address"
    if name == config.isolation.store:
        return f"{name} is the backup store: isolation: store: names it"
    if name == config.isolation.witness:
        return f"{name} is the witness, which could then see nothing of the others: isolation: witness: names it"
    for repository, spec in config.repositories.items():
        server = server_of(spec.url)
        if server is not None and known_by(host, server[0]):
            return f"{name} serves the repository {repository}"
    if name in config.isolation.stays:
        return f"{name} is one of isolation: stays:"
    return None


def known_by(host: Host, place: str) -> bool:
    """Whether an address, or a name, is one of the host's. No name is looked up."""
    import ipaddress

    if place in (host.address, host.name):
        return True
    try:
        address = ipaddress.ip_address(place)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in host.addresses)


def server_of(url: str) -> tuple[str, int] | None:
    """Address and port of a repository's server; None where it is on this machine, or the address cannot be read."""
    try:
        if is_sftp(url):
            place = sftp_address(url)
            return place.host, place.port
        if url.startswith(("rest:", "s3:")):
            parts = urlsplit(url.partition(":")[2])
            default = 443 if parts.scheme == "https" else 80
            return (parts.hostname, parts.port or default) if parts.hostname else None
    except ValueError:
        return None
    return None


def stores(config: Config) -> Iterator[Opening]:
    """What stays for a host that may still be backed up: the servers of all repositories whose address stands in the configuration."""
    for _, address, port in _servers(config):
        if address is not None:
            yield Opening(address, port, "tcp", "out")


def out_of_reach(config: Config) -> Iterator[str]:
    """The repositories whose servers ``stores`` does not know: they are given by a name, which is not looked up in an emergency."""
    return (repository for repository, address, _ in _servers(config) if address is None)


def _servers(config: Config) -> Iterator[tuple[str, str | None, int]]:
    """Of each repository that has a server: its name, the server's address (None where only a name is known) and port."""
    import ipaddress

    for repository, spec in config.repositories.items():
        server = server_of(spec.url)
        if server is None:
            continue
        found = None
        for place in (server[0], *(host.address for host in config.hosts.values() if known_by(host, server[0]))):
            try:
                found = str(ipaddress.ip_address(place))
            except ValueError:
                continue
            break
        yield repository, found, server[1]


def places(config: Config, addresses: Sequence[str]) -> Iterator[Endpoint]:
    """Where the machine of the backup store, which has these addresses, serves: by its repositories, else by its own ports."""
    store = config.hosts[str(config.isolation.store)] if config.isolation.store else None
    if store is None:
        return
    servers = [server for spec in config.repositories.values() if (server := server_of(spec.url)) is not None]
    served = [port for host, port in servers if host in (*addresses, store.address, store.name)]
    for port in dict.fromkeys((*served, *store.ports) or (store.port,)):
        for address in addresses:
            yield Endpoint(address, port)


def not_alone(mark: Mark, person: str, now: datetime, incidents: Sequence[str] = ()) -> str | None:
    """Why more than the word of ``person`` is needed to open a host that was cut off so; None where it is not.

    ``incidents``: those that are open, drills left out.
    """
    if mark.incident:
        return f"it was cut off for incident {mark.incident}"
    if incidents:
        return f"incident {', '.join(incidents)} is open"
    if mark.by != person:
        return f"{mark.by} cut it off"
    try:
        age = now - parse_time(mark.at)
    except ValueError:
        return "nobody knows since when it is cut off"
    if not timedelta(minutes=-1) <= age <= ALONE:
        return f"it was cut off more than {ALONE.seconds // 60} minutes ago"
    return None

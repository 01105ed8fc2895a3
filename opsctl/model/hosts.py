"""Hosts and the zones they stand in: who can be logged into, by which pinned key, and how it is cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from opsctl.model.config_values import PublicKey
from opsctl.model.fields import Argument, Line, Mistake, Name, Names, Part, Shown, entries, mapping, meant, shown
from opsctl.model.part import AfterValidator, Field, Strict

if TYPE_CHECKING:
    from opsctl.model.config import Config

USER = "opsctl"
"""The account that is logged into where a host names no other."""


def _address(value: str) -> str:
    import ipaddress  # only where there are hosts

    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if len(value) > 253 or re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*\.?", value) is None \
            or re.fullmatch(r"[0-9.]+", value):
        raise ValueError("must be an address such as 10.0.0.11 or fd00::11, or a host name; the port is a key of its own")
    return value


def _network(value: str) -> str:
    import ipaddress

    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("must be an address or a prefix such as fd00::7 or 10.0.7.0/24") from None
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _account(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}", value) is None:
        raise ValueError("must be the name of an account")
    return value


def _instance(value: str) -> str:
    if re.fullmatch(r"i-[0-9a-f]{8,17}", value) is None:
        raise ValueError("must be the id of an instance, such as i-0123456789abcdef0")
    return value


def _host_key(value: str) -> str:
    if value.startswith("sk-"):
        raise ValueError("is a person's hardware key; a host's is the line of /etc/ssh/ssh_host_ed25519_key.pub")
    return value


Address = Annotated[str, AfterValidator(_address), Shown("address")]
Network = Annotated[str, AfterValidator(_network), Shown("address or prefix")]
Account = Annotated[str, AfterValidator(_account), Shown("account name")]
HostKey = Annotated[PublicKey, AfterValidator(_host_key), Shown("SSH public key")]


class Zone(Part):
    """Hosts that are cut off together. The key of the entry is its name."""

    title: Line = Field(description="What it is, for people.")
    public_services: Names = Field(
        default=(), description="Names of the services that people lose when the zone is cut off."
    )


class Host(Part):
    """A machine that is backed up or cut off. The key of the entry is its name."""

    address: Address = Field(
        description="Address, or a name; an address still works when the name server is cut off. `localhost` without "
        "`host_key` is this machine itself, which is not logged into."
    )
    addresses: Annotated[tuple[Network, ...], Strict(False)] = Field(
        default=(),
        description="More addresses or prefixes of it: a gateway cuts them off as well, and the backup store shuts them out. An IPv6 "
        "address that the gateway sees beside `address` needs no mention. What answers at these counts as the host itself: name `address` "
        "here as well where it is translated to the host with all of its ports.",
    )
    port: Annotated[int, Field(ge=1, le=65535), Shown("number")] = Field(default=22, description="Port of its sshd.")
    user: Account = Field(default=USER, description="Account to log into.")
    become: Literal["none", "sudo"] = Field(
        default="none",
        description="`sudo`: commands run as root there, as `opsctl hosts prepare` lays out.",
    )
    host_key: HostKey | None = Field(
        default=None,
        description="Its SSH host key, compared on its own console; without one nothing is ever sent to it.",
    )
    zone: Name | None = Field(default=None, description="The zone that it stands in.")
    os: Literal["linux", "windows", "appliance"] = Field(
        default="linux", description="Only `linux` is logged into."
    )
    isolation: Literal["nftables", "gateway", "command", "aws_security_group"] | None = Field(
        default=None,
        description="How it is cut off: by its own rules, by the host that forwards for it, by a tool of the site, by AWS. "
        "Without it a person has to do it.",
    )
    console: bool = Field(
        default=False, description="It has a console that works without the network, so that `--hold` may be used."
    )
    gateway: Name | None = Field(
        default=None, description="The host that forwards for it: cuts it off where it cannot be entered, or never answered."
    )
    tool: Name | None = Field(default=None, description="The tool below `isolation: tools:` that cuts it off.")
    instance: Annotated[str, AfterValidator(_instance), Shown("instance id")] | None = Field(
        default=None, description="Its id at EC2, such as `i-0123456789abcdef0`."
    )
    region: Argument | None = Field(default=None, description="Its region at AWS, such as `ap-south-1`.")
    by_hand: Line | None = Field(
        default=None, description="What a person has to do to cut it off, and whom to call, where no software can."
    )
    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Strict(False), Shown("list of numbers")] = Field(
        default=(), description="Ports that it serves, tried when it is cut off; of hosts that are logged into they are seen there."
    )

    _name: str = ""
    _as_root: tuple[str, ...] = ()
    _root_shell: bool = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def as_root(self) -> tuple[str, ...]:
        """Programs, beside restic, that its sources need as root where it is ``become: sudo``."""
        return self._as_root

    @property
    def root_shell(self) -> bool:
        """Whether others are cut off at it (it forwards for them, or has the backup store), or services of it are stopped."""
        return self._root_shell

    @property
    def here(self) -> bool:
        """Whether it is this machine itself, which is not logged into: an address of its loopback, and no key to know it by."""
        return self.host_key is None and self.address in ("localhost", "127.0.0.1", "::1")

    @property
    def pinned(self) -> str | None:
        """The host key as ``TYPE BASE64``, without a comment."""
        return " ".join(self.host_key.split()[:2]) if self.host_key else None


def host_mistakes(data: Any) -> Iterator[Mistake]:
    """Zones that are not there, and what does not fit the sort of machine; ``data`` may have any shape."""
    zones = mapping(data, "zones")
    for name, entry in entries(data, "hosts"):
        place = ("hosts", name)
        zone = entry.get("zone")
        if isinstance(zone, str) and zone not in zones:
            yield (*place, "zone"), f"there is no zone {shown(zone)}{meant(zone, zones)}"
        system = entry.get("os", "linux")
        if system in ("windows", "appliance"):
            if entry.get("isolation") == "nftables":
                yield (*place, "isolation"), f"nftables runs on linux; a host of os: {system} is cut off by a gateway"
            for key in ("host_key", "become"):
                if entry.get(key) not in (None, "none"):
                    yield (*place, key), f"is for hosts that are logged into; os: {system} is not"


def unknown_host(data: Any, name: Any) -> str | None:
    """What is wrong with a reference to a host, or None."""
    hosts = mapping(data, "hosts")
    if not isinstance(name, str) or name in hosts:
        return None
    return f"there is no host {shown(name)}{meant(name, hosts)}"


def host_doubts(config: Config) -> Iterator[str]:
    """What is allowed and looks wrong, one sentence each."""
    seen: dict[tuple[str, int], str] = {}
    keys: dict[str, str] = {}
    for name, host in config.hosts.items():
        place = (host.address, host.port)
        if place in seen:
            yield f"hosts {seen[place]} and {name} have the same address {host.address}"
        seen[place] = name
        if host.os == "linux" and host.pinned is None and not host.here:
            yield f"host {name} has no host_key, so nothing is ever sent to it: `opsctl hosts add {name}` pins one"
        elif host.pinned is not None:
            if host.pinned in keys:
                yield f"hosts {keys[host.pinned]} and {name} have the same host key: one can stand in for the other"
            keys[host.pinned] = name

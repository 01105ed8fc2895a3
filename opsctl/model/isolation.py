"""What a host is to be cut down to, and how it was seen to stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from opsctl.model.addresses import ip_address, ip_network
from opsctl.model.values import value

PROFILES = ("full", "backup-only", "outbound-only")
WITHIN = 60.0
"""Seconds after which an isolation that nobody confirmed lifts itself, where nothing else is said."""

Standing = Literal["open", "armed", "isolated", "lifted"]


@value
class Opening:
    """Traffic that stays: ``network`` is an address or prefix, ``port`` one of the side named by ``direction``.

    ``in``: they connect to this host's port. ``out``: this host connects to their port. Only tcp and udp have ports; a
    ``port`` of None is all traffic with that network, both ways.
    """

    network: str
    port: int | None = None
    protocol: Literal["tcp", "udp"] = "tcp"
    direction: Literal["in", "out"] = "in"

    @property
    def version(self) -> int:
        return ip_network(self.network).version

    def __str__(self) -> str:
        place = self.network if self.version == 4 or self.port is None else f"[{self.network}]"
        return place if self.port is None else f"{self.direction}:{self.protocol}:{place}:{self.port}"


def opening(text: str) -> Opening:
    """``10.0.0.5``, ``10.0.0.0/24``, ``in:10.0.0.5:443``, ``out:tcp:[fd00::5]:8000``, ``out:udp:10.0.0.5:123``. ValueError."""
    parts = text.split(":", 1)
    direction: Any = parts[0] if parts[0] in ("in", "out") and len(parts) == 2 else None
    rest = parts[1] if direction else text
    protocol: Any = "tcp"
    if direction and rest.startswith(("tcp:", "udp:")):
        protocol, _, rest = rest.partition(":")
    if direction is None:
        return Opening(str(ip_network(rest)))
    place, _, port = rest.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text}: a port is missing; as in out:tcp:10.0.0.5:8000")
    return Opening(str(ip_network(place.strip("[]"))), int(port), protocol, direction)


@value
class Mark:
    """Who ordered an isolation; it stands on the host itself, so that another controller can read it."""

    run: str
    by: str
    at: str
    incident: str | None = None


@value
class Order:
    """What a host is cut down to. Loopback and the manager that is connected (to ``port``) stay without being named.

    ``managers`` are more addresses that may log in. ``seconds`` is the dead man's handle: unconfirmed for so long it
    lifts itself; None loads it permanent at once (``--hold``). ``opened`` is let through besides for ``open_for`` seconds,
    after which that closes itself.
    """

    mark: Mark
    managers: tuple[str, ...] = ()
    port: int = 22
    allow: tuple[Opening, ...] = ()
    profile: str = "full"
    dhcp: bool = False
    seconds: float | None = WITHIN
    persist: bool = False
    opened: tuple[Opening, ...] = ()
    open_for: float = 0.0

    @property
    def digest(self) -> str:
        """16 hex digits of what is let through: two orders with one digest cut off alike, whoever gave them."""
        said = {"managers": sorted(self.managers), "port": self.port, "allow": sorted(map(str, self.allow)),
                "profile": self.profile, "dhcp": self.dhcp, **({"opened": sorted(map(str, self.opened))} if self.opened else {})}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@value
class Facts:
    """What a driver found out about a host: its own addresses, ports that are served there, from where we are connected.

    ``devices`` are network interfaces that lead out of it, ``namespaces`` how many network namespaces it has. ``port`` is the
    one of its sshd that we are connected to, as the host sees it. ``inner`` are those of its addresses that stand on a bridge
    without a port that leads out: only its own containers and guests reach them, and elsewhere they belong to others. ``leased``:
    seconds until the first IPv4 address that it got by DHCP is gone, unless it may renew it.
    """

    addresses: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    serves: tuple[int, ...] = ()
    manager: str | None = None
    namespaces: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    leased: float | None = None


@value
class Stand:
    """How a host stands, by its own rules.

    ``left``: seconds until an armed isolation lifts itself. ``partial``: why it is not whole, one sentence each.
    ``connections``: old connections, in all network namespaces, that are neither loopback nor let through; None where
    nobody can count them. ``digest`` and ``mark`` of the order that was loaded; ``seal``: a hash of our own rules as they
    are now, without what moves by itself; ``persisted``: whether it comes back after a reboot, None where that cannot be
    seen. ``opened``: what is let through for a time, and ``open_left`` for how many seconds still; where that has closed
    itself, 0. ``raw`` is what the driver read, for evidence.
    """

    standing: Standing
    left: float | None = None
    partial: tuple[str, ...] = ()
    connections: int | None = None
    digest: str | None = None
    mark: Mark | None = None
    seal: str | None = None
    persisted: bool | None = None
    opened: tuple[str, ...] = ()
    open_left: float | None = None
    facts: Facts = field(default_factory=Facts)
    raw: str = ""

    def as_json(self) -> dict[str, Any]:
        """For results and ``--json``: everything but ``raw``."""
        said = {**vars(self), "mark": {**vars(self.mark)} if self.mark is not None else None, "facts": {**vars(self.facts)}}
        del said["raw"]
        return said


@value
class Cut:
    """Old connections that were ended: how many there were, how many are left, and what could not be asked.

    None where nobody can count them.
    """

    before: int | None
    after: int | None
    notes: tuple[str, ...] = ()


def families(addresses: Iterable[str]) -> Sequence[int]:
    """The IP versions among addresses that others can reach: no loopback, no link-local."""
    found = set()
    for text in addresses:
        address = ip_address(text.split("%")[0])
        if not (address.is_loopback or address.is_link_local):
            found.add(address.version)
    return sorted(found)

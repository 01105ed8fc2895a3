"""The connections of a host as ``ss`` lists them, and which of them an isolation is to end."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence

from opsctl.model.addresses import ip_address, ip_network
from opsctl.model.isolation import Opening
from opsctl.model.values import value

_IDLE = ("LISTEN", "UNCONN", "TIME-WAIT", "SYN-SENT")
_LINE = re.compile(r"(tcp|udp)\s+(\S+)\s+\d+\s+\d+\s+(\S+):(\d+|\*)\s+(\S+):(\d+|\*)")


@value
class Socket:
    """One line of ``ss -Htuan``. Addresses without zone, IPv4 as such also where IPv6 carries it; a port of 0 is any."""

    protocol: str
    state: str
    address: str
    port: int
    peer: str
    peer_port: int


@value
class Space:
    """One network namespace: its own addresses, and its sockets."""

    addresses: frozenset[str]
    sockets: tuple[Socket, ...]

    @property
    def serves(self) -> frozenset[int]:
        """TCP ports that others can connect to."""
        return frozenset(one.port for one in self.sockets
                         if one.protocol == "tcp" and one.state == "LISTEN" and not _is_loopback(one.address))


def space(addresses: str, sockets: str) -> Space:
    """From what ``ip -o addr`` and ``ss -Htuan`` print."""
    return Space(frozenset(of_interfaces(addresses)), tuple(_sockets(sockets)))


def of_interfaces(text: str) -> Iterator[str]:
    """The addresses in what ``ip -o addr`` prints."""
    for found in re.finditer(r"^\d+:\s+\S+\s+inet6?\s+([0-9A-Fa-f:.]+)", text, re.MULTILINE):
        yield bare(found[1])


@functools.lru_cache(maxsize=4096)
def bare(address: str) -> str:
    """An address without brackets and zone: ``[fe80::1%eth0]`` is ``fe80::1``, ``::ffff:10.0.0.1`` is ``10.0.0.1``."""
    text = re.sub(r"%[^\]]*", "", address).strip("[]")
    try:
        found = ip_address(text)
    except ValueError:
        return text
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def others(found: Space, allowed: Sequence[Opening], profile: str) -> list[Socket]:
    """Connections that are neither of the namespace with itself nor let through.

    Programs that try again and again to call somebody always have a call on its way, or a socket of UDP that nobody
    answers: of these none is a connection. With ``outbound-only`` those are let through as well that the namespace has opened itself, which is: not to a port that
    it serves.
    """
    # An address can be taken while a connection to it is open: only one of which both ends are here is of the namespace with itself,
    # or whose ends have one address: of the port of a container that is called by the host's address, the other end is elsewhere.
    ends = {(one.address, one.port, one.peer, one.peer_port) for one in found.sockets if one.protocol == "tcp"}
    return [one for one in found.sockets if one.protocol == "tcp" and one.state not in _IDLE
            and not (one.peer in found.addresses and (one.peer == one.address or (one.peer, one.peer_port, one.address, one.port) in ends))
            and not _is_loopback(one.peer) and not any(_is_of(one, opening) for opening in allowed)
            and not (profile == "outbound-only" and one.port not in found.serves)]


def survivors(killed: str, found: Space) -> list[Socket]:
    """Of UDP, the sockets that ``ss -K`` said to end and that are still there."""
    ended = {(one.address, one.port, one.peer, one.peer_port) for one in _sockets(killed)}
    return [one for one in found.sockets
            if one.protocol == "udp" and (one.address, one.port, one.peer, one.peer_port) in ended]


def words(allowed: Collection[Opening]) -> list[str]:
    """The same for ``ss``: what is let through, as words of its filter language, each part with ``or`` behind it."""
    said: list[str] = []
    for one in allowed:
        network = str(ip_network(one.network))
        to = f"[{network}]" if one.version == 6 else network
        if one.port is None:
            said += ["dst", to, "or"]
        else:
            said += ["(", "sport" if one.direction == "in" else "dport", "=", f":{one.port}", "and", "dst", to, ")", "or"]
    return said


def _is_of(one: Socket, opening: Opening) -> bool:
    try:
        if ip_address(one.peer) not in ip_network(opening.network):
            return False
    except ValueError:
        return False
    return opening.port in (None, one.port if opening.direction == "in" else one.peer_port)


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def _sockets(text: str) -> Iterator[Socket]:
    for line in text.splitlines():
        if found := _LINE.match(line):
            protocol, state, address, port, peer, peer_port = found.groups()
            yield Socket(protocol, state, bare(address), _port(port), bare(peer), _port(peer_port))


def _port(text: str) -> int:
    return int(text) if text.isdigit() else 0

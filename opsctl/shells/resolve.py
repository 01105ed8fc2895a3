"""The addresses that a name stands for, asked of this machine's resolver."""

from __future__ import annotations

import ipaddress
import socket

from opsctl.errors import Unreachable


def resolved(address: str) -> tuple[str, ...]:
    """An address is itself; of a name every address, IPv4 first. Raises Unreachable where nobody knows the name."""
    try:
        return (str(ipaddress.ip_address(address)),)
    except ValueError:
        pass
    try:
        found = {str(place[0]) for *_, place in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise Unreachable(f"nobody knows the address of {address}: {error}", where=address,
                          hint="an address in the configuration works without a name server") from error
    return tuple(sorted(found, key=lambda each: (":" in each, each)))

"""Addresses and networks as the standard library reads them, each text once: of hundreds of hosts the same few are asked for thousands of times."""

from __future__ import annotations

import functools
import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(maxsize=8192)
def ip_address(text: str) -> Address:
    """Raises ValueError."""
    return ipaddress.ip_address(text)


@functools.lru_cache(maxsize=8192)
def ip_network(text: str, strict: bool = True) -> Network:
    """Raises ValueError; ``strict``: also where it has bits beside its prefix."""
    return ipaddress.ip_network(text, strict)

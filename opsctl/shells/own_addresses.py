"""This machine's own addresses: whether one is, and which others see."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket


def is_own(address: str) -> bool:
    """Nothing is sent and no name is looked up: only an own address can be bound to."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return address in ("localhost", socket.gethostname())
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((address, 0))
        except OSError as error:
            return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True


def towards(address: str) -> str | None:
    """The address that this machine comes from, by its routes, to another; None for a name. Nothing is sent."""
    try:
        version = ipaddress.ip_address(address).version
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.connect((address, 9))
            return str(tried.getsockname()[0])
    except (ValueError, OSError):
        return None


def own_addresses() -> list[str]:
    """All that the kernel lists, loopback among them; link-local IPv6 ones, which mean nothing without an interface, left out."""
    found = ["127.0.0.1"]
    with contextlib.suppress(OSError), open("/proc/net/fib_trie", encoding="ascii") as lines:
        last = ""
        for line in lines:
            words = line.split()
            if words[:1] == ["|--"]:
                last = words[1]
            elif words[:3] == ["/32", "host", "LOCAL"]:
                found.append(last)
    with contextlib.suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as lines:
        every = [str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in lines]
        found += [address for address in every if not ipaddress.ip_address(address).is_link_local]
    return list(dict.fromkeys(found))

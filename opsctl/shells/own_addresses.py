"""This machine's own addresses: whether one is, and which others see."""

from __future__ import annotations

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

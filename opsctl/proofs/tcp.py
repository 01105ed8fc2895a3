"""The proof of a port: it takes a call, and says what it should."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from opsctl.errors import Unreachable
from opsctl.shells.resolve import resolved
from opsctl.sources.interface import Difference

_BANNER = 1 << 10


def call(address: str, port: int, until: float) -> socket.socket:
    """A connection, to the first of its addresses that takes the call before ``until`` (``time.monotonic``). OSError, Unreachable."""
    refused: OSError | None = None
    for each in resolved(address):
        try:
            return socket.create_connection((each, port), timeout=left(until))
        except OSError as error:
            refused = error
    raise refused if refused is not None else Unreachable(f"{address} has no address")


def left(until: float) -> float:
    """Seconds that are left; TimeoutError where none are."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def reason(error: Exception) -> str:
    """Why nothing came, in a few words."""
    if isinstance(error, Unreachable):
        return error.message
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]


def prove(address: str, port: int, *, banner: str | None, timeout: float, check: Callable[[], None] = lambda: None) -> list[Difference]:
    """What is not as expected; at most ``timeout`` seconds. ``check`` ends it by raising."""
    until = time.monotonic() + timeout
    said = b""
    try:
        with call(address, port, until) as connection:
            while banner is not None and banner.encode() not in said and len(said) < _BANNER:
                check()
                connection.settimeout(min(left(until), 1.0))
                try:
                    piece = connection.recv(_BANNER - len(said))
                except TimeoutError:
                    continue
                if not piece:
                    break
                said += piece
    except (OSError, Unreachable) as error:
        if said:
            return [Difference("what it says", banner, _text(said))]
        return [Difference("the port", "takes a call" if banner is None else f"takes a call and says {banner}", reason(error))]
    if banner is not None and banner.encode() not in said:
        return [Difference("what it says", banner, _text(said) or "nothing")]
    return []


def _text(said: bytes) -> str:
    return said[:200].decode("utf-8", "replace")

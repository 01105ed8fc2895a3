"""How far this machine's clock is off, by one question to a time server (SNTP, RFC 4330)."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from dataclasses import dataclass

from opsctl.errors import ProgramFailed, Unreachable

PORT = 123
ANSWER_WITHIN = 3.0
"""Seconds."""

_EPOCH = 2_208_988_800  # seconds from 1900, where NTP counts from, to 1970
_ERA = 1 << 32  # its seconds begin anew every 136 years, next in 2036
_CLIENT = 0x23  # no leap warning, version 4, mode 3
_SIZE = 48


@dataclass(frozen=True)
class Answer:
    """``offset``: seconds that the server is ahead of this clock; ``doubt``: seconds that this may be wrong by."""

    server: str
    offset: float
    doubt: float


def ask(host: str, port: int = PORT, *, within: float = ANSWER_WITHIN) -> Answer:
    """Ask one server. Raises Unreachable, and ProgramFailed where it does not know the time itself."""
    shown = host if port == PORT else f"{host} port {port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as door:
            door.settimeout(within)
            door.connect(address)
            nonce = secrets.token_bytes(8)  # our own time is nobody's business, and the answer has to repeat this
            sent, began = time.time(), time.monotonic()
            door.send(bytes([_CLIENT]).ljust(_SIZE - 8, b"\0") + nonce)
            answer = door.recv(1024)
            while len(answer) < _SIZE or answer[24:32] != nonce:
                door.settimeout(max(0.001, within - (time.monotonic() - began)))
                answer = door.recv(1024)
            took = time.monotonic() - began
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreachable(f"time server {shown} does not answer ({why})",
                          hint="is its name right, and may UDP to its port pass?") from error
    if answer[0] & 7 != 4 or answer[0] >> 6 == 3 or not 1 <= answer[1] <= 15:
        raise ProgramFailed(f"time server {shown} does not know the time itself", hint="ask another one")
    received, left = _moment(answer[32:40], sent), _moment(answer[40:48], sent)
    return Answer(shown, ((received - sent) + (left - (sent + took))) / 2, max(0.0, took - (left - received)) / 2)


def _moment(stamp: bytes, near: float) -> float:
    """Seconds since 1970 of a time stamp, in the era that is nearest to ``near``."""
    seconds, fraction = struct.unpack("!II", stamp)
    moment: float = seconds - _EPOCH + fraction / _ERA
    return moment + round((near - moment) / _ERA) * _ERA

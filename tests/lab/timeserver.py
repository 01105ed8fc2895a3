"""A time server on loopback, whose clock is off by as much as a test wants."""

from __future__ import annotations

import socket
import struct
import threading
import time
from types import TracebackType

_EPOCH = 2_208_988_800


class TimeServer:
    """``with TimeServer(ahead=1200) as server:``; ``server.address`` is what goes into ``ntp``.

    ``stratum`` 0 and ``leap`` 3 are how a server says that it does not know the time. ``foreign``: each answer is
    preceded by one to a question that nobody asked, as somebody would send it who only guesses.
    """

    def __init__(self, ahead: float = 0.0, *, stratum: int = 2, leap: int = 0, foreign: bool = False) -> None:
        self.ahead = ahead
        self.stratum = stratum
        self.leap = leap
        self.foreign = foreign
        self.asked = 0
        self._door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._door.getsockname()[1]}"

    def __enter__(self) -> TimeServer:
        self._door.bind(("127.0.0.1", 0))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.sendto(b"", self._door.getsockname())  # wakes it up
        self._thread.join()
        self._door.close()

    def _serve(self) -> None:
        while True:
            question, who = self._door.recvfrom(1024)
            if not question:
                return
            self.asked += 1
            if self.foreign:
                self._door.sendto(self._answer(b"x" * 8, 7200.0), who)
            self._door.sendto(self._answer(question[40:48], self.ahead), who)

    def _answer(self, origin: bytes, ahead: float) -> bytes:
        now = _stamp(time.time() + ahead)
        head = bytes([self.leap << 6 | 4 << 3 | 4, self.stratum, 6, 0x20]) + b"\0" * 8 + b"TEST"
        return head + now + origin + now + now


def _stamp(moment: float) -> bytes:
    seconds = moment + _EPOCH
    return struct.pack("!II", int(seconds) % (1 << 32), int(seconds % 1 * (1 << 32)))

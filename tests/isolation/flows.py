"""Connections between machines of the lab, held open by the tests: who still hears whom, and which are dead for good."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.lab.isolation import Lab

WAIT = 0.4  # seconds for what is on its way; in the lab it is there before the call that sends it returns


@dataclass
class Flow:
    """A TCP connection: ``far`` called ``near``, or the other way; ``near`` is the end on the host that is cut off."""

    name: str
    near: socket.socket
    far: socket.socket

    def close(self) -> None:
        self.near.close()
        self.far.close()


def flow(lab: Lab, name: str, caller: str, server: str, address: str, *, near: str, port: int = 0, dialled: int = 0) -> Flow:
    """``caller`` connects to ``address`` of ``server``; ``dialled`` where that is another port than the one served there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab.within(server), socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("::" if ":" in address else "0.0.0.0", port))
        listening.listen(1)
        with lab.within(caller):
            call = socket.socket(family)
        call.settimeout(5)
        call.connect((address, dialled or listening.getsockname()[1]))
        answer, _ = listening.accept()
    for each in (call, answer):
        each.setblocking(False)
    return Flow(name, call, answer) if near == caller else Flow(name, answer, call)


def alive(flows: Sequence[Flow]) -> list[str]:
    """The names of those over which a word comes from each end to the other; all are tried at once."""
    waiting: dict[socket.socket, tuple[str, str]] = {}
    for one in flows:
        for end, other in ((one.near, one.far), (one.far, one.near)):
            _drain(end)
            with contextlib.suppress(OSError):
                other.send(b"x")
                waiting[end] = (one.name, str(id(end)))
    heard: dict[str, int] = {}
    deadline = time.monotonic() + WAIT
    while waiting and (left := deadline - time.monotonic()) > 0:
        for end in select.select(list(waiting), [], [], left)[0]:
            name, _ = waiting.pop(end)
            with contextlib.suppress(OSError):
                heard[name] = heard.get(name, 0) + bool(end.recv(100))
    return [one.name for one in flows if heard.get(one.name) == 2]


def dead(end: socket.socket) -> bool:
    """Whether this end was told that its connection is over."""
    try:
        return end.recv(1000) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextlib.contextmanager
def open_flows(flows: Sequence[Flow]) -> Iterator[Sequence[Flow]]:
    try:
        yield flows
    finally:
        for one in flows:
            one.close()


def _drain(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while end.recv(1000):
            pass

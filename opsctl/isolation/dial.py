"""Knocks at many TCP doors at once, in one loop; the same lines run here and, by ``python3 -c``, on hosts.

The standard library only, and Python 3.7, since hosts have what they have.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time

_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)
# What a firewall says, and what comes of a router of our own that is not there: the caller has to find out which. That nobody
# knows a way to a network is another thing: then nothing was ever on its way.
_BARRED = (errno.EHOSTUNREACH, errno.EACCES, errno.EHOSTDOWN)
_NO_HANDLE = (errno.EMFILE, errno.ENFILE)


def dial(targets: list[tuple[str, int]], seconds: float, most: int = 400) -> list[tuple[str, str, str]]:
    """Outcome, from which address, and why, for each address and port, in their order; ``most`` of them at once.

    ``open``: the call was taken. ``refused``: a reset came back. ``silent``: within ``seconds`` nothing came. ``barred``: a
    word came that it is not let through, or finds no way. ``cannot``: not tried, since there is no way from this machine.
    """
    found = [("cannot", "", "")] * len(targets)
    waiting = list(range(len(targets)))[::-1]
    calls: dict[int, tuple[int, socket.socket, str, float]] = {}  # by handle, the oldest first
    poll = select.poll()

    def end(number: int, caller: socket.socket, outcome: str, source: str, code: int) -> None:
        if outcome == "open":  # with a reset, which leaves nothing behind on either side
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()
        found[number] = outcome, source, errno.errorcode.get(code, str(code)) if code else ""

    while waiting or calls:
        while waiting and len(calls) < most:
            address, port = targets[waiting[-1]]
            try:
                caller = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            except OSError as error:
                if error.errno in _NO_HANDLE and calls:
                    break
                found[waiting.pop()] = "cannot", "", errno.errorcode.get(error.errno or 0, "")
                continue
            number = waiting.pop()
            caller.setblocking(False)
            code = caller.connect_ex((address, port))
            source = str(caller.getsockname()[0])
            if code == errno.EINPROGRESS:
                calls[caller.fileno()] = number, caller, source, time.monotonic() + seconds
                poll.register(caller, select.POLLOUT)
            else:  # without a packet on its way: to itself, or not at all
                end(number, caller, "open" if not code else "refused" if code in _REFUSED else "cannot", source, code)
        if not calls:
            continue
        oldest = next(iter(calls.values()))[3]
        for handle, _ in poll.poll(1 + max(0.0, oldest - time.monotonic()) * 1000):
            number, caller, source, _ = calls.pop(handle)
            poll.unregister(handle)
            code = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            end(number, caller, _outcome(code), source, code)
        now = time.monotonic()
        for handle, (number, caller, source, until) in list(calls.items()):
            if until > now:
                break
            del calls[handle]
            poll.unregister(handle)
            end(number, caller, "silent", source, 0)
    return found


def _outcome(code: int) -> str:
    if code in _BARRED:
        return "barred"
    if code == errno.ETIMEDOUT:
        return "silent"
    return "open" if not code else "refused" if code in _REFUSED else "cannot"


if __name__ == "__main__":
    asked = [line.split() for line in sys.stdin if line.strip()]
    for count, answer in enumerate(dial([(address, int(port)) for address, port in asked], float(sys.argv[1]))):
        sys.stdout.write(" ".join([str(count), *(word or "-" for word in answer)]) + "\n")

"""Runs a dump that begins and ends at moments which the holder of the database's lock has to know.

Run by its path as ``python -I -S mariadb_window.py --events FIFO --start FIFO --trailer TEXT --suffix FILE -- ARGV…``
and standing alone: the standard library only. Into EVENTS it writes ``r`` (ready), waits for a ``1`` in START, runs
ARGV, writes ``b`` when the dump has begun to read and ``e`` when it has ended well. With ``--gated yes`` ARGV runs on another
machine (``Shell.streamed``) and is on its way there before, so that nobody waits for that. What ARGV writes goes out as it
is, and after its end, where that has TRAILER in it, the bytes of SUFFIX. It ends as ARGV ends.

mariadb-dump cannot take over a snapshot of somebody else's, as pg_dump can. It writes its header, opens its
transaction, and only then looks at a table: so what follows the header can only come from inside its transaction.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import suppress

#: Stands before the first thing that a dump says about the database, and never in its header.
BEGUN = b"\n\n--\n-- "
READY, READING, ENDED, CANCELLED = b"r", b"b", b"e", b"x"

_BUFFER = 1 << 20
_F_SETPIPE_SZ = 1031  # bytes; by default a dump and its reader take turns at each 64 KiB
_TAIL = 1024
_WRONG = 64
_ARRIVED = 3


def main(words: list[str]) -> int:
    """The whole program; returns its exit code."""
    given: dict[str, str] = {}
    while words and words[0] != "--":
        given[words[0]] = words[1]
        words = words[2:]
    gated = given.pop("--gated", "") == "yes"
    if set(given) != {"--events", "--start", "--trailer", "--suffix"} or len(words) < 2:
        os.write(2, b"wrong use\n")
        return _WRONG
    events = os.open(given["--events"], os.O_WRONLY | os.O_CLOEXEC)
    start = os.open(given["--start"], os.O_RDONLY | os.O_CLOEXEC)
    out, into = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # an account may only have so much of it
        fcntl.fcntl(out, _F_SETPIPE_SZ, _BUFFER)
    there, arrived = os.pipe2(os.O_CLOEXEC)
    gate, opening = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, into, 1)]
    if gated:
        actions += [(os.POSIX_SPAWN_DUP2, gate, 0), (os.POSIX_SPAWN_DUP2, arrived, _ARRIVED)]
        pid = _spawn(words[1:], actions)
        os.close(arrived)
    # One that does not come there ends by itself, and says why.
    if not gated or os.read(there, 1):
        os.write(events, READY)
        if os.read(start, 1) != b"1":
            os.write(2, b"told not to begin\n")
            return _WRONG
        if gated:
            os.write(opening, b"1")
        else:
            pid = _spawn(words[1:], actions)
    os.close(into)
    tail = _pour(out, events)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        if -code != signal.SIGKILL:  # which nothing can be told of
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code == 0 and os.fsencode(given["--trailer"]) in tail:
        suffix = os.open(given["--suffix"], os.O_RDONLY)
        while piece := os.read(suffix, _BUFFER):
            _write(memoryview(piece))
        os.write(events, ENDED)
    return abs(code)


def _spawn(argv: list[str], actions: list[tuple[int, int, int]]) -> int:
    # The dump ends with us, also where we are killed while it waits for the server.
    return os.posix_spawnp("setpriv", ["setpriv", "--pdeathsig", "KILL", "--", *argv], os.environ, file_actions=actions)


def _pour(out: int, events: int) -> bytes:
    """Copy until the end; the last bytes of it."""
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    head: bytes | None = b""
    tail = b""
    while count := os.readv(out, [buffer]):
        piece = view[:count]
        if head is not None:
            head += bytes(piece)
            if BEGUN in head:
                os.write(events, READING)
                head = None
            else:
                head = head[-len(BEGUN) :]
        tail = bytes(piece[-_TAIL:]) if count >= _TAIL else (tail + bytes(piece))[-_TAIL:]
        _write(piece)
    return tail


def _write(piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(1, piece) :]


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))

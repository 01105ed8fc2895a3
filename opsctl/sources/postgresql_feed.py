"""Feeding a dump to psql as SQL and nothing else: no command of psql's own that stands in it is run.

psql runs ``\\! …``, ``\\copy … program`` and the like on the machine that restores, and whoever owned the server or the
repository could put them into a dump (CVE-2025-8714). psql's own ``\\restrict KEY`` forbids them all until ``\\unrestrict``
with the same key. A patched pg_dump writes both lines itself, with a key that stands in the dump: these are left out, and
what is sent begins with a key of ours that the dump cannot know. Where anything here errs psql says no.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import selectors
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from opsctl.shells.interface import Result, Session, Shell

#: What psql says of a command of its own in the dump; group 1 is the line of what it was sent.
FORBIDDEN = re.compile(r":(\d{1,18}): error: (?:backslash commands are restricted|\\unrestrict: )")
#: What a psql says that does not know the command that forbids them.
TOO_OLD = "invalid command \\restrict"

_END = re.compile(rb"\n\\unrestrict ([A-Za-z0-9]+)\n\s*\Z")
_TAIL = 4096
_PIECE = 1 << 20
_LOOK = 0.5  # seconds between two looks whether we were told to stop


def feed(shell: Shell, argv: Sequence[str], environment: Mapping[str, str], dump: Path) -> Result:
    """Run psql over the dump, from standard input, to its end or its first error; what it printed is thrown away.

    Line numbers that psql names are by one too high. Raises Interrupted; OSError where the dump cannot be read.
    """
    # Without a key that is long enough to be guessed in vain, nothing here would hold.
    first = f"\\restrict {secrets.token_hex(32)}\n".encode()
    with open(os.open(dump, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
        with shell.open([*argv, "-o", os.devnull, "-f", "-"], env=environment) as session:
            if _send(shell, session, first):
                for piece in _pieces(file):
                    if not _send(shell, session, piece):
                        break
            session.stdin.close()
            session.stdout.read()  # nothing comes; it ends with psql, however long that builds indexes
            result = session.close()
    shell.check()
    return result


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """The dump without the two lines that pg_dump restricts it with; their ends stay, so that lines keep their numbers."""
    size = file.seek(0, os.SEEK_END)
    begins = max(0, size - _TAIL)
    file.seek(begins)
    last = _END.search(file.read(_TAIL))
    at = _find(file, b"\n\\restrict " + last[1] + b"\n") if last else None
    if last is None or at is None:
        yield from _between(file, 0, size)
        return
    yield from _between(file, 0, at + 1)
    yield from _between(file, at + 1 + len(b"\\restrict " + last[1]), begins + last.start() + 1)
    yield b"\n"


def _between(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    file.seek(begin)
    while begin < end and (piece := file.read(min(_PIECE, end - begin))):
        begin += len(piece)
        yield piece


def _find(file: BinaryIO, wanted: bytes) -> int | None:
    """Where the bytes stand first in the file. The key is new in each dump: nothing that was dumped can hold it."""
    file.seek(0)
    kept, at = b"", 0
    while piece := file.read(_PIECE):
        kept += piece
        if (found := kept.find(wanted)) >= 0:
            return at + found
        at += max(0, len(kept) - len(wanted))
        kept = kept[-len(wanted) :]
    return None


def _send(shell: Shell, session: Session, piece: bytes) -> bool:
    """Whether psql took it all; it takes no more once it has ended."""
    left = memoryview(piece)
    try:
        into = session.stdin.fileno()
    except io.UnsupportedOperation:  # of another machine: the connection itself holds the pace
        shell.check()
        with contextlib.suppress(BrokenPipeError):
            session.stdin.write(piece)
            session.stdin.flush()
            return True
        return False
    os.set_blocking(into, False)
    with selectors.DefaultSelector() as waiting:
        waiting.register(into, selectors.EVENT_WRITE)
        while left:
            shell.check()
            if not waiting.select(_LOOK):
                continue
            try:
                left = left[os.write(into, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return False
    return True

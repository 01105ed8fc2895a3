"""Writes a consistent copy of an SQLite database to standard output, and leaves nothing behind.

Handed to ``python3 -I -c`` on the machine where the database is, as ``check PATH`` or ``copy PATH``, and standing alone:
the standard library of Python 3.7. The first line of its output is JSON: ``bytes`` and ``sqlite`` (its version), and with
``copy`` so many bytes follow; or ``lacking`` (it is missing or empty), ``busy`` or ``failed``, each with why.

The copy is a file without a name. It goes with this process, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from urllib.parse import quote

_STEP = 1024  # pages copied at a time
_PAUSE = 0.02  # seconds to wait where a writer is in the way
_RESTARTS = 3
_PATIENCE = 60.0  # seconds without a page that could be read
_SPARE = 16 << 20
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HINTS = {
    "malformed": "the database itself is damaged: the last good set has it whole",
    "not a database": "is it an SQLite database, and not encrypted?",
    "unable to open": "may this user read it and, for WAL mode, write beside it?",
    "readonly": "a writer crashed: open the database once with its own program",
    "full": "make room where temporary files go",
}


class Busy(Exception):
    """Somebody holds it."""


class Moved(Exception):
    """It changes faster than it can be copied."""


def main(what: str, path: str) -> int:
    """The whole program; returns its exit code."""
    try:
        trouble = lacking(path)
        if trouble:
            return say(lacking=trouble)
        source = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None)
        size = number(source, "page_count") * number(source, "page_size")
        if what == "check":
            return say(bytes=size, sqlite=sqlite3.sqlite_version)
        # Until it has no name any more, nobody ends us.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        file, name = tempfile.mkstemp(prefix="opsctl-", dir=roomy(size))
        try:
            copy(source, name)
        except BaseException:
            remove(name)
            raise
        say(bytes=os.fstat(file).st_size, sqlite=sqlite3.sqlite_version)
        os.lseek(file, 0, os.SEEK_SET)
        while True:
            piece = os.read(file, 1 << 20)
            if not piece:
                return 0
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    except Busy as error:
        return say(busy=str(error))
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            return say(busy=str(error))
        return say(failed=str(error), hint=next((hint for word, hint in _HINTS.items() if word in str(error)), None))
    except OSError as error:
        return say(failed=f"{error.filename or 'the copy'}: {error.strerror}", hint=_HINTS["full"])


def say(**words: object) -> int:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()
    return 0


def lacking(path: str) -> str:
    """Why there is nothing to copy; empty where there is something."""
    try:
        if os.stat(path).st_size:
            return ""
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "is empty"


def number(source: sqlite3.Connection, name: str) -> int:
    return int(source.execute(f"PRAGMA {name}").fetchone()[0])


def remove(name: str) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass


def copy(source: sqlite3.Connection, name: str) -> None:
    """Copy what ``source`` has open, as of one moment, into the file; its name is taken away before the first page."""
    with closing(sqlite3.connect(name)) as target:
        target.execute("PRAGMA journal_mode = OFF").fetchone()
        target.execute("PRAGMA synchronous = OFF")
        target.execute("SELECT count(*) FROM sqlite_master").fetchone()  # now it has the file open
        os.unlink(name)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        # In WAL mode holding one reading transaction hinders nobody; in the other modes writers wait for its end.
        if source.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                source.backup(target, pages=_STEP, progress=Watch(_RESTARTS), sleep=_PAUSE)
                return
            except Moved:
                pass
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=_STEP, progress=Watch(None), sleep=_PAUSE)
        source.execute("ROLLBACK")


def roomy(size: int) -> str:
    """A directory for temporary files with room for the copy."""
    places = [place for place in (os.environ.get("TMPDIR"), "/var/tmp", "/tmp") if place and os.access(place, os.W_OK)]
    for place in places:
        found = os.statvfs(place)
        if found.f_bavail * found.f_frsize >= size + _SPARE:
            return place
    raise OSError(28, f"no room for a copy of {size} bytes", ", ".join(places) or "/var/tmp")


class Watch:
    """Called after every step: counts restarts, stops where nothing moves."""

    def __init__(self, restarts: int | None) -> None:
        self.restarts = restarts
        self.least: int | None = None
        self.moved = time.monotonic()

    def __call__(self, status: int, remaining: int, total: int) -> None:
        now = time.monotonic()
        if status in (5, 6):  # SQLITE_BUSY, SQLITE_LOCKED
            if now - self.moved > _PATIENCE:
                raise Busy(f"locked by another program for more than {_PATIENCE:.0f} s")
            return
        self.moved = now
        if self.least is not None and remaining > self.least and self.restarts is not None:
            self.restarts -= 1
            if self.restarts <= 0:
                raise Moved
        self.least = remaining


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

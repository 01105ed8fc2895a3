"""One SQLite database file as a source: a consistent copy made by SQLite itself, proven and stored whole."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from opsctl.errors import Busy, Partial, ProgramFailed
from opsctl.model.signals import Signals
from opsctl.model.snapshots import Progress
from opsctl.proofs import rows
from opsctl.repositories.interface import OnProgress
from opsctl.shells.interface import Shell
from opsctl.sources import guarded, sqlite_proof, sqlite_sample, table_signals
from opsctl.sources.interface import Captured, Context, Difference, Evidence, Problem, Source, difference, shrunken

_STEP = 1024  # pages copied at a time
_PAUSE = 0.02  # seconds to wait where a writer is in the way
_RESTARTS = 3
_PATIENCE = 60.0  # seconds without a page that could be read
_ASKED_WITHIN = 600  # seconds that a query of the site's own may take
_SPARE = 16 << 20


class Sqlite(Source):
    """The database at ``path``. The copy lies in the run's scratch directory until it is stored.

    While copying, a database in WAL mode can be written to. In the older rollback mode a change makes the
    copy start again; after some of these writers wait for as long as it takes.
    """

    kind: ClassVar[str] = "sqlite"

    def __init__(self, name: str, *, path: str, proof: str = "full", shell: Shell) -> None:
        self.name = name
        self.path = path
        self.level = proof
        self.shell = shell

    @property
    def filename(self) -> str:
        return f"{self.name}.sqlite"

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        if lacking := self._lacking():
            return [lacking]
        try:
            with _opened(self.path) as source:
                _size(source)
        except (ProgramFailed, Busy) as error:
            return [Problem(error.code, error.message, hint=error.hint, paths=(self.path,))]
        return []

    def capture(self, context: Context) -> Captured:
        begun = time.monotonic()
        copy = context.scratch / self.filename
        version = self.make_copy(copy, context)
        cancelled = threading.Event()
        dumped = guarded.store(
            context,
            ["--file", str(copy)],
            filename=self.filename,
            options=["--sha256"],
            prove=lambda: sqlite_proof.take(copy, self.level, cancelled.is_set),
            cancel=cancelled.set,
        )
        copy.unlink()
        written = int(dumped.report["bytes"])
        if dumped.summary.bytes != written:
            raise ProgramFailed(f"the copy has {written:,} bytes and restic saved {dumped.summary.bytes:,}")
        return Captured(
            snapshot=dumped.snapshot,
            proof={**dumped.proven, "sha256": dumped.report["sha256"], "bytes": written},
            files=1,
            bytes=written,
            data_added=dumped.summary.data_added,
            data_added_packed=dumped.summary.data_added_packed,
            seconds=round(time.monotonic() - begun, 3),
            paths=(f"/{self.filename}",),
            versions={"sqlite": version},
            problems=tuple(shrunken(context.previous, 1, written)),
            origin=self.path,
        )

    def make_copy(self, copy: Path, context: Context) -> str:
        """Make the new file ``copy``; the version of SQLite that made it. Raises Partial, Busy, ProgramFailed."""
        lacking = self._lacking()
        if lacking:
            raise Partial(lacking.message, hint=lacking.hint, details={"paths": list(lacking.paths)})
        with _opened(self.path) as source:
            require_space(context.scratch, _size(source))
            copy_database(source, copy, shell=self.shell, what=self.name, on_progress=context.on_progress)
        return sqlite3.sqlite_version

    def signals(self, evidence: Evidence) -> Signals:
        return table_signals.of(evidence, self.sample)

    def sample(self) -> table_signals.Columns:
        """Some values of each column; of one on another machine nothing is looked into."""
        with _opened(self.path) as source:
            yield from sqlite_sample.columns(source)

    def rows(self, query: str, *, file: Path | None = None) -> list[list[str]]:
        """What a query of the site's own answers, as text, of a ``file`` or of its own database; nothing is written. Raises ProgramFailed."""
        begun = time.monotonic()
        try:
            with sqlite_proof.reading(file) if file is not None else _opened(self.path) as source:
                source.text_factory = lambda raw: bytes(raw).decode("utf-8", "replace")
                source.set_progress_handler(lambda: int(time.monotonic() > begun + _ASKED_WITHIN), 10_000)
                for pragma in ("query_only = ON", "trusted_schema = OFF"):
                    source.execute(f"PRAGMA {pragma}")
                return [["" if cell is None else str(cell) for cell in row] for row in source.execute(query.strip().rstrip(";"))]
        except sqlite3.Error as error:
            raise ProgramFailed(f"{file or self.path} does not answer the query: {error}", where=self.name) from error

    def restored_files(self, entry: Mapping[str, Any], place: Path) -> list[Difference]:
        paths = entry.get("paths") or (f"/{self.filename}",)
        file = place / str(paths[0]).lstrip("/")
        if not file.is_file():
            return [Difference(file.name, "the database", "missing")]
        expected = entry["proof"]
        with open(file, "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest == expected["sha256"]:  # the same bytes hold the same tables
            return []
        found = [
            Difference(f"{file.name}, SHA-256", expected["sha256"], digest),
            *difference(f"{file.name}, bytes", expected["bytes"], file.stat().st_size),
        ]
        if rows.is_proof(expected):
            try:
                found += rows.compare(expected, sqlite_proof.take(file, expected["level"]))
            except ProgramFailed as error:
                found.append(Difference(file.name, "a database that can be read", error.message))
        return found

    def tables_in(self, entry: Mapping[str, Any], file: Path | None) -> list[Difference]:
        place, expected = file or Path(self.path), entry["proof"]
        try:
            with open(place, "rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() == expected["sha256"]:
                    return []
            if rows.is_proof(expected):
                return rows.compare(expected, sqlite_proof.take(place, expected["level"]))
        except (OSError, ProgramFailed) as error:
            return [Difference(str(place), "a database that can be read", getattr(error, "strerror", None) or str(error))]
        return [Difference(f"{place}, SHA-256", expected["sha256"], "another one, and its tables were not counted")]

    def _lacking(self) -> Problem | None:
        try:
            size = os.stat(self.path).st_size
        except OSError as error:
            why = (
                "does not exist"
                if isinstance(error, FileNotFoundError)
                else f"cannot be read: {error.strerror}"
            )
            return Problem(
                3, f"{self.path} {why}", hint="is it mounted, and is the path right?", paths=(self.path,)
            )
        if not size:
            return Problem(
                3, f"{self.path} is empty", hint="has anything ever been stored in it?", paths=(self.path,)
            )
        return None


def copy_database(
    source: sqlite3.Connection,
    target: Path,
    *,
    shell: Shell,
    what: str,
    on_progress: OnProgress | None = None,
) -> None:
    """Copy what ``source`` has open, as of one moment, to the new file ``target``.

    Raises Busy (locked for longer than a minute), ProgramFailed (damaged, disk full), Interrupted.
    """
    page_size = int(source.execute("PRAGMA page_size").fetchone()[0])
    # In WAL mode holding one reading transaction hinders nobody; in the other modes writers wait for its end.
    if source.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            _copy(source, target, _Watch(shell, what, page_size, on_progress, restarts=_RESTARTS))
            return
        except _Moved:
            target.unlink()
    source.execute("BEGIN")
    try:
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        _copy(source, target, _Watch(shell, what, page_size, on_progress, restarts=None))
    finally:
        source.execute("ROLLBACK")


def _copy(source: sqlite3.Connection, target: Path, watch: _Watch) -> None:
    with closing(sqlite3.connect(target)) as copy:
        # Nothing but this process sees the copy, and a copy that was cut off is thrown away.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(copy, pages=_STEP, progress=watch, sleep=_PAUSE)


class _Moved(Exception):
    """The source changes faster than it can be copied."""


class _Watch:
    """Called after every step: counts restarts, stops where nothing moves, reports."""

    def __init__(
        self,
        shell: Shell,
        what: str,
        page_size: int,
        on_progress: OnProgress | None,
        *,
        restarts: int | None,
    ) -> None:
        self.restarts = restarts
        self._shell = shell
        self._what = what
        self._page_size = page_size
        self._on_progress = on_progress
        self._least: int | None = None
        self._moved_at = time.monotonic()

    def __call__(self, status: int, remaining: int, total: int) -> None:
        self._shell.check()
        now = time.monotonic()
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if now - self._moved_at > _PATIENCE:
                raise Busy(
                    f"{self._what} is locked by another program for more than {_PATIENCE:.0f} s",
                    hint="which program holds a write transaction open?",
                )
            return
        self._moved_at = now
        if self._least is not None and remaining > self._least and self.restarts is not None:
            self.restarts -= 1
            if self.restarts <= 0:
                raise _Moved
        self._least = remaining
        if self._on_progress is not None:
            self._on_progress(
                Progress(
                    f"copying {self._what}",
                    bytes_done=(total - remaining) * self._page_size,
                    bytes_total=total * self._page_size,
                )
            )


@contextmanager
def _opened(path: str) -> Iterator[sqlite3.Connection]:
    """The source, read-only; closed afterwards."""
    with (
        translated(path),
        closing(
            sqlite3.connect(
                f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None
            )
        ) as source,
    ):
        yield source


@contextmanager
def translated(path: str) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Busy(f"{path}: {error}", hint="which program holds it locked?") from error
        hint = {
            sqlite3.SQLITE_CORRUPT: "the database itself is damaged: the last good set has it whole",
            sqlite3.SQLITE_NOTADB: "is it an SQLite database, and not encrypted?",
            sqlite3.SQLITE_CANTOPEN: "may this user read it and, for WAL mode, write beside it?",
            sqlite3.SQLITE_READONLY: "a writer crashed: open the database once with its own program",
            sqlite3.SQLITE_FULL: "make room where temporary files go",
        }.get(code)
        raise ProgramFailed(f"{path}: {error}", hint=hint) from error


def _size(source: sqlite3.Connection) -> int:
    """Bytes of the whole database, also of what is still in its WAL."""
    pages, size = (source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(size)


def require_space(directory: Path, needed: int) -> None:
    place = os.statvfs(directory)
    free = place.f_bavail * place.f_frsize
    if free < needed + _SPARE:
        raise ProgramFailed(
            f"the copy needs {needed + _SPARE:,} bytes in {directory}, and {free:,} are free",
            hint="make room there, or set TMPDIR to a larger place",
            details={"needed": needed + _SPARE, "free": free},
        )

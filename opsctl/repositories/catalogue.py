"""The catalogue: what has been seen of the repositories, kept so that nothing is asked twice. A cache, nothing more."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from opsctl.model.records import Record
from opsctl.repositories.private import private_folder

_SCHEMA = """
create table if not exists snapshots (repository text, id text, json text, seal text, primary key (repository, id))
  without rowid;
create table if not exists records (repository text, id text, json text, signer text, seal text,
  primary key (repository, id)) without rowid;
create table if not exists standing (backup text primary key, json text, seal text) without rowid;
create table if not exists wrong (repository text primary key, json text, seal text) without rowid;
create table if not exists signals (repository text, manifest text, json text, seal text, primary key (repository, manifest))
  without rowid;
create table if not exists looked (backup text, "set" text, json text, seal text, primary key (backup, "set")) without rowid;
"""

#: What stands in every seal; another one makes all that was kept before unknown.
_EDITION = "opsctl-catalogue/1"

#: What SQLite says of a file that another version made, that is damaged, or that is no database.
_UNUSABLE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def seal_from(key: Path) -> bytes | None:
    """What seals a catalogue: a secret made from the controller's private key file; None where that cannot be read."""
    try:
        return blake2b(key.read_bytes(), digest_size=32, person=b"catalogue").digest()
    except OSError:
        return None


class Catalogue:
    """``catalogue.sqlite`` in the state directory.

    Snapshots and records are named by the hash of their content, so what is here can be missing but never out of date.
    A file that cannot be used (damaged, read-only, full disk) costs time, never a result: then memory serves.

    Whoever can write into the state directory but has not the key that ``seal`` was made from can change nothing in here
    unnoticed: each row carries a keyed hash, and one whose hash is wrong is unknown, and asked for again. Without ``seal``
    every row is believed.
    """

    def __init__(self, path: Path, seal: bytes | None = None) -> None:
        self.path = path
        self._seal = seal
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._snapshots: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._records: dict[str, dict[str, Record]] = {}
        self._standing: dict[str, dict[str, Any]] = {}
        self._wrong: dict[str, dict[str, Any]] = {}
        self._signals: dict[str, dict[str, dict[str, Any]]] = {}
        self._looked: dict[str, dict[str, dict[str, Any]]] = {}

    def get_snapshots(self, repository_id: str) -> Mapping[str, Mapping[str, Any]]:
        """Restic's JSON objects by snapshot id."""
        with self._guard:
            if repository_id not in self._snapshots:
                rows = self._rows("select id, json, seal from snapshots where repository = ?", repository_id)
                self._snapshots[repository_id] = {
                    found: value for found, raw, seal in rows
                    if seal == self._sealed(seal, "snapshots", repository_id, found, raw) and (value := _object(raw))}
            return dict(self._snapshots[repository_id])

    def put_snapshots(self, repository_id: str, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember snapshots."""
        with self._guard:
            self.get_snapshots(repository_id)
            self._snapshots[repository_id].update(found)
            self._write("snapshots", [(repository_id, key, json.dumps(raw)) for key, raw in found.items()])

    def get_records(self, repository_id: str) -> Mapping[str, Record]:
        """Records whose signature was checked, by snapshot id."""
        with self._guard:
            if repository_id not in self._records:
                rows = self._rows("select id, json, signer, seal from records where repository = ?", repository_id)
                self._records[repository_id] = {
                    found: Record(found, value, signer) for found, raw, signer, seal in rows
                    if seal == self._sealed(seal, "records", repository_id, found, raw, signer) and (value := _object(raw))}
            return dict(self._records[repository_id])

    def put_records(self, repository_id: str, found: Iterable[Record]) -> None:
        """Remember records whose signature holds; others are read again next time."""
        with self._guard:
            kept = [record for record in found if record.signer]
            self.get_records(repository_id)
            self._records[repository_id].update({record.snapshot: record for record in kept})
            self._write("records", [(repository_id, record.snapshot, json.dumps(dict(record.record)), record.signer)
                                    for record in kept])

    def standing(self) -> dict[str, dict[str, Any]]:
        """What the last look at each backup's repository showed, by backup."""
        with self._guard:
            rows = self._rows("select backup, json, seal from standing")
            known = {name: value for name, raw, seal in rows
                     if seal == self._sealed(seal, "standing", name, raw) and (value := _object(raw))}
            return {**known, **self._standing}

    def put_standing(self, backup: str, found: Mapping[str, Any]) -> None:
        """Remember how a backup stands."""
        with self._guard:
            self._standing[backup] = dict(found)
            self._write("standing", [(backup, json.dumps(dict(found)))])

    def wrong(self) -> dict[str, dict[str, Any]]:
        """What the last look at each repository found wrong, by its name; those that were as they should be are not in it."""
        with self._guard:
            rows = self._rows("select repository, json, seal from wrong")
            known = {name: value for name, raw, seal in rows
                     if seal == self._sealed(seal, "wrong", name, raw) and (value := _object(raw)) is not None}
            return {name: value for name, value in {**known, **self._wrong}.items() if value}

    def put_wrong(self, repository: str, found: Mapping[str, Any] | None) -> None:
        """Remember what a look found wrong; None: nothing, and what an earlier one found is over."""
        with self._guard:
            if found is None and repository not in self.wrong():
                return
            self._wrong[repository] = dict(found or {})
            self._write("wrong", [(repository, json.dumps(self._wrong[repository]))])

    def signals(self, repository_id: str) -> dict[str, dict[str, Any]]:
        """The change signals that were computed of sets whose manifests hold none, by the manifest's snapshot id."""
        with self._guard:
            rows = self._rows("select manifest, json, seal from signals where repository = ?", repository_id)
            known = {found: value for found, raw, seal in rows
                     if seal == self._sealed(seal, "signals", repository_id, found, raw) and (value := _object(raw))}
            return {**known, **self._signals.get(repository_id, {})}

    def put_signals(self, repository_id: str, manifest: str, found: Mapping[str, Any]) -> None:
        """Remember the change signals of a set."""
        with self._guard:
            self._signals.setdefault(repository_id, {})[manifest] = dict(found)
            self._write("signals", [(repository_id, manifest, json.dumps(dict(found)))])

    def looked(self, backup: str) -> dict[str, dict[str, Any]]:
        """What people said of suspect sets of a backup after looking at them, by set."""
        with self._guard:
            rows = self._rows('select "set", json, seal from looked where backup = ?', backup)
            known = {found: value for found, raw, seal in rows
                     if seal == self._sealed(seal, "looked", backup, found, raw) and (value := _object(raw))}
            return {**known, **self._looked.get(backup, {})}

    def put_looked(self, backup: str, set_id: str, said: Mapping[str, Any]) -> None:
        """Remember what a person said of a suspect set; the journal holds it for good."""
        with self._guard:
            self._looked.setdefault(backup, {})[set_id] = dict(said)
            self._write("looked", [(backup, set_id, json.dumps(dict(said)))])

    def _sealed(self, given: Any, *values: Any) -> Any:
        """The seal of a row of these values; where we have none, the one that is there."""
        if self._seal is None:
            return given
        return blake2b(repr((_EDITION, *values)).encode("utf-8", "replace"), key=self._seal, digest_size=16).hexdigest()

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        if self._connection is None and not self.path.exists():
            return []  # reading makes no file
        try:
            with self._open() as connection:
                return connection.execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return []

    def _write(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        marks = ", ".join("?" * (len(rows[0]) + 1))
        try:
            with self._open() as connection, connection:
                connection.executemany(f"insert or replace into {table} values ({marks})",
                                       [(*row, self._sealed("", table, *row)) for row in rows])
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            private_folder(self.path.parent)
            fresh = not self.path.exists()
            self._connection = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
            if fresh:
                self.path.chmod(0o600)
            self._connection.executescript(_SCHEMA)
        yield self._connection

    def _give_up(self, error: sqlite3.Error | OSError) -> None:
        """Go on with what this process has seen. A file that is no catalogue of ours is thrown away.

        One that only cannot be written now (full disk, read-only, busy) stays: it still answers.
        """
        with contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.close()
        self._connection = None
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE:
            with contextlib.suppress(OSError):
                self.path.unlink()


def _object(raw: Any) -> dict[str, Any] | None:
    """A stored JSON object; None where the file has decayed, which is asked for again."""
    try:
        found = json.loads(raw)
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

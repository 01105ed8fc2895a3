"""One MariaDB or MySQL database as a source: dump, its users and grants, and proof, from one moment."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from opsctl.errors import OpsError, Partial, ProgramFailed
from opsctl.model.secrets import SecretRef
from opsctl.model.signals import Signals
from opsctl.proofs import ranges, rows
from opsctl.shells.interface import Shell
from opsctl.sources import (
    guarded,
    mariadb_access,
    mariadb_accounts,
    mariadb_load,
    mariadb_naming,
    mariadb_objects,
    mariadb_proof,
    mariadb_sample,
    mariadb_window,
    table_signals,
)
from opsctl.sources.interface import Captured, Context, Database, Difference, Evidence, Problem, difference, shrunken
from opsctl.sources.mariadb_proof import Table
from opsctl.sources.mariadb_session import Address, Client, Door, ServerError, number_in, open_door, run, server_error
from opsctl.sources.throwaway import Throwaway

_OLDEST = {"mariadb": 10040000, "mysql": 8000000}
_BEGIN_WITHIN = 60.0  # seconds that writers may be held while the dump opens its transaction
_HEARTBEAT = 5.0  # seconds between two words to the server, which would let a silent session go
_DUMP = ("mariadb-dump", "mysqldump")
_TRAILER = "-- Dump completed"
_READ_ONLY = """
/*M!100100 SET SESSION max_statement_time = 600 */;
/*!80017 SET SESSION max_execution_time = 600000 */;
START TRANSACTION READ ONLY;
"""
_OTHER_COLUMNS = frozenset({1353, 4002})  # a list of columns of another length than the query has, by MySQL and MariaDB
_NAMED = 5


class Mariadb(Database):
    """``database`` on ``server`` (address or path of the socket, None: the client's default), read as ``user``.

    ``proof``: ``full`` (rows and checksums), ``counts`` (rows), ``off`` (the restored copy is not compared).
    ``accounts``: whether users and grants of the database are in the dump. ``there``: the machine whose programs dump
    and prove it, where that is not this one. A restore is loaded from here, into this machine's own server where no other
    is named.
    """

    kind: ClassVar[str] = "mariadb"

    def __init__(
        self,
        name: str,
        *,
        database: str,
        user: str | None = None,
        server: str | None = None,
        port: int | None = None,
        password: SecretRef | None = None,
        proof: str = "full",
        accounts: bool = True,
        cacert: str | None = None,
        shell: Shell,
        there: Shell | None = None,
    ) -> None:
        self.name = name
        self.database = database
        self.address = Address(server, port, user, there.name if there else None, cacert)
        self.there = there or shell
        self.password = password
        self.level = proof
        self.accounts = accounts
        self.shell = shell

    @property
    def filename(self) -> str:
        return f"{self.name}.sql"

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        try:
            with open_door(self.there, self.address, self.password) as door, Client(door, self.database) as client:
                self._ready(door, client)
        except OpsError as error:
            if error.code in (130, 143):
                raise
            return [Problem(error.code, error.message, hint=error.hint)]
        return []

    def capture(self, context: Context) -> Captured:
        with open_door(self.there, self.address, self.password, context.scratch) as door:
            with Client(door, self.database) as client:
                captured = self._capture(context, door, client)
        return captured

    def _capture(self, context: Context, door: Door, client: Client) -> Captured:
        known, version = self._ready(door, client)
        mariadb = known["server"] == "mariadb"
        accounts = mariadb_accounts.read(client, mariadb=mariadb) if self.accounts else None
        before = _Structure(client, mariadb)
        standing = mariadb_proof.sequences(client, before.tables) if self.level != rows.OFF else {}
        suffix = context.scratch / f"{self.filename}.suffix"
        suffix.write_text(mariadb_accounts.render(accounts), encoding="utf-8", errors="surrogateescape")
        argv = door.argv(_DUMP, *_options(mariadb, before.tables), "--", self.database)
        words, env = self.there.streamed(argv, door.env, context.limits.prefix, gated=True)
        with _Window(context.scratch, self.shell, self._held(before.tables), gated=not self.there.here) as window:

            def prove() -> dict[str, Any]:
                window.open(client)
                counted = mariadb_proof.rows(client, self.level, before.tables, with_ranges=True)
                client.plain("COMMIT;")
                window.close(client)
                before.refuse_changes(_Structure(client, mariadb))
                return counted

            def cancel() -> None:
                window.cancel()
                client.cancel()

            try:
                dumped = guarded.store(
                    context,
                    ["--", *window.argv(_TRAILER, suffix), *words],
                    filename=self.filename,
                    env=env,
                    there=self.there,
                    options=["--trailer", mariadb_accounts.TRAILER, "--name", Path(argv[0]).name],
                    prove=prove,
                    cancel=cancel,
                )
            except ProgramFailed as error:
                raise self._meant(error) from error
            locked = window.locked
        written = int(dumped.report["bytes"])
        if dumped.summary.bytes != written:
            raise ProgramFailed(f"the dump has {written:,} bytes and restic saved {dumped.summary.bytes:,}")
        shapes = {**before.shapes, **mariadb_objects.shaped(mariadb_accounts.shapes(accounts) if accounts else {})}
        proof = mariadb_proof.proof(self.level, known, standing, dumped.proven, shapes)
        proof["accounts"] = accounts is not None
        proof["locked"] = locked
        return Captured(
            snapshot=dumped.snapshot,
            proof=proof,
            files=1,
            bytes=written,
            data_added=dumped.summary.data_added,
            data_added_packed=dumped.summary.data_added_packed,
            seconds=dumped.summary.seconds,
            paths=(f"/{self.filename}",),
            versions={known["server"]: mariadb_proof.shown(known["server_version"]), Path(argv[0]).name: version},
            problems=tuple(shrunken(context.previous, 1, written)),
            notes=tuple(_notes(before.tables, locked)),
        )

    def signals(self, evidence: Evidence) -> Signals:
        return table_signals.of(evidence, self._sample)

    def _sample(self) -> table_signals.Columns:
        with open_door(self.there, self.address, self.password) as door, Client(door, self.database) as client:
            yield from mariadb_sample.columns(client, mariadb=mariadb_proof.facts(client)["server"] == "mariadb")

    def restored_files(self, entry: Mapping[str, Any], place: Path) -> list[Difference]:
        paths = entry.get("paths") or (f"/{self.filename}",)
        dump = place / str(paths[0]).lstrip("/")
        # A link would be followed out of the restored folder, into a file of this machine.
        if not dump.is_file() or os.path.realpath(dump) != os.path.join(os.path.realpath(place), dump.relative_to(place)):
            return [Difference(dump.name, "the dump", "missing")]
        found = list(difference(f"{dump.name}, bytes", entry["bytes"], dump.stat().st_size))
        try:
            mariadb_load.check_whole(dump)
        except OpsError as error:
            found.append(Difference(dump.name, "a whole dump", error.message))
        return found

    def load(
        self, dump: Path, entry: Mapping[str, Any], database: str, *, server: Mapping[str, str] | None = None
    ) -> None:
        with self._door(server) as door:
            mariadb_load.load(door, dump, entry["proof"], database)

    def prove(
        self, entry: Mapping[str, Any], database: str, *, server: Mapping[str, str] | None = None
    ) -> list[Difference]:
        expected = entry["proof"]
        if not rows.is_proof(expected):
            return []
        with self._door(server) as door, Client(door, database) as client:
            known = mariadb_proof.facts(client)
            mariadb = known["server"] == "mariadb"
            found = _Structure(client, mariadb)
            standing = mariadb_proof.sequences(client, found.tables)
            shapes = dict(found.shapes)
            if expected.get("accounts"):
                accounts = mariadb_accounts.read(client, mariadb=mariadb, patterns=False)
                shapes |= mariadb_objects.shaped(mariadb_accounts.shapes(accounts))
            client.ask(_BEGIN)
            counted = mariadb_proof.rows(client, expected["level"], found.tables)
            actual = mariadb_proof.proof(expected["level"], known, standing, counted, shapes)
            if doubt := ranges.doubtful(expected, actual):
                actual["ranges"] = mariadb_proof.in_doubt(client, found.tables, doubt)
        return rows.compare(expected, actual)

    def rows(self, query: str, *, database: str | None = None, server: Mapping[str, str] | None = None) -> list[list[str]]:
        """What a query of the site's own answers, of three or four columns, as text, in a transaction that reads only. Raises as ``Client.ask``."""
        asked = query.strip().rstrip(";")
        for columns in ("a, b, c, d", "a, b, c"):
            try:
                with self._door(server) as door, Client(door, database or self.database) as client:
                    client.ask(_READ_ONLY)
                    found = client.ask(f"WITH asked ({columns}) AS ({asked}\n) SELECT JSON_ARRAY({columns}) FROM asked;")
            except ServerError as error:
                if error.number not in _OTHER_COLUMNS or "d" not in columns:
                    raise
                continue
            return [["" if cell is None else str(cell) for cell in row] for row in found]
        raise AssertionError("one of the two answers or raises")

    def throwaway(self, directory: Path, *, inside: Sequence[str] = (), as_owner: Sequence[str] = ()) -> Throwaway:
        from opsctl.sources import mariadb_server

        return mariadb_server.Mariadb(directory, inside=inside, as_owner=as_owner)

    def refuse_older(self, entry: Mapping[str, Any], *, server: Mapping[str, str] | None = None) -> None:
        with self._door(server) as door:
            mariadb_load.check_version(run(door, None, "SELECT VERSION();").strip(), entry["proof"])

    def refuse_older_here(self, entry: Mapping[str, Any], said: str = "", place: str = "this machine") -> None:
        from opsctl.sources import mariadb_server

        have = mariadb_server.version_said(said, place) if said else mariadb_server.program_version()
        mariadb_load.check_version(have, entry["proof"], here=place)

    def exists(self, database: str, *, server: Mapping[str, str] | None = None) -> bool:
        with self._door(server) as door:
            return mariadb_load.exists(door, database)

    def rename(self, old: str, new: str, *, server: Mapping[str, str] | None = None) -> None:
        with self._door(server) as door:
            mariadb_naming.rename(door, old, new)

    def refuse_own(self, database: str) -> None:
        mariadb_load.check_name(database)

    def identity(self, database: str, *, server: Mapping[str, str] | None = None) -> str | None:
        with self._door(server) as door:
            return mariadb_naming.identity(door, database)

    def exchange(
        self, database: str, new: str | None, kept: str, *, server: Mapping[str, str] | None = None
    ) -> None:
        with self._door(server) as door:
            mariadb_naming.exchange(door, database, new, kept)

    def is_closed(self, database: str, other: str, *, server: Mapping[str, str] | None = None) -> bool:
        with self._door(server) as door:
            return mariadb_naming.is_unfinished(door, database) or mariadb_naming.is_begun(door, other)

    def open_up(self, database: str, other: str, *, server: Mapping[str, str] | None = None) -> None:
        with self._door(server) as door:
            mariadb_naming.go_on(door, database, other)

    def size(self, database: str, *, server: Mapping[str, str] | None = None) -> int:
        with self._door(server) as door:
            return mariadb_naming.size(door, database)

    def discard(self, database: str, *, server: Mapping[str, str] | None = None) -> None:
        self.refuse_own(database)
        with self._door(server) as door:
            mariadb_load.remove(door, database)

    def dated(self, database: str, word: str, stamp: str, number: int) -> str:
        return mariadb_load.cut(database, f"_{word}_{stamp}{f'_{number}' if number > 1 else ''}")

    def where(self, server: Mapping[str, str] | None = None) -> str:
        return f"MariaDB at {self._at(server)}"

    def drop(self, database: str, *, server: Mapping[str, str] | None = None) -> None:
        with self._door(server) as door:
            mariadb_load.drop(door, database)

    @contextmanager
    def _door(self, server: Mapping[str, str] | None) -> Iterator[Door]:
        # Our user's password is no other user's, and what is seen from another machine means nothing on this one.
        here = self._beside
        user = (server or {}).get("user", self.address.user)
        password = self.password if here and user == self.address.user else None
        with open_door(self.shell, self._at(server), password) as door:
            yield door

    def _at(self, server: Mapping[str, str] | None) -> Address:
        return (self.address if self._beside else Address()).override(server)

    def _ready(self, door: Door, client: Client) -> tuple[dict[str, Any], str]:
        """Everything that would fail later, asked first; facts of the database, and the version of the dump program."""
        found = mariadb_proof.facts(client)
        make = found["server"]
        if found["server_version"] < _OLDEST[make]:
            raise ProgramFailed(
                f"the server is {make} {mariadb_proof.shown(found['server_version'])}, older than "
                f"{mariadb_proof.shown(_OLDEST[make])}, the oldest that opsctl knows"
            )
        version = _dump_version(door, make)
        locked = self.level != rows.OFF or bool(self._held(mariadb_proof.tables(client)))
        mariadb_access.check(client, lock=locked, accounts=self.accounts, mariadb=make == "mariadb")
        return found, version

    def _held(self, tables: list[Table]) -> list[str] | None:
        """For whose sake writers are held until the dump ends; None: they are not held at all."""
        held = [f"{table.name} ({table.engine})" for table in tables if not table.transactional and not table.sequence]
        return held if held or self.level != rows.OFF else None

    def _meant(self, error: ProgramFailed) -> OpsError:
        """The server's own reason where a dump failed."""
        said = [str(line) for line in error.details.get("said", ())]
        number = number_in(said)
        if number is None:
            return error
        meant = server_error(number, error.message, self.address, self.database)
        return error if isinstance(meant, ProgramFailed | Partial) else meant


_BEGIN = """
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT;
"""


class _Structure:
    """What there is in a database, to see whether it stayed so while it was dumped."""

    def __init__(self, client: Client, mariadb: bool) -> None:
        self.tables = mariadb_proof.tables(client)
        self.shapes = mariadb_objects.objects(client, mariadb=mariadb)

    def refuse_changes(self, later: _Structure) -> None:
        """ProgramFailed where a table, view or routine came, went or changed between the two."""
        made, making = ({table.name: table.created for table in each.tables} for each in (self, later))
        changed = {name for name in {*self.shapes, *later.shapes} if self.shapes.get(name) != later.shapes.get(name)}
        changed |= {f"table {name}" for name in {*made, *making} if made.get(name) != making.get(name)}
        if changed:
            raise ProgramFailed(
                f"the structure of the database changed while it was dumped: {', '.join(sorted(changed)[:5])}",
                hint="run the backup again when nobody is at work on it", details={"changed": sorted(changed)[:100]},
            )


class _Window:
    """The time for which writers are held: until the dump is in its transaction, or until its end.

    ``held``: tables without transactions, for whose sake it is until the end; None: nobody is held.
    """

    def __init__(self, scratch: Path, shell: Shell, held: list[str] | None, *, gated: bool) -> None:
        self.held = held
        self._gated = gated
        self._shell = shell
        self._events = scratch / "events"
        self._start = scratch / "start"
        self._descriptors: list[int] = []
        self._begun = 0.0
        self._seconds = 0.0
        self._seen = b""

    def __enter__(self) -> _Window:
        for path in (self._events, self._start):
            os.mkfifo(path, 0o600)
            # Opened for both, so that neither side waits for the other to come.
            self._descriptors.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        for path in (self._events, self._start):
            path.unlink()

    def argv(self, trailer: str, suffix: Path) -> list[str]:
        """What the words of the dump program stand behind."""
        program = [sys.executable, "-I", "-S", mariadb_window.__file__]
        places = ["--events", str(self._events), "--start", str(self._start), *(["--gated", "yes"] if self._gated else [])]
        return [*program, *places, "--trailer", trailer, "--suffix", str(suffix), "--"]

    @property
    def locked(self) -> dict[str, Any]:
        """For how long writers were held, and because of which tables for the whole dump."""
        return {"milliseconds": round(self._seconds * 1000), "tables": list(self.held or ())}

    def open(self, client: Client) -> None:
        """Let the dump and ``client`` see the same moment. Raises Busy, Refused, and ProgramFailed where it takes long."""
        self._await(client, mariadb_window.READY, None)
        if self.held is not None:
            client.plain("FLUSH TABLES WITH READ LOCK;")
        self._begun = time.monotonic()
        client.ask(_BEGIN)
        os.write(self._descriptors[1], b"1")
        if self.held is None:
            return
        self._await(client, mariadb_window.READING, None if self.held else _BEGIN_WITHIN)
        if not self.held:
            self._release(client)

    def close(self, client: Client) -> None:
        """Wait for the end of the dump."""
        self._await(client, mariadb_window.ENDED, None)
        if self.held:
            self._release(client)

    def cancel(self) -> None:
        """End every waiting; for another thread."""
        os.write(self._descriptors[0], mariadb_window.CANCELLED)

    def _release(self, client: Client) -> None:
        client.plain("UNLOCK TABLES;")
        self._seconds = time.monotonic() - self._begun

    def _await(self, client: Client, word: bytes, limit: float | None) -> None:
        deadline = None if limit is None else time.monotonic() + limit
        # A dump that has ended has also begun.
        while word not in self._seen and mariadb_window.ENDED not in self._seen:
            self._shell.check()
            if deadline is not None and time.monotonic() > deadline:
                raise ProgramFailed(
                    f"the dump read nothing within {limit:g} s, and writers are not held longer than that",
                    hint="is there a large table whose first index is unique and is not its primary key?",
                )
            if select.select(self._descriptors[:1], [], [], _HEARTBEAT)[0]:
                self._seen += os.read(self._descriptors[0], 16)
            else:
                client.plain("DO 0;")
            if mariadb_window.CANCELLED in self._seen:
                raise ProgramFailed("the dump has failed")


def _notes(tables: list[Table], locked: Mapping[str, Any]) -> Iterator[str]:
    if locked["tables"]:
        yield (
            f"nobody could write for {locked['milliseconds'] / 1000:.1f} s, until the dump's end, since without transactions "
            f"are {_listed(locked['tables'])}; ALTER TABLE … ENGINE=InnoDB makes it a moment"
        )
    rounded = [f"{table.name}.{name}" for table in tables for name, kind, *_ in table.columns if kind == "float"]
    if rounded:
        yield f"FLOAT values are dumped with six digits, and come back so: {_listed(rounded)}; DOUBLE and DECIMAL keep all"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _options(mariadb: bool, tables: list[Table]) -> list[str]:
    words = [
        "--single-transaction",
        "--skip-lock-tables",
        # A locked table may not draw its default values from a sequence.
        "--skip-add-locks",
        "--order-by-primary",
        "--skip-dump-date",
        "--no-tablespaces",
        "--quick",
        "--hex-blob",
        "--routines",
        "--triggers",
        "--events",
        "--tz-utc",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
    ]
    if not mariadb:
        words += ["--set-gtid-purged=OFF", "--column-statistics=0"]
    if any(table.versioned for table in tables):
        words.append("--dump-history")
    return words


def _dump_version(door: Door, make: str) -> str:
    """The version of the dump program, which has to be of the server's make: each writes what only its own reads."""
    argv, shell = door.argv(_DUMP), door.shell
    try:
        said = shell.run([argv[0], "--version"], timeout=20).text
    except ProgramFailed as error:
        where, hint = ("", "opsctl doctor --fix installs it") if shell.here else (f" on {shell.name}", "install mariadb-client there")
        raise ProgramFailed(f"mariadb-dump is not installed{where}", hint=hint) from error
    program = "mariadb" if "mariadb" in said.lower() else "mysql"
    if program != make:
        raise ProgramFailed(f"the server is {make} and {argv[0]} is {program}'s",
                            hint="install the client programs of the server's make")
    found = re.search(r"Distrib (\d+\.\d+\.\d+)|from (\d+\.\d+\.\d+)|Ver (\d+\.\d+\.\d+)", said)
    return next((part for part in found.groups() if part), "unknown") if found else "unknown"

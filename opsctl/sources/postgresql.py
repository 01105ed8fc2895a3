"""One PostgreSQL database as a source: dump, needed roles and grants, and proof, from one moment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from opsctl.errors import OpsError, ProgramFailed, SafetyRefusal
from opsctl.model.secrets import SecretRef
from opsctl.model.signals import Signals
from opsctl.proofs import ranges, rows
from opsctl.shells.interface import Shell
from opsctl.sources import (
    guarded,
    postgresql_access,
    postgresql_load,
    postgresql_naming,
    postgresql_proof,
    postgresql_roles,
    postgresql_sample,
    table_signals,
)
from opsctl.sources.interface import Captured, Context, Database, Difference, Evidence, Problem, difference, shrunken
from opsctl.sources.postgresql_session import LOCK_WITHIN, Address, Psql, credentials
from opsctl.sources.throwaway import Throwaway

_OLDEST = 130000


class Postgresql(Database):
    """``database`` on ``server`` (address or folder of the socket, None: libpq's default), read as ``user``.

    ``proof``: ``full`` (rows and checksums), ``counts`` (rows), ``off`` (the restored copy is not compared).
    ``there``: the machine whose programs dump and prove it, where that is not this one. A restore is loaded from here,
    into this machine's own server where no other is named.
    """

    kind: ClassVar[str] = "postgresql"

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
        cacert: str | None = None,
        shell: Shell,
        there: Shell | None = None,
    ) -> None:
        self.name = name
        self.database = database
        self.address = Address(server, port, user, there.name if there else None, cacert)
        self.password = password
        self.level = proof
        self.shell = shell
        self.there = there or shell

    @property
    def filename(self) -> str:
        return f"{self.name}.sql"

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        try:
            with self._session() as (psql, _):
                self._ready(psql)
        except OpsError as error:
            if error.code == 130:
                raise
            return [Problem(error.code, error.message, hint=error.hint)]
        return []

    def databases(self) -> list[str]:
        """The databases of the server that take connections, by name. Raises as ``Psql.ask``."""
        query = "SELECT to_json(datname) FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname;"
        with (
            credentials(self.there, self.password) as environment,
            Psql(self.there, self.address, "postgres", environment) as psql,
        ):
            return [str(name) for name in psql.ask(query)]

    def capture(self, context: Context) -> Captured:
        with self._session(context.scratch) as (psql, environment):
            program, program_version = self._ready(psql)
            postgresql_proof.begin(psql)
            snapshot = postgresql_proof.export_snapshot(psql)
            known = postgresql_proof.facts(psql)
            standing = postgresql_proof.sequences(psql) if self.level != rows.OFF else {}
            header = context.scratch / f"{self.filename}.header"
            header.write_bytes(postgresql_roles.header(psql))
            # Tablespaces are places on the old server's disks; the dump must load where they are not.
            argv = [
                program,
                "--format=plain",
                f"--snapshot={snapshot}",
                "--no-tablespaces",
                "--no-password",
                f"--lock-wait-timeout={LOCK_WITHIN * 1000}",
                f"--dbname={self.address.conninfo(self.database)}",
            ]
            words, env = self.there.streamed(argv, _without_encoding(environment), context.limits.prefix)
            dumped = guarded.store(
                context,
                ["--prefix", str(header), "--", *words],
                filename=self.filename,
                options=["--trailer", postgresql_load.TRAILER, "--name", "pg_dump"],
                env=env,
                there=self.there,
                prove=lambda: postgresql_proof.rows(psql, self.level, with_ranges=True),
                cancel=psql.cancel,
            )
        written = int(dumped.report["bytes"])
        if dumped.summary.bytes != written:
            raise ProgramFailed(f"the dump has {written:,} bytes and restic saved {dumped.summary.bytes:,}")
        proof = postgresql_proof.proof(self.level, known, standing, dumped.proven)
        return Captured(
            snapshot=dumped.snapshot,
            proof=proof,
            files=1,
            bytes=written,
            data_added=dumped.summary.data_added,
            data_added_packed=dumped.summary.data_added_packed,
            seconds=dumped.summary.seconds,
            paths=(f"/{self.filename}",),
            versions={
                "postgresql": postgresql_load.shown(known["server_version"]),
                "pg_dump": program_version,
            },
            problems=tuple(shrunken(context.previous, 1, written)),
        )

    def signals(self, evidence: Evidence) -> Signals:
        return table_signals.of(evidence, self._sample)

    def _sample(self) -> table_signals.Columns:
        with self._session() as (psql, _):
            yield from postgresql_sample.columns(psql)

    def restored_files(self, entry: Mapping[str, Any], place: Path) -> list[Difference]:
        dump = self._dump(entry, place)
        # A link would be followed out of the restored folder, into a file of this machine.
        if not dump.is_file() or os.path.realpath(dump) != os.path.join(os.path.realpath(place), dump.relative_to(place)):
            return [Difference(dump.name, "the dump", "missing")]
        found = list(difference(f"{dump.name}, bytes", entry["bytes"], dump.stat().st_size))
        try:
            postgresql_load.check_whole(dump)
        except OpsError as error:
            found.append(Difference(dump.name, "a whole dump", error.message))
        return found

    def load(
        self, dump: Path, entry: Mapping[str, Any], database: str, *, server: Mapping[str, str] | None = None
    ) -> None:
        with credentials(self.shell, self._password_for(server)) as environment:
            postgresql_load.load(self.shell, self._at(server), environment, dump, entry["proof"], database)

    def prove(
        self, entry: Mapping[str, Any], database: str, *, server: Mapping[str, str] | None = None
    ) -> list[Difference]:
        expected = entry["proof"]
        if not rows.is_proof(expected):
            return []
        with (
            credentials(self.shell, self._password_for(server)) as environment,
            Psql(self.shell, self._at(server), database, environment) as psql,
        ):
            postgresql_proof.begin(psql)
            known, standing = postgresql_proof.facts(psql), postgresql_proof.sequences(psql)
            level = expected["level"]
            actual = postgresql_proof.proof(level, known, standing, postgresql_proof.rows(psql, level))
            if doubt := ranges.doubtful(expected, actual):
                actual["ranges"] = postgresql_proof.in_doubt(psql, doubt)
        return rows.compare(expected, actual)

    def rows(self, query: str, *, database: str | None = None, server: Mapping[str, str] | None = None) -> list[list[str]]:
        """What a query of the site's own answers, as text, in a transaction that reads only. Raises as ``Psql.ask``."""
        with (
            credentials(self.shell, self._password_for(server)) as environment,
            Psql(self.shell, self._at(server), database or self.database, environment) as psql,
        ):
            psql.ask("BEGIN READ ONLY; SET LOCAL search_path = public; SET LOCAL statement_timeout = '10min'; SELECT to_json(1);")
            found = psql.ask(f"SELECT to_json(row(asked.*)) FROM ({query.strip().rstrip(';')}) AS asked;")
        return [["" if cell is None else str(cell) for cell in row.values()] for row in found]

    def throwaway(self, directory: Path, *, inside: Sequence[str] = (), as_owner: Sequence[str] = ()) -> Throwaway:
        from opsctl.sources.postgresql_server import Postgres

        return Postgres(directory, inside=inside, as_owner=as_owner)

    def refuse_older(self, entry: Mapping[str, Any], *, server: Mapping[str, str] | None = None) -> None:
        with credentials(self.shell, self._password_for(server)) as environment:
            have = postgresql_load.version(self.shell, self._at(server), environment)
        postgresql_load.check_version(have, entry["proof"]["server_version"])

    def refuse_older_here(self, entry: Mapping[str, Any], said: str = "", place: str = "this machine") -> None:
        from opsctl.sources.postgresql_server import program_version, version_said

        have = version_said(said, place) if said else program_version()
        postgresql_load.check_version(have, entry["proof"]["server_version"], here=place)

    def exists(self, database: str, *, server: Mapping[str, str] | None = None) -> bool:
        with credentials(self.shell, self._password_for(server)) as environment:
            return postgresql_load.exists(self.shell, self._at(server), environment, database)

    def rename(self, old: str, new: str, *, server: Mapping[str, str] | None = None) -> None:
        with credentials(self.shell, self._password_for(server)) as environment:
            postgresql_load.rename(self.shell, self._at(server), environment, old, new)

    def refuse_own(self, database: str) -> None:
        postgresql_load.check_name(database)
        if database in postgresql_naming.SERVERS_OWN:
            raise SafetyRefusal(f"{database} is the server's own, and is not renamed")

    def identity(self, database: str, *, server: Mapping[str, str] | None = None) -> str | None:
        with credentials(self.shell, self._password_for(server)) as environment:
            return postgresql_naming.identity(self.shell, self._at(server), environment, database)

    def exchange(
        self, database: str, new: str | None, kept: str, *, server: Mapping[str, str] | None = None
    ) -> None:
        with credentials(self.shell, self._password_for(server)) as environment:
            postgresql_naming.exchange(self.shell, self._at(server), environment, database, new, kept)

    def is_closed(self, database: str, other: str, *, server: Mapping[str, str] | None = None) -> bool:
        with credentials(self.shell, self._password_for(server)) as environment:
            return postgresql_naming.is_closed(self.shell, self._at(server), environment, database)

    def open_up(self, database: str, other: str, *, server: Mapping[str, str] | None = None) -> None:
        with credentials(self.shell, self._password_for(server)) as environment:
            postgresql_naming.open_up(self.shell, self._at(server), environment, database)

    def size(self, database: str, *, server: Mapping[str, str] | None = None) -> int:
        with credentials(self.shell, self._password_for(server)) as environment:
            return postgresql_naming.size(self.shell, self._at(server), environment, database)

    def discard(self, database: str, *, server: Mapping[str, str] | None = None) -> None:
        self.refuse_own(database)
        with credentials(self.shell, self._password_for(server)) as environment:
            postgresql_load.remove(self.shell, self._at(server), environment, database)

    def dated(self, database: str, word: str, stamp: str, number: int) -> str:
        return postgresql_load.cut(database, f"_{word}_{stamp}{f'_{number}' if number > 1 else ''}")

    def where(self, server: Mapping[str, str] | None = None) -> str:
        return f"PostgreSQL at {self._at(server)}"

    def drop(self, database: str, *, server: Mapping[str, str] | None = None) -> None:
        with credentials(self.shell, self._password_for(server)) as environment:
            postgresql_load.drop(self.shell, self._at(server), environment, database)

    def _at(self, server: Mapping[str, str] | None) -> Address:
        """Where a restore goes: what the source says is seen from its own machine, and means nothing on another."""
        return (self.address if self._beside else Address()).override(server)

    def _password_for(self, server: Mapping[str, str] | None) -> SecretRef | None:
        """Our role's password is no other role's: that one comes from where libpq looks (``~/.pgpass``)."""
        if not self._beside:
            return None
        role = (server or {}).get("user", self.address.user)
        return self.password if role == self.address.user else None

    def _dump(self, entry: Mapping[str, Any], place: Path) -> Path:
        paths = entry.get("paths") or (f"/{self.filename}",)
        return place / str(paths[0]).lstrip("/")

    @contextmanager
    def _session(self, scratch: Path | None = None) -> Iterator[tuple[Psql, dict[str, str]]]:
        with (
            credentials(self.there, self.password, scratch) as environment,
            Psql(self.there, self.address, self.database, environment) as psql,
        ):
            yield psql, environment

    def _ready(self, psql: Psql) -> tuple[str, str]:
        """Everything that would fail later, asked first; the pg_dump to use and its version."""
        server = int(psql.one("current_setting('server_version_num')"))
        if server < _OLDEST:
            raise ProgramFailed(
                f"the server is PostgreSQL {postgresql_load.shown(server)}, older than "
                f"{postgresql_load.shown(_OLDEST)}, the oldest that opsctl knows"
            )
        program = self._pg_dump(server)
        postgresql_access.check(psql)
        return program

    def _pg_dump(self, server: int) -> tuple[str, str]:
        """Which pg_dump: of the server's own version where there is one, else a newer one.

        A newer one writes settings that the server's own version does not know.
        """
        major = server // 10000
        newest: tuple[str, str] | None = None
        for candidate in (
            self.there.find("pg_dump"),
            f"/usr/lib/postgresql/{major}/bin/pg_dump",
            f"/usr/pgsql-{major}/bin/pg_dump",
        ):
            found = self._version(candidate)
            if found is None:
                continue
            if _major(found) == major:
                return candidate, found
            newest = max(newest or (candidate, found), (candidate, found), key=lambda each: _major(each[1]))
        shown = postgresql_load.shown(server)
        where = "" if self.there.here else f" on {self.there.name}"
        if newest is None:
            hint = f"install postgresql-client-{major}{where}" if where else "opsctl doctor --fix installs it"
            raise ProgramFailed(f"pg_dump is not installed{where}", hint=hint)
        if _major(newest[1]) < major:
            raise ProgramFailed(
                f"pg_dump{where} is {newest[1]} and the server is PostgreSQL {shown}; it takes {major} or newer",
                hint=f"install postgresql-client-{major}{where}",
            )
        return newest

    def _version(self, program: str) -> str | None:
        try:
            result = self.there.run([program, "--version"], timeout=20, accept=None)
        except ProgramFailed:
            return None
        match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)", result.text)
        return match[1] if match and not result.code else None


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _without_encoding(environment: Mapping[str, str]) -> dict[str, str]:
    """The dump goes in the database's own encoding, whatever we talk in."""
    return {name: value for name, value in environment.items() if name != "PGCLIENTENCODING"}

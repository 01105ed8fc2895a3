"""What the department backs up: each with a small writer, and a fingerprint of its content that owes opsctl nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres, program_directory

SCRATCH = "inspected"
#: How a picture begins. What has its name and begins otherwise looks as if somebody had encrypted it.
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def secret(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class At:
    """Where a source lies: on the machine of that name, which sees ``ours`` as ``theirs``; None: on the controller itself."""

    host: str | None = None
    ours: Path = Path("/")
    theirs: Path = Path("/")

    def seen(self, path: Path) -> Path:
        """A path of ours as that machine knows it."""
        return self.theirs / path.relative_to(self.ours)

    @property
    def key(self) -> str:
        """The beginning of the source's entry in the configuration."""
        return f"host: {self.host}, " if self.host else ""


HERE = At()


class Source(ABC):
    """One source. ``name`` as in the configuration, of which ``spec`` is its entry."""

    name: str
    spec: str
    at: At = HERE

    @abstractmethod
    def write(self, chance: random.Random, day: int) -> None:
        """The day's work of those who use it. Never twice the same."""

    @abstractmethod
    def now(self) -> str:
        """A fingerprint of its content as it is."""

    @abstractmethod
    def back(self, place: Path) -> str:
        """The fingerprint of what restic alone restored below ``place``."""


class Folder(Source):
    """Scanned papers: some are added each day, one is replaced, one is thrown away."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.mark = folder / ".here"
        self.spec = f"{{kind: paths, paths: [{folder}], marker: .here, at_least: {{files: 5}}}}"
        folder.mkdir(parents=True)
        self.mark.touch()

    def write(self, chance: random.Random, day: int) -> None:
        place = self.folder / f"NP-{day:03}"
        place.mkdir()
        for number in range(6):
            (place / f"scan {number} नगर.jpg").write_bytes(JPEG + chance.randbytes(chance.randrange(1, 20_000)))
        files = sorted(path for path in self.folder.rglob("*.jpg"))
        chance.choice(files).write_bytes(JPEG + chance.randbytes(3000))
        if day:
            files[chance.randrange(len(files))].unlink()

    def now(self) -> str:
        return self._of(self.folder)

    def back(self, place: Path) -> str:
        return self._of(place / str(self.folder).lstrip("/"))

    def _of(self, folder: Path) -> str:
        return digest({str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                       for path in folder.rglob("*") if path.is_file()})


class Register(Source):
    """The front office's register in SQLite, whose file is written while others read it."""

    def __init__(self, name: str, path: Path, at: At = HERE) -> None:
        self.name, self.path, self.at = name, path, at
        self.spec = f"{{{at.key}kind: sqlite, path: {at.seen(path)}}}"
        with self._open() as database:
            database.execute("PRAGMA journal_mode = wal")
            database.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, subject TEXT, scan BLOB)")
        path.chmod(0o666)

    def _open(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.path, isolation_level=None))

    def write(self, chance: random.Random, day: int) -> None:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO letters (subject, scan) VALUES (?, ?)",
                                 [(f"पत्र {day}/{number}", chance.randbytes(500)) for number in range(20)])
            database.execute("UPDATE letters SET subject = subject || ' answered' WHERE id % 7 = ?", (day % 7,))
            database.execute("COMMIT")

    def now(self) -> str:
        return self._of(self.path)

    def back(self, place: Path) -> str:
        return self._of(only_file(place))

    def _of(self, path: Path) -> str:
        with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=0", uri=True)) as database:
            return digest([[*row[:2], row[2].hex()] for row in database.execute("SELECT * FROM letters ORDER BY id")])


class Dumped(Source):
    """Something that opsctl knows nothing of: a program that writes its dump to standard output."""

    def __init__(self, name: str, file: Path, at: At = HERE) -> None:
        self.name, self.file, self.at = name, file, at
        self.program = file.with_suffix(".dump")
        self.program.write_text(f"#!/bin/sh\ncat {at.seen(file)}\necho '-- end of the dump'\n")
        self.program.chmod(0o755)
        self.spec = f'{{{at.key}kind: command, argv: ["{at.seen(self.program)}"], trailer: "-- end of the dump"}}'

    def write(self, chance: random.Random, day: int) -> None:
        with self.file.open("ab") as file:
            file.write(f"day {day}\n".encode() + chance.randbytes(2000).hex().encode() + b"\n")

    def now(self) -> str:
        return hashlib.sha256(self.file.read_bytes() + b"-- end of the dump\n").hexdigest()

    def back(self, place: Path) -> str:
        return hashlib.sha256(only_file(place).read_bytes()).hexdigest()


class PostgresDatabase(Source):
    """Bills and receipts; each transaction writes to both and to their sum."""

    def __init__(self, name: str, server: Postgres, password_file: Path, at: At = HERE) -> None:
        self.name, self.server, self.at = name, server, at
        self.password_file = secret(password_file, "the role's own")
        address = at.seen(server.sockets) if at.host else "127.0.0.1"
        self.spec = (f"{{{at.key}kind: postgresql, database: enagar, server: {address}, port: {server.port}, user: backup, "
                     f"password_file: {self.password_file}}}")
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"local all backup scram-sha-256\n{rules.read_text()}")
        server.psql("SELECT pg_reload_conf()")
        server.psql("CREATE ROLE backup LOGIN; GRANT pg_read_all_data TO backup; CREATE DATABASE enagar;")
        server.set_password("backup", "the role's own")
        server.psql("CREATE TABLE bills (id int PRIMARY KEY, body text, paise bigint);"
                    "CREATE TABLE receipts (id serial PRIMARY KEY, bill int REFERENCES bills, note text);"
                    "CREATE TABLE totals (paise bigint); INSERT INTO totals VALUES (0);", "enagar")

    def write(self, chance: random.Random, day: int) -> None:
        first = day * 100
        self.server.psql(
            f"BEGIN; INSERT INTO bills SELECT {first} + n, 'नगर ' || n, {chance.randrange(1, 10**6)} * n "
            f"FROM generate_series(1, 60) n; INSERT INTO receipts (bill, note) SELECT id, md5(id || '{chance.random()}') "
            f"FROM bills WHERE id > {first}; UPDATE totals SET paise = (SELECT sum(paise) FROM bills); COMMIT", "enagar")

    def now(self) -> str:
        return self._of("enagar")

    def back(self, place: Path) -> str:
        self.server.psql(f"DROP DATABASE IF EXISTS {SCRATCH}")
        self.server.psql(f"CREATE DATABASE {SCRATCH} TEMPLATE template0")
        psql = [str(program_directory() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.server.socket), "-p",
                str(self.server.port), "-U", self.server.superuser, "-d", SCRATCH, "-f", str(only_file(place))]
        done = subprocess.run(psql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return self._of(SCRATCH)

    def _of(self, database: str) -> str:
        asked = "; ".join(f"SELECT '{table}', t FROM {table} t ORDER BY t::text" for table in ("bills", "receipts", "totals"))
        return digest(self.server.psql(asked, database))


class MariadbDatabase(Source):
    """Trade licences and their fees."""

    def __init__(self, name: str, server: Mariadb, password_file: Path, at: At = HERE) -> None:
        self.name, self.server, self.at = name, server, at
        self.password_file = secret(password_file, "the user's own")
        address = f"server: {at.seen(server.socket)}" if at.host else f"server: 127.0.0.1, port: {server.port}"
        self.spec = (f"{{{at.key}kind: mariadb, database: licences, {address}, user: backup, "
                     f"password_file: {self.password_file}}}")
        server.sql("CREATE DATABASE licences CHARACTER SET utf8mb4;"
                   "CREATE USER backup@'%' IDENTIFIED BY 'the user''s own';"
                   "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON licences.* TO backup@'%';"
                   "GRANT RELOAD ON *.* TO backup@'%'; GRANT SELECT ON mysql.* TO backup@'%';")
        server.sql("CREATE TABLE licences (id INT PRIMARY KEY, holder VARCHAR(80), fee DECIMAL(12,2));"
                   "CREATE TABLE fees (licence INT, paid DATE, amount DECIMAL(12,2));", "licences")

    def write(self, chance: random.Random, day: int) -> None:
        self.server.sql(
            f"START TRANSACTION; INSERT INTO licences SELECT {day * 100} + seq, CONCAT('दुकान ', seq), seq * {chance.random()} "
            f"FROM seq_1_to_60; INSERT INTO fees SELECT id, '2026-12-01' + INTERVAL {day} DAY, fee FROM licences "
            f"WHERE id > {day * 100}; COMMIT;", "licences")

    def now(self) -> str:
        return self._of("licences")

    def back(self, place: Path) -> str:
        self.server.sql(f"DROP DATABASE IF EXISTS {SCRATCH}; CREATE DATABASE {SCRATCH} CHARACTER SET utf8mb4;")
        self.server.sql(only_file(place).read_text("utf-8"), SCRATCH)
        return self._of(SCRATCH)

    def _of(self, database: str) -> str:
        return digest(self.server.sql("SELECT * FROM licences ORDER BY id; SELECT * FROM fees ORDER BY licence, paid, amount", database))


def only_file(place: Path) -> Path:
    found, = (path for path in place.rglob("*") if path.is_file())
    return found

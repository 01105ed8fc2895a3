"""What goes wrong with what is backed up: servers, passwords, privileges, folders, programs."""

from __future__ import annotations

import random
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.month.department import Department
from tests.month.faults import Fault

if TYPE_CHECKING:
    from tests.month.month import Month


class PostgresDown(Fault):
    """The portal's database server is stopped."""

    strikes, spoils, codes, tells = ("portal",), ("portal",), (13, 3), "portal/portal-db"

    def inject(self, department: Department) -> None:
        department.postgres.stop()

    def heal(self, department: Department) -> None:
        department.let_in(department.postgres.start())


class PostgresPassword(Fault):
    """Somebody changed the password of the role that backs the portal up."""

    strikes, spoils, codes, tells = ("portal",), ("portal",), (12, 3), "portal/portal-db"

    def inject(self, department: Department) -> None:
        department.postgres.set_password("backup", "another")

    def heal(self, department: Department) -> None:
        department.postgres.set_password("backup", "the role's own")


class PostgresDumpKilled(Fault):
    """pg_dump is killed half-way, after output that looks like a dump."""

    strikes, spoils, codes, tells = ("portal",), ("portal",), (20, 3), "portal/portal-db"

    def inject(self, department: Department) -> None:
        put(department.programs(department.portal_db), "pg_dump", 'case "$*" in *--version*) exec "$real" "$@";; esac\n"$real" "$@" | head -c 1500\nkill -9 $$',
            "/usr/lib/postgresql/15/bin/pg_dump")

    def heal(self, department: Department) -> None:
        (department.programs(department.portal_db) / "pg_dump").unlink()


class MariadbDown(Fault):
    """The licences' database server is stopped."""

    strikes, spoils, codes, tells = ("licences",), ("licences",), (13, 3), "licences/licence-db"

    def inject(self, department: Department) -> None:
        department.mariadb.stop()

    def heal(self, department: Department) -> None:
        department.let_in(department.mariadb.start())


class MariadbPassword(Fault):
    """Somebody changed the password of the user that backs the licences up."""

    strikes, spoils, codes, tells = ("licences",), ("licences",), (12, 3), "licences/licence-db"

    def inject(self, department: Department) -> None:
        department.mariadb.sql("ALTER USER backup@'%' IDENTIFIED BY 'another'")

    def heal(self, department: Department) -> None:
        department.mariadb.sql("ALTER USER backup@'%' IDENTIFIED BY 'the user''s own'")


class MariadbPrivilege(Fault):
    """The right to lock for a moment was taken away."""

    strikes, spoils, codes, tells = ("licences",), ("licences",), (12, 3), "GRANT RELOAD"

    def inject(self, department: Department) -> None:
        department.mariadb.sql("REVOKE RELOAD ON *.* FROM backup@'%'")

    def heal(self, department: Department) -> None:
        department.mariadb.sql("GRANT RELOAD ON *.* TO backup@'%'")


class MariadbDumpKilled(Fault):
    """mariadb-dump is killed half-way."""

    strikes, spoils, codes, tells = ("licences",), ("licences",), (20, 3), "licences/licence-db"

    def inject(self, department: Department) -> None:
        put(department.programs(department.licence_db), "mariadb-dump", 'case "$*" in *--version*) exec "$real" "$@";; esac\n"$real" "$@" | head -c 1500\nkill -9 $$',
            "/usr/bin/mariadb-dump")

    def heal(self, department: Department) -> None:
        (department.programs(department.licence_db) / "mariadb-dump").unlink()


class FolderGone(Fault):
    """The folder of scanned papers is not where it was."""

    strikes, spoils, codes, tells = ("portal",), ("portal",), (3,), "portal/uploads"

    def inject(self, department: Department) -> None:
        department.uploads.folder.rename(department.place / "elsewhere")

    def heal(self, department: Department) -> None:
        (department.place / "elsewhere").rename(department.uploads.folder)


class FolderEmpty(FolderGone):
    """The file system with the scanned papers is not mounted: an empty folder stands where it was."""

    def inject(self, department: Department) -> None:
        super().inject(department)
        department.uploads.folder.mkdir()

    def heal(self, department: Department) -> None:
        department.uploads.folder.rmdir()
        super().heal(department)


class FolderShrunk(FolderGone):
    """Most of the papers are gone, and the mark that says that this is the folder is there."""

    def inject(self, department: Department) -> None:
        super().inject(department)
        department.uploads.folder.mkdir()
        department.uploads.mark.touch()
        for number in range(5):
            (department.uploads.folder / f"{number}.jpg").write_bytes(b"left over")

    def heal(self, department: Department) -> None:
        for path in department.uploads.folder.iterdir():
            path.unlink()
        department.uploads.folder.rmdir()
        super().heal(department)


class RegisterGone(Fault):
    """The register's file is not there."""

    strikes, spoils, codes, tells = ("office",), ("office",), (3,), "office/register"

    def inject(self, department: Department) -> None:
        for path in register_files(department):
            path.rename(path.with_name(f"gone-{path.name}"))

    def heal(self, department: Department) -> None:
        for path in department.register.path.parent.glob("gone-*"):
            path.rename(path.with_name(path.name.removeprefix("gone-")))


class RegisterBroken(RegisterGone):
    """Something wrote over a page of the register."""

    codes = (20, 22, 3)

    def inject(self, department: Department) -> None:
        super().inject(department)
        whole = department.register.path.with_name(f"gone-{department.register.path.name}").read_bytes()
        department.register.path.write_bytes(whole[:4096] + b"\xa5" * 4096 + whole[8192:])

    def heal(self, department: Department) -> None:
        for path in register_files(department):
            path.unlink()
        super().heal(department)


class DumpFails(Fault):
    """The program that dumps the forms dies half-way."""

    strikes, spoils, codes, tells = ("office",), ("office",), (20, 3), "office/forms"
    script = "head -c 900 {file}; kill -9 $$"

    def inject(self, department: Department) -> None:
        self._whole = department.forms.program.read_text()
        department.forms.program.write_text(f"#!/bin/sh\n{self.script.format(file=department.forms.at.seen(department.forms.file))}\n")

    def heal(self, department: Department) -> None:
        department.forms.program.write_text(self._whole)


class DumpEmpty(DumpFails):
    """The program that dumps the forms writes nothing, and says that all is well."""

    script = "exit 0"


class DumpCut(DumpFails):
    """The program that dumps the forms leaves its end out, and says that all is well."""

    script = "head -c 2000 {file}"


class WritersAtWork(Fault):
    """Nothing is wrong: people work while the backup runs. Each source has to be as it was between two of their changes."""

    strikes, codes = ("portal",), (0,)

    def last(self, month: Month, at: datetime) -> None:
        department, over = month.department, threading.Event()
        chance = random.Random(department.chance.random())

        def work() -> None:
            day = 1000 + (at - month.start).days * 10
            while not over.is_set():
                day += 1
                for source in (department.portal_db, department.licence_db, department.register):
                    source.write(chance, day)
                    month.holds[source.name].add(source.now())

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)

            def until_then(process: subprocess.Popen[str]) -> None:
                process.wait(300)
                over.set()
                working.result()

            try:
                tick = month.tick(at, during=until_then)
            finally:
                over.set()
        month.look_at_sources()
        self.shown(month, at, tick)


def put(folder: Path, name: str, script: str, real: str) -> None:
    """A program of that name into a folder that is searched first; it finds the machine's own in ``$real``."""
    path = folder / name
    path.write_text(f"#!/bin/sh\nreal={real}\n{script}\n")
    path.chmod(0o755)


def register_files(department: Department) -> list[Path]:
    path = department.register.path
    return [found for found in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")) if found.exists()]


ALL: tuple[type[Fault], ...] = (
    PostgresDown, PostgresPassword, PostgresDumpKilled, MariadbDown, MariadbPassword, MariadbPrivilege, MariadbDumpKilled,
    FolderGone, FolderEmpty, FolderShrunk, WritersAtWork, RegisterGone, RegisterBroken, DumpFails, DumpEmpty, DumpCut,
)

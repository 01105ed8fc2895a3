"""Databases and dumps of other machines: streamed, proven where they are, restored from the repository alone."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from opsctl.sources import sqlite_remote
from tests.lab.sshd import until
from tests.remote.conftest import PASSWORD, ROWS, Remote


def test_every_kind_that_streams_comes_back_as_it_was(remote: Remote, tmp_path: Path) -> None:
    remote.register()
    remote.configure("bills", "meters", "register", "listing")
    before = remote.lab.files()
    said = remote.machine.json("backup", "run", expect=0)
    assert [each for each in said.document["warnings"] if "OPSCTL_CLOCK" not in each] == []
    assert remote.lab.files() == before
    remote.machine.json("backup", "run", "--due", expect=0)
    # What follows needs none of these machines.
    remote.configure("bills", "meters", "register", "listing",
                     hosts="hosts: {h0: {address: 10.0.0.9}, h1: {address: 10.0.0.9}}\n")
    postgres, mariadb = remote.servers.postgres, remote.servers.mariadb
    into = tmp_path / "back"
    remote.machine("restore", "set", "portal", "--into", str(into), "--database", "bills=enagar_back", "--server",
                   str(postgres.socket), "--port", str(postgres.port), "--role", "postgres", "--source", "bills",
                   "--source", "register", "--source", "listing", expect=0)
    try:
        query = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM bills t"
        assert postgres.psql(query, "enagar_back") == postgres.psql(query, "enagar")
    finally:
        postgres.psql("DROP DATABASE enagar_back")
    with closing(sqlite3.connect(into / "register" / "register.sqlite")) as copy:
        assert copy.execute("SELECT count(*), max(who) FROM visits").fetchone() == (ROWS, "visitor 999")
    assert (into / "listing" / "listing.dump").read_text().startswith(f"{PASSWORD}\n1\n2\n")
    remote.machine("restore", "set", "portal", "--into", str(tmp_path / "my"), "--database", "meters=water_back", "--server",
                   str(mariadb.socket), "--role", "root", "--source", "meters", expect=0)
    try:
        assert mariadb.sql("CHECKSUM TABLE water_back.meters").split()[1] == mariadb.sql("CHECKSUM TABLE water.meters").split()[1]
    finally:
        mariadb.sql("DROP DATABASE water_back")


@contextmanager
def writing(*statements: Callable[[int], object]) -> Iterator[None]:
    """Somebody writes into each, all the time."""
    over = threading.Event()
    failed: list[BaseException] = []

    def write(statement: Callable[[int], object]) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            try:
                statement(number)
            except BaseException as error:
                failed.append(error)
                return

    writers = [threading.Thread(target=write, args=(statement,)) for statement in statements]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        over.set()
        for writer in writers:
            writer.join()
    assert not failed, failed


@pytest.mark.parametrize("mode", ["wal", pytest.param("delete", marks=pytest.mark.full)])
def test_with_writers_at_work_the_copy_equals_its_proof(remote: Remote, tmp_path: Path, mode: str) -> None:
    postgres, mariadb = remote.servers.postgres, remote.servers.mariadb
    register = remote.register(mode=mode)

    def visit(number: int) -> None:
        with closing(sqlite3.connect(register, timeout=30)) as made, made:
            made.execute("UPDATE visits SET who = ? WHERE id % 7 = ?", (f"again {number}", number % 7))
        time.sleep(0.005)  # as much as any program does between two transactions; without it nobody else ever has the lock

    remote.configure("bills", "meters", "register")
    with writing(
        lambda number: postgres.psql(f"UPDATE bills SET body = 'body {number}' WHERE id % 11 = {number % 11};", "enagar"),
        lambda number: mariadb.sql(f"UPDATE meters SET street = 'lane {number}' WHERE id % 13 = {number % 13};", "water"),
        visit,
    ):
        remote.machine("backup", "run", expect=0)
    common = ("restore", "set", "portal", "--into")
    remote.machine(*common, str(tmp_path / "pg"), "--source", "register", "--database", "bills=bills_back", "--server",
                   str(postgres.socket), "--port", str(postgres.port), "--role", "postgres", expect=0)
    postgres.psql("DROP DATABASE bills_back")
    remote.machine(*common, str(tmp_path / "my"), "--source", "meters", "--database", "meters=meters_back", "--server",
                   str(mariadb.socket), "--role", "root", expect=0)
    mariadb.sql("DROP DATABASE meters_back")


@pytest.mark.parametrize("program", ["python3", "sqlite3"])
def test_a_copy_that_is_cut_off_leaves_no_file_there(remote: Remote, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.register(padding=4000)  # more than is on its way unread
    remote.configure("register")
    before = remote.lab.files()
    during: list[list[str]] = []
    take = sqlite_remote._Header.take

    def cut(header: sqlite_remote._Header, piece: bytes) -> None:
        take(header, piece)
        if header.taken and not during:
            during.append(remote.lab.files())
            remote.lab.kill_sessions()

    monkeypatch.setattr(sqlite_remote.SshShell, "find", lambda self, *names: program if program in names else names[0])
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_remote._Header, "take", cut)
        remote.machine("backup", "run", expect=13)
    assert during == [before]
    until(lambda: remote.lab.files() == before and not remote.lab.processes("register.sqlite"))
    remote.machine("backup", "run", expect=0)
    assert remote.lab.files() == before


def test_a_database_file_that_is_not_there(remote: Remote) -> None:
    remote.configure("register", register="{kind: sqlite, host: h1, path: /run/lab/none.sqlite}")
    said = remote.machine.json("backup", "run", expect=3)
    assert "/run/lab/none.sqlite on h1 does not exist" in said.errors[0]["message"]

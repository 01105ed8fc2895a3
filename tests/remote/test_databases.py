"""Databases and dumps of other machines: streamed, proven where they are, restored from the repository alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.remote.conftest import PASSWORD, ROWS, Remote


def test_every_kind_that_streams_comes_back_as_it_was(remote: Remote, tmp_path: Path) -> None:
    remote.register()
    remote.configure("bills", "meters", "register", "listing")
    before = remote.lab.files()
    said = remote.machine.json("backup", "run", expect=0)
    assert [each for each in said.document["warnings"] if "OPSCTL_CLOCK" not in each] == []
    assert remote.lab.files() == before
    remote.machine.json("backup", "run", "--due", expect=0)
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

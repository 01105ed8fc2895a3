"""A controller, hosts with real sshds, and database servers that only the hosts reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from opsctl.model import hosts_access
from opsctl.model.config import Config, PathsSource, SqliteSource
from opsctl.model.hosts import Host
from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from tests.lab.restserver import RestServer
from tests.lab.sshd import Lab
from tests.machine import Machine

INSIDE = "/run/lab"
LOGIN = "store login of h2"
OWN_PASSWORD = "it encrypts the repository of h2"
PASSWORD = "hunter2 : \\ back"
ROWS = 3000


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.as_root("network namespaces need root"))
            item.add_marker(pytest.mark.xdist_group("remote"))


def allowed() -> str:
    """The sudoers file that `opsctl hosts prepare` prints for a host with files and SQLite databases of root's."""
    host = Host(address="10.0.0.1", user="ops", become="sudo")
    sources = (PathsSource(kind="paths", host="h0", paths=("/x",)), SqliteSource(kind="sqlite", host="h0", path="/x"))
    Config(hosts={"h0": host}, sources=dict(zip("ab", sources, strict=True)))
    return "\n".join(["Defaults !lecture", *hosts_access.sudoers(host), ""])


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab(3, sudoers=allowed()) as made:
        yield made


@pytest.fixture(scope="session")
def store(lab: Lab) -> Iterator[RestServer]:
    """An append-only REST server that the hosts reach, with one user and its one repository, empty."""
    with RestServer(lab.place / "store", user="h2", password=LOGIN, address=lab.controller) as server:
        yield server


@dataclass
class Servers:
    """PostgreSQL and MariaDB as the hosts see them; the role ``backup`` needs its password on both."""

    postgres: Postgres
    mariadb: Mariadb


@pytest.fixture(scope="session")
def servers(lab: Lab) -> Iterator[Servers]:
    with Postgres(lab.place / "pg") as postgres, Mariadb(lab.place / "my") as mariadb:
        for server in (postgres, mariadb):
            server.sockets.chmod(0o711)
            server.directory.chmod(0o711)
        rules = postgres.data / "pg_hba.conf"
        rules.write_text(f"local all backup scram-sha-256\n{rules.read_text()}")
        postgres.psql("SELECT pg_reload_conf(); CREATE DATABASE enagar; CREATE ROLE backup LOGIN; "
                      "GRANT pg_read_all_data TO backup;")
        postgres.set_password("backup", PASSWORD)
        postgres.psql(f"CREATE TABLE bills AS SELECT n AS id, 'body ' || n % 412 AS body FROM generate_series(1, {ROWS}) n;",
                      "enagar")
        quoted = PASSWORD.replace("\\", "\\\\")
        mariadb.sql(
            f"CREATE DATABASE water; CREATE USER backup@localhost IDENTIFIED BY '{quoted}';"
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON water.* TO backup@localhost; GRANT RELOAD ON *.* TO backup@localhost;"
            "GRANT SELECT ON mysql.* TO backup@localhost;"
            "CREATE TABLE water.meters (id INT PRIMARY KEY, street VARCHAR(40));"
            f"INSERT INTO water.meters SELECT seq, CONCAT('street ', seq) FROM water.seq_1_to_{ROWS};")
        yield Servers(postgres, mariadb)


class Remote:
    """A configured controller whose sources are on hosts of the lab."""

    def __init__(self, machine: Machine, lab: Lab, servers: Servers) -> None:
        self.machine = machine
        self.lab = lab
        self.servers = servers
        self.folder = lab.place / "data"
        self.password = machine.etc / "keys" / "database-password"

    def sources(self) -> dict[str, str]:
        """A source of every kind that streams, by name: the line of the configuration."""
        postgres, mariadb = self.servers.postgres, self.servers.mariadb
        inside = {server: f"{INSIDE}/{server.sockets.relative_to(self.lab.place)}" for server in (postgres, mariadb)}
        return {
            "bills": f"{{kind: postgresql, host: h0, database: enagar, server: {inside[postgres]}, port: {postgres.port}, "
                     f"user: backup, password_file: {self.password}}}",
            "meters": f"{{kind: mariadb, host: h0, database: water, server: {inside[mariadb]}/sock, user: backup, "
                      f"password_file: {self.password}}}",
            "register": f"{{kind: sqlite, host: h1, path: {INSIDE}/data/register.sqlite}}",
            "listing": "{kind: command, host: h1, argv: [sh, -c, 'echo $TOKEN; seq 100000'], "
                       f"password_file: {self.password}, password_variable: TOKEN}}",
        }

    def configure(self, *names: str, more: str = "", hosts: str = "", **changed: str) -> None:
        """Configure these sources; ``changed`` gives others than ``sources()`` has."""
        known = {**self.sources(), **changed}
        self.machine.configure(
            sources="\n".join(f"  {name}: {known[name]}" for name in names), backup_sources=f"[{', '.join(names)}]", more=more)
        self.password.write_text(f"{PASSWORD}\n")
        self.password.chmod(0o600)
        lines = [f"  {host.name}: {{address: {host.address}, user: ops, host_key: {host.key}}}\n" for host in self.lab.hosts]
        (self.machine.etc / "hosts.yaml").write_text(hosts or "hosts:\n" + "".join(lines))
        key = self.machine.etc / "keys" / "ssh-backup"
        key.write_bytes((self.lab.place / "login").read_bytes())
        key.chmod(0o600)

    def register(self, rows: int = ROWS, mode: str = "wal", padding: int = 0) -> Path:
        """The SQLite database on the hosts, anew."""
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o777)
        path = self.folder / "register.sqlite"
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as made:
            made.execute(f"PRAGMA journal_mode = {mode}")
            made.execute("CREATE TABLE visits (id INTEGER PRIMARY KEY, who TEXT)")
            made.executemany("INSERT INTO visits (who) VALUES (?)", ((f"visitor {n}{' ' * padding}",) for n in range(rows)))
            made.commit()
        path.chmod(0o666)
        return path


@pytest.fixture
def remote(machine: Machine, lab: Lab, servers: Servers) -> Remote:
    return Remote(machine, lab, servers)

"""A clean room that is another host: probed first, then real servers on it, loaded and proven over SSH."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from tests.approvals.site import make_keys, people_of
from tests.lab.isolation import Lab
from tests.lab.places import open_folder
from tests.lab.sshd import until
from tests.machine import Kept, Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1) as made:
        yield made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def servers(server_place: Path) -> Iterator[tuple[Postgres, Mariadb]]:
    with Postgres(server_place / "room-host") as postgres, Mariadb(server_place / "room-host-m") as mariadb:
        postgres.psql("create role clerk; create database enagar owner clerk;")
        postgres.psql("create table bills (id int primary key, body text);"
                      "insert into bills select n, 'नगर ' || n from generate_series(1, 50000) n", "enagar")
        mariadb.sql("create database tax character set utf8mb4; use tax; create table paid (id int primary key, body varchar(40));"
                    "insert into paid select seq, concat('नगर ', seq) from seq_1_to_500")
        yield postgres, mariadb


def configure(machine: Machine, lab: Lab, servers: tuple[Postgres, Mariadb], rooms: Path, keys: Path) -> None:
    postgres, mariadb = servers
    machine.configure(
        sources=f"  portal-db: {{kind: postgresql, database: enagar, server: {postgres.socket}, port: {postgres.port}, user: postgres}}\n"
        f"  tax-db: {{kind: mariadb, database: tax, server: {mariadb.socket}, user: root}}",
        backup_sources="[files, portal-db, tax-db]",
        more=f"clean_room: {{place: {rooms}, host: h0, on_host: /tmp}}\n{people_of(keys)}")
    lab.configure(machine.etc)


@pytest.fixture(scope="module")
def made(_made_machine: Path, lab: Lab, servers: tuple[Postgres, Mariadb], keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("room-host") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    (machine.data / "bill.txt").write_text("paid\n")
    configure(machine, lab, servers, root, keys)
    machine("backup", "run", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def rooms() -> Iterator[Path]:
    with open_folder() as place:
        yield place


@pytest.fixture
def machine(made: Kept, lab: Lab, servers: tuple[Postgres, Mariadb], rooms: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(calling, "WITHIN", 0.3)  # nothing here is far away
    found = made.again()
    configure(found, lab, servers, rooms, keys)
    yield found
    lab.run("h0", ["nft", "flush", "ruleset"])
    lab.run("h0", ["sh", "-c", "rm -rf /tmp/opsctl-room-*"])
    local.reset()


def on_host(lab: Lab) -> list[str]:
    """What runs there as an account of a database, and what lies there."""
    running = lab.run("h0", ["sh", "-c", "cd /proc; for each in [0-9]*; do tr '\\0' ' ' <$each/cmdline 2>/dev/null; echo; done"])
    lies = lab.run("h0", ["sh", "-c", "ls -d /tmp/opsctl-room-*/* /run/opsctl-room-* 2>/dev/null || :"])
    return [line for line in running.splitlines() if "postgres -D" in line or "mariadbd" in line] + lies.splitlines()


def test_promise_9_a_host_is_a_clean_room_once_probes_show_that_nothing_gets_out_of_it(machine: Machine, lab: Lab, rooms: Path) -> None:
    said = machine.json("restore", "room", "portal", expect=23)
    assert "h0 is no clean room: it is open, not isolated" in said.errors[0]["message"]
    assert list(rooms.iterdir()) == [] and on_host(lab) == []
    machine("isolate", "apply", "h0", "--allow", f"out:{lab.silent}:443", expect=0)
    said = machine.json("restore", "room", "portal", expect=23)
    assert f"it lets through out:tcp:{lab.silent}/32:443" in said.errors[0]["message"] and on_host(lab) == []
    machine("isolate", "apply", "h0", expect=0)
    found = machine.json("restore", "room", "portal", "--room", "one", expect=0).result["steps"][0]["result"]
    assert all(source["proven"] for source in found["sources"].values()) and found["promotable"]
    assert found["isolation"].startswith("h0: ") and "from it" in found["isolation"]
    assert [line.rpartition("/")[2] for line in on_host(lab)] == ["db-portal-db", "db-portal-db.log", "db-tax-db", "db-tax-db.log"]
    assert not list(rooms.rglob("PG_VERSION")), "no server ran here"
    lab.run("h0", ["nft", "insert", "rule", "inet", "opsctl_iso", "iso_out", "accept"])
    said = machine.json("restore", "room", "portal", "--room", "two", expect=23)
    assert "its rules were changed" in said.errors[0]["message"]
    machine("restore", "clear", "one", expect=0)
    assert on_host(lab) == [] and list(rooms.iterdir()) == []


def test_promise_7_killed_while_it_loads_on_the_host_nothing_runs_on_there_and_it_goes_on(machine: Machine, lab: Lab, keys: Path) -> None:
    machine("isolate", "apply", "h0", expect=0)
    running = machine.start("restore", "promote", "portal", "portal-db", "--replace")
    until(lambda: any("postgres -D" in line for line in on_host(lab)))
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.communicate()
    until(lambda: not any("postgres -D" in line for line in on_host(lab)))
    run = machine.json("runs", expect=0).result["runs"][0]["run"]
    said = machine.json("resume", run, expect=4)
    steps = {step["step"]: step for step in said.result["steps"]}
    assert steps["prove"]["result"]["proofs"][0]["equal"] and "2 people have to approve" in said.errors[0]["message"]
    for name in ("asha", "imran"):
        machine("--yes", "approve", run, "approve", "--by", name, "--key", str(keys / name), expect=0)
    machine("resume", run, expect=0)
    assert on_host(lab) == [], "the room is gone, there as well"

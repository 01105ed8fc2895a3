"""``init`` looks around: real servers, folders, disks, other tools; it proposes, sums up, and writes after a yes."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opsctl.cli import init_around, init_databases
from opsctl.cli.init import init
from opsctl.cli.init_around import Around, Disk
from opsctl.cli.init_database import Place, looker
from opsctl.cli.init_databases import Server
from opsctl.cli.init_questions import InitAnswers
from opsctl.cli.init_text import NONE
from opsctl.engine.configuration import load_config
from opsctl.errors import UsageError, Waiting
from opsctl.shells.local import LocalShell
from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import LOOPBACK, Postgres
from tests.badluck.faults import small_disk
from tests.cli.test_init import SAID, Person

PASSWORD = "geheim 1"
as_root = pytest.mark.as_root("mounting needs root")


@pytest.fixture(scope="module")
def mariadb(server_place: Path) -> Iterator[Mariadb]:
    with Mariadb(server_place / "around-mariadb", tcp=True) as running:
        running.sql("CREATE DATABASE water; CREATE TABLE water.meters (id int primary key) engine=innodb;"
                    f"CREATE USER reader@localhost IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON mysql.* TO reader@localhost;"
                    "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON water.* TO reader@localhost; GRANT RELOAD ON *.* TO reader@localhost;")
        yield running


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def run(directory: Path, said: InitAnswers, person: Person, around: Around, euid: int = 0) -> None:
    init(said, directory=directory, ask=person, say=person.told.append, hidden=person.hidden, shell=LocalShell(),
         environ={"HOME": "/home/asha"}, euid=euid, around=around)


# What is found


def test_servers_that_run_here_and_their_databases_the_largest_first(tmp_path: Path, server_place: Path, mariadb: Mariadb) -> None:
    with Postgres(server_place / "around-postgres", tcp=True, password="x") as postgres:
        postgres.psql("CREATE DATABASE small; CREATE DATABASE enagar;")
        postgres.psql("CREATE TABLE bills AS SELECT generate_series(1, 100000);", "enagar")
        root = tmp_path / "root"
        # As on a machine: the socket's folder is where a package puts it.
        link(root / "var/run/postgresql", postgres.socket)
        link(root / "run/mysqld/mysqld.sock", mariadb.socket)
        write(root, {"proc/net/tcp": "  sl  local_address rem_address   st\n"
                                     f"   0: 0100007F:{postgres.port:04X} 00000000:0000 0A 00000000:00000000\n"})
        found = init_databases.find(LocalShell(), os.geteuid(), root)
    assert [(one.kind, one.tcp) for one in found] == [("postgresql", True), ("mariadb", False)]
    assert (found[0].port, list(found[0].databases)) == (postgres.port, ["enagar", "small"])
    assert list(found[1].databases) == ["water"]


def test_a_server_that_only_listens_is_named_without_its_databases(tmp_path: Path) -> None:
    write(tmp_path, {"proc/net/tcp6": "head\n 0: 00000000000000000000000000000000:1538 0:0 0A 0\n"
                                      " 1: 00000000000000000000000001000000:0CEA 0:0 01 0\n"})
    assert init_databases.find(LocalShell(), 1000, tmp_path) == [Server("postgresql", LOOPBACK, 5432, tcp=True)]


def test_folders_that_look_like_data(tmp_path: Path) -> None:
    write(tmp_path, {
        "srv/portal/uploads/1/scan.pdf": "x", "srv/portal/bin/run": "x", "var/www/html/index.html": "x",
        "var/www/tax/index.php": "x", "srv/backups/opsctl/config": "x", "srv/.hidden/x": "x", "opt/app/media/a.png": "x",
        "srv/store/config": "x", "srv/store/keys/k": "x", "srv/store/snapshots/s": "x", "home/asha/notes/a.txt": "x",
    })
    (tmp_path / "srv/empty/uploads").mkdir(parents=True)
    assert init_around.folders(tmp_path) == ["/srv/portal/uploads", "/opt/app/media", "/srv/empty", "/srv/portal", "/var/www/tax"]


@as_root
def test_another_disk_is_found_and_the_systems_own_is_not(tmp_path: Path) -> None:
    line = "36 25 8:17 / {} rw - {} /dev/sdb1 rw\n"
    with small_disk(tmp_path / "my disk", "2G") as disk:
        escaped = str(disk).replace(" ", "\\040")
        write(tmp_path, {"proc/self/mountinfo": line.format("/", "ext4") + line.format("/boot/efi", "ext4")
                         + line.format(escaped, "xfs") + line.format(tmp_path, "ext4") + line.format("/media/share", "nfs4")})
        found = init_around.disks(tmp_path)
    assert [(one.place, one.free > 1 << 30) for one in found] == [(str(disk), True), ("/media/share", False)]


def test_other_backup_tools_are_named(tmp_path: Path) -> None:
    write(tmp_path, {
        "etc/systemd/system/borgmatic.timer": "", "lib/systemd/system/pg_dump@.timer": "",
        "etc/systemd/system/timers.target.wants/pg_dump@15-main.timer": "", "etc/systemd/system/pg_basebackup@.timer": "",
        "etc/cron.d/nightly": "# pg_dump is old\n0 2 * * * root /usr/bin/mysqldump --all-databases >/srv/x.sql\n",
        "etc/cron.d/opsctl-x": "7 * * * * root opsctl backup run --due # not restic\n",
        "var/spool/cron/crontabs/root": "0 3 * * * restic backup /srv && restic forget\n",
        "etc/cron.daily/dpkg": "#!/bin/sh\ntar -cf /var/backups/dpkg.tar x\n",
    })
    assert init_around.others(tmp_path) == [
        "borgmatic: the timer borgmatic.timer", "pg_dump: the timer pg_dump@15-main.timer", "mysqldump: /etc/cron.d/nightly", "restic: /var/spool/cron/crontabs/root"]


@as_root
def test_a_socket_that_anybody_may_have_put_there_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "tmp/.s.PGSQL.5432"))
        door.listen()
        os.chown(tmp_path / "tmp/.s.PGSQL.5432", 1234, 1234)
        assert init_databases.find(LocalShell(), 0, tmp_path) == []
        door.settimeout(0)
        with pytest.raises(BlockingIOError):
            door.accept()


def test_what_hangs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(init_around, "disks", lambda root: over.wait(60))
    write(tmp_path, {"srv/portal/uploads/scan.pdf": "x"})
    try:
        found = init_around.look(LocalShell(), os.geteuid(), tmp_path, within=0.5)
    finally:
        over.set()
    assert found.disks == () and "/srv/portal/uploads" in found.folders


def test_looking_changes_nothing_and_fails_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    write(tmp_path, {"srv/portal/uploads/scan.pdf": "x", "etc/cron.d/folder/of": "0 2 * * * root restic backup /srv",
                     "proc/self/mountinfo": "36 25 8:17 / /gone rw - ext4 /dev/sdb1 rw\n", "proc/net/tcp": "head\n"})
    (tmp_path / "etc/cron.d/old").write_bytes(b"\xff\x00 restic \n")
    link(tmp_path / "srv/round", tmp_path / "srv")
    link(tmp_path / "var/www/gone", tmp_path / "not there")
    link(tmp_path / "var/run/postgresql", tmp_path / "not there")
    before = listed(tmp_path)
    found = init_around.look(LocalShell(), os.geteuid(), tmp_path)
    on_this_machine = init_around.look(LocalShell(), os.geteuid())
    assert raised == [] and listed(tmp_path) == before
    assert "/srv/portal/uploads" in found.folders and found.others == ["restic: /etc/cron.d/old"]
    assert all(Path(folder).is_dir() for folder in on_this_machine.folders)


def listed(root: Path) -> dict[Path, tuple[int, int, int]]:
    """All that lies below, with what a change to it changes."""
    return {path: (seen.st_mode, seen.st_size, seen.st_ctime_ns) for path in root.rglob("*") if (seen := path.lstat())}


# What is proposed


AROUND = Around(
    servers=(Server("postgresql", None, 5433, ("enagar", "water"), tcp=True), Server("mariadb", None, 3306, ("tax",))),
    folders=("/srv/portal/uploads", "/var/www/tax"), disks=(Disk("/mnt/big", 5 << 30),),
    others=("borgmatic: the timer borgmatic.timer",),
)


def test_what_was_found_is_proposed_and_what_was_not_taken_is_said(tmp_path: Path) -> None:
    person = Person({"--organisation": ["Nagar"]})
    run(tmp_path, InitAnswers(), person, AROUND)
    config = load_config(tmp_path)
    assert config.repositories["main"].url == "/mnt/big/opsctl"
    database = config.sources["portal-db"]
    assert (database.kind, database.database, database.server, database.port) == ("postgresql", "enagar", LOOPBACK, 5433)  # type: ignore[union-attr]
    assert config.sources["uploads"].paths == ("/srv/portal/uploads",)  # type: ignore[union-attr]
    text = (tmp_path / "opsctl.yaml").read_text()
    assert "# Found here, and in no backup yet: postgresql water, mariadb tax, /var/www/tax.\n" in text
    told = "\n".join(person.told)
    assert "found PostgreSQL at its socket, port 5433: enagar, water" in told and "found another disk at /mnt/big, 5GiB free" in told
    # The whole is shown before the last question, and a person says yes.
    assert told.index(f"This is what {tmp_path / 'opsctl.yaml'} will hold:") and "left as it is: borgmatic" in told
    assert all(f"  {line}" in person.told for line in text.splitlines())
    assert person.asked[-1][0] == "--yes"


def test_a_database_of_the_other_kind_is_known_by_its_name(tmp_path: Path) -> None:
    person = Person({"--organisation": ["Nagar"], "--database": ["tax"]})
    run(tmp_path, InitAnswers(), person, AROUND)
    assert "--database-kind" not in [option for option, _ in person.asked]
    source = load_config(tmp_path).sources["portal-db"]
    assert (source.kind, source.server, source.user) == ("mariadb", None, "backup")  # type: ignore[union-attr]


def test_a_server_elsewhere_is_asked_for_its_kind_and_its_port(tmp_path: Path) -> None:
    person = Person({"--organisation": ["Nagar"], "--database": ["far"], "--database-kind": ["oracle", "mysql"],
                     "--server": ["10.0.0.9"], "--port": ["3307"]})
    run(tmp_path, InitAnswers(), person, AROUND)
    source = load_config(tmp_path).sources["portal-db"]
    assert (source.kind, source.server, source.port) == ("mariadb", "10.0.0.9", 3307)  # type: ignore[union-attr]
    assert "not taken: must be postgresql or mariadb" in person.told


def test_everything_can_still_be_said_by_options(tmp_path: Path) -> None:
    person = Person()
    run(tmp_path, replace(SAID, database_kind="mariadb", port=3307), person, AROUND)
    assert person.asked == []
    assert load_config(tmp_path).sources["portal-db"].kind == "mariadb"
    with pytest.raises(UsageError, match="must be postgresql or mariadb"):
        run(tmp_path / "x", replace(SAID, database_kind="oracle"), Person(), AROUND)


def test_a_no_to_the_whole_writes_nothing(tmp_path: Path) -> None:
    person = Person({"--organisation": ["Nagar"], "--yes": ["perhaps", "no"]})
    with pytest.raises(Waiting, match="nothing was written"):
        run(tmp_path / "x", InitAnswers(), person, AROUND)
    assert not (tmp_path / "x").exists()


def test_passwords_that_no_backup_could_use_are_said_at_once(tmp_path: Path) -> None:
    empty, shared = tmp_path / "empty", tmp_path / "shared"
    empty.touch(0o600)
    shared.write_text("x\n")
    shared.chmod(0o644)
    made = init(replace(SAID, password_file=str(empty), database_password_file=str(shared), folder=NONE),
                directory=tmp_path / "etc", ask=Person(), say=lambda line: None, hidden=Person().hidden, shell=LocalShell(),
                environ={}, euid=0)
    assert any("the repository's password" in note and "is empty" in note for note in made.notes)
    assert any("can be read by others (mode 0644)" in note and f"chmod 600 {shared}" in note for note in made.notes)


def test_login_keys_for_backup_and_isolation_are_made_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "ssh-isolation.pub").write_text("ssh-ed25519 AAAA in an agent\n")
    run(tmp_path, SAID, Person(), Around())
    keys = tmp_path / "keys"
    assert not (keys / "ssh-isolation").exists()
    assert (keys / "ssh-isolation.pub").read_text() == "ssh-ed25519 AAAA in an agent\n"
    assert stat.S_IMODE((keys / "ssh-backup").stat().st_mode) == 0o600
    own = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", str(keys / "ssh-backup")], capture_output=True, text=True, check=True)
    assert (keys / "ssh-backup.pub").read_text().split() == [*own.stdout.split()[:2], "opsctl-backup"]


# A MariaDB database is tried like a PostgreSQL one


def test_a_mariadb_database_is_tried_at_once(mariadb: Mariadb) -> None:
    look = looker(LocalShell(), Path("/nowhere"))
    at = Place("water", kind="mariadb", server=str(mariadb.socket), user="reader", password=PASSWORD)
    assert look(at) is None
    without = look(replace(at, password=None))
    assert without is not None and without.wants_password and "without a password" in without.message
    wrong = look(replace(at, password="another"))
    assert wrong is not None and wrong.wants_password and "CREATE USER reader@localhost" in str(wrong.hint)
    assert "another" not in str(wrong).replace("it is another one", "")
    absent = look(replace(at, database="wasser"))
    assert absent is not None and not absent.wants_password
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    silent = look(replace(at, server=LOOPBACK, port=port))
    assert silent is not None and "running" in str(silent.hint)

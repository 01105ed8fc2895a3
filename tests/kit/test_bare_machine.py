"""Promise 10, whole: a bare machine without a network, the kit and one disk; nothing else is left of the controller."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.sources.postgresql_server import Postgres
from tests.kit.bare import KIT, PAPER, Bare, debootstrap
from tests.lab.isolation import Lab
from tests.lab.quick_key import make_quick
from tests.machine import Machine, tree

pytestmark = [
    pytest.mark.full, pytest.mark.lab, pytest.mark.xdist_group("isolation"),
    pytest.mark.as_root("a bare machine is a tree of files that only root can enter"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1) as found:
        yield found


def configure(machine: Machine, server: Postgres) -> None:
    password = machine.etc / "keys" / "repository-password"
    password.write_text("for tests only\n")
    password.chmod(0o600)
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: {machine.store}, password_file: {password}}}
  offline: {{url: {machine.root}/disk/opsctl, password_file: {password}, removable: true}}
sources:
  uploads: {{kind: paths, paths: [{machine.data}]}}
  portal-db: {{kind: postgresql, database: enagar, server: {server.socket}, port: {server.port}, user: {server.superuser}, proof: full}}
backups:
  portal: {{sources: [uploads, portal-db], repository: main, copies: [offline]}}
""")


def test_promise_10_the_controller_is_gone(tmp_path: Path, lab: Lab, server_place: Path) -> None:
    machine = Machine(tmp_path / "m")
    for number in range(20):
        (machine.data / f"bill {number}.txt").write_text(f"bill {number}\n" * 1000)
    (machine.root / "disk").mkdir()
    with Postgres(server_place) as server:
        server.psql("create database enagar")
        server.psql("create table dues (id int primary key, amount numeric); "
                    "insert into dues select n, n * 1.5 from generate_series(1, 5000) n", "enagar")
        configure(machine, server)
        machine.make_key()
        machine("backup", "init", expect=0)
        for name, place in (("main", "store"), ("offline", "disk/opsctl")):
            make_quick(machine.root / place, "for tests only", machine.state / "repositories" / f"{name}.json")
        machine("backup", "run", expect=0)
    machine("keys", "escrow", "offline", "--shares", "3", "--need", "2", "--into", str(machine.root / "paper"), expect=0)
    kit = machine.root / "kit"
    machine("kit", "build", str(kit), expect=0)
    machine("kit", "check", str(kit), expect=0)
    before, fingerprint = tree(machine.data), (kit / "keys" / "FINGERPRINTS").read_text().split()[0]
    journal = (machine.state / "journal" / "000001.jsonl").read_bytes()
    for gone in (machine.etc, machine.state, machine.store, machine.data):
        shutil.rmtree(gone)

    debootstrap(tmp_path / "bare")
    shutil.copy(lab.login, tmp_path / "bare" / "root" / "key")
    (tmp_path / "bare" / "root" / "key").chmod(0o600)
    disk = f"{machine.root}/disk"
    bare = Bare(tmp_path / "bare", lab, {KIT: kit, PAPER: machine.root / "paper", disk: machine.root / "disk"})
    assert "no network" in bare("command -v python3 opsctl restic || echo nothing; getent hosts example.org || echo no network")
    bare(f"sh {KIT}/start")
    found = bare(f"opsctl keys recover {PAPER}/share-1.txt {PAPER}/share-3.txt --repository {disk}/opsctl --into /root/password")
    assert "it opens" in found
    said = bare(f"opsctl restore controller --repository {disk}/opsctl --password-file /root/password --trust {fingerprint} --into /root/c")
    assert "whole; lines 1 to" in said and f"{machine.etc}/keys/repository-password" in said
    bare(f"cp -r /root/c/configuration/. /etc/opsctl/ && install -d -m 0700 {machine.state} && "
         f"cp -r /root/c/journal /root/c/repositories {machine.state}/ && "
         f"mkdir -p {machine.etc}/keys && cp /root/password {machine.etc}/keys/repository-password && chmod 600 {machine.etc}/keys/*")
    assert (tmp_path / f"bare{machine.state}/journal/000001.jsonl").read_bytes() == journal[:len(
        (tmp_path / "bare/root/c/journal/000001.jsonl").read_bytes())]
    assert "vouched for" in bare("opsctl journal verify")

    programs = "/usr/lib/postgresql/*/bin"
    start = (f"install -d -o postgres /srv/pg && setpriv --reuid postgres --regid postgres --clear-groups sh -c '"
             f"cd /srv/pg && {programs}/initdb -A trust -U postgres d >/dev/null && "
             f"{programs}/pg_ctl -D d -o \"-k /srv/pg -c listen_addresses=\" -w -l log start >/dev/null'")
    out = bare(f"{start} && opsctl restore set portal --from offline --into /srv/restored --database portal-db=enagar --server /srv/pg "
               f"--role postgres && psql -h /srv/pg -U postgres -At -c 'select count(*), sum(amount) from dues' enagar")
    assert "5000|18753750.0" in out and "as it was backed up" in out
    assert tree(Path(f"{tmp_path}/bare/srv/restored/uploads{machine.data}")) == before

    host = lab.hosts["h0"]
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=host.key, text=True, capture_output=True, check=True).stdout.split()[1]
    cut = bare(f"opsctl isolate apply root@{host.address} --host-key {shown} --key /root/key")
    assert "opsctl_iso" in lab.run("h0", ["nft", "-s", "list", "ruleset"]), cut
    lab.run("h0", ["nft", "flush", "ruleset"])

"""A folder of another host brought back there: by restic on that host, renamed beside its place, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.approvals.site import make_keys, people_of
from tests.badluck.faults import lines
from tests.lab.isolation import Lab
from tests.lab.quick_key import make_quick
from tests.lab.restserver import RestServer
from tests.lab.sshd import until
from tests.machine import Machine
from tests.scanning.samples import EICAR

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]

PLACE = "/tmp/portal/uploads"
#: Slow where names are given, so that a kill meets it in between.
SLOW = "#!/bin/sh\n/usr/bin/mv \"$@\"; code=$?; if [ -e /tmp/slow ]; then touch /tmp/moved; sleep 60; fi; exit $code\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab) -> Iterator[Machine]:
    found = Machine(tmp_path / "m")
    found.make_key()
    people = make_keys(tmp_path)
    (tmp_path / "rooms").mkdir(mode=0o711)
    with RestServer(lab.place / "store", user="h0", password="a login", address=lab.address) as store:
        keys = found.etc / "keys"
        for name, secret in (("own", "encrypts"), ("login", "a login")):
            (keys / name).write_text(f"{secret}\n")
            (keys / name).chmod(0o600)
        found.configure(f"""
state: {found.state}
repositories:
  own: {{url: {store.repository_url('h0')}, user: h0, secret_file: {keys}/login, password_file: {keys}/own, append_only: true}}
sources:
  uploads: {{kind: paths, host: h0, paths: [{PLACE}]}}
backups:
  portal: {{sources: [uploads], repository: own}}
services:
  portal: {{restores: [uploads], proofs: [{{kind: files}}]}}
clean_room: {{place: {tmp_path}/rooms}}
{people_of(people)}
""")
        lab.configure(found.etc)
        found("backup", "init", expect=0)
        repository = store.repository_path("h0")
        owner = repository.stat()
        make_quick(repository, "encrypts", found.state / "repositories" / "own.json")
        for path in (repository, *repository.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        yield found
    lab.run("h0", ["sh", "-c", "rm -rf /tmp/portal /tmp/slow /tmp/moved"])
    local.reset()


def on_host(lab: Lab, script: str) -> str:
    return lab.run("h0", ["sh", "-c", script])


def test_promise_7_a_folder_of_a_host_comes_back_there_killed_between_its_names_and_goes_back(machine: Machine, lab: Lab, tmp_path: Path) -> None:
    on_host(lab, f"mkdir -p {PLACE}/deep; cd {PLACE}; echo paid >deep/bill; ln deep/bill deep/again; chown 7:8 deep/bill; mkfifo pipe")
    lab.run("h0", ["sh", "-c", f"cat >{PLACE}/up.php"], stdin=EICAR.decode())
    machine("backup", "run", expect=0)
    on_host(lab, f"cd {PLACE}; rm -rf deep pipe up.php; echo pay >note")
    run = machine.json("restore", "run", expect=22).document["run"]
    machine("restore", "remove", run, f"uploads{PLACE}/up.php", "--reason", "a shell", expect=0)
    machine.json("resume", run, expect=4)
    for name in ("asha", "imran"):
        machine("--yes", "approve", run, "portal.approve", "--by", name, "--key", str(tmp_path / name), expect=0)
    lab.hosts["h0"].put("mv", SLOW)
    on_host(lab, "touch /tmp/slow")
    running = machine.start("resume", run)
    until(lambda: on_host(lab, "ls /tmp/moved 2>/dev/null || :") != "")
    running.kill()
    running.communicate()
    lab.hosts["h0"].drop("mv")
    assert on_host(lab, f"ls {PLACE} 2>/dev/null || :") == "", "between the two names"
    done = machine.json("resume", run, expect=0)
    said = on_host(lab, f"cd {PLACE}; find . | sort; stat -c '%u:%g %h %F' deep/bill pipe; cat deep/again")
    assert said == ".\n./deep\n./deep/again\n./deep/bill\n./pipe\n7:8 2 regular file\n0:0 1 fifo\npaid\n"
    proof = next(step["result"]["proofs"][0] for step in done.result["steps"] if step["step"] == "portal.outside")
    assert proof["equal"] and len(proof["removed"]) == 1
    (kept,) = next(step["result"]["places"] for step in done.result["steps"] if step["step"] == "portal.promote")
    assert on_host(lab, f"ls '{kept['kept']}'") == "note\n" and on_host(lab, "ls -A /tmp/portal | grep -c '^\\.' || :") == "0\n"
    machine("restore", "rollback", run, expect=0)
    assert on_host(lab, f"ls {PLACE}") == "note\n"
    assert [line["type"] for line in lines(machine)].count("finding.removed") == 1

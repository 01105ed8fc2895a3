"""What goes wrong on the way to another machine: no half snapshot, the right word, and whole again afterwards."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells.ssh_connection import Limits
from opsctl.wiring import Site
from tests.lab.sshd import until
from tests.machine import Said
from tests.remote.conftest import PASSWORD, Remote

#: A pg_dump that stops in the middle of its dump, and never ends.
HALF = """\
#!/bin/sh
case "$1" in --version) exec /usr/bin/pg_dump --version;; esac
/usr/bin/pg_dump "$@" | head -c 20000
exec sleep 4721
"""
MIDDLE = "sleep 4721"


@pytest.fixture
def before(remote: Remote) -> Iterator[list[str]]:
    """What lies on the hosts before; nothing more may lie there, and nothing may run, afterwards."""
    found = remote.lab.files()
    yield found
    (remote.lab.hosts[0].folder / "bin" / "pg_dump").unlink(missing_ok=True)
    until(lambda: not any(line.startswith((MIDDLE, "psql", "pg_dump")) for line in remote.lab.processes().values()))
    assert remote.lab.files() == found
    assert remote.servers.postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'enagar'") == "0"


def kinds(remote: Remote) -> list[str]:
    """The sources of the snapshots that are in the repository, the manifest among them."""
    tags = [tag for snapshot in remote.machine.snapshots() for tag in snapshot.get("tags", ())]
    return sorted(tag.removeprefix("source=") for tag in tags if tag.startswith("source=") or tag == "manifest")


def run_and(remote: Remote, disturb: Callable[[], object]) -> Said:
    """``backup run``, disturbed when its dump is half-way."""
    other = threading.Thread(target=lambda: (until(lambda: remote.lab.processes(MIDDLE)), disturb()))
    other.start()
    said = remote.machine.json("backup", "run")
    other.join()
    return said


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    target = Site.target
    with monkeypatch.context() as patch:
        patch.setattr(Site, "target", lambda *words, **more: replace(
            target(*words, **more), limits=Limits(connect=2.0, handshake=3.0, silence=4.0)))
        yield


def code(said: Said) -> tuple[int, str]:
    return said.code, said.errors[0]["message"] if said.errors else ""


class TestMiddle:
    def test_sshd_killed_in_the_middle_of_a_dump(self, remote: Remote, before: list[str]) -> None:
        remote.configure("bills")
        remote.lab.hosts[0].put("pg_dump", HALF)
        said = run_and(remote, remote.lab.kill_sessions)
        assert said.code == 13 and "connection to h0" in code(said)[1], said.out
        assert kinds(remote) == []
        (remote.lab.hosts[0].folder / "bin" / "pg_dump").unlink()
        remote.machine.json("backup", "run", "--due", expect=0)
        assert kinds(remote) == ["bills", "manifest"]

    def test_a_host_that_falls_silent_is_given_up_within_the_limit(
        self, remote: Remote, before: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remote.configure("bills")
        remote.lab.hosts[0].put("pg_dump", HALF)
        with impatient(monkeypatch):
            said = run_and(remote, lambda: remote.lab.mute(0))
        remote.lab.run("ip", "rule", "del", "from", remote.lab.hosts[0].address, "blackhole")
        assert said.code == 13, said.out
        assert kinds(remote) == []

    def test_opsctl_killed_and_resumed(self, remote: Remote, before: list[str]) -> None:
        remote.register()
        remote.configure("register", "bills")
        remote.lab.hosts[0].put("pg_dump", HALF)
        with remote.machine.start("backup", "run") as running:
            until(lambda: remote.lab.processes(MIDDLE))
            running.send_signal(signal.SIGKILL)
        assert kinds(remote) == ["register"]
        until(lambda: not remote.lab.processes(MIDDLE))
        (remote.lab.hosts[0].folder / "bin" / "pg_dump").unlink()
        run = remote.machine.json("runs").result["runs"][0]["run"]
        remote.machine.json("resume", run, expect=0)
        assert kinds(remote) == ["bills", "manifest", "register"]


class TestDoor:
    def test_each_closed_door_has_its_own_word(self, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = remote.lab
        key, other = lab.hosts[0].key, lab.hosts[1].key

        def tried(**host: Any) -> tuple[int, str]:
            entry = {"address": lab.hosts[0].address, "user": "ops", "host_key": key, **host}
            remote.configure("bills", hosts=f"hosts: {{h0: {json.dumps(entry)}, h1: {{address: 10.0.0.9}}}}\n")
            return code(remote.machine.json("backup", "run"))

        with impatient(monkeypatch):
            changed, stranger, shut, off = tried(host_key=other), tried(user="nobody"), tried(port=23), tried(address=lab.silent)
        assert changed[0] == 12 and "shows another key than the pinned one" in changed[1]
        assert stranger[0] == 12 and "does not let nobody in" in stranger[1]
        assert shut[0] == 13 and "cannot be reached" in shut[1]
        assert off[0] == 13 and "did not answer within 2 seconds" in off[1]
        assert kinds(remote) == []

    def test_a_host_that_is_another_is_told_for_each_source_on_it(self, remote: Remote) -> None:
        entry = {"address": remote.lab.hosts[0].address, "user": "ops", "host_key": remote.lab.hosts[1].key}
        remote.configure("bills", "meters", hosts=f"hosts: {{h0: {json.dumps(entry)}, h1: {{address: 10.0.0.9}}}}\n")
        said = remote.machine.json("backup", "run", expect=12)
        assert [(error["code"], error["where"]) for error in said.errors] == [(12, "portal/bills"), (12, "portal/meters")]

    @pytest.mark.parametrize("name", ["bills", "meters"])
    def test_a_wrong_database_password(self, remote: Remote, name: str) -> None:
        remote.configure(name)
        remote.password.write_text("wrong\n")
        said = remote.machine.json("backup", "run")
        assert said.code == 12 and " of h0" in code(said)[1] and "refused us" in code(said)[1], said.out
        assert kinds(remote) == []

    def test_a_host_without_the_programs(self, remote: Remote) -> None:
        remote.configure("listing", listing="{kind: command, host: h1, argv: [no-such-dump]}")
        said = remote.machine.json("backup", "run", expect=20)
        assert "no-such-dump is not installed on h1" in code(said)[1]

    def test_one_of_two_hosts_fails(self, remote: Remote) -> None:
        remote.register()
        first, second, _ = remote.lab.hosts
        remote.configure("bills", "register", hosts=f"hosts:\n  h0: {{address: {first.address}, port: 23, user: ops, "
                         f"host_key: {first.key}}}\n  h1: {{address: {second.address}, user: ops, host_key: {second.key}}}\n")
        said = remote.machine.json("backup", "run", expect=3)
        assert code(said)[1].startswith("h0 ") and [error["code"] for error in said.errors] == [13]
        assert kinds(remote) == ["register"]
        sets = remote.machine.json("backup", "list", "portal").result
        assert "incomplete" in json.dumps(sets)
        remote.configure("bills", "register")
        remote.machine.json("resume", said.document["run"], expect=0)
        assert kinds(remote) == ["bills", "manifest", "register"]


def test_secrets_are_in_no_argument_list_log_or_message(remote: Remote, before: list[str]) -> None:
    remote.configure("bills", "listing", listing="{kind: command, host: h1, argv: [sh, -c, 'echo $TOKEN >&2; exit 4'], "
                     f"password_file: {remote.password}, password_variable: TOKEN}}")
    remote.lab.hosts[0].put("pg_dump", HALF)
    seen: list[str] = []

    def look() -> None:
        seen.extend(line for line in remote.lab.processes().values() if PASSWORD in line)
        seen.extend(line for line in everything() if PASSWORD in line)
        remote.lab.kill_sessions()

    said = run_and(remote, look)
    assert seen == [] and said.code == 3
    assert PASSWORD not in said.out + said.err
    for path in remote.machine.state.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def everything() -> Iterator[str]:
    """The command line of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue

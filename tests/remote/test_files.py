"""Files of other machines: restic runs there, into a repository of the machine's own, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from opsctl.repositories import restic_program
from tests.lab.quick_key import make_quick
from tests.lab.restserver import RestServer
from tests.lab.sshd import Lab, until
from tests.machine import Machine, Said, tree
from tests.remote.conftest import INSIDE, LOGIN, OWN_PASSWORD

RESTIC = "/usr/bin/restic"
#: Notes what it was given, as anybody on the host could see it.
SPY = f'#!/bin/sh\n{{ printf "%s\\n" "$*"; env; }} >>{INSIDE}/seen/words\nexec {RESTIC} "$@"\n'
SLOW = f'#!/bin/sh\nexec {RESTIC} --limit-upload 400 "$@"\n'


@dataclass
class Files:
    """A controller, and a host whose ``folder`` is backed up into the repository ``own``."""

    machine: Machine
    lab: Lab
    store: RestServer
    folder: Path

    def configure(self, *, host: str = "h2", backup: str = "", **more: str) -> None:
        keys = self.machine.etc / "keys"
        for name, secret in (("own-password", OWN_PASSWORD), ("own-login", LOGIN)):
            (keys / name).write_text(f"{secret}\n")
            (keys / name).chmod(0o600)
        known = {"kind": "paths", "host": host, "paths": f"[{INSIDE}/files]", **more}
        self.machine.configure(
            sources=f"  uploads: {{{', '.join(f'{key}: {value}' for key, value in known.items())}}}",
            repositories=f"  own: {{url: {self.store.repository_url('h2')}, user: h2, secret_file: {keys}/own-login, "
                         f"password_file: {keys}/own-password, append_only: true}}",
            more=f"  uploads: {{sources: [uploads], repository: own{backup}}}")
        lines = [f"  {each.name}: {{address: {each.address}, user: ops, host_key: {each.key}}}\n" for each in self.lab.hosts]
        lines[1] = lines[1].replace("user: ops", "user: ops, become: sudo")
        (self.machine.etc / "hosts.yaml").write_text("hosts:\n" + "".join(lines))
        key = keys / "ssh-backup"
        key.write_bytes((self.lab.place / "login").read_bytes())
        key.chmod(0o600)

    def run(self, *words: str, expect: int) -> Said:
        return self.machine.json("backup", "run", "uploads", *words, expect=expect)

    def snapshots(self) -> list[str]:
        return os.listdir(self.store.repository_path("h2") / "snapshots")

    def uploading(self) -> bool:
        """Whether a pack is on its way: restic has its lock then, and would take it away."""
        return any(path.is_file() for path in (self.store.repository_path("h2") / "data").rglob("*"))

    def locks(self) -> list[str]:
        return os.listdir(self.store.repository_path("h2") / "locks")


@pytest.fixture(scope="module")
def made(_made_machine: Path, lab: Lab, store: RestServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that knows the host's repository, and that repository, empty; made once."""
    root = tmp_path_factory.mktemp("remote-files") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    Files(machine, lab, store, lab.place / "files").configure()
    machine("backup", "init", "own", expect=0)
    kept = store.repository_path("h2")
    make_quick(kept, OWN_PASSWORD, machine.state / "repositories" / "own.json")
    shutil.copytree(kept, lab.place / "empty")
    return root


@pytest.fixture
def files(made: Path, lab: Lab, store: RestServer, tmp_path: Path) -> Iterator[Files]:
    root = tmp_path / "m"
    shutil.copytree(made, root, symlinks=True)
    repository = store.repository_path("h2")
    owner = repository.stat()
    shutil.rmtree(repository)
    shutil.copytree(lab.place / "empty", repository)
    for place, _, names in os.walk(repository):
        for path in (place, *(os.path.join(place, name) for name in names)):
            os.chown(path, owner.st_uid, owner.st_gid)
    folder, seen = lab.place / "files", lab.place / "seen"
    for each in (folder, seen):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(mode=0o755)
    seen.chmod(0o777)
    for number in range(30):
        (folder / f"scan {number}.jpg").write_bytes(os.urandom(500) * (number + 1))
    (folder / "पत्र").mkdir()
    (folder / "पत्र" / "it's a \"file\"").write_text("x")
    found = Files(Machine(root), lab, store, folder)
    found.configure()
    before = lab.files()
    yield found
    for host in lab.hosts:
        (host.folder / "bin" / "restic").unlink(missing_ok=True)
    until(lambda: not lab.processes("restic"))
    assert lab.files() == before


def test_files_of_a_host_come_back_as_they_were(files: Files, tmp_path: Path) -> None:
    files.lab.hosts[2].put("restic", SPY)
    first = files.run(expect=0)
    assert first.result["backups"]["uploads"]["state"] == "good", first.out
    words = (files.lab.place / "seen" / "words").read_text()
    assert "backup --json" in words and "--no-cache" in words
    assert OWN_PASSWORD not in words
    assert all(LOGIN not in line for line in words.splitlines() if not line.startswith("RESTIC_REST_PASSWORD="))
    (files.folder / "scan 3.jpg").write_bytes(b"changed")
    files.machine.at("2026-12-16T02:30:00+05:30")
    second = files.run("--due", expect=0)
    source = second.result["backups"]["uploads"]["sources"]["uploads"]
    assert source["files"] == 31 and source["data_added_packed"] < 20_000
    (files.lab.hosts[2].folder / "bin" / "restic").unlink()
    assert "only files of this machine are compared" in files.machine("backup", "compare", "uploads", expect=2).err
    files.machine("restore", "set", "uploads", "--into", str(tmp_path / "back"), expect=0)
    assert tree(tmp_path / "back" / "uploads" / INSIDE[1:] / "files") == tree(files.folder)
    assert files.locks() == []


def test_what_is_missing_there_is_said_and_can_be_accepted(files: Files) -> None:
    (files.folder / "empty").mkdir()
    files.configure(paths=f"[{INSIDE}/files, {INSIDE}/none, {INSIDE}/files/empty]", marker=".here", mountpoint=f"{INSIDE}/files")
    message = files.run(expect=3).errors[0]["message"]
    for part in ("on h2: /run/lab/none does not exist", "on h2: /run/lab/files/empty is empty",
                 "on h2: the marker /run/lab/files/.here is missing", "on h2: /run/lab/files is not a mount point"):
        assert part in message
    assert files.run("--accept", "uploads", expect=0).result["backups"]["uploads"]["state"] == "good"
    (files.folder / ".here").touch()
    (files.folder / "empty" / ".here").touch()
    files.configure(paths=f"[{INSIDE}/files, {INSIDE}/files/empty]", marker=".here", mountpoint="/run")
    files.run(expect=0)
    shutil.rmtree(files.folder)
    files.folder.mkdir()
    (files.folder / "one").touch()
    files.configure()
    assert "less than half is left" in files.run(expect=3).errors[0]["message"]


def test_what_only_root_may_read_goes_through_sudo(files: Files, tmp_path: Path) -> None:
    secret = files.folder / "of root"
    secret.mkdir(mode=0o700)
    (secret / "key").write_text("only root")
    assert "could not be read" in files.run(expect=3).errors[0]["message"]
    files.configure(host="h1", backup=", nice: 5, ionice: idle")
    files.run(expect=0)
    files.machine("restore", "files", "uploads", f"{INSIDE}/files/of root", "--into", str(tmp_path), expect=0)
    assert (tmp_path / "of root" / "key").read_text() == "only root"


@pytest.mark.parametrize(("script", "message"), [
    ("#!/bin/sh\necho 'restic 0.14.0 compiled with go1.19'\n", "restic on h2 is restic 0.14.0; opsctl needs 0.17"),
    ("#!/bin/sh\necho 'opsctl: not installed' >&2\nexit 127\n", "restic is not installed on h2"),
])
def test_a_host_without_restic_gets_a_clear_word(files: Files, script: str, message: str) -> None:
    restic_program._accepted.clear()  # it is asked once in each process
    files.lab.hosts[2].put("restic", script)
    said = files.run(expect=20)
    assert message in said.errors[0]["message"] and "on h2" in said.errors[0]["hint"], said.out


def test_a_connection_that_breaks_leaves_no_snapshot_and_no_lock(files: Files) -> None:
    (files.folder / "large").write_bytes(os.urandom(8 << 20))
    files.lab.hosts[2].put("restic", SLOW)
    breaker = threading.Thread(target=lambda: (until(files.uploading), files.lab.kill_sessions()))
    breaker.start()
    said = files.run(expect=13)
    breaker.join()
    assert "connection to h2" in said.errors[0]["message"]
    until(lambda: not files.lab.processes("restic"))
    assert files.snapshots() == []
    until(lambda: not files.locks())
    (files.lab.hosts[2].folder / "bin" / "restic").unlink()
    assert files.run("--due", expect=0).result["backups"]["uploads"]["state"] == "good"


def test_a_lock_that_a_lost_host_left_is_taken_away(files: Files) -> None:
    (files.folder / "large").write_bytes(os.urandom(8 << 20))
    files.lab.hosts[2].put("restic", SLOW)

    def strike() -> None:
        until(files.uploading)
        for pid in files.lab.processes("restic"):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)

    breaker = threading.Thread(target=strike)
    breaker.start()
    files.run(expect=20)
    breaker.join()
    assert files.locks()
    (files.lab.hosts[2].folder / "bin" / "restic").unlink()
    files.run(expect=0)
    assert files.locks() == []



def test_a_repository_shared_with_others_is_refused(files: Files) -> None:
    keys = files.machine.etc / "keys"
    text = (files.machine.etc / "opsctl.yaml").read_text()

    def refused(old: str, new: str) -> str:
        assert old in text
        (files.machine.etc / "opsctl.yaml").write_text(text.replace(old, new))
        return files.machine("backup", "list", expect=10).err

    assert "which cannot reach" in refused("repository: own", "repository: main")
    assert "also holds what is of this machine" in refused("sources: [uploads]", "sources: [uploads, files]")
    assert "also holds what is of this machine" in refused("repository: main}", "repository: main, copies: [own]}")
    assert "is that of main, too" in refused("repository-password", "own-password")
    assert "own.secret_file: is that of main, too" in refused(f"secret_file: {keys}/own-login", f"secret_file: {keys}/../keys/repository-password")
    assert "is that machine itself" in refused(files.store.address, "127.0.0.1")
    assert "they need a user of its own" in refused(f"user: h2, secret_file: {keys}/own-login, ", "")
    assert "run: host" in refused("kind: paths, host: h2", "kind: paths, host: h2, run: controller")
    assert "must be absolute" in refused(f"[{INSIDE}/files]", "[files]")

"""Repositories behind a real sshd: as home and as a copy, by the pinned key alone, seen without restic as well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.configuration import load_config
from opsctl.errors import ConfigError, DamagedData, OpsError, Refused, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.model.sftp import SftpAddress, sftp_address
from opsctl.repositories.restic import Restic
from opsctl.repositories.sftp import SftpServer, SftpServers
from opsctl.repositories.sftp_store import SftpStore
from opsctl.repositories.store import KINDS, LocalStore
from opsctl.shells.interface import Result
from opsctl.shells.local import LocalShell
from tests.badluck import faults
from tests.badluck.faults import FaultyRestic
from tests.lab.quick_key import make_quick
from tests.lab.sshd import UID, Lab, new_key
from tests.machine import Machine, tree
from tests.repositories.conftest import Template

INSIDE = "/run/lab/home"

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("sshd")]
root_only = pytest.mark.as_root("network namespaces need root")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2, more="Subsystem sftp internal-sftp\n") as made:
        yield made


@pytest.fixture
def place(lab: Lab, template: Template) -> Iterator[Path]:
    """A copy of the template in the account's home, as this machine sees it."""
    root = lab.home / "repository"
    shutil.copytree(template.root, root)
    give(root)
    yield root
    shutil.rmtree(lab.home / "repository")


def give(root: Path) -> None:
    """Everything below a folder to the account of the lab."""
    for path in (root, *root.rglob("*")):
        os.chown(path, UID, UID)


def server(lab: Lab, number: int = 0, path: str = f"{INSIDE}/repository", **more: Any) -> SftpServer:
    host = lab.hosts[number]
    known: dict[str, Any] = {"host_key": host.key, "key": lab.place / "login",
                             "address": SftpAddress("ops", host.address, 22, path)}
    return SftpServer(**{**known, **more})


def keys(lab: Lab, number: int, path: str, password: Path) -> str:
    host = lab.hosts[number]
    return (f"{{url: 'sftp:ops@{host.address}:{path}', host_key: {host.key}, ssh_key_file: {lab.place}/login, "
            f"password_file: {password}}}")


def configure(machine: Machine, lab: Lab, home: str = "here", copies: str = "[far]") -> None:
    machine.configure()
    password = machine.etc / "keys" / "repository-password"
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {keys(lab, 0, f"{INSIDE}/main", password)}
  far: {keys(lab, 1, "relative/far", password)}
  here: {{url: {machine.store}, password_file: {password}}}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: {home}, copies: {copies}}}
""")


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a machine after `backup init`, and beside it what then lies on the servers; made once, for it takes seconds."""
    root = tmp_path_factory.mktemp("sftp")
    machine = Machine(root / "m")
    machine.make_key()
    configure(machine, lab, "main", "[far, here]")
    (lab.home / "relative").mkdir()
    give(lab.home / "relative")
    for name, place in (("main", lab.home / "main"), ("far", lab.home / "relative" / "far"), ("here", machine.store)):
        machine("backup", "init", name, expect=0)
        make_quick(place, "for tests only", machine.state / "repositories" / f"{name}.json")
        give(place)
    for name in ("main", "relative"):
        shutil.move(lab.home / name, root / name)
    return root


@pytest.fixture
def far(lab: Lab, made: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine whose sets live here and are copied to an SFTP server; another one could be their home."""
    shutil.copytree(made / "m", tmp_path / "m")
    for name in ("main", "relative"):
        shutil.copytree(made / name, lab.home / name)
        give(lab.home / name)
    machine = Machine(tmp_path / "m")
    configure(machine, lab)
    (machine.data / "scan").write_bytes(os.urandom(6 << 20))
    yield machine
    for name in ("main", "relative"):
        shutil.rmtree(lab.home / name, ignore_errors=True)


@root_only
def test_a_home_and_copies_on_two_servers(far: Machine, lab: Lab, tmp_path: Path) -> None:
    configure(far, lab, "main", "[far, here]")
    first = far.json("backup", "run", expect=0).result["backups"]["portal"]
    assert {name: found["state"] for name, found in first["copies"].items()} == {"far": "current", "here": "current"}
    far("verify", "main", "--level", "data", "--share", "all", expect=0)
    far("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    assert tree(Path(f"{tmp_path}/back/files{far.data}")) == tree(far.data)
    second = far.json("backup", "run", "--due", expect=0)
    assert second.result["backups"]["portal"]["outcome"] == "ok" and second.code == 0
    kept = list((far.state / "sftp").iterdir())
    assert {path.name.partition("-")[0] for path in kept} == {"config", "known_hosts"}
    assert not (far.root / ".ssh").exists(), "no file of a user's own is written"
    found = far.json("status", expect=0).result["backups"]["portal"]["copies"]
    assert found["far"]["survives"] is None
    # A machine that has nothing but the address, the keys and the password.
    far.forget()
    (far.etc / "opsctl.yaml").rename(tmp_path / "lost")
    host = lab.hosts[1]
    words = ["--repository", f"sftp:ops@{host.address}:relative/far", "--password-file", str(far.etc / "keys/repository-password")]
    assert "--host-key" in far("backup", "list", *words, expect=23).err
    words += ["--host-key", host.key, "--ssh-key-file", str(lab.place / "login")]
    trust = ["--trust", subprocess.run(["ssh-keygen", "-lf", str(far.etc / "keys/controller.pub")], capture_output=True,
                                       text=True, check=True).stdout.split()[1]]
    far("restore", "set", "portal", *words, *trust, "--into", str(tmp_path / "bare"), expect=0)
    assert tree(Path(f"{tmp_path}/bare/files{far.data}")) == tree(far.data)


@root_only
def test_a_connection_that_is_lost_in_the_middle_of_a_copy(far: Machine, lab: Lab, tmp_path: Path) -> None:
    restic = FaultyRestic(tmp_path / "faulty")
    restic.install()
    restic.brake(2048, at=" copy ")
    data = lab.home / "relative" / "far" / "data"
    process = far.start("--json", "backup", "run", env=restic.env)
    try:
        faults.until(lambda: any(path.stat().st_size for path in data.rglob("*") if path.is_file()), "a pack on its way")
        lab.kill_sessions()
        restic.release()
        done = faults.ended(process)
    finally:
        faults.end_all(far, restic)
    assert done.code == 3 and [error["code"] for error in done.document["errors"]] == [13]
    assert far.json("backup", "list", expect=0).result["sets"][0]["state"] == "good"
    again = far.json("backup", "run", "--due", expect=0).result["backups"]["portal"]
    assert again["outcome"] == "ok" and again["copies"]["far"]["state"] == "current"
    far("verify", "far", "--level", "data", "--share", "all", expect=0)


@root_only
def test_another_host_key_is_12_and_a_host_that_is_off_is_13(far: Machine, lab: Lab, tmp_path: Path) -> None:
    text = (far.etc / "opsctl.yaml").read_text()
    other = new_key(tmp_path / "other")
    # The copy's key is another one: the set stands, and nothing was sent there.
    (far.etc / "opsctl.yaml").write_text(text.replace(lab.hosts[1].key, other))
    said = far.json("backup", "run", expect=3)
    assert [error["code"] for error in said.errors] == [12] and "another key than the pinned one" in said.errors[0]["message"]
    assert far.json("status", expect=5).result["backups"]["portal"]["copies"]["far"]["late"]
    # Nobody listens there: it is off.
    (far.etc / "opsctl.yaml").write_text(text.replace(f"sftp:ops@{lab.hosts[1].address}:", f"sftp://ops@{lab.hosts[1].address}:23/"))
    assert "far (10.213." in far.json("backup", "copy", expect=13).errors[0]["message"]
    # Of a home nothing is asked, and nothing is done.
    configure(far, lab, "main", "[]")
    text = (far.etc / "opsctl.yaml").read_text()
    (far.etc / "opsctl.yaml").write_text(text.replace(lab.hosts[0].key, other))
    assert far.json("backup", "run", expect=12).errors[0]["details"]["kind"] == "host-key"
    (far.etc / "opsctl.yaml").write_text(text.replace(f"sftp:ops@{lab.hosts[0].address}:", f"sftp://ops@{lab.hosts[0].address}:23/"))
    far("backup", "run", expect=13)


@root_only
def test_the_direct_look_sees_what_a_local_one_sees(lab: Lab, place: Path) -> None:
    (place / "keys" / "planted").write_bytes(b"x")
    near, store = LocalStore(place), SftpStore("far", server(lab))
    for kind in KINDS:
        assert store.list(kind) == near.list(kind)
        for name in store.list(kind):
            assert store.digest(kind, name) == near.digest(kind, name)
    pack = next(iter(store.list("data")))
    assert store.read("data", pack, (1000, 77)) == near.read("data", pack, (1000, 77))
    assert store.config() == near.config() and not store.is_empty() and not store.is_only_begun()
    assert store.read("data", "0" * 64) is None and store.list("locks") == {}
    lab.kill_sessions()
    assert store.config() == near.config(), "a connection that died meanwhile is made anew"
    lock = place / "locks" / ("1" * 64)
    lock.write_bytes(b"l")
    give(lock)
    store.remove_lock(lock.name)
    store.remove_lock(lock.name)
    assert not lock.exists()
    (attempt,) = store.prove_refusal()
    assert (attempt.what, attempt.refused) == ("delete", False) and LocalStore(place).list("data") == near.list("data")
    (place / "config").unlink()
    store.remove_keys()
    assert store.config() is None and not any((place / "keys").iterdir())
    assert SftpStore("far", server(lab, path=f"{INSIDE}/none")).is_empty()


@root_only
def test_what_the_direct_look_cannot_see_is_said(lab: Lab, place: Path, tmp_path: Path) -> None:
    def said(**more: Any) -> OpsError:
        with pytest.raises(OpsError) as caught:
            SftpStore("far", server(lab, **more), time_limit=1).config()
        return caught.value

    host = lab.hosts[0].address
    assert "another key than the pinned one" in said(host_key=new_key(tmp_path / "other")).message
    stranger = said(key=tmp_path / "other")
    assert stranger.code == 12 and "ssh_key_file of far" in str(stranger.hint)
    (tmp_path / "other").chmod(0o644)
    assert "others can read" in said(key=tmp_path / "other").message
    assert said(key=tmp_path / "none").code == 12
    assert isinstance(said(address=SftpAddress("ops", host, 23, "/x")), Unreachable)
    assert isinstance(said(address=SftpAddress("ops", lab.silent, 22, "/x")), Unreachable)
    (place / "config").chmod(0)
    assert "may not do this" in said().message
    os.close(os.open(os.fsencode(place / "keys") + b"/\xff", os.O_CREAT))
    with pytest.raises(DamagedData, match="no UTF-8"):
        SftpStore("far", server(lab)).list("keys")


@root_only
def test_a_server_without_sftp_is_refused(tmp_path: Path) -> None:
    with Lab() as bare:
        with pytest.raises(Refused, match="gives no SFTP"):
            SftpStore("far", server(bare)).config()


@root_only
def test_restics_own_ssh_is_as_strict(lab: Lab, place: Path, template: Template, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other")

    def listing(**more: Any) -> tuple[Restic, Result]:
        """A call of restic that nothing was looked at before."""
        door = SftpServers(tmp_path / "state with spaces", {"far": server(lab, **more)}).door("far")
        repository = Restic("far", "sftp:ops@somewhere:/x", password=SecretRef("password", file=str(template.password)),
                            shell=LocalShell(), cache_dir=None, sftp=door)
        return repository, repository.program.run(["snapshots", "--json", "--no-lock"])

    def refused(**more: Any) -> OpsError:
        repository, result = listing(**more)
        assert result.code == 1 and not result.stdout
        return repository.failure("list the snapshots", result)

    _, found = listing()
    assert {one["id"] for one in json.loads(found.stdout)} == {template.first, template.second, template.document}
    assert refused(host_key=other).details["kind"] == "host-key"
    assert "does not let ops in" in refused(key=tmp_path / "other").message
    assert refused(address=SftpAddress("ops", lab.hosts[0].address, 23, "/x")).code == 13


def test_addresses_are_read_as_restic_reads_them() -> None:
    assert sftp_address("sftp:u@h:/srv/x y") == SftpAddress("u", "h", 22, "/srv/x y")
    assert sftp_address("sftp:u@h:x/y") == SftpAddress("u", "h", 22, "x/y")
    assert sftp_address("sftp://u@h:2222//srv/x") == SftpAddress("u", "h", 2222, "/srv/x")
    assert sftp_address("sftp://u@[fd00::1]/x") == SftpAddress("u", "fd00::1", 22, "x")
    for wrong in ("sftp:h:/x", "sftp:u@h", "sftp://u@h", "sftp:u:word@h:/x", "sftp:-oProxyCommand=x@h:/x", "sftp:u@-h:/x",
                  "sftp://u@h:0//x", "sftp://u@h:99999//x", "sftp:u@h:/x\ny"):
        with pytest.raises(ValueError):
            sftp_address(wrong)


def test_every_mistake_is_named(tmp_path: Path) -> None:
    key = new_key(tmp_path / "key")
    (tmp_path / "opsctl.yaml").write_text(f"""
repositories:
  a: {{url: "sftp:u@h:/x", password_file: /p}}
  b: {{url: "sftp:u@h:/x", password_file: /p, host_key: {key}, ssh_key_file: /k, user: u, append_only: true}}
  c: {{url: /srv/x, password_file: /p, host_key: {key}, ssh_key_file: /k}}
  d: {{url: "sftp:u:word@h:/x", password_file: /p, host_key: {key}, ssh_key_file: /k}}
""")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    told = "\n".join(caught.value.problems)
    for words in ("a: host_key is missing", "a: ssh_key_file is missing", "b.user: is for a REST server",
                  "b.append_only: an SFTP server refuses no deletion", "c.host_key: is for an SFTP server",
                  "c.ssh_key_file: is for an SFTP server", "d.url: must not hold a password"):
        assert f"repositories.{words}" in told, told
    assert len(caught.value.problems) == 7 and "word" not in told.replace("password", "")

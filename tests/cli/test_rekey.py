"""A pinned host key changed: by two people who signed it with real keys, whole or not at all, and never otherwise."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.hosts_file import change_key
from opsctl.errors import ConfigError, SafetyRefusal
from opsctl.model import rekey
from opsctl.shells import local
from tests.lab.sshd import Lab
from tests.machine import Machine, Said

pytestmark = pytest.mark.xdist_group("sshd")


def on_hosts(test: Any) -> Any:
    return pytest.mark.lab(pytest.mark.as_root("network namespaces need root")(test))


OLD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01"
NEW = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO2rMKxSgM0yVbTqDb3pmKkPNTb3qMzk2n0S1gJ5YH7v"
PEOPLE = ("asha", "imran", "ravi")


def printed(public: Path) -> str:
    return subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True).stdout.split()[1]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3) as made:
        yield made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("people")
    for name in PEOPLE:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)], check=True,
                       stdin=subprocess.DEVNULL)
    return place


@pytest.fixture
def machine(tmp_path: Path, lab: Lab, keys: Path) -> Iterator[Machine]:
    """Host db-1 is pinned with another key than the one it shows; db-2 has the same trouble."""
    found = Machine(tmp_path / "m")
    people = "".join(f"  {name}: {{name: {name}, ssh_key: {(keys / f'{name}.pub').read_text().strip()}}}\n" for name in PEOPLE)
    found.configure(f"state: {found.state}\npeople:\n{people}")
    (found.etc / "hosts.yaml").write_text(
        f"# our machines\nhosts:\n  db-1: {{address: {lab.hosts[1].address}, user: ops, host_key: {lab.hosts[0].key} old@db-1}}  # rack 3\n"
        f"  db-2: {{address: {lab.hosts[2].address}, user: ops, host_key: {lab.hosts[0].key}}}\n")
    yield found
    local.reset()


@pytest.fixture
def new(lab: Lab) -> str:
    return printed(lab.hosts[1].folder / "key.pub")


def sign(machine: Machine, keys: Path, by: str, new: str, *more: str, key: str | None = None, expect: int = 0) -> Said:
    return machine.json("hosts", "rekey", "db-1", "--by", by, "--key", str(keys / (key or by)), "--fingerprint", new, *more,
                        expect=expect)


@on_hosts
def test_two_people_compare_sign_and_the_key_is_changed(machine: Machine, lab: Lab, keys: Path, new: str) -> None:
    before = (machine.etc / "hosts.yaml").read_text()
    asked = machine("hosts", "rekey", "db-1", expect=4)
    assert printed(lab.hosts[0].folder / "key.pub") in asked.err and new in asked.err
    machine("--yes", "hosts", "rekey", "db-1", expect=4)
    machine("--dry-run", "hosts", "rekey", "db-1", "--fingerprint", new, expect=4)
    assert not (machine.state / "rekeys").exists()
    shown = machine("hosts", "rekey", "db-1", "--fingerprint", new, expect=4)
    assert f"old key  {printed(lab.hosts[0].folder / 'key.pub')}" in shown.out and f"new key  {new}" in shown.out
    request = machine.state / "rekeys" / "db-1.json"
    sign(machine, keys, "asha", new)
    assert "1 person of `people` still has to" in machine("hosts", "rekey", "db-1", expect=4).err
    # the second person signs on a machine of their own, that has the configuration and no way to the host
    other = Machine(machine.root.parent / "other")
    shutil.copytree(machine.etc, other.etc, dirs_exist_ok=True)
    carried = other.root / "request.json"
    shutil.copy(request, carried)
    sign(other, keys, "imran", new, "--file", str(carried))
    assert (other.etc / "hosts.yaml").read_text() == (machine.etc / "hosts.yaml").read_text() == before
    assert machine("hosts", "rekey", "db-1", "--file", str(carried), expect=4).err, "nobody at a terminal said yes"
    done = machine.json("--yes", "hosts", "rekey", "db-1", "--file", str(carried), expect=0).result
    assert done["applied"] and done["signed_by"] == ["asha", "imran"] and done["new"] == new
    changed = f"host_key: {lab.hosts[1].key} old@db-1}}  # rack 3\n"
    assert (machine.etc / "hosts.yaml").read_text() == before.replace(f"host_key: {lab.hosts[0].key} old@db-1}}  # rack 3\n", changed)
    entry = machine.json("journal", "show", expect=0).out
    assert "hosts.rekeyed" in entry and new in entry and "imran" in entry
    machine("journal", "verify", expect=0)
    assert "nothing is to be changed" in machine("hosts", "rekey", "db-1", "--file", str(machine.root / "again"), expect=0).out


@on_hosts
def test_one_person_never_counts_twice(machine: Machine, keys: Path, new: str) -> None:
    sign(machine, keys, "asha", new)
    said = sign(machine, keys, "asha", new, expect=23)
    assert "it takes 2 people" in said.errors[0]["message"]
    assert "still has to" in machine("hosts", "rekey", "db-1", expect=4).err


@on_hosts
def test_a_key_under_two_names_counts_once_and_other_people_than_were_accepted_count_for_nothing(
    machine: Machine, keys: Path, new: str
) -> None:
    text = (machine.etc / "opsctl.yaml").read_text()
    imran = (keys / "imran.pub").read_text().strip()
    (machine.etc / "opsctl.yaml").write_text(text.replace(imran, (keys / "asha.pub").read_text().strip()))
    sign(machine, keys, "asha", new)
    sign(machine, keys, "imran", new, key="asha", expect=23)
    assert "still has to" in machine("hosts", "rekey", "db-1", expect=4).err
    (machine.etc / "opsctl.yaml").write_text(text)
    assert "imran has another key" in sign(machine, keys, "imran", new, expect=23).errors[0]["message"]


@on_hosts
def test_what_is_not_theirs_is_refused(machine: Machine, lab: Lab, keys: Path, new: str) -> None:
    before = (machine.etc / "hosts.yaml").read_bytes()
    sign(machine, keys, "asha", printed(lab.hosts[2].folder / "key.pub"), expect=12)
    sign(machine, keys, "asha", new, key="imran", expect=12)
    sign(machine, keys, "nobody", new, key="imran", expect=2)
    sign(machine, keys, "asha", new)
    sign(machine, keys, "imran", printed(lab.hosts[2].folder / "key.pub"), expect=12)
    sign(machine, keys, "imran", new)
    request = machine.state / "rekeys" / "db-1.json"
    whole = json.loads(request.read_text())

    def refused(code: int, **changed: object) -> str:
        request.write_text(json.dumps({**whole, **changed}))
        said = machine.json("--yes", "hosts", "rekey", "db-1", expect=code)
        assert (machine.etc / "hosts.yaml").read_bytes() == before
        return str(said.errors[0]["message"])

    assert "does not hold" in refused(22, request={**whole["request"], "new": lab.hosts[2].key})
    assert "does not hold" in refused(22, request={**whole["request"], "nonce": "0" * 32})
    assert "request for db-2" in refused(23, request={**whole["request"], "host": "db-2"})
    assert "does not hold" in refused(22, signatures=[{**whole["signatures"][0], "by": "ravi"}, whole["signatures"][1]])
    assert "no time of ours" in refused(23, request={**whole["request"], "expires": "2027-12-12T02:30:00+05:30"})
    assert "no request" in refused(22, request={**whole["request"], "port": "22"})
    request.write_text("[" * 100_000)
    machine("--yes", "hosts", "rekey", "db-1", expect=22)
    # signatures of another host's request
    machine.json("hosts", "rekey", "db-2", "--by", "asha", "--key", str(keys / "asha"), "--fingerprint",
                 printed(lab.hosts[2].folder / "key.pub"), expect=0)
    theirs = json.loads((machine.state / "rekeys" / "db-2.json").read_text())
    assert "does not hold" in refused(22, signatures=[theirs["signatures"][0], whole["signatures"][1]])


@on_hosts
def test_a_late_signature_does_not_count_nor_one_that_was_used(machine: Machine, lab: Lab, keys: Path, new: str) -> None:
    for name in ("asha", "imran"):
        sign(machine, keys, name, new)
    request = machine.state / "rekeys" / "db-1.json"
    kept = request.read_text()
    machine.at("2026-12-13T02:31:00+05:30")
    said = machine.json("--yes", "hosts", "rekey", "db-1", expect=23)
    assert "was over" in said.errors[0]["message"] and str(request) in said.errors[0]["hint"]
    machine.at("2026-12-12T03:30:00+05:30")
    machine("--yes", "hosts", "rekey", "db-1", expect=0)
    # the host gets its old key back, by hand; the old request is not taken a second time for the later one
    back = (machine.etc / "hosts.yaml").read_text().replace(lab.hosts[1].key, lab.hosts[0].key)
    (machine.etc / "hosts.yaml").write_text(back)
    for name in ("asha", "ravi"):
        sign(machine, keys, name, new)
    machine("--yes", "hosts", "rekey", "db-1", expect=0)
    (machine.etc / "hosts.yaml").write_text(back)
    request.write_text(kept)
    assert "carried out before" in machine.json("--yes", "hosts", "rekey", "db-1", expect=23).errors[0]["message"]


@on_hosts
def test_a_host_that_shows_a_third_key_by_now_is_refused(machine: Machine, lab: Lab, keys: Path, new: str) -> None:
    for name in ("asha", "imran"):
        sign(machine, keys, name, new)
    text = (machine.etc / "hosts.yaml").read_text()
    (machine.etc / "hosts.yaml").write_text(text.replace(lab.hosts[1].address, lab.hosts[2].address))
    assert "was at" in machine.json("--yes", "hosts", "rekey", "db-1", expect=23).errors[0]["message"]
    # two people saw the key of the third host, and db-1 is still the second
    (machine.etc / "hosts.yaml").write_text(text)
    request = rekey.request(host="db-1", address=lab.hosts[1].address, port=22, old=lab.hosts[0].key, new=lab.hosts[2].key,
                            nonce="0" * 32, now=datetime(2026, 12, 11, 21, 0, tzinfo=UTC))
    (machine.state / "rekeys" / "db-1.json").write_text(json.dumps({"request": request, "signatures": []}))
    for name in ("asha", "imran"):
        sign(machine, keys, name, printed(lab.hosts[2].folder / "key.pub"))
    said = machine.json("--yes", "hosts", "rekey", "db-1", expect=12)
    assert "is not the one that was signed" in said.errors[0]["message"]
    assert (machine.etc / "hosts.yaml").read_text() == text


@pytest.mark.parametrize("text", [
    "hosts:\n  db-1: {{address: db-1, host_key: {key}}}\n",
    "hosts:\n  db-1:\n    address: db-1\n    host_key: {key} root@db-1   # seen on 1 May\n",
    "hosts:\n  db-1:\n    address: db-1\n    host_key: \"{key}\"\n",
    "# {key} is the old one of db-1\nhosts: {{db-2: {{address: db-2, host_key: {key}}}, db-1: {{address: db-1, host_key: {key}}}}}\n",
])
def test_the_key_is_changed_where_it_stands_and_nothing_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(text.format(key=OLD))
    path.chmod(0o640)
    assert change_key(tmp_path, "db-1", OLD, NEW) == path
    before, after = text.format(key=OLD).split(OLD), path.read_text()
    assert after.count(NEW) == 1 and after.replace(NEW, OLD) == OLD.join(before)
    assert after.index(NEW) > after.index("db-1:") and path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["all.yaml"]


@pytest.mark.parametrize(("text", "why"), [
    ("hosts:\n  db-1:\n    address: db-1\n    host_key: >-\n      ssh-ed25519\n      {blob}\n", SafetyRefusal),
    ("hosts:\n  db-2: {{address: db-2, host_key: {key}}}\n", SafetyRefusal),
    ("hosts:\n  db-1: {{address: db-1, host_key: {key}, colour: red}}\n", ConfigError),
])
def test_a_key_that_cannot_be_changed_safely_is_left(tmp_path: Path, text: str, why: type[Exception]) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(text.format(key=OLD, blob=OLD.split()[1]))
    before = path.read_bytes()
    with pytest.raises(why):
        change_key(tmp_path, "db-1", OLD, NEW)
    assert path.read_bytes() == before

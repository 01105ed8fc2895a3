"""Hosts from the command line: taken in with their keys looked at, never on trust; tried; prepared."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.configuration import load_config
from opsctl.engine.hosts_csv import parse_hosts
from opsctl.engine.hosts_file import add_hosts
from opsctl.engine.load import load_document, validate
from opsctl.errors import Busy, ConfigError, SafetyRefusal
from opsctl.model.config import Config
from opsctl.model.hosts import Host
from opsctl.shells import local
from opsctl.shells.ssh_connection import Limits
from opsctl.wiring import Site
from tests.lab.sshd import Lab
from tests.machine import Machine

on_hosts = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("sshd"),
]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01"
PRINT = "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
GOOD_RESTIC = "#!/bin/sh\necho 'restic 0.18.0 compiled with go1.24 on linux/amd64'\n"
SUDOERS = """\
Defaults !lecture
ops ALL=(root) NOPASSWD: /run/lab/*/bin/restic, /usr/bin/pkill -TERM -s [0-9]*, /usr/bin/pkill -KILL -s [0-9]*
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(9, sudoers=SUDOERS) as made:
        for host in made.hosts:
            host.put("restic", GOOD_RESTIC)
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\nzones:\n  portal: {{title: The portal}}\n")
    yield found
    local.reset()


def take_in(machine: Machine, lab: Lab, *numbers: int, **more: str) -> None:
    """Put hosts of the lab into the configuration, and its login key in place of ours."""
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    lines = [f"  h{n}: {{address: {lab.hosts[n].address}, user: ops, zone: portal, host_key: {lab.hosts[n].key}{rest}}}\n"
             for n in numbers]
    (machine.etc / "hosts.yaml").write_text("hosts:\n" + "".join(lines))
    login(machine, lab)


def login(machine: Machine, lab: Lab) -> None:
    key = machine.etc / "keys" / "ssh-backup"
    key.write_bytes((lab.place / "login").read_bytes())
    key.chmod(0o600)
    key.with_name("ssh-backup.pub").write_bytes((lab.place / "login.pub").read_bytes())


def checks(said: Any, host: str) -> dict[str, Any]:
    return {each["name"]: each["ok"] for each in said.result["hosts"][host]["checks"]}


def printed(lab: Lab, number: int) -> str:
    public = lab.hosts[number].folder / "key.pub"
    done = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


# hosts check


class TestCheck:
    pytestmark = on_hosts

    def test_everything_is_as_it_has_to_be(self, machine: Machine, lab: Lab) -> None:
        take_in(machine, lab, 0, become="sudo")
        before = lab.files()
        said = machine.json("hosts", "check", expect=0)
        assert checks(said, "h0") == dict.fromkeys(("answers", "host key", "login", "sudo", "restic", "clock"), True)
        assert abs(said.result["hosts"]["h0"]["clock_offset_seconds"]) < 5
        assert "in order: 1 of 1 host" in machine("hosts", "check", "h0", expect=0).out
        assert lab.files() == before

    def test_one_failure_gives_its_own_code_and_several_give_3(self, machine: Machine, lab: Lab) -> None:
        take_in(machine, lab, 0)
        text = (machine.etc / "hosts.yaml").read_text()
        (machine.etc / "hosts.yaml").write_text(text + f"  other: {{address: {lab.hosts[1].address}, user: ops, "
                                                f"host_key: {lab.hosts[2].key}}}\n"
                                                f"  shut: {{address: {lab.hosts[1].address}, port: 23, host_key: {lab.hosts[1].key}}}\n"
                                                f"  new: {{address: {lab.hosts[3].address}}}\n"
                                                "  pc: {address: 10.0.2.7, os: windows}\n")
        other = machine.json("hosts", "check", "other", expect=12)
        assert checks(other, "other") == {"answers": True, "host key": False, "login": None}
        assert "another key than the pinned one" in other.errors[0]["message"]
        assert checks(machine.json("hosts", "check", "shut", expect=13), "shut")["answers"] is False
        assert checks(machine.json("hosts", "check", "new", expect=12), "new")["host key"] is False
        everything = machine.json("hosts", "check", expect=3)
        assert sorted(error["code"] for error in everything.errors) == [12, 12, 13]
        assert everything.result["hosts"]["h0"]["ok"] and everything.result["hosts"]["pc"]["ok"]

    def test_what_is_missing_on_a_host_is_named_with_a_hint(self, machine: Machine, lab: Lab) -> None:
        take_in(machine, lab, 8, become="sudo", isolation="nftables")
        lab.hosts[8].put("restic", "#!/bin/sh\necho 'restic 0.14.0 compiled with go1.19 on linux/amd64'\n")
        lab.hosts[8].put("date", "#!/bin/sh\n/bin/date -d '+20 minutes' +%s.%N\n")
        said = machine.json("hosts", "check", expect=3)
        assert {name for name, ok in checks(said, "h8").items() if not ok} == {"sudo", "isolation", "restic", "clock"}
        assert 1195 < said.result["hosts"]["h8"]["clock_offset_seconds"] < 1205
        hints = {each["name"]: each["hint"] for each in said.result["hosts"]["h8"]["checks"]}
        seen = {each["name"]: each["seen"] for each in said.result["hosts"]["h8"]["checks"]}
        assert seen["sudo"].endswith(": sh") and "restic" not in seen["sudo"] and "sudoers.d" in hints["sudo"]
        assert "0.14.0 is too old" in seen["restic"] and "NTP" in hints["clock"]

    def test_silent_hosts_hold_nobody_up(self, machine: Machine, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        take_in(machine, lab, *range(8))
        silent = "".join(f"  s{n}: {{address: {lab.silent}, port: {1000 + n}, host_key: {KEY}}}\n" for n in range(20))
        with (machine.etc / "hosts.yaml").open("a") as file:
            file.write(silent)
        target = Site.target
        monkeypatch.setattr(Site, "target", lambda *words: replace(target(*words), limits=Limits(connect=1.0)))
        said = machine.json("hosts", "check", expect=3)
        good = [name for name, host in said.result["hosts"].items() if host["ok"]]
        assert set(good) == {f"h{n}" for n in range(8)}
        assert sum(error["code"] == 13 for error in said.errors) == 20


# hosts add


class TestAdd:
    pytestmark = on_hosts

    def test_a_host_is_taken_in_with_its_key_compared(self, machine: Machine, lab: Lab) -> None:
        words = ("hosts", "add", "db-1", lab.hosts[5].address, "--user", "ops", "--zone", "portal")
        said = machine.json(*words, "--fingerprint", printed(lab, 5), expect=0)
        assert said.result["added"] == ["db-1"]
        line = (machine.etc / "hosts.yaml").read_text().splitlines()[-1]
        assert line == f"  db-1: {{address: \"{lab.hosts[5].address}\", user: ops, zone: portal, host_key: {lab.hosts[5].key}}}"
        login(machine, lab)
        machine("hosts", "check", "db-1", expect=0)
        assert "--gateway" not in line and "nowhere" in machine(*words, "--gateway", "nowhere", expect=2).err
        again = machine.json(*words, "--fingerprint", printed(lab, 5), expect=0)
        assert (again.result["added"], again.result["kept"]) == ([], ["db-1"])
        journaled = machine.json("journal", "show", expect=0).out
        assert journaled.count("hosts.pinned") == 1 and printed(lab, 5) in journaled

    def test_no_key_is_taken_on_trust(self, machine: Machine, lab: Lab) -> None:
        words = ("hosts", "add", "db-1", lab.hosts[5].address)
        said = machine(*words, expect=4)
        assert f"db-1 shows the key {printed(lab, 5)}" in said.err and "--fingerprint" in said.err
        machine("--yes", *words, expect=4)
        wrong = machine.json(*words, "--fingerprint", printed(lab, 6), expect=12)
        assert "nothing was written" in wrong.errors[0]["hint"]
        machine("--dry-run", *words, "--fingerprint", printed(lab, 5), expect=0)
        assert not (machine.etc / "hosts.yaml").exists()

    def test_a_pinned_key_is_not_changed(self, machine: Machine, lab: Lab) -> None:
        take_in(machine, lab, 5)
        before = (machine.etc / "hosts.yaml").read_bytes()
        said = machine.json("hosts", "add", "h5", lab.hosts[6].address, "--fingerprint", printed(lab, 6), expect=12)
        assert "two people" in said.errors[0]["hint"]
        assert (machine.etc / "hosts.yaml").read_bytes() == before

    def test_wrong_words_are_2_and_no_host_is_asked(self, machine: Machine) -> None:
        for words, told in (
            (("db 1", "10.0.0.1"), "name: must be small letters"),
            (("db-1", "10.0.0.1:22"), "the port is a key of its own"),
            (("db-1", "10.0.0.1", "--zone", "none"), "there is no zone none"),
            (("db-1", "10.0.0.1", "--zone", "none"), "hint: write it down first: zones: {none: {title: what it is}}"),
            (("db-1", "10.0.0.1", "--become", "root"), "must be none or sudo"),
            (("db-1", "10.0.0.1", "--fingerprint", "MD5:00"), "no fingerprint"),
        ):
            assert told in machine("hosts", "add", *words, expect=2).err

    def test_many_are_imported_all_or_none(self, machine: Machine, lab: Lab) -> None:
        sheet = machine.root / "hosts.csv"
        rows = [f"b{n},{lab.hosts[n].address},ops,portal,,{printed(lab, n)}" for n in range(5)]
        rows += [f"b5,{lab.hosts[5].address},ops,portal,{lab.hosts[5].key} root@b5,", "pc,10.0.2.7,,portal,,"]
        head = "name,address,user,zone,host_key,fingerprint,os"
        sheet.write_text("\n".join([head, *(f"{row},{'windows' if row.startswith('pc') else ''}" for row in rows)]))
        said = machine.json("hosts", "import", str(sheet), expect=0)
        assert said.result["added"] == ["b0", "b1", "b2", "b3", "b4", "b5", "pc"]
        before = (machine.etc / "hosts.yaml").read_bytes()
        assert machine.json("hosts", "import", str(sheet), expect=0).result["added"] == []
        assert (machine.etc / "hosts.yaml").read_bytes() == before
        sheet.write_text(f"name,address,fingerprint\nc0,{lab.hosts[0].address},{printed(lab, 0)}\n"
                         f"c1,{lab.hosts[1].address},{printed(lab, 0)}\n")
        refused = machine.json("hosts", "import", str(sheet), expect=12)
        assert "1 of 2 keys could not be compared" in refused.errors[0]["message"]
        assert (machine.etc / "hosts.yaml").read_bytes() == before


# hosts import: the file


def config(text: str = "") -> Config:
    return validate(Config, [load_document(f"state: /var/lib/opsctl\nzones: {{portal: {{title: x}}}}\n{text}", "opsctl.yaml")])


def test_every_mistake_of_a_list_is_said_at_once() -> None:
    text = (f"name,address,port,zone,host_key,fingerprint\n"
            f"db-1,10.0.0.1,22,portal,{KEY},\n"
            f"db-1,10.0.0.2,22,portal,{KEY},\n"
            f"DB,10.0.0.999,99999,nowhere,{KEY},{PRINT}\n"
            f"\n"
            f"db-4,10.0.0.4,22,portal,,\n"
            f"db-5,10.0.0.5,x,portal,ssh-ed25519 AAAA,\n"
            f"db-6,10.0.0.6\n")
    with pytest.raises(ConfigError) as caught:
        parse_hosts(text, "hosts.csv", config())
    found = "\n".join(caught.value.problems)
    for told in ("hosts.csv:3: name: db-1 stands in line 2 already", "hosts.csv:4: name: must be small letters",
                 "hosts.csv:4: address: must be an address", "hosts.csv:4: port:", "hosts.csv:4: zone: there is no zone nowhere",
                 "hosts.csv:4: fingerprint: the host_key is given", "hosts.csv:6: host_key or fingerprint is needed",
                 "hosts.csv:7: port:", "hosts.csv:7: host_key: is not a whole SSH public key", "hosts.csv:8: has 2 fields"):
        assert told in found, (told, found)
    assert not re.search(r"hosts\.csv:2:", found)


HEAD = "name,address,os,isolation,gateway,tool,instance,region,by_hand,ports,addresses,host_key\n"


def test_how_hosts_are_cut_off_stands_in_the_list(tmp_path: Path) -> None:
    (tmp_path / "opsctl.yaml").write_text(
        "isolation: {tools: {switch: {observe: [t, '{host}'], load: [t, '{host}'], release: [t, '{host}']}}}\n")
    text = (f"{HEAD}gw,10.0.0.1,,nftables,,,,,,,,{KEY}\n"
            "pc-7,10.0.2.7,windows,gateway,gw,,,,,445 3389,fd00::7;10.0.7.0/24,\n"
            "scan,10.0.2.8,appliance,command,,switch,,,,9100,,\n"
            f"web,10.5.1.4,,aws_security_group,,,i-0123456789abcdef0,ap-south-1,,,,{KEY[:-1]}2\n"
            'door,10.0.2.9,appliance,,,,,,"Call the front office: pull the plug, then the battery",,,\n')
    rows = parse_hosts(text, "h.csv", load_config(tmp_path))
    add_hosts(tmp_path, {row.name: row.host for row in rows})
    hosts = load_config(tmp_path).hosts
    assert (hosts["pc-7"].gateway, hosts["pc-7"].ports, hosts["pc-7"].addresses) == ("gw", (445, 3389), ("fd00::7", "10.0.7.0/24"))
    assert (hosts["scan"].tool, hosts["web"].instance, hosts["web"].region) == ("switch", "i-0123456789abcdef0", "ap-south-1")
    assert hosts["door"].by_hand == "Call the front office: pull the plug, then the battery"


@pytest.mark.parametrize(("row", "told"), [
    ("a,10.0.0.1,windows,gateway,gx,,,,,,,", "gateway: there is no host gx"),
    ("a,10.0.0.1,windows,gateway,,,,,,,,", "isolation: needs gateway"),
    ("a,10.0.0.1,windows,command,,other,,,,,,", "tool: there is no tool other"),
    ("a,10.0.0.1,windows,aws_security_group,,,i-1,,,,,", "instance: must be the id of an instance"),
    ("a,10.0.0.1,windows,,,,,,,99999,,", "ports.0:"),
    ("a,10.0.0.1,windows,,,,,,,x,,", "ports.0:"),
    ("a,10.0.0.1,windows,,,,,,,,10.0.0.999,", "addresses.0: must be an address or a prefix"),
])
def test_what_cannot_cut_a_host_off_is_a_mistake_of_its_line(row: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hosts(f"{HEAD}{row}\n", "h.csv", config(f"hosts: {{gw: {{address: 10.0.0.9, host_key: {KEY}}}}}\n"))
    assert any(f"h.csv:2: {told}" in one for one in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(("text", "told"), [
    ("name,adress\na,b\n", "there is no column adress; did you mean address?"),
    ("name,address,name\n", "column name stands there twice"),
    ("name,address,host_key\n", "holds no host"),
    ("", "column name is missing"),
    ('name,address,host_key\na,"b\n', "is no CSV"),
])
def test_a_list_that_is_none(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hosts(text, "h.csv", config())
    assert told in "\n".join(caught.value.problems)


# hosts.yaml


def host(**more: Any) -> Host:
    return Host(address="10.0.0.9", host_key=KEY, **more)


@pytest.mark.parametrize(("before", "after"), [
    ("# mine\nhosts:\n    a: {address: 10.0.0.1}   # first\n    # the end of hosts\n\nzones:\n  z: {title: x}\n",
     "# mine\nhosts:\n    a: {address: 10.0.0.1}   # first\n    NEW\n    # the end of hosts\n\nzones:\n  z: {title: x}\n"),
    ("hosts:\n  a:\n    address: 10.0.0.1", "hosts:\n  a:\n    address: 10.0.0.1\n  NEW\n"),
    ("zones:\n  z: {title: x}\n", "zones:\n  z: {title: x}\nhosts:\n  NEW\n"),
])
def test_what_stands_in_the_file_stays(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(before)
    path.chmod(0o640)
    add_hosts(tmp_path, {"new": host()})
    line = f'new: {{address: "10.0.0.9", host_key: {KEY}}}'
    assert path.read_text() == after.replace("NEW", line)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["hosts.yaml"]


@pytest.mark.parametrize("before", ["hosts: {a: {address: 10.0.0.1}}\n", "hosts: {}\n", "hosts: *x\n", "a: [\n"])
def test_a_file_that_no_line_can_be_added_to_is_left_alone(tmp_path: Path, before: str) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(before)
    with pytest.raises((SafetyRefusal, ConfigError)):
        add_hosts(tmp_path, {"new": host()})
    assert path.read_text() == before and [each.name for each in tmp_path.iterdir()] == ["hosts.yaml"]


def test_a_configuration_that_would_not_load_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "opsctl.yaml").write_text("zones: {portal: {title: x}}\n")
    with pytest.raises(ConfigError, match="mistake"):
        add_hosts(tmp_path, {"new": host(zone="nowhere")})
    assert not (tmp_path / "hosts.yaml").exists()


def test_two_who_write_at_once_do_not_lose_one(tmp_path: Path) -> None:
    import fcntl

    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            add_hosts(tmp_path, {"new": host()})
    finally:
        os.close(lock)
    assert not (tmp_path / "hosts.yaml").exists()


# hosts list, hosts prepare


def test_hosts_are_listed_with_their_fingerprints(machine: Machine) -> None:
    add_hosts(machine.etc, {"db-1": host(zone="portal"), "pc": Host(address="fd00::7", os="windows")})
    rows = machine.json("hosts", "list", expect=0).result["hosts"]
    assert [(row["host"], row["fingerprint"][:7] if row["fingerprint"] else None) for row in rows] == [
        ("db-1", "SHA256:"), ("pc", None)]
    assert "db-1" in machine("hosts", "list", "--zone", "portal", expect=0).out
    assert "there is no zone" in machine("hosts", "list", "--zone", "none", expect=2).err
    assert "there is no host 'x'; " not in machine("hosts", "check", "x", expect=2).err


def test_preparation_prints_what_sudo_and_sshd_take(machine: Machine, tmp_path: Path) -> None:
    add_hosts(machine.etc, {"db-1": host(become="sudo", isolation="nftables"), "app-1": host(become="none")})
    machine("--dry-run", "hosts", "prepare", "db-1", expect=0)
    assert not (machine.etc / "keys" / "ssh-backup").exists()
    said = machine.json("hosts", "prepare", "db-1", "--from", "10.0.0.2", expect=0)
    assert [Path(path).name for path in said.result["made"]] == ["ssh-backup", "ssh-isolation"]
    for name in ("ssh-backup", "ssh-isolation"):
        assert stat.S_IMODE((machine.etc / "keys" / name).stat().st_mode) == 0o600
    lines = said.result["authorized_keys"]
    assert all(re.fullmatch(r'restrict,from="10\.0\.0\.2" ssh-ed25519 \S+ opsctl-(backup|isolation)', line) for line in lines)
    assert len(set(lines)) == 2
    keys = tmp_path / "authorized_keys"
    keys.write_text("\n".join(line.partition('" ')[2] for line in lines) + "\n")
    assert subprocess.run(["ssh-keygen", "-lf", str(keys)], capture_output=True, check=False).returncode == 0
    if sudo := next((path for path in ("/usr/sbin/visudo",) if os.path.exists(path)), None):
        rules = tmp_path / "sudoers"
        rules.write_text("\n".join(said.result["sudoers"]) + "\n")
        done = subprocess.run([sudo, "-cf", str(rules)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    again = machine.json("hosts", "prepare", "app-1", expect=0)
    assert again.result["made"] == [] and again.result["sudoers"] == [] and len(again.result["authorized_keys"]) == 1
    text = machine("hosts", "prepare", "db-1", expect=0).out
    assert "useradd --create-home" in text and "/etc/sudoers.d/opsctl" in text
    assert "take root" not in machine("hosts", "prepare", "app-1", expect=0).err + machine("hosts", "prepare", "db-1", expect=0).err


def test_whom_no_root_is_given_for_rules_of_ours_it_is_said_before_the_day(machine: Machine) -> None:
    add_hosts(machine.etc, {"web-1": host(become="none", isolation="nftables"), "gw": host(become="none"),
                            "as-root": host(become="none", user="root", isolation="nftables"),
                            "pc": Host(address="10.0.2.7", os="windows", isolation="gateway", gateway="gw")})
    for name, said in (("web-1", True), ("gw", True), ("as-root", False)):
        told = machine("hosts", "prepare", name, expect=0).err
        assert (f"rules on {name} take root, and opsctl is not: write become: sudo" in told) is said, told

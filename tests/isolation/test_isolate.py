"""Hosts cut off and opened again through the command line, on real sshds and real nft."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.isolation import probes
from opsctl.shells import local
from tests.lab.isolation import Lab, reached
from tests.machine import Machine, Said

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(probes, "WITHIN", 0.3)  # nothing here is far away
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\n")
    lab.configure(found.etc)
    yield found
    for name in ("h0", "h1", "h2"):
        lab.run(name, ["nft", "flush", "ruleset"])
    local.reset()


def rules(lab: Lab, name: str) -> str:
    return lab.run(name, ["nft", "-s", "list", "ruleset"])


def of(said: Said, name: str) -> Any:
    return said.result["hosts"][name]


def fingerprint(lab: Lab, name: str) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=lab.hosts[name].key, capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def with_witness(machine: Machine, lab: Lab) -> None:
    machine.configure(f"state: {machine.state}\nisolation: {{witness: outside}}\n")
    text = lab.config()
    outside = lab.hosts["outside"]
    lab.configure(machine.etc, text + f"  outside: {{address: {outside.address}, user: root, host_key: {outside.key}}}\n")


def test_promise_4_a_host_reported_isolated_was_probed_and_its_old_connections_are_dead(machine: Machine, lab: Lab) -> None:
    before = rules(lab, "h0")
    with_witness(machine, lab)
    with lab.within("h0"):
        heard = socket.create_server(("", 8000))
    with lab.within("outside"):
        called = socket.create_connection((lab.hosts["h0"].address, 8000))
    with heard, called, heard.accept()[0] as taken:
        said = machine("isolate", "apply", "h0", expect=0)
        assert "isolated: 1 of 1" in said.out and "h0: isolated and confirmed" in said.err and "1 old connection ended" in said.err
        assert said.out.splitlines()[-1] == f"release with: opsctl --config {machine.etc} isolate release h0"
        with pytest.raises(OSError):
            taken.send(b"x")
        text = lab.run("h0", ["nft", "list", "ruleset"])
        assert "table inet opsctl_iso" in text and "expires" not in text
        for address in (lab.hosts["h0"].address, lab.hosts["h0"].address6):
            assert not reached(lab, "outside", address, 8000) and not reached(lab, "outside", address, 22)
        again = machine.json("isolate", "apply", "h0", expect=0)
        assert of(again, "h0")["outcome"] == "ok"
        proof = of(again, "h0")["proof"]
        assert not proof["findings"] and proof["witness"] == "outside" and proof["connections"]["after"] == 0
        tried = {(one["place"], 6 if ":" in one["address"] else 4, one["port"]) for one in proof["probes"] if one["outcome"] == "silent"}
        assert {(place, version, 8000) for place in ("here", "witness") for version in (4, 6)} <= tried
        assert {(place, version) for place, version, _ in tried} >= {("out", 4)}
    machine("isolate", "release", "h0", expect=0)
    assert rules(lab, "h0") == before
    assert not list((machine.state / "isolated").glob("*.json"))
    assert "was open" in machine("isolate", "release", "h0", expect=0).err


def test_a_host_is_opened_by_whom_it_was_cut_off_and_later_by_its_name_typed_in_full(machine: Machine, lab: Lab) -> None:
    machine("isolate", "apply", "h0", "--incident", "I-1", expect=0)
    refused = machine.json("isolate", "release", "h0", expect=23)
    assert refused.errors[0]["message"] == "h0 was cut off for incident I-1, which was not named"
    assert machine.json("isolate", "release", "h0", "--incident", "I-2", expect=23).errors[0]["message"] == (
        "h0 was cut off for incident I-1, not for I-2")
    assert "type I-1" in machine("--yes", "isolate", "release", "--incident", "I-1", expect=4).err
    assert "opsctl_iso" in rules(lab, "h0")
    # the engine refuses it too, whatever way it is asked
    machine("run", "release", "--set", "hosts=h0", "--set", "incident=I-1", expect=23)
    machine("run", "release", "--set", "hosts=h0", "--set", "incident=I-1", "--set", "said=I-1", expect=0)
    assert "opsctl_iso" not in rules(lab, "h0")
    machine("isolate", "apply", "h0", expect=0)
    machine.at("2026-12-12T03:01:00+05:30")
    assert "more than 30 minutes ago" in machine("isolate", "release", "h0", expect=4).err
    machine.at("2026-12-12T02:45:00+05:30")
    machine("isolate", "release", "h0", expect=0)


def test_what_opsctl_and_the_backups_need_is_cut_off_only_by_name(machine: Machine, lab: Lab) -> None:
    machine.configure(f"""
state: {machine.state}
isolation: {{store: h0, stays: [h1]}}
""")
    said = machine.json("isolate", "apply", "--zone", "main", expect=23)
    assert sorted(one["message"] for one in said.errors) == [
        "h0 is the backup store: isolation: store: names it, and is not cut off with others",
        "h1 is one of isolation: stays:, and is not cut off with others"]
    assert "opsctl_iso" not in rules(lab, "h0") + rules(lab, "h1") and "opsctl_iso" in rules(lab, "h2")
    machine("isolate", "apply", "--zone", "main", "--except", "h0", "h1", expect=0)
    assert "opsctl_iso" not in rules(lab, "h0") and "opsctl_iso" in rules(lab, "h1")
    machine.configure(f"state: {machine.state}\n")
    (machine.etc / "hosts.yaml").write_text(f"hosts:\n  me: {{address: {lab.address}, isolation: nftables}}\n")
    assert "me is the machine that opsctl runs on" in machine("isolate", "apply", "--all", expect=23).err


def test_hold_is_for_hosts_that_something_can_bring_back(machine: Machine, lab: Lab) -> None:
    assert "could strand it" in machine("isolate", "apply", "h0", "--hold", expect=23).err
    assert "opsctl_iso" not in rules(lab, "h0")
    lab.configure(machine.etc, lab.config("h0", h0={"console": "true"}))
    machine("isolate", "apply", "h0", "--hold", expect=0)
    assert "opsctl_iso" in rules(lab, "h0")


def test_a_host_that_stands_in_no_configuration(machine: Machine, lab: Lab) -> None:
    (machine.etc / "opsctl.yaml").unlink()
    (machine.etc / "hosts.yaml").unlink()
    host = lab.hosts["h0"]
    named, key = f"root@{host.address}", ("--key", str(lab.login))
    assert "--host-key is needed" in machine("isolate", "apply", named, *key, expect=2).err
    wrong = machine("isolate", "apply", named, "--host-key", fingerprint(lab, "h1"), *key, expect=12)
    assert "shows another key" in wrong.err and "opsctl_iso" not in rules(lab, "h0")
    said = machine("isolate", "apply", named, "--host-key", fingerprint(lab, "h0"), *key, expect=0)
    assert said.out.splitlines()[-1].endswith(f"isolate release {named}") and "opsctl_iso" in rules(lab, "h0")
    assert of(machine.json("isolate", "status", expect=0), named)["stand"]["standing"] == "isolated"
    machine("isolate", "release", f"{named}:22", expect=0)
    assert "opsctl_iso" not in rules(lab, "h0")
    assert "names are not looked up" not in machine("isolate", "apply", "root@db-1", "--host-key", "SHA256:x", expect=2).err

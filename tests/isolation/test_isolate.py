"""Hosts cut off and opened again through the command line, on real sshds and real nft."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.lab.sshd import Lab
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab) -> Iterator[Machine]:
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\n")
    host = lab.hosts[0]
    (found.etc / "hosts.yaml").write_text(
        "zones:\n  dmz: {title: what the public reaches}\nhosts:\n"
        f"  web-1: {{address: {host.address}, user: root, host_key: {host.key}, zone: dmz, isolation: nftables}}\n")
    key = found.etc / "keys" / "ssh-isolation"
    key.write_bytes((lab.place / "login").read_bytes())
    key.chmod(0o600)
    yield found
    lab.run("nft", "flush", "ruleset")
    local.reset()


def test_a_host_is_cut_off_confirmed_looked_at_and_opened_again(machine: Machine, lab: Lab) -> None:
    before = lab.run("nft", "-s", "list", "ruleset")
    said = machine("isolate", "apply", "web-1", expect=0)
    assert "isolated: 1 of 1" in said.out and "web-1: isolated and confirmed" in said.err
    assert said.out.splitlines()[-1] == f"release with: opsctl --config {machine.etc} isolate release web-1"
    rules = lab.run("nft", "list", "ruleset")
    assert "table inet opsctl_iso" in rules and "expires" not in rules
    again = machine.json("isolate", "apply", "--zone", "dmz", expect=0).result
    assert again["hosts"]["web-1"]["outcome"] == "ok" and again["release"].endswith("isolate release --zone dmz")
    shown = machine.json("isolate", "status", expect=0).result["hosts"]["web-1"]
    assert shown["stand"]["standing"] == "isolated" and shown["stage"] == "confirmed"
    machine("isolate", "release", "web-1", expect=0)
    assert lab.run("nft", "-s", "list", "ruleset") == before
    assert not list((machine.state / "isolated").glob("*.json"))
    assert "was open" in machine("isolate", "release", "web-1", expect=0).err

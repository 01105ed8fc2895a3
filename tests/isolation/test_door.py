"""The door of the backup store: hosts shut out there, asked themselves whether they are, and let in again."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.lab.isolation import Lab, reachable
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]

STORE, PORT = "outside", 8000


@pytest.fixture
def machine(tmp_path: Path, isolation_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """``h1`` is behind the door, its IPv6 address is in no file, and the store listens on both."""
    lab = isolation_lab
    monkeypatch.setattr(calling, "WITHIN", 0.3)
    found, store = Machine(tmp_path / "m"), lab.hosts[STORE]
    found.configure(f"""
state: {found.state}
isolation: {{store: {STORE}}}
repositories:
  main: {{url: "rest:https://{store.address}:{PORT}/main", password_file: {found.etc}/keys/repository-password}}
""")
    entry = f"  {STORE}: {{address: {store.address}, addresses: [{store.address6}], user: root, host_key: {store.key}}}\n"
    lab.configure(found.etc, lab.config("h1") + entry)
    with lab.within(STORE):
        server = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=50)
    with server:
        yield found
    lab.run(STORE, ["nft", "flush", "ruleset"])
    lab.run("h1", ["nft", "flush", "ruleset"])
    local.reset()


def door(machine: Machine, to: str, expect: int = 0) -> Any:
    """One step of its own, since `isolate apply` cuts the host off as well."""
    playbook = machine.root / "door.yaml"
    playbook.write_text(f"name: door\ntitle: {{en: Door}}\nsteps:\n  - {{id: door, uses: door, with: {{host: h1, to: {to}}}}}\n")
    return machine.json("run", str(playbook), expect=expect)


def places(lab: Lab) -> list[tuple[str, int]]:
    return [(lab.hosts[STORE].address, PORT), (lab.hosts[STORE].address6, PORT)]


def test_a_host_is_shut_out_by_every_address_that_it_calls_from_and_asked_whether_it_is(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    assert reachable(lab, "h1", places(lab)) == places(lab)
    said = door(machine, "shut")
    assert [step["result"] for step in said.result["steps"]] == [{"host": "h1", "door": "isolated", "asked": True, "reached": []}]
    assert reachable(lab, "h1", places(lab)) == []
    assert reachable(lab, "manager", places(lab)) == places(lab)  # nobody else is
    assert lab.hosts["h1"].address6 in lab.run(STORE, ["nft", "list", "set", "inet", "opsctl_door", "held6"])
    assert [step["outcome"] for step in door(machine, "shut").result["steps"]] == ["ok"]

    # It calls from a new address, and its hardware address is not known, as behind a router.
    host = lab.hosts["h1"]
    other = host.address.rpartition(".")[0] + ".99"
    for name in re.findall(r"set (heldmac|omac_\w+)", lab.run(STORE, ["nft", "list", "table", "inet", "opsctl_door"])):
        lab.run(STORE, ["nft", "flush", "set", "inet", "opsctl_door", name])
    lab.run("h1", ["sh", "-c", f"ip addr add {other}/32 dev eth0; ip route add {lab.hosts[STORE].address} dev eth0 src {other}"])
    try:
        assert reachable(lab, "h1", places(lab)) == places(lab)[:1]
        assert [step["outcome"] for step in door(machine, "shut").result["steps"]] == ["changed"]
        assert reachable(lab, "h1", places(lab)) == []
    finally:
        lab.run("h1", ["sh", "-c", f"ip route del {lab.hosts[STORE].address}; ip addr del {other}/32 dev eth0"])

    door(machine, "open")
    assert reachable(lab, "h1", places(lab)) == places(lab)


def test_a_zone_is_shut_out_when_it_is_cut_off_and_let_in_when_it_is_released(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    said = machine.json("isolate", "apply", "--zone", "main", expect=0)
    assert said.result["doors"]["h1"]["door"] == "isolated"
    looked = machine.json("isolate", "status", expect=0).result
    assert looked["hosts"]["h1"]["door"] == "isolated" and looked["store"]["host"] == STORE
    assert looked["store"]["doors"]["h1"]["mark"]["run"] == said.document["run"]
    assert f"shut out at {STORE}" in machine("isolate", "status", expect=0).out
    lab.run("h1", ["nft", "flush", "ruleset"])  # root on the host undoes what the host enforces, and not this
    assert reachable(lab, "h1", places(lab)) == []
    machine("isolate", "release", "--zone", "main", expect=0)
    assert reachable(lab, "h1", places(lab)) == places(lab)
    assert machine.json("isolate", "status", expect=0).result["store"]["doors"] == {}


def test_a_door_that_is_open_again_and_a_store_that_says_nothing_are_told(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    machine("isolate", "apply", "h1", expect=0)
    lab.run(STORE, ["nft", "flush", "ruleset"])
    told = f"h1 is to be shut out at the backup store {STORE} and is not shut out"
    shown = machine("isolate", "status", expect=21)
    assert told in shown.out and told in shown.err
    assert machine.json("isolate", "status", expect=21).result["hosts"]["h1"]["open"] == told
    lab.hosts[STORE].put("nft", "#!/bin/sh\nexit 1\n")
    try:
        assert f"who is shut out at the backup store {STORE} is not known" in machine("isolate", "status", expect=20).err
    finally:
        lab.hosts[STORE].drop("nft")
    machine("isolate", "apply", "h1", expect=0)
    assert machine.json("isolate", "status", expect=0).result["hosts"]["h1"]["open"] is None
    machine("isolate", "release", "h1", expect=0)


def test_a_host_that_calls_by_the_address_of_another_does_not_shut_that_one_out(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    text = (machine.etc / "hosts.yaml").read_text()
    lab.configure(machine.etc, lab.config("h0") + text.partition("hosts:\n")[2])
    theirs, hardware = lab.hosts["h0"].address, lab.run("h0", ["cat", "/sys/class/net/eth0/address"]).strip()
    lab.run(STORE, ["ip", "neigh", "replace", theirs, "lladdr", hardware, "dev", "eth0", "nud", "permanent"])
    lab.run("h1", ["sh", "-c", f"ip addr add {theirs}/32 dev lo; ip route add {lab.hosts[STORE].address} dev eth0 src {theirs}"])
    try:
        said = door(machine, "shut")
    finally:
        lab.run("h1", ["sh", "-c", f"ip route del {lab.hosts[STORE].address}; ip addr del {theirs}/32 dev lo"])
        lab.run(STORE, ["ip", "neigh", "del", theirs, "dev", "eth0"])
    assert theirs not in lab.run(STORE, ["nft", "list", "set", "inet", "opsctl_door", "held4"])
    assert f"h1 calls the backup store from {theirs}, which is h0's" in said.err + said.out
    assert reachable(lab, "h0", places(lab)) == places(lab) and reachable(lab, "h1", places(lab)) == []


def test_a_store_that_takes_the_rules_and_does_nothing_is_found_out(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    lab.hosts[STORE].put("nft", "#!/bin/sh\nexit 0\n")
    try:
        said = door(machine, "shut", expect=21)
    finally:
        lab.hosts[STORE].drop("nft")
    assert "h1" in said.errors[0]["message"]
    assert reachable(lab, "h1", places(lab)) == places(lab)


def test_who_is_not_cut_off_with_others_is_not_shut_out_either_and_nobody_is_left_outside(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    stays = machine.etc / "opsctl.yaml"
    stays.write_text(stays.read_text().replace(f"store: {STORE}", f"store: {STORE}, stays: [h0]"))
    gone = f"  gone: {{address: {lab.silent}, user: root, host_key: {lab.hosts['h1'].key}, zone: main, isolation: nftables}}\n"
    lab.configure(machine.etc, lab.config("h0") + (machine.etc / "hosts.yaml").read_text().partition("hosts:\n")[2] + gone)

    def outside() -> set[str]:
        said = lab.run(STORE, ["nft", "list", "set", "inet", "opsctl_door", "held4"], check=False)
        known = {**{name: lab.hosts[name].address for name in ("h0", "h1")}, "gone": lab.silent}
        return {name for name, address in known.items() if re.search(rf"\b{re.escape(address)}\b", said)}

    said = machine("isolate", "apply", "--zone", "main", "--retry-for", "0s", expect=23)
    assert "h0 is one of isolation: stays:, and is not shut out at the backup store with others" in said.err
    assert outside() == {"h1", "gone"}  # who cannot be cut off is at least shut out there
    assert f"shut out at the backup store {STORE} as well: gone" in machine("isolate", "status", expect=0).out
    lab.hosts["h1"].put("nft", "#!/bin/sh\nexit 1\n")
    try:
        failed = machine("isolate", "release", "--zone", "main", expect=20)
    finally:
        lab.hosts["h1"].drop("nft")
    assert "at the backup store all of these stay shut out" in failed.out and outside() == {"h1", "gone"}
    machine("isolate", "release", "--zone", "main", expect=0)
    assert outside() == set()
    machine("isolate", "apply", "h0", expect=0)  # said by name
    assert outside() == {"h0"}
    machine("isolate", "release", "h0", expect=0)
    assert outside() == set()

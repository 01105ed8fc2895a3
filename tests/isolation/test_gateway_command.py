"""A zone behind a gateway cut off through the command line, over real sshds, and proven from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.isolation.beds import HELD, gateway
from tests.lab.isolation import Lab, reachable
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture
def machine(tmp_path: Path, isolation_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    lab = isolation_lab
    monkeypatch.setattr(calling, "WITHIN", 0.3)
    found, outside = Machine(tmp_path / "m"), lab.hosts["outside"]
    found.configure(f"state: {found.state}\nisolation: {{witness: outside}}\n")
    lab.configure(found.etc, lab.config() + f"  outside: {{address: {outside.address}, user: root, host_key: {outside.key}}}\n")
    lab.run("gw", ["ip", "neigh", "flush", "all"])
    yield found
    lab.run("gw", ["nft", "flush", "ruleset"])
    local.reset()


def doors(lab: Lab) -> list[tuple[str, int]]:
    return [(address, 22) for host in lab.of_zone("a") for address in (host.address, host.address6)]


def test_a_zone_whose_hosts_the_gateway_has_not_seen_lately_is_cut_off_on_both_versions(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    said: Any = machine.json("isolate", "apply", "--zone", "a", "--incident", "I-1", expect=0).result["hosts"]
    assert set(said) == {"a0", "a1"}
    for host in said.values():
        assert host["stand"]["standing"] == "isolated" and host["proof"]["verdict"] == "partial"
        assert "hosts of its own segment still reach it: that does not pass gw" in host["stand"]["partial"]
        assert host["stand"]["mark"]["incident"] == "I-1"
    assert reachable(lab, "outside", doors(lab)) == []
    outside = lab.hosts["outside"]
    assert reachable(lab, "a0", [(outside.address, 22), (outside.address6, 22)]) == []
    assert reachable(lab, "a0", [(lab.hosts["a1"].address, 22)])  # as it says
    table = lab.run("gw", ["nft", "list", "table", "inet", "opsctl_gate"])
    assert "expires" not in table and "I-1" in table

    assert machine.json("isolate", "status", expect=0).result["hosts"]["a0"]["stand"]["standing"] == "isolated"
    assert "a reboot of its gateway lifts it" in machine("isolate", "status", expect=0).out
    machine("isolate", "release", "a0", expect=23)
    machine("run", "release", "--set", "hosts=a0", "--set", "incident=I-1", "--set", "said=I-1", expect=0)
    assert reachable(lab, "outside", doors(lab)) == doors(lab)[:2]
    lab.run("gw", ["nft", "flush", "ruleset"])
    assert machine.json("isolate", "status", expect=21).result["hosts"]["a1"]["stand"]["standing"] == "open"


def test_a_flowtable_at_the_gateway_makes_it_partial(machine: Machine, isolation_lab: Lab) -> None:
    """As nft lists one: this kernel has none."""
    lab = isolation_lab
    lab.hosts["gw"].put("nft", """#!/bin/sh
if [ "$*" = "list flowtables" ]; then
    printf 'table inet fw {\\n\\tflowtable fast {\\n\\t\\thook ingress priority filter\\n\\t\\tdevices = { eth0, eth1 }\\n\\t}\\n}\\n'
else
    exec /usr/sbin/nft "$@"
fi
""")
    try:
        driver = gateway(lab)
        driver.load(HELD, driver.observe())
        assert "gw hands connections on by a flowtable (fast), past all rules" in driver.observe().partial
        driver.close()
    finally:
        lab.hosts["gw"].drop("nft")

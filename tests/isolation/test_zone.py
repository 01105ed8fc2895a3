"""A zone behind a gateway, the door of the backup store, and what is told of it: status, notices, the installed schedule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.lab.isolation import Lab, reached
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2, zones={"a": 2}) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """``manager`` holds the backups, ``outside`` is the witness."""
    monkeypatch.setattr(calling, "WITHIN", 0.3)
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\nisolation: {{witness: outside, store: manager}}\n")
    others = "".join(f"  {name}: {{address: {lab.hosts[name].address}, user: root, host_key: {lab.hosts[name].key}}}\n"
                     for name in ("outside", "manager"))
    known = {name: {"addresses": f"['{lab.hosts[name].address6}']"} for name in ("a0", "a1")}
    lab.configure(found.etc, lab.config(**known) + others)
    yield found
    for name in ("h0", "h1", "gw", "manager"):
        lab.run(name, ["nft", "flush", "ruleset"])
    local.reset()


def test_a_zone_is_cut_off_at_its_gateway_and_shut_out_at_the_backup_store(machine: Machine, lab: Lab) -> None:
    assert reached(lab, "a0", lab.hosts["manager"].address, 22)
    said = machine("isolate", "apply", "--zone", "a", "--incident", "I-1", expect=0)
    assert "isolated: 2 of 2" in said.out and "a0, a1: hosts of its own segment still reach it" in said.out
    assert said.out.splitlines()[-1].endswith("isolate release --zone a --incident I-1")
    for name in ("a0", "a1"):
        assert f"{name}: shut out at the backup store" in said.out
        assert not reached(lab, name, lab.hosts["manager"].address, 22, 0.3) and not reached(lab, name, lab.hosts["outside"].address6, 22, 0.3)
    assert "opsctl" in lab.run("manager", ["nft", "list", "ruleset"])
    assert reached(lab, "h0", lab.hosts["manager"].address, 22), "zones that are not named are not touched"
    assert "cut off: a0, a1 (opsctl isolate status)" in machine("status", "--html", str(machine.root / "board.html"), "--lang", "en").out
    board = (machine.root / "board.html").read_text()
    assert "<strong>2</strong>" in board and "cut off" in board and "NOT PROVEN" not in board and "NOT CONFIRMED" not in board
    machine("isolate", "status", "--due", expect=0)
    machine("run", "release", "--set", "hosts=a0,a1", "--set", "doors=a0,a1", "--set", "incident=I-1", "--set", "said=a", expect=0)
    assert reached(lab, "a0", lab.hosts["manager"].address, 22)


def test_a_host_that_cannot_be_entered_is_cut_off_by_its_gateway(machine: Machine, lab: Lab) -> None:
    text = (machine.etc / "hosts.yaml").read_text()
    changed = text.replace("isolation: gateway", "isolation: nftables", 1)
    assert changed != text
    (machine.etc / "hosts.yaml").write_text(changed)
    lab.stop(lab.hosts["a0"])
    try:
        said = machine("isolate", "apply", "a0", "--retry-for", "0s", expect=13)
        assert "its gateway gw can cut it off: opsctl isolate apply a0 --by-gateway" in said.out
        machine("isolate", "apply", "a0", "--by-gateway", expect=0)
        assert not reached(lab, "a0", lab.hosts["outside"].address, 22, 0.3)
        assert machine.json("isolate", "status", expect=0).result["hosts"]["a0"]["stand"]["standing"] == "isolated"
        machine("isolate", "release", "a0", expect=0)
        assert reached(lab, "a0", lab.hosts["outside"].address, 22)
    finally:
        lab.start(lab.hosts["a0"])


def test_drift_is_told_once_and_when_it_is_over(machine: Machine, lab: Lab) -> None:
    told = machine.root / "told"
    told.mkdir()
    config = machine.etc / "opsctl.yaml"
    config.write_text(f"{config.read_text()}notify: {{urls: ['file://{told}/notices']}}\n")
    machine("isolate", "apply", "h0", expect=0)
    lab.run("h0", ["nft", "flush", "ruleset"])
    machine("isolate", "status", "--due", expect=21)
    kept = (machine.state / "notices.json").read_text()
    assert "h0 was cut off and is OPEN: its rules are gone" in kept
    machine("isolate", "apply", "h0", expect=0)
    machine("isolate", "status", "--due", expect=0)
    assert "h0 was cut off" not in (machine.state / "notices.json").read_text()


def test_the_installed_schedule_looks_every_hour_where_hosts_can_be_cut_off(machine: Machine) -> None:
    machine.make_key()
    hosts = (machine.etc / "hosts.yaml").read_text()
    (machine.etc / "hosts.yaml").unlink()
    machine.configure()
    assert "isolate status" not in machine("backup", "schedule", "--cron", "--into", str(machine.root / "x"), expect=0).out
    (machine.etc / "hosts.yaml").write_text(hosts)
    assert "isolate status --due" in machine("backup", "schedule", "--cron", "--into", str(machine.root / "x"), expect=0).out


def test_profiles_and_what_is_allowed_stay(machine: Machine, lab: Lab) -> None:
    outside = lab.hosts["outside"].address
    machine("isolate", "apply", "h0", "--profile", "outbound-only", expect=0)
    assert reached(lab, "h0", outside, 22) and not reached(lab, "outside", lab.hosts["h0"].address, 22, 0.3)
    machine("isolate", "apply", "h0", "--allow", f"in:{outside}:22", expect=0)
    assert not reached(lab, "h0", outside, 22, 0.3) and reached(lab, "outside", lab.hosts["h0"].address, 22)
    machine("isolate", "apply", "h0", expect=0)
    assert not reached(lab, "outside", lab.hosts["h0"].address, 22, 0.3), "loaded again over what was there"

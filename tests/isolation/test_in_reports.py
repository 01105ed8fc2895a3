"""What reports tell of hosts that were cut off: only of those that were looked at and stood so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.lab.isolation import Lab
from tests.machine import Machine

OPENED = ("--title", "T", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")


def fields(machine: Machine, report: str) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in machine.json("report", "draft", report, expect=0).result["fields"]}


@pytest.mark.lab
@pytest.mark.as_root("network namespaces need root")
@pytest.mark.xdist_group("isolation")
def test_a_host_that_was_cut_off_and_one_that_was_not(tmp_path: Path, isolation_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "WITHIN", 0.3)
    machine = Machine(tmp_path / "m")
    machine.configure(f"state: {machine.state}\n")
    isolation_lab.configure(machine.etc, isolation_lab.config("h1"))
    machine("incident", "open", "inc-d", "--drill", *OPENED, expect=0)
    assert fields(machine, "nic-cert")["cut_off"] == "nothing by opsctl yet"
    machine("isolate", "apply", "h1", "--incident", "inc-other", expect=0)
    assert fields(machine, "nic-cert")["cut_off"] == "nothing by opsctl yet"
    machine("isolate", "apply", "h1", "--incident", "inc-d", expect=0)
    said = fields(machine, "nic-cert")["cut_off"]
    assert said.endswith(": h1 cut off and probed")
    assert fields(machine, "supplementary")["actions_taken"] == "disconnected_from_network"
    isolation_lab.run("h1", ["nft", "flush", "ruleset"])
    local.reset()

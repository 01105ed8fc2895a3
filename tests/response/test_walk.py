"""Responses walked to their end, each step answered by the command that it names: none waits for what nobody can bring."""

from __future__ import annotations

import pytest

from opsctl.engine.playbooks_table import responses
from tests.machine import Machine
from tests.response.conftest import NOTICED
from tests.response.walking import to_the_end

EVERY = [found.name for found in responses() if "zone" not in found.inputs]
REOPENING = ["auditor", "data-centre", "agree", "wave-internal"]


def walk(machine: Machine, name: str) -> list[str]:
    given = ["--set", "hosts="] if "hosts" in next(one for one in responses() if one.name == name).inputs else ["--set", "zones="]
    machine("backup", "init", expect=0)
    said = machine.json("run", name, *given, "--set", "nature=drill", *NOTICED, expect=4)
    run = said.document["run"]
    incident = machine.json("show", run).result["inputs"]["incident"]
    order = to_the_end(machine, run, incident)
    assert machine.json("incident", "show", incident, expect=0).result["closed"]
    machine("journal", "verify", expect=0)
    return order


@pytest.mark.full
def test_a_response_with_restoration_and_waves_comes_to_its_end(machine: Machine) -> None:
    order = walk(machine, "web-intrusion")
    for earlier, later in (("images", "rebuild"), ("drill", "restore"), ("restore", "auditor"), ("auditor", "data-centre"), ("agree", "wave-internal"),
                           ("wave-internal", "wave-pilot"), ("wave-all-bodies", "wave-public"), ("release", "reconcile"), ("reconcile", "close")):
        assert order.index(earlier) < order.index(later)


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in EVERY if name != "web-intrusion"])
def test_every_response_comes_to_its_end(machine: Machine, name: str) -> None:
    order = walk(machine, name)
    assert {"sent", "call", "police", "investigate", "review", "close"} <= set(order)
    if "agree" in order:
        assert [step for step in order if step in REOPENING] == REOPENING

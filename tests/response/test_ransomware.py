"""`opsctl run ransomware` on machines that are really cut off: killed on the way, taken up again, to where it waits for people."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.badluck.faults import until
from tests.lab.isolation import Lab, reached
from tests.machine import Machine
from tests.response.conftest import NOTICED
from tests.response.walking import folder

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]
WAITS = ["call", "sent", "paper", "police", "images", "investigate", "personal-data"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1) as made:
        yield made


@pytest.fixture
def portal(machine: Machine, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The machine with a repository, and one host in zone ``main``."""
    monkeypatch.setattr(calling, "WITHIN", 0.3)
    config = machine.etc / "opsctl.yaml"
    config.write_text(config.read_text().replace("zones: {portal: {title: Portal}}\n", ""))
    lab.configure(machine.etc, lab.config("h0"))
    lab.hosts["h0"].put("dpkg", "#!/bin/sh\nexit 0\n")  # half a minute of hashing, which says nothing of us
    machine("backup", "init", expect=0)
    yield machine
    lab.run("h0", ["nft", "flush", "ruleset"])
    local.reset()


def test_ransomware_is_answered_to_where_people_have_to_act_also_after_a_kill(portal: Machine, lab: Lab) -> None:
    outside = lab.hosts["outside"].address
    assert reached(lab, "h0", outside, 22)
    process = portal.start("run", "ransomware", "--set", "zone=main", "--set", "nature=drill", *NOTICED, start_new_session=True)
    until(lambda: bool(list((portal.state / "incidents").glob("*/evidence/*"))))  # while evidence comes in
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run = portal.json("runs").result["runs"][0]["run"]
    assert not reached(lab, "h0", outside, 22, 0.3), "what was cut off stays cut off"

    said = portal("resume", run, expect=4)
    incident = portal.json("show", run).result["inputs"]["incident"]
    for line in (f"DRILL: incident {incident}: Ransomware; in charge: Asha Verma", "cut off: h0", "retention frozen: main", "evidence of: h0",
                 f"    opsctl report sent certin-initial-report --incident {incident} --channel HOW --by WHO", f"opsctl resume {run}"):
        assert line in said.out, line
    assert [line.partition(":")[0] for line in said.out.splitlines() if line.partition(":")[0] in WAITS] == WAITS
    assert f"waits for people: {', '.join(WAITS)}" in said.err

    assert f"drafts: {folder(portal, incident) / 'reports'} (" in said.out and f"run of ransomware waits for people: {', '.join(WAITS)}: opsctl resume {run}" in portal("status").out

    found = portal.json("incident", "show", incident).result
    assert [one["text"].partition(":")[0] for one in found["timeline"]].count("opened") == 1
    assert found["records"]["sealed"] and found["drill"] and found["zones"] == ["main"]
    assert any(f"incident={incident}" in one["tags"] for one in portal.snapshots())
    assert (folder(portal, incident) / "reports" / "cert-in-1.en.txt").exists() and not list((folder(portal, incident) / "papers").glob("*"))
    ended = {one["step"] for one in portal.json("show", run).result["steps"] if one["outcome"] in ("ok", "changed")}
    assert ended == {"isolate", "store", "freeze", "declare", "draft", "complaint", "volatile", "logs", "seal"}

    portal("report", "sent", "cert-in", "--incident", incident, "--channel", "email", "--by", "Asha", "--reference", "CERTIn-77", expect=0)
    left = [one["where"] for one in portal.json("resume", run, expect=4).errors if one["code"] == 4]
    assert left == [step for step in WAITS if step != "sent"]
    portal("isolate", "release", "h0", "--incident", incident, "--yes")
    for who in ("asha", "imran"):
        portal("--yes", "approve", _newest(portal, "release-agreed"), "agree", "--by", who, "--key", str(portal.root / who), expect=0)
    portal("resume", _newest(portal, "release-agreed"), expect=0)
    assert "was cut off, and is open again: h0" in portal("resume", run, expect=4).out
    portal("journal", "verify", expect=0)


def _newest(portal: Machine, playbook: str) -> str:
    return str(next(one["run"] for one in portal.json("runs").result["runs"] if one["playbook"] == playbook))

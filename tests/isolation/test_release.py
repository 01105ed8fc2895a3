"""What one person alone may not open is opened when two have approved it; a typed name stands for them only without keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsctl.engine.journal import Journal
from opsctl.isolation import calling
from opsctl.shells import local
from tests.approvals.site import make_keys, people_of, spools
from tests.lab.isolation import Lab
from tests.machine import Machine, Said

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]
RELEASE = ("isolate", "release", "--incident", "I-1")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


@pytest.fixture
def machine(tmp_path: Path, isolation_lab: Lab, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """With three people who have keys, and h1 cut off for an incident."""
    monkeypatch.setattr(calling, "WITHIN", 0.3)
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\n{people_of(keys)}")
    isolation_lab.configure(found.etc, isolation_lab.config("h1"))
    found("isolate", "apply", "h1", "--incident", "I-1", expect=0)
    yield found
    isolation_lab.run("h1", ["nft", "flush", "ruleset"])
    for place in spools(found):
        shutil.rmtree(place)
    local.reset()


def is_cut_off(lab: Lab) -> bool:
    return "opsctl_iso" in lab.run("h1", ["nft", "-s", "list", "ruleset"])


def approve(machine: Machine, keys: Path, run: str, by: str, *options: str, expect: int = 0) -> Said:
    return machine(*options, "--yes", "approve", run, "agree", "--by", by, "--key", str(keys / by), expect=expect)


def test_promise_9_two_people_open_what_was_cut_off_for_an_incident(machine: Machine, isolation_lab: Lab, keys: Path) -> None:
    said = machine.json(*RELEASE, expect=4)
    run = said.document["run"]
    assert any("it was cut off for incident I-1, so two people have to approve" in one for one in said.document["warnings"])
    assert "host=h1" in approve(machine, keys, run, "asha").err
    machine("resume", run, expect=4)
    assert is_cut_off(isolation_lab)
    approve(machine, keys, run, "imran")
    machine("resume", run, expect=0)
    assert not is_cut_off(isolation_lab)


def test_promise_9_a_line_in_the_journal_opens_nothing(machine: Machine, isolation_lab: Lab, keys: Path) -> None:
    run = machine.json(*RELEASE, expect=4).document["run"]
    approve(machine, keys, run, "asha")
    with Journal(machine.state / "journal", lambda: datetime.now(UTC)) as journal:
        journal.append("step.end", {"step": "agree", "item": None, "outcome": "ok", "because": "said and signed", "codes": []}, run=run)
        journal.append("step.begin", {"step": "release", "item": "h1", "uses": "release", "params": {}, "changes": []}, run=run)
    assert "two people have to approve" in machine.json("resume", run, expect=23).errors[0]["message"]
    assert is_cut_off(isolation_lab)


def test_no_name_typed_stands_for_two_who_have_keys(machine: Machine, isolation_lab: Lab, keys: Path) -> None:
    words = ("run", "release", "--set", "hosts=h1", "--set", "incident=I-1", "--set", "said=I-1")
    assert "two people have to approve that it is opened" in machine(*words, expect=23).err
    # neither does a playbook of one's own, whatever gate it has that holds nothing up
    (machine.etc / "playbooks").mkdir()
    for gate, after in (("people: 2", "[]"), ("people: 2}, may_fail: true, phase: {", "[agree]")):
        text = (f"name: mine\ntitle: mine\nsteps:\n  - {{id: agree, uses: approve, with: {{{gate}}}}}\n"
                f"  - {{id: open, uses: release, after: {after}, with: {{host: h1, incident: I-1, said: [I-1]}}}}\n")
        (machine.etc / "playbooks" / "mine.yaml").write_text(text.replace(", phase: {}", ""))
        machine.json("run", "mine")
        run = machine.json("runs").result["runs"][0]["run"]
        for by in ("asha", "imran"):
            approve(machine, keys, run, by)
        assert machine("resume", run).code in (3, 23) and is_cut_off(isolation_lab), (gate, after)
    (machine.etc / "playbooks" / "mine.yaml").write_text(text.replace("people: 2}, may_fail: true, phase: {", "people: 1"))
    assert "before it only 1 is asked" in machine.json("run", "mine", expect=23).errors[0]["message"]
    # other people than were accepted cannot be brought in, nor all of them taken away, so that a name is enough
    for people in (people_of(keys, imran="stranger"), ""):
        machine.configure(f"state: {machine.state}\n{people}")
        machine("run", "release", "--set", "hosts=h1", "--set", "incident=I-1", "--set", "said=I-1", expect=23)
        machine(*RELEASE, expect=23)
    assert is_cut_off(isolation_lab)


def test_a_typed_name_is_left_where_fewer_than_two_have_a_key(machine: Machine, isolation_lab: Lab, keys: Path) -> None:
    machine.configure(f"state: {machine.state}\n{people_of(keys, ['asha', 'usha'], usha='')}")
    said = machine.json("--yes", *RELEASE, expect=4)
    assert "type I-1" in said.errors[0]["message"]
    machine("run", "release", "--set", "hosts=h1", "--set", "incident=I-1", "--set", "said=I-1", expect=0)
    assert not is_cut_off(isolation_lab)


def test_break_glass_two_people_open_it_in_the_spool(machine: Machine, isolation_lab: Lab, keys: Path, tmp_path: Path) -> None:
    shutil.rmtree(machine.state)
    machine.state.write_text("gone")
    run = machine.json("--break-glass", *RELEASE[:2], "h1", *RELEASE[2:], expect=4).document["run"]
    file = tmp_path / "request.json"
    machine("--break-glass", "approve", run, "agree", "--out", str(file), expect=0)
    elsewhere = Machine(tmp_path / "elsewhere")
    for by in ("asha", "imran"):
        elsewhere("--yes", "approve", "--file", str(file), "--by", by, "--key", str(keys / by), expect=0)
    machine("--break-glass", "approve", "--file", str(file), expect=0)
    machine("--break-glass", "resume", run, expect=0)
    assert not is_cut_off(isolation_lab)


def test_alone_within_half_an_hour_nobody_else_is_asked(machine: Machine, isolation_lab: Lab) -> None:
    isolation_lab.run("h1", ["nft", "flush", "ruleset"])
    shutil.rmtree(machine.state)
    machine("isolate", "apply", "h1", expect=0)
    assert machine.json("--dry-run", "isolate", "release", "h1", expect=0)
    machine.at("2026-12-12T03:01:00+05:30")
    assert "more than 30 minutes ago" in machine("isolate", "release", "h1", expect=4).err
    assert "would open h1 again" in machine("--dry-run", "isolate", "release", "h1", expect=0).out
    machine.at("2026-12-12T02:45:00+05:30")
    machine("isolate", "release", "h1", expect=0)


def test_while_an_incident_is_open_one_alone_opens_nothing(machine: Machine, isolation_lab: Lab) -> None:
    isolation_lab.run("h1", ["nft", "flush", "ruleset"])
    shutil.rmtree(machine.state)
    machine("isolate", "apply", "h1", expect=0)
    words = ("--title", "T", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")
    machine("incident", "open", "inc-drill", *words, "--drill", expect=0)
    machine("--dry-run", "run", "release", "--set", "hosts=h1", expect=0)
    machine("incident", "open", "inc-9", *words, expect=0)
    assert "incident inc-9 is open" in machine("isolate", "release", "h1", expect=4).err
    assert "two people have to approve" in machine("run", "release", "--set", "hosts=h1", "--set", "said=h1", expect=23).err
    assert is_cut_off(isolation_lab)

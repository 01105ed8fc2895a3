"""A site's own playbook, from the command line: events once, people who sign, and a run that goes on."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.journal import Journal
from opsctl.model.statements import NAMESPACE, signed_bytes
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer
from tests.badluck.faults import LIMIT, FaultyRestic, all_gone, lines, until
from tests.machine import Machine

PLAYBOOK = """
name: move
title: {en: Back up and move, hi: बैकअप लें और बदलें}
inputs:
  backup: {type: backup, help: the backup to take first}
steps:
  - {id: set,  uses: backup,  with: {backup: "${backup}"}}
  - {id: note, uses: command, with: {argv: [sh, -c, "echo once >> DIARY"]}, after: []}
  - {id: stop, uses: person,  with: {say: stop the application, role: operator}, after: [set]}
  - {id: move, uses: command, with: {argv: [sh, -c, "echo moved >> DIARY"]}, after: [stop]}
"""


@pytest.fixture
def site(machine: Machine) -> Machine:
    """A machine with the playbook above and two people."""
    (machine.data / "a").write_text("a")
    for name in ("asha", "imran"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(machine.root / name)],
                       check=True, stdin=subprocess.DEVNULL)
    people = "people:\n" + "".join(
        f"  {name}: {{name: {name}, roles: [{role}], ssh_key: {(machine.root / f'{name}.pub').read_text().strip()}}}\n"
        for name, role in (("asha", "operator"), ("imran", "auditor")))
    machine.configure(more=people)
    (machine.etc / "playbooks").mkdir()
    (machine.etc / "playbooks" / "move.yaml").write_text(PLAYBOOK.replace("DIARY", str(machine.root / "diary")))
    return machine


def diary(machine: Machine) -> list[str]:
    path = machine.root / "diary"
    return path.read_text().split() if path.exists() else []


def test_a_plan_says_what_would_be_done_and_does_nothing(site: Machine) -> None:
    said = site("plan", "move", "--set", "backup=portal", expect=0)
    assert "would back up files (paths) into main" in said.out
    assert diary(site) == [] and site.snapshots() == []
    assert not (site.state / "runs").exists() or len(list((site.state / "runs").iterdir())) == 1


def test_a_run_waits_for_a_signature_and_goes_on(site: Machine, tmp_path: Path) -> None:
    waiting = site.json("run", "move", "--set", "backup=portal", expect=4)
    run = waiting.document["run"]
    assert diary(site) == ["once"] and len(site.snapshots()) == 2
    assert site.json("runs").result["runs"][0]["state"] == "waiting"

    assert site("done", run, "stop", "--by", "nobody", expect=2).err
    assert site("done", run, "nothing", "--by", "asha", expect=2).err
    wrong_key = site.json("done", run, "stop", "--by", "asha", "--key", str(site.root / "imran"), expect=12)
    assert "not the one of asha" in wrong_key.errors[0]["message"]
    site("done", run, "stop", "--by", "imran", "--key", str(site.root / "imran"), expect=0)
    still = site.json("resume", run, expect=4)
    assert "has not the role operator" in still.errors[0]["message"]

    site("done", run, "stop", "--by", "asha", "--note", "stopped", "--key", str(site.root / "asha"), expect=0)
    site("resume", run, expect=0)
    assert diary(site) == ["once", "moved"], "an event happens once, however often a run is resumed"
    assert len(site.snapshots()) == 2, "a set that was taken is not taken again"
    site("resume", run, expect=0)
    assert diary(site) == ["once", "moved"]
    assert site.json("show", run).result["state"] == "ended"
    site("journal", "verify", expect=0)


def test_a_changed_plan_voids_what_was_signed(site: Machine) -> None:
    run = site.json("run", "move", "--set", "backup=portal", expect=4).document["run"]
    site("done", run, "stop", "--by", "asha", "--key", str(site.root / "asha"), expect=0)
    plan = site.state / "runs" / run / "plan.json"
    plan.write_text(plan.read_text().replace("echo moved", "echo stolen"))
    for words in (("resume", run), ("--dry-run", "resume", run)):
        assert "was changed since it was bound" in site.json(*words, expect=23).errors[0]["message"]
    assert diary(site) == ["once"]


def test_twenty_mistakes_in_a_playbook_are_said_with_their_lines(site: Machine) -> None:
    path = site.etc / "playbooks" / "bad.yaml"
    path.write_text("name: bad\ntitle: bad\nsteps:\n" + "".join(
        f"  - {{id: s{number}, uses: backup, wiht: {{}}}}\n" for number in range(20)))
    found = site.json("playbooks", "check", "bad", expect=10)
    problems = found.errors[0]["details"]["problems"]
    assert len(problems) == 20 and all("bad.yaml:" in problem for problem in problems)
    site("run", "bad", expect=10)
    assert not any("bad" in one["playbook"] for one in site.json("runs").result["runs"])


def test_an_event_that_fails_says_why_and_is_done_again_on_resume(site: Machine) -> None:
    flag = site.root / "flag"
    (site.etc / "playbooks" / "try.yaml").write_text(
        f"name: try\ntitle: try\nsteps:\n  - {{id: t, uses: command, with: {{argv: [test, -e, {flag}]}}}}\n")
    failed = site.json("run", "try", expect=20)
    flag.touch()
    site("resume", failed.document["run"], expect=0)


# What a person is said to have said


def forge(site: Machine, run: str, data: dict[str, Any]) -> None:
    """A line in the journal as whoever may write there could make it: in order, with hashes that are right."""
    with Journal(site.state / "journal", lambda: datetime.now(UTC)) as journal:
        journal.append("person.done", data, run=run)


def signed(site: Machine, run: str, step: str, by: str) -> dict[str, Any]:
    """What `done` would write down, without writing it."""
    said = site.json("--dry-run", "done", run, step, "--by", by, "--key", str(site.root / by), expect=0).result
    return {"step": step, "item": None, "statement": said["statement"], "signature": said["signature"]}


def edited(data: dict[str, Any], **more: str) -> dict[str, Any]:
    return {**data, "statement": {**data["statement"], **more}}


def test_a_record_that_nobody_signed_opens_no_gate(site: Machine) -> None:
    run = site.json("run", "move", "--set", "backup=portal", expect=4).document["run"]
    true = signed(site, run, "stop", "asha")
    others = Signer(site.root / "imran", LocalShell()).sign(signed_bytes(true["statement"]), NAMESPACE)
    for forged, why in ((edited(true, note="and deleted"), "does not hold"), (edited(true, by="nobody"), "nobody of that name"),
                        (edited(signed(site, run, "stop", "imran"), by="asha"), "does not hold"),
                        ({**true, "signature": others}, "which is not their key"),
                        ({**true, "signature": "none"}, "it is not in OpenSSH's format")):
        forge(site, run, forged)
        refused = site.json("resume", run, expect=12).errors[0]
        assert why in refused["message"] and f"opsctl done {run} stop" in refused["hint"]
    assert diary(site) == ["once"]
    site("done", run, "stop", "--by", "asha", "--key", str(site.root / "asha"), expect=0)
    assert site.json("--dry-run", "resume", run, expect=0).result["steps"][2]["outcome"] == "ok"
    site("resume", run, expect=0)
    assert diary(site) == ["once", "moved"]


@pytest.fixture
def unknown(site: Machine, tmp_path: Path) -> str:
    """The run of an event that was begun, and nobody wrote down how it ended."""
    (site.etc / "playbooks" / "ring.yaml").write_text(
        "name: ring\ntitle: ring\nsteps:\n"
        f"  - {{id: ring, uses: command, with: {{argv: [sh, -c, 'echo rung >> {site.root}/diary; exec sleep 600']}}}}\n"
        f"  - {{id: next, uses: command, with: {{argv: [sh, -c, 'echo next >> {site.root}/diary']}}}}\n")
    restic = FaultyRestic(tmp_path / "faulty")
    restic.install()
    with site.start("run", "ring") as process:
        try:
            until(lambda: diary(site), "the event")
        finally:
            process.kill()
        process.communicate(timeout=LIMIT)
    all_gone(site, restic)
    return str(lines(site)[-1]["run"])


def test_an_event_of_unknown_end_stays_so_until_a_person_says_something(site: Machine, unknown: str) -> None:
    for _ in range(2):
        asked = site.json("resume", unknown, expect=4)
        assert "nobody wrote down how it ended" in asked.errors[0]["message"]
        assert diary(site) == ["rung"], "it is not done again by asking twice"
    assert "would ask about ring" in site("--dry-run", "resume", unknown, expect=0).out
    true = signed(site, unknown, "ring", "imran")
    for forged in (edited(true, note="twice"), edited(true, by="nobody"), edited(true, by="asha")):
        forge(site, unknown, forged)
        assert "was signed by nobody who may" in site.json("resume", unknown, expect=12).errors[0]["message"]
    assert diary(site) == ["rung"]
    site("done", unknown, "ring", "--by", "imran", "--key", str(site.root / "imran"), expect=0)
    site("resume", unknown, expect=0)
    assert diary(site) == ["rung", "next"]


def test_what_was_signed_for_another_step_says_nothing_of_an_event(site: Machine, unknown: str) -> None:
    forge(site, unknown, {**signed(site, unknown, "next", "imran"), "step": "ring"})
    site("resume", unknown, expect=4)
    assert diary(site) == ["rung"]

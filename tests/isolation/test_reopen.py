"""People let in again in waves at a host that is cut off: through the command line, on a real sshd and real nft."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.isolation import calling
from opsctl.shells import local
from tests.badluck.faults import lines
from tests.lab.isolation import Lab, reachable
from tests.lab.striking import MOMENTS, struck
from tests.lab.waiting import until
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]

NOON, LATER = "2026-12-21T12:00:00+05:30", "2026-12-21T14:30:00+05:30"


class Waves(Machine):
    """``h1`` is cut off; ``outside`` is wave internal, ``manager`` wave pilot, and ``public`` opens by a command that two approve."""

    lab: Lab

    def write(self, **more: str) -> None:
        outside, manager = self.lab.hosts["outside"].address, self.lab.hosts["manager"].address
        command = self.root / "door"
        keys = {name: (self.root / f"{name}.pub").read_text().strip() for name in ("asha", "imran")}
        people = "".join(f"  {name}: {{name: {name.title()}, ssh_key: {key}}}\n" for name, key in keys.items())
        self.configure(f"""state: {self.state}
people:
{people}reopening:
  internal: {{hosts: [h1], allow: ["in:{outside}:22"], watch: {more.get('watch', '2h')}, stays: {more.get('stays', '1h')}}}
  pilot: {{hosts: [h1], allow: ["in:{manager}:22"]}}
  public: {{open: [touch, {command}], is_open: [test, -e, {command}], close: [rm, {command}]}}
services:
  tax: {{unit: tax.service, proofs: [{{kind: command, argv: [test, "!", -e, {self.root}/broken]}}]}}
""")

    def reach(self) -> list[str]:
        """Who can call the sshd of h1."""
        place = [(self.lab.hosts["h1"].address, 22)]
        return [name for name in ("outside", "manager", "h0") if reachable(self.lab, name, place)]

    def stands(self) -> dict[str, str]:
        return {one["wave"]: one["stands"] for one in self.json("restore", "reopen", expect=0).result["waves"]}


@pytest.fixture
def machine(tmp_path: Path, isolation_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waves]:
    monkeypatch.setattr(calling, "WITHIN", 0.3)  # nothing here is far away
    found = Waves(tmp_path / "m")
    found.lab = isolation_lab
    for name in ("asha", "imran"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(found.root / name)], check=True)
    found.write()
    isolation_lab.configure(found.etc, isolation_lab.config("h1"))
    found.at(NOON)
    found("isolate", "apply", "h1", expect=0)
    yield found
    isolation_lab.run("h1", ["nft", "flush", "ruleset"])
    local.reset()


def test_a_wave_is_let_in_for_a_time_and_kept_when_its_watch_is_over_and_the_next_one_comes_after_it(machine: Waves) -> None:
    assert machine.reach() == []
    assert "comes after internal" in machine.json("restore", "reopen", "pilot", expect=23).errors[0]["message"]
    said = machine.json("restore", "reopen", "internal", expect=4)
    run = said.document["run"]
    assert "wave internal is open and watched until 2026-12-21 08:30 UTC" in said.errors[0]["message"]
    assert machine.reach() == ["outside"]
    assert machine.stands() == {"internal": "timed", "pilot": "shut", "public": "shut"}
    shown = machine("isolate", "status", expect=0).out
    assert "lets in:tcp:" in shown.replace("\n", " ")
    machine("resume", run, expect=4)
    again = machine.json("restore", "reopen", "internal", expect=4)
    assert again.document["run"] == run and f"run {run} waits already: " in again.errors[0]["message"]
    assert again.errors[0]["hint"] == f"opsctl resume {run} goes on with it"
    assert [one["playbook"] for one in machine.json("runs").result["runs"]].count("reopen") == 2, "the one of pilot that was refused, and this one"
    assert "comes after internal" in machine.json("restore", "reopen", "pilot", expect=23).errors[0]["message"]
    machine.at(LATER)
    machine("resume", run, expect=0)
    assert machine.stands()["internal"] == "open" and machine.reach() == ["outside"]
    machine("isolate", "status", expect=0)
    assert "expires" not in machine.lab.run("h1", ["nft", "list", "ruleset"])

    pilot = machine.json("restore", "reopen", "pilot", expect=4).document["run"]
    assert machine.reach() == ["outside", "manager"]
    machine.at("2026-12-21T18:00:00+05:30")
    machine("resume", pilot, expect=0)
    machine("resume", pilot, expect=0)
    assert machine.stands() == {"internal": "open", "pilot": "open", "public": "shut"}
    machine("restore", "reopen", "--back", "pilot", expect=0)
    assert machine.reach() == ["outside"] and machine.stands()["pilot"] == "shut"
    machine("isolate", "status", expect=0)


def test_what_nobody_keeps_open_closes_itself_and_is_not_kept_late(machine: Waves) -> None:
    machine.write(watch="1s", stays="2s")
    run = machine.json("restore", "reopen", "internal", expect=4).document["run"]
    assert machine.reach() == ["outside"]
    until(lambda: machine.stands()["internal"] == "closed itself")
    assert machine.reach() == []
    assert "has closed itself" in machine("isolate", "status", expect=0).out.replace("\n", " ")
    machine.at(LATER)
    said = machine.json("resume", run, expect=21)
    assert "wave internal had closed itself at h1 before it was settled" in said.errors[0]["message"]
    assert machine.reach() == []


def test_a_wave_whose_proofs_fail_in_its_watch_is_taken_back_and_none_opens_before_they_hold(machine: Waves) -> None:
    broken = machine.root / "broken"
    broken.touch()
    said = machine.json("restore", "reopen", "internal", expect=22)
    assert "command of test not as expected" in said.errors[0]["message"] and said.errors[0]["where"] == "tax"
    assert machine.reach() == []
    broken.unlink()
    run = machine.json("restore", "reopen", "internal", expect=4).document["run"]
    assert machine.reach() == ["outside"]
    broken.touch()
    machine.json("resume", run, expect=4)  # it is not time yet to look again
    machine.at("2026-12-21T12:10:00+05:30")
    said = machine.json("resume", run, expect=22)
    assert [one["result"]["stands"] for one in said.result["steps"] if one["step"] == "settle"] == ["shut"]
    assert machine.reach() == [] and machine.stands()["internal"] == "shut"
    machine("isolate", "status", expect=0)


def test_promise_7_a_wave_that_is_killed_at_every_boundary_is_opened_settled_and_taken_back_once(machine: Waves) -> None:
    words = ["restore", "reopen", "internal"]
    for step in ("open", "watch", "settle"):
        for moment in MOMENTS:
            if (step, moment) == ("watch", "begun"):
                machine.json(*words, expect=4)
                machine.at(LATER)
                continue
            assert struck(machine, step, moment, words), (step, moment)
            run = str(next(line["run"] for line in reversed(lines(machine)) if line["type"] == "run.bound"))
            words = ["resume", run]
    machine.json(*words, expect=0)
    assert machine.stands()["internal"] == "open" and machine.reach() == ["outside"]
    machine("isolate", "status", expect=0)
    for moment in MOMENTS:
        words = words if moment != "begun" else ["restore", "reopen", "--back", "internal"]
        assert struck(machine, "back", moment, words), moment
        words = ["resume", str(next(line["run"] for line in reversed(lines(machine)) if line["type"] == "run.bound"))]
    machine.json(*words, expect=0)
    assert machine.stands()["internal"] == "shut" and machine.reach() == []
    machine("isolate", "status", expect=0)


def test_a_wave_of_a_command_for_the_public_waits_for_two_and_can_be_taken_back(machine: Waves) -> None:
    door = machine.root / "door"
    for wave in ("internal", "pilot"):
        run = machine.json("restore", "reopen", wave, expect=4).document["run"]
        machine.at(LATER if wave == "internal" else "2026-12-21T18:00:00+05:30")
        machine("resume", run, expect=0)
    alone = machine.json("run", "reopen", "--set", "wave=public", "--set", "places=public", "--set", "watch=0", "--set", "stays=60", expect=23)
    assert "reopen takes 2 people who approve it at a step `approve` before it, and nobody was asked" in alone.errors[0]["message"]
    assert machine.stands()["public"] == "shut"
    waits = machine.json("restore", "reopen", "public", expect=4)
    run = waits.document["run"]
    assert waits.errors[0]["message"].startswith("wave public is let in, by its own command: 2 people ") and not door.exists()
    machine("resume", run, expect=4)
    for name in ("asha", "imran"):
        machine("--yes", "approve", run, "approve", "--by", name, "--key", str(machine.root / name), expect=0)
    assert "does not close itself" in " ".join(machine.json("resume", run, expect=4).document["warnings"])
    assert door.exists()
    machine("restore", "reopen", "--back", "public", expect=0)
    assert not door.exists()


def test_a_host_that_is_not_cut_off_and_one_cut_off_for_an_incident_are_not_opened_on_this_word(machine: Waves) -> None:
    machine("isolate", "apply", "h1", "--incident", "I-7", expect=0)
    said = machine.json("restore", "reopen", "internal", expect=23)
    assert said.errors[0]["message"] == "h1 is cut off for incident I-7, which was not named: nothing of it is opened"
    machine("restore", "reopen", "internal", "--incident", "I-7", expect=4)
    machine("restore", "reopen", "--back", "internal", expect=0)
    machine.lab.run("h1", ["nft", "flush", "ruleset"])
    said = machine.json("restore", "reopen", "internal", "--incident", "I-7", expect=23)
    assert said.errors[0]["message"] == "h1 is open, not isolated, so nothing of it is opened in waves"


@pytest.mark.parametrize(("words", "told"), [
    (["pilott"], "there is no wave 'pilott'; did you mean pilot?"),
    (["--back"], "--back is about one wave"),
])
def test_what_is_asked_wrongly_is_said(machine: Waves, words: list[str], told: str) -> None:
    assert machine.json("restore", "reopen", *words, expect=2).errors[0]["message"] == told

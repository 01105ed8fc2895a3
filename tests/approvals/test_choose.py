"""The set to go back to is what two people signed for, and stands in the repository."""

from __future__ import annotations

from pathlib import Path

from tests.actions.planting import plant
from tests.machine import Machine


def test_two_people_choose_the_set_and_every_machine_sees_it(machine: Machine, keys: Path) -> None:
    people = "".join(f"  {name}: {{name: {name.title()}, ssh_key: {(keys / f'{name}.pub').read_text().strip()}}}\n" for name in ("asha", "imran"))
    machine.configure(more=f"people:\n{people}")
    (machine.data / "bill").write_text("12.50 to pay\n" * 20)
    made = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    machine("restore", "choose", "portal", "20260101-0000-none", expect=2)
    waits = machine.json("restore", "choose", "portal", made, "--before", "2026-12-12", "--why", "the register is whole in it", expect=4)
    run = str(waits.document["run"])
    assert f"portal goes back to set {made}" in waits.errors[0]["message"] and "changes are unknown" in waits.errors[0]["message"]
    late = machine.json("restore", "choose", "portal", made, "--before", "2020-01-01", expect=4).errors[0]["message"]
    assert "is NOT from before the first bad time, 2020-01-01" in late and "NOT from before" not in waits.errors[0]["message"]
    for name in ("asha", "imran"):
        assert machine.json("restore", "points", "portal", expect=3).result["chosen"] is None
        machine("--yes", "approve", run, "agree", "--by", name, "--key", str(keys / name), expect=0)
    said = machine("resume", run, expect=0).out
    machine.forget()
    machine("backup", "init", expect=0)
    chosen = machine.json("restore", "points", "portal", expect=3).result["chosen"]
    assert (chosen["set"], chosen["people"], chosen["why"]) == (made, ["asha", "imran"], "the register is whole in it"), said
    bare = Machine(machine.root / "bare")
    where = ["--repository", str(machine.store), "--password-file", str(machine.etc / "keys" / "repository-password")]
    signer = machine.json("backup", "list", expect=0).result["sets"][0]["signer"]
    bare.environ["XDG_STATE_HOME"] = str(bare.root / "home")
    bare("verify", "--level", "data", *where, "--trust", signer, expect=0)  # knows nobody who could have signed: no forgery
    record = {"format": "opsctl-choice/1", "repository": "x", "run": "r", "time": "2026-12-13T00:00:00+00:00", "host": "h", "by": "b", "backup": "portal",
              "set": "20260101-0000-none", "why": "", "consent": {}}
    plant(machine, record, machine.etc / "keys" / "controller", mark="choice")
    assert machine.json("restore", "points", "portal", expect=3).result["chosen"] == chosen, "nobody signed for that one"

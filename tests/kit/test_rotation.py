"""A new signing key: the old one vouches for it, or two people; a thief's word does not."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsctl.model.records import NAMESPACES, ROTATION, canonical
from opsctl.model.rotation import Rotation, follow, statement
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer
from tests.actions.planting import make_key, name_of, plant
from tests.approvals.site import make_keys, people_of
from tests.machine import Kept, Machine

NOON = datetime(2026, 12, 12, 12, tzinfo=UTC)


def rotation(old: str, new: str, hours: int = 0, *, vouched: bool = False) -> Rotation:
    return Rotation(old, new, NOON + timedelta(hours=hours), vouched)


def test_trust_goes_along_a_chain_in_both_directions_and_ends_with_its_time() -> None:
    chain = [rotation("b", "c", 5), rotation("a", "b")]
    assert follow({"a"}, chain).keys == follow({"c"}, chain).keys == {"a", "b", "c"}
    assert follow({"x"}, chain).keys == {"x"} and follow({"x"}, chain).until == {}
    trust = follow({"c"}, chain)
    assert not trust.retired("a", NOON) and trust.retired("a", NOON + timedelta(seconds=1)) and trust.retired("a", None)
    assert not trust.retired("c", NOON + timedelta(days=999))


def test_of_two_successors_neither_counts_by_the_old_keys_word() -> None:
    both = [rotation("a", "b"), rotation("a", "thief", -24)]
    assert follow({"a"}, both).keys == {"a"}
    assert follow({"b"}, both).keys == {"a", "b"}, "the machine that made it knows its own"
    assert follow({"a"}, [rotation("a", "b", vouched=True), both[1]]).keys == {"a", "b"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, with_a_file: Machine) -> Kept:
    """A machine with one set of its first key and one of its second; the first one's fingerprint is in ``old``."""
    machine = with_a_file
    machine("backup", "run", expect=0)
    (machine.root / "old").write_text(name_of(machine.etc / "keys" / "controller"))
    shutil.copytree(machine.etc / "keys", machine.root / "old-keys")
    machine.at("2026-12-13T02:30:00+05:30")
    found = machine.json("keys", "rotate", expect=0).result["steps"][0]["result"]
    assert found["told"] == ["main"] and found["signs"] == found["new"] == name_of(machine.etc / "keys" / "controller")
    machine.at("2026-12-16T02:30:00+05:30")
    machine("backup", "run", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def states(machine: Machine, *words: str) -> list[str]:
    return [one["state"] for one in machine.json("backup", "list", *words, expect=0).result["sets"]]


def test_sets_of_both_keys_are_good_here_and_on_a_machine_that_knows_only_one(machine: Machine, tmp_path: Path) -> None:
    assert states(machine) == ["good", "good"]
    assert machine.json("journal", "verify", expect=0).result["vouched_to"] > 0
    bare = Machine(tmp_path / "bare")
    bare.environ["XDG_STATE_HOME"] = str(tmp_path / "bare" / "home")
    bare.at(machine.environ["OPSCTL_CLOCK"])
    where = ["--repository", str(machine.store), "--password-file", str(machine.etc / "keys" / "repository-password")]
    old, new = (machine.root / "old").read_text(), name_of(machine.etc / "keys" / "controller")
    assert states(bare, *where) == ["foreign", "foreign"]
    assert states(bare, *where, "--trust", old) == ["good", "good"]
    assert states(bare, *where, "--trust", new) == ["good", "good"]


def test_what_the_old_key_signs_afterwards_counts_for_nothing(machine: Machine) -> None:
    for name in ("controller", "controller.pub"):
        shutil.copy(machine.root / "old-keys" / name, machine.etc / "keys" / f"thief-{name}")
    record = machine.json("backup", "show", "newest", expect=0).result["sets"][0]["record"]
    plant(machine, {**record, "set": "20261217-0230-beef", "time": "2026-12-17T02:30:00+05:30"}, machine.etc / "keys" / "thief-controller")
    machine.at("2026-12-17T03:30:00+05:30")
    assert states(machine) == ["good", "good", "foreign"]


def test_a_thief_of_the_old_key_makes_nobody_trust_his_own(machine: Machine, tmp_path: Path) -> None:
    thief, old = make_key(tmp_path / "thief"), machine.root / "old-keys" / "controller"
    said = statement((machine.root / "old").read_text(), name_of(thief), NOON)
    words, namespace = canonical(said), NAMESPACES[ROTATION]
    repository = json.loads((machine.state / "repositories" / "main.json").read_text())["id"]
    plant(machine, {"format": ROTATION, "repository": repository, "run": "r", "time": NOON.isoformat(), "statement": said,
                    "by_new": Signer(thief, LocalShell()).sign(words, namespace), "by_old": Signer(old, LocalShell()).sign(words, namespace)},
          thief, mark="rotation")
    record = machine.json("backup", "show", "newest", expect=0).result["sets"][0]["record"]
    plant(machine, {**record, "set": "20261216-0231-beef"}, thief)
    assert states(machine).count("foreign") == 1 and states(machine).count("good") == 2


def test_a_rotation_that_was_killed_at_any_step_ends_with_one_key_that_signs(machine: Machine) -> None:
    keys = machine.etc / "keys"
    before = name_of(keys / "controller")
    done = machine.json("keys", "rotate", expect=0)
    # As a kill between the two renames leaves it: the private half is new, the public one is not.
    shutil.move(keys / "controller.pub", keys / "next.pub")
    shutil.copy(keys / f"controller-before-{done.document['run']}.pub", keys / "controller.pub")
    assert before == name_of(keys / "controller")
    machine.json("resume", done.document["run"])
    machine.json("keys", "rotate", expect=0)
    machine("backup", "run", "--force", expect=0)
    assert set(states(machine)) == {"good"} and not (keys / "next").exists()


def test_without_the_old_key_nothing_rotates_on_one_word(machine: Machine) -> None:
    (machine.etc / "keys" / "controller").unlink()
    assert "--lost" in machine.json("keys", "rotate", expect=12).errors[0]["hint"]


def test_promise_10_a_lost_key_is_followed_by_another_when_two_people_sign(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    people = make_keys(tmp_path / "people")
    machine.configure(more=people_of(people))
    lost = name_of(machine.etc / "keys" / "controller")
    for name in ("controller", "controller.pub", "trusted"):
        (machine.etc / "keys" / name).unlink()
    shutil.rmtree(machine.etc / "keys" / "rotations")
    waiting = machine.json("keys", "rotate", "--lost", lost, expect=4)
    run = waiting.document["run"]
    machine("--yes", "approve", run, "agree", "--by", "asha", "--key", str(people / "asha"), expect=0)
    machine("resume", run, expect=4)
    assert states(machine) == ["foreign", "foreign"], "one is not two"
    machine("--yes", "approve", run, "agree", "--by", "imran", "--key", str(people / "imran"), expect=0)
    machine("resume", run, expect=0)
    assert states(machine) == ["good", "good"]
    machine("backup", "run", "--force", expect=0)
    # Another machine with the same people, which has seen none of these keys.
    other = Machine(tmp_path / "other")
    other.at(machine.environ["OPSCTL_CLOCK"])
    other.configure((machine.etc / "opsctl.yaml").read_text().replace(str(machine.state), str(other.state)))
    other("backup", "init", expect=0)
    assert states(other) == ["good"] * 3
    other.configure((other.etc / "opsctl.yaml").read_text().replace("imran", "irfan"))
    shutil.rmtree(other.state)
    other("backup", "init", expect=0)
    assert set(states(other)) == {"foreign"}, "other people, and nothing is vouched for"

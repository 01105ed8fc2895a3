"""What is done to a repository behind opsctl's back: named, not used, 22 from verify, and work goes on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.machine import Machine, Said, tree


def day(machine: Machine, number: int, text: str = "") -> str:
    """One more day's work and one more set; returns its id."""
    machine.at(f"2026-12-{12 + number:02}T02:30:00+05:30")
    (machine.data / f"day-{number}.txt").write_text(f"day {number} {text}\n" * 200)
    found = machine.json("backup", "run", expect=0).result["backups"]["portal"]
    return str(found["set"])


def kinds(said: Said) -> set[str]:
    return {error["details"]["kind"] for error in said.errors if "details" in error}


def states(machine: Machine) -> dict[str, str]:
    return {one["set"]: one["state"] for one in machine.json("backup", "list").result["sets"]}


def snapshot_file(machine: Machine, set_id: str, tag: str) -> Path:
    found = [one for one in machine.snapshots() if f"set={set_id}" in one["tags"] and tag in one["tags"]]
    return machine.store / "snapshots" / found[0]["id"]


@pytest.fixture
def three(machine: Machine) -> tuple[Machine, list[str]]:
    """A machine with three sets, three days apart."""
    return machine, [day(machine, number) for number in (0, 3, 6)]


def test_all_is_well_where_nothing_was_done(three: tuple[Machine, list[str]]) -> None:
    machine, sets = three
    assert states(machine) == dict.fromkeys(sets, "good")
    machine("verify", expect=0)


@pytest.mark.parametrize("tag", ["source=files", "manifest"])
def test_a_deleted_snapshot_is_named(three: tuple[Machine, list[str]], tag: str, tmp_path: Path) -> None:
    machine, sets = three
    snapshot_file(machine, sets[1], tag).unlink()
    assert states(machine)[sets[1]] in ("damaged", "deleted")
    found = machine.json("verify", expect=22)
    assert "snapshot-deleted" in kinds(found)
    assert any(sets[1] in error["message"] for error in found.errors)
    machine("restore", "set", "portal", "--into", str(tmp_path / "newest"), expect=0)
    machine.at("2026-12-21T02:30:00+05:30")
    machine("backup", "run", "--due", expect=0)


def test_a_deleted_set_shows_on_a_machine_that_never_saw_it(three: tuple[Machine, list[str]]) -> None:
    machine, sets = three
    for tag in ("source=files", "manifest"):
        snapshot_file(machine, sets[1], tag).unlink()
    machine.forget()
    machine("backup", "init", expect=0)
    found = machine.json("verify", expect=22)
    assert any(sets[1] in error["message"] for error in found.errors), "the chain of manifests tells of it"


def test_all_snapshots_deleted_is_damage_with_the_number_of_sets(three: tuple[Machine, list[str]]) -> None:
    machine, _ = three
    for path in (machine.store / "snapshots").iterdir():
        path.unlink()
    for words in (["backup", "run"], ["verify"], ["backup", "list"]):
        found = machine.json(*words, expect=22)
        assert "3 sets" in found.errors[0]["message"]
    assert list((machine.store / "snapshots").iterdir()) == []


@pytest.mark.parametrize("how", ["removed", "emptied", "another"])
def test_a_known_repository_that_is_gone_is_never_made_anew(three: tuple[Machine, list[str]], how: str) -> None:
    machine, _ = three
    shutil.rmtree(machine.store)
    if how == "emptied":
        machine.store.mkdir()
    elif how == "another":
        machine.restic("init", "-q")
    before = tree(machine.store) if machine.store.exists() else None
    for words in (["backup", "run"], ["backup", "init"], ["verify"], ["backup", "list"]):
        found = machine.json(*words, expect=22)
        assert "3 sets" in found.errors[0]["message"], found.errors
    assert (tree(machine.store) if machine.store.exists() else None) == before


def test_a_snapshot_of_2099_changes_nothing(three: tuple[Machine, list[str]], tmp_path: Path) -> None:
    machine, sets = three
    machine.restic("backup", "-q", "--time", "2099-01-01 00:00:00", "--tag", "opsctl,backup=portal,set=x,source=files",
                   str(machine.data))
    assert states(machine)["x"] == "incomplete"
    (found,) = machine.json("verify", expect=22).errors
    assert found["details"]["kind"] == "snapshot-future" and "of set x of portal" in found["message"], "though it looks like one of ours"
    machine.restic("backup", "-q", "--time", "2099-01-01 00:00:00", str(machine.data))
    assert [error["details"]["kind"] for error in machine.json("verify", expect=22).errors] == ["snapshot-future"] * 2
    machine.at("2026-12-20T02:30:00+05:30")
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "ok"
    restored = machine.json("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    assert restored.result["steps"][0]["result"]["set"] == sets[2]


def test_a_snapshot_rewritten_by_repair_is_altered_and_not_used(three: tuple[Machine, list[str]], tmp_path: Path) -> None:
    machine, sets = three
    source = snapshot_file(machine, sets[2], "source=files").name
    machine.restic("rewrite", "--forget", "--exclude", "day-6.txt", source)
    assert states(machine)[sets[2]] == "altered"
    assert "snapshot-altered" in kinds(machine.json("verify", expect=22))
    restored = machine.json("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    assert restored.result["steps"][0]["result"]["set"] == sets[1]


@pytest.mark.parametrize("size", [5, 16, 300])
def test_junk_in_the_store_stops_no_backup_and_no_restore(
    three: tuple[Machine, list[str]], size: int, tmp_path: Path
) -> None:
    machine, sets = three
    junk = os.urandom(size)
    name = hashlib.sha256(junk).hexdigest()
    (machine.store / "snapshots" / name).write_bytes(junk)
    found = machine.json("verify", expect=22)
    assert any(name in (error["details"]["object"] or "") for error in found.errors)
    assert "goroutine" not in found.out + found.err
    new = day(machine, 9)
    assert states(machine)[new] == "good"
    machine("restore", "set", "portal", "--set", sets[0], "--into", str(tmp_path / "back"), expect=0)
    assert set(tree(Path(f"{tmp_path}/back/files{machine.data}"))) == {"day-0.txt"}


def test_a_set_signed_by_a_key_that_nobody_vouched_for_is_foreign(machine: Machine, tmp_path: Path) -> None:
    theirs = day(machine, 0)
    fingerprint = machine.json("backup", "list", expect=0).result["sets"][0]["signer"]
    machine.forget()
    for name in ("controller", "controller.pub"):
        (machine.etc / "keys" / name).unlink()
    machine.make_key()
    unknown = machine.json("backup", "run", expect=None).errors[0]
    assert "pins the one that is there; it makes one only where there is none" in unknown["hint"]
    machine("backup", "init", expect=0)
    assert states(machine) == {theirs: "foreign"}
    assert "snapshot-foreign" in kinds(machine.json("verify", expect=22))
    refused = machine.json("restore", "set", "portal", "--into", str(tmp_path / "no"), expect=23)
    assert fingerprint in refused.errors[0]["hint"]
    # One that is mistyped is said, and the answer to it is not the key of whoever signed.
    other = f"SHA256:{'x' * 43}"
    mistyped = machine.json("restore", "set", "portal", "--trust", other, "--into", str(tmp_path / "no"), expect=23)
    assert f"--trust named another key ({other})" in mistyped.errors[0]["hint"] and "letter by letter" in mistyped.errors[0]["hint"]
    assert f"--trust {other}: no set in main is signed by this key" in machine("backup", "list", "--trust", other, expect=0).err
    machine("restore", "set", "portal", "--set", theirs, "--into", str(tmp_path / "by-id"), expect=0)
    machine("restore", "set", "portal", "--trust", fingerprint, "--into", str(tmp_path / "trusted"), expect=0)
    machine.at("2026-12-12T03:30:00+05:30")
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "changed"
    machine("--yes", "backup", "init", "--trust", fingerprint, expect=0)
    assert set(states(machine).values()) == {"good"}


def test_a_manifest_whose_signature_does_not_hold_is_damaged(machine: Machine) -> None:
    set_id = day(machine, 0)
    manifest = snapshot_file(machine, set_id, "manifest").name
    path = f"/opsctl-manifest-portal-{set_id}.json"
    forged = machine.restic("dump", manifest, path).replace('"files":1', '"files":2')
    subprocess.run(["restic", "backup", "-q", "--stdin", "--stdin-filename", path, "--tag",
                    f"opsctl,manifest,backup=portal,set={set_id}x"], input=forged, text=True, check=True,
                   env={**os.environ, "RESTIC_REPOSITORY": str(machine.store),
                        "RESTIC_PASSWORD_FILE": str(machine.etc / "keys" / "repository-password")})
    found = machine.json("verify", expect=22)
    assert "manifest-damaged" in kinds(found)


def test_wrong_password_missing_key_and_silence_are_told_apart(three: tuple[Machine, list[str]]) -> None:
    machine, _ = three
    password = machine.etc / "keys" / "repository-password"
    right = password.read_text()
    password.write_text("wrong\n")
    machine.at("2026-12-25T02:30:00+05:30")
    refused = machine.json("backup", "run", expect=12)
    assert "password" in refused.errors[0]["message"] and "1 error" not in refused.out
    password.unlink()
    assert machine.json("backup", "run", expect=12).errors[0]["message"]
    password.write_text(right)
    password.chmod(0o644)
    assert "chmod" in machine.json("backup", "run", expect=12).errors[0]["hint"]
    password.chmod(0o600)
    for key in (machine.store / "keys").iterdir():
        key.unlink()
    assert "key" in machine.json("backup", "run", expect=22).errors[0]["message"]


def test_a_store_that_does_not_answer_is_13(machine: Machine) -> None:
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: "rest:http://127.0.0.1:1/none", password_file: {machine.etc}/keys/repository-password}}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: main}}
""")
    (machine.state / "repositories" / "main.json").unlink()
    for words in (["backup", "init"], ["backup", "list"], ["verify"]):
        assert machine.json(*words, expect=13).errors[0]["hint"]

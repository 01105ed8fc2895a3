"""The controller is gone: what each set carries of it, what it never carries, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.actions.planting import make_key
from tests.machine import Machine, tree

SECRET = "for tests only"


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with one set."""
    (machine.data / "page.txt").write_text("page\n")
    (machine.etc / "playbooks").mkdir()
    (machine.etc / "playbooks" / "own.yaml").write_text("# ours\n")
    machine("backup", "run", expect=0)
    return machine


def manifest(machine: Machine) -> dict[str, object]:
    return next(one for one in machine.snapshots() if "manifest" in one["tags"])


def test_a_set_carries_configuration_and_journal_in_the_call_that_stores_its_manifest(kept: Machine, tmp_path: Path) -> None:
    assert len(kept.snapshots()) == 2
    kept.restic("restore", str(manifest(kept)["id"]), "--target", str(tmp_path / "raw"))
    found = tree(tmp_path / "raw")
    own = {name.removeprefix("configuration/"): content for name, content in found.items() if name.startswith("configuration/")}
    assert own == {"opsctl.yaml": (kept.etc / "opsctl.yaml").read_bytes(), "playbooks/own.yaml": b"# ours\n",
                   "keys/controller.pub": (kept.etc / "keys" / "controller.pub").read_bytes()}
    written = (kept.state / "journal" / "000001.jsonl").read_bytes()
    assert written.startswith(found["journal/000001.jsonl"]) and len(found["journal/000001.jsonl"]) > 500
    assert json.loads(found["repositories/main.json"])["id"] == json.loads(
        (kept.state / "repositories" / "main.json").read_text())["id"]


def test_promise_10_no_secret_leaves_with_a_set(kept: Machine, tmp_path: Path) -> None:
    shutil.copy(kept.etc / "keys" / "controller", kept.etc / "keys" / "copied.pub")
    (kept.etc / "more.yaml").write_text("# -----BEGIN OPENSSH PRIVATE KEY-----\norganisation: {name: Tests}\n")
    said = kept("backup", "run", "--force", expect=0)
    assert "keys/copied.pub is not in the copy" in said.err and "more.yaml is not in the copy" in said.err
    for snapshot in kept.snapshots():
        if "manifest" in snapshot["tags"]:
            kept.restic("restore", snapshot["id"], "--target", str(tmp_path / "raw" / snapshot["id"]))
    private = (kept.etc / "keys" / "controller").read_bytes()
    for name, content in tree(tmp_path / "raw").items():
        assert SECRET.encode() not in content and private not in content and b"PRIVATE KEY" not in content, name


def test_a_new_machine_gets_both_back_and_the_journal_is_vouched_for(kept: Machine, tmp_path: Path) -> None:
    kept("backup", "run", "--force", expect=0)
    fingerprint = kept.json("backup", "list", expect=0).result["sets"][0]["signer"]
    bare = Machine(tmp_path / "bare")
    bare.environ["XDG_STATE_HOME"] = str(tmp_path / "bare" / "home")
    password = tmp_path / "paper"
    password.write_text(f"{SECRET}\n")
    password.chmod(0o600)
    where = ["--repository", str(kept.store), "--password-file", str(password), "--into", str(tmp_path / "back")]
    refused = bare.json("restore", "controller", *where, expect=23)
    assert f"--trust {fingerprint}" in refused.errors[0]["hint"] and not (tmp_path / "back").exists()
    (kept.etc / "keys" / "repository-password").rename(tmp_path / "safe")
    found = bare.json("restore", "controller", *where, "--trust", fingerprint, expect=0).result
    assert found["to_bring"] == [f"{kept.etc}/keys/repository-password (repositories.main.password_file)"]
    (tmp_path / "safe").rename(kept.etc / "keys" / "repository-password")
    assert found["journal"]["vouched_to"] == found["journal"]["last_seq"] and fingerprint in found["journal"]["vouched_by"]
    assert (tmp_path / "back" / "configuration" / "opsctl.yaml").read_bytes() == (kept.etc / "opsctl.yaml").read_bytes()
    # What it says comes next, done: the same controller, in another place.
    shutil.rmtree(kept.state)
    for name in ("journal", "repositories"):
        shutil.copytree(tmp_path / "back" / name, kept.state / name)
    kept.store.rename(kept.root / "away")
    assert "main" in kept("backup", "init", expect=22).err, "a place that is empty now is not taken for a new repository"
    (kept.root / "away").rename(kept.store)
    verdict = kept.json("journal", "verify", expect=0).result
    assert verdict["vouched_to"] == found["journal"]["last_seq"] and verdict["last_seq"] > verdict["vouched_to"]


def test_a_configuration_that_a_stranger_signed_is_not_restored(kept: Machine, tmp_path: Path) -> None:
    for name in ("controller", "controller.pub"):
        (kept.etc / "keys" / name).rename(kept.etc / "keys" / f"old-{name}")
    make_key(kept.etc / "keys" / "controller")
    kept("backup", "run", "--force", expect=0)
    (kept.etc / "keys" / "controller").unlink()
    (kept.etc / "keys" / "controller.pub").unlink()
    (kept.etc / "keys" / "old-controller.pub").rename(kept.etc / "keys" / "controller.pub")
    stranger = next(one for one in kept.json("backup", "list", expect=0).result["sets"] if one["state"] == "foreign")
    refused = kept.json("restore", "controller", "--set", stranger["set"], "--into", str(tmp_path / "x"), expect=23)
    assert "names programs to run" in refused.errors[0]["message"] and not (tmp_path / "x").exists()


def test_what_a_thief_of_the_password_swapped_in_the_journal_is_found(kept: Machine, tmp_path: Path) -> None:
    """A copy of the manifest's own snapshot with another journal: the manifest's signature holds, the journal does not."""
    found = manifest(kept)
    kept.restic("restore", str(found["id"]), "--target", str(tmp_path / "raw"))
    journal = tmp_path / "raw" / "journal" / "000001.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"portal"', b'"stolen"', 1))
    tags = ",".join(found["tags"])  # type: ignore[arg-type]
    env = {**os.environ, "RESTIC_REPOSITORY": str(kept.store),
           "RESTIC_PASSWORD_FILE": str(kept.etc / "keys" / "repository-password")}
    kept.restic("forget", str(found["id"]))
    subprocess.run(["restic", "backup", "--tag", tags, "--", *sorted(os.listdir(tmp_path / "raw"))], env=env, check=True,
                   cwd=tmp_path / "raw", stdout=subprocess.DEVNULL)
    (kept.state / "repositories" / "main.json").unlink()
    kept("backup", "init", expect=0)
    said = kept.json("restore", "controller", "--into", str(tmp_path / "back"), expect=22)
    assert "000001.jsonl" in said.errors[0]["message"] and not (tmp_path / "back").exists()

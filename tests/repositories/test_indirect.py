"""A store that only restic can reach (sftp, S3): the same promises, by more restic calls."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from opsctl.errors import DamagedData, Refused, SafetyRefusal
from opsctl.repositories import restic as module
from tests.repositories.conftest import Copy, make_restic
from tests.repositories.test_locks import holding, locks


@pytest.fixture(autouse=True)
def _only_restic_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "store_for", lambda url, **more: None)


def test_identity_is_asked_once(copy: Copy) -> None:
    repository = copy.open()
    identity = repository.identity()
    assert (identity.id, identity.config_sha256) == (copy.template.identity.id, None)
    repository.pin(identity)
    repository.snapshots()
    repository.snapshots()
    # Ours, the one that makes sure, and then each time which there are, but only once what they are.
    assert repository.calls == 1 + 1 + 2 + 1
    copy.path("config").unlink()
    with pytest.raises(DamagedData) as caught:
        repository.snapshots()
    assert caught.value.details["kind"] == "config-missing"


def test_create_refuses_what_is_there(copy: Copy) -> None:
    with pytest.raises(SafetyRefusal):
        copy.open().create()


def test_wrong_password_says_both_possibilities(copy: Copy, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    wrong.chmod(0o600)
    with pytest.raises(Refused, match="or its key is gone"):
        make_restic(copy.root, wrong).snapshots()


def test_another_repository(copy: Copy, tmp_path: Path) -> None:
    other = make_restic(tmp_path / "other", copy.template.password)
    other.create()
    moved = make_restic(tmp_path / "other", copy.template.password, pin=copy.template.identity)
    with pytest.raises(DamagedData, match="is another one"):
        moved.snapshots()


def test_planted_snapshots_are_found_by_halves(copy: Copy) -> None:
    planted = []
    for content in (b"abcde", b"fghij", os.urandom(300)):
        name = hashlib.sha256(content).hexdigest()
        copy.path(f"snapshots/{name}").write_bytes(content)
        planted.append(f"snapshots/{name}")
    repository = copy.open()
    known = {copy.template.first, copy.template.second, copy.template.document}
    assert {each.id for each in repository.snapshots()} == known
    assert sorted(str(finding.object) for finding in repository.junk()) == sorted(planted)
    assert repository.backup_bytes(b"goes on", filename="x", tags=["x"], host="h").snapshot


def test_an_answer_that_is_silently_empty(copy: Copy, tmp_path: Path) -> None:
    """Where a planted object crashes restic it may have printed an empty list and exited 0 just before."""
    program = tmp_path / "restic-that-ends-too-early"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = snapshots ] && [ $# -gt 4 ] && touch {tmp_path}/lied && echo "[]" && exit 0\n'
        'exec restic "$@"\n'
    )
    program.chmod(0o755)
    repository = copy.open(program=str(program))
    known = {copy.template.first, copy.template.second, copy.template.document}
    assert {each.id for each in repository.snapshots()} == known and repository.junk() == []
    assert (tmp_path / "lied").exists()


def test_damage_is_found_by_restic_alone(copy: Copy) -> None:
    pack = max(copy.names("data"), key=lambda name: copy.path(f"data/{name}").stat().st_size)
    repository = copy.open()
    assert repository.check() == []
    copy.path(f"data/{pack}").unlink()
    (finding,) = repository.check()
    assert (finding.kind, finding.object) == ("pack-missing", f"data/{pack}")
    assert finding.files and finding.sets


def test_the_lock_of_a_dead_process(copy: Copy) -> None:
    with holding(copy, "check", "--read-data") as process:
        pass
    repository = copy.open()
    assert [lock.pid for lock in repository.unlock_stale()] == [process.pid]
    assert locks(copy) == []

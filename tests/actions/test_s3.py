"""Sets and copies in a locked bucket of an S3 store, through the command line."""

from __future__ import annotations

import json
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.wiring import Site
from tests.lab.quick_key import make_quick
from tests.lab.s3server import Bucket, S3Server
from tests.machine import Machine, tree

pytestmark = pytest.mark.lab
DAYS = [f"2026-12-{day:02d}T02:30:00+05:30" for day in (12, 15, 18)]


def setting(machine: Machine, bucket: Bucket, *, home: str = "main", lock: str = "{mode: COMPLIANCE, days: 1}") -> None:
    """``main`` in a folder, ``vault`` in a bucket; one of them is the home and the other holds the copies."""
    keys = machine.etc / "keys"
    for name, word in (("vault-id", bucket.server.writer.id), ("vault-secret", bucket.server.writer.secret)):
        (keys / name).write_text(word + "\n")
        (keys / name).chmod(0o600)
    copies = "[vault]" if home == "main" else "[]"
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: {machine.store}, password_file: {keys}/repository-password}}
  vault:
    url: "{bucket.url(tls=True)}"
    access_key_file: {keys}/vault-id
    secret_key_file: {keys}/vault-secret
    cacert: {bucket.server.certificate}
    password_file: {keys}/repository-password
    object_lock: {lock}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: {home}, copies: {copies}}}
""")
    machine.make_key()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with two local repositories that cut data up alike, the second to be put into a bucket; no set."""
    root = tmp_path_factory.mktemp("s3") / "m"
    machine = Machine(root)
    password = machine.etc / "keys" / "repository-password"
    machine.configure()
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: {machine.store}, password_file: {password}}}
  vault: {{url: {root}/vault, password_file: {password}}}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: main, copies: [vault]}}
""")
    machine.make_key()
    machine.at(DAYS[0])
    change(machine, "first")
    machine("backup", "init", expect=0)
    for name, place in (("main", "store"), ("vault", "vault")):
        make_quick(root / place, "for tests only", machine.state / "repositories" / f"{name}.json")
    return root


@pytest.fixture
def scene(made: Path, tmp_path: Path, s3_server: S3Server) -> tuple[Machine, Bucket]:
    """The machine with its vault in a bucket of its own."""
    return in_bucket(made, tmp_path, s3_server.bucket())


def in_bucket(made: Path, tmp_path: Path, bucket: Bucket) -> tuple[Machine, Bucket]:
    shutil.copytree(made, tmp_path / "m", symlinks=True)
    machine = Machine(tmp_path / "m")
    bucket.load(machine.root / "vault")
    shutil.rmtree(machine.root / "vault")
    setting(machine, bucket)
    machine.at(DAYS[0])
    return machine, bucket


def change(machine: Machine, text: str) -> None:
    (machine.data / "bill").write_text(f"{text:>40} rupees\n" * 300)


def test_made_in_an_empty_bucket_once(machine: Machine, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    setting(machine, bucket, home="vault")
    assert "made" in machine("backup", "init", "vault", expect=0).out
    made = bucket.keys()
    assert "was there" in machine("backup", "init", "vault", expect=0).out
    assert {"repo/config"} < set(made) == set(bucket.keys())


def test_a_home_in_a_bucket_is_filled_verified_and_restored_anywhere(scene: tuple[Machine, Bucket], tmp_path: Path) -> None:
    here, bucket = scene
    setting(here, bucket, home="vault")
    here("backup", "run", expect=0)
    assert min(retentions(bucket).values()) >= datetime.fromisoformat(DAYS[0]) + timedelta(days=1)
    assert "portal in vault, its own; survives a stolen controller: locked until 2026-12-12 21:00" in here("status").out
    here("verify", "vault", "--level", "data", expect=0)
    (found,) = here.json("backup", "list", "portal", expect=0).result["sets"]
    assert found["state"] == "good"
    writer = bucket.server.writer
    kept = [*tree(here.state).values(), *bucket.keys().values()]
    assert not any(word.encode() in content for word in (writer.id, writer.secret) for content in kept)

    other = Machine(tmp_path / "bare")
    (other.etc / "password").write_text("for tests only\n")
    (other.etc / "password").chmod(0o600)
    other.environ |= {"AWS_ACCESS_KEY_ID": writer.id, "AWS_SECRET_ACCESS_KEY": writer.secret}
    other("restore", "set", "portal", "--repository", bucket.url(tls=True), "--password-file", str(other.etc / "password"),
          "--cacert", str(bucket.server.certificate), "--trust", found["signer"], "--into", str(tmp_path / "out"), expect=0)
    assert (here.data / "bill").read_bytes() in tree(tmp_path / "out").values()


def test_copies_to_a_bucket_and_comes_back_from_there(scene: tuple[Machine, Bucket], tmp_path: Path) -> None:
    here, _ = scene
    here("backup", "run", expect=0)
    found = here.json("backup", "copy", "portal", expect=0).result["backups"]["portal"]
    assert found["outcome"] == "ok" and found["copies"]["vault"]["state"] == "current"
    shutil.rmtree(here.store)
    here("restore", "set", "portal", "--from", "vault", "--into", str(tmp_path / "out"), expect=0)
    assert (here.data / "bill").read_bytes() in tree(tmp_path / "out").values()


def test_the_configuration_names_what_is_wrong(scene: tuple[Machine, Bucket]) -> None:
    here, bucket = scene
    setting(here, bucket, lock="{mode: FOREVER, days: 0}")
    problems = json.dumps(here.json("status", expect=10).errors)
    assert "vault.object_lock.mode: must be COMPLIANCE or GOVERNANCE" in problems
    assert "vault.object_lock.days: must be at least 1" in problems


def retentions(bucket: Bucket) -> dict[str, datetime]:
    """Until when each version that is not a lock of restic's is locked."""
    found = {}
    for each in bucket.versions():
        if each["marker"] or each["Key"].startswith(("repo/locks/", "repo/opsctl/")):
            continue
        held = bucket.owner.head_object(Bucket=bucket.name, Key=each["Key"], VersionId=each["VersionId"])
        found[f"{each['Key']} {each['VersionId']}"] = held["ObjectLockRetainUntilDate"]
    return found


def test_every_object_that_is_still_needed_is_locked_anew(scene: tuple[Machine, Bucket]) -> None:
    here, bucket = scene
    here("backup", "run", expect=0)
    first = retentions(bucket)
    assert min(first.values()) >= datetime.fromisoformat(DAYS[0]) + timedelta(days=1)
    assert here.json("backup", "copy", "portal", expect=0).document["warnings"] == here.json("status").document["warnings"]
    assert retentions(bucket) == first, "a second run finds nothing to do"
    here.at(DAYS[1])
    change(here, "second")
    here("backup", "run", expect=0)
    second = retentions(bucket)
    assert set(first) < set(second) and min(second.values()) >= datetime.fromisoformat(DAYS[1]) + timedelta(days=1)

    found = here.json("status", expect=0).result["backups"]["portal"]["copies"]["vault"]
    assert found["locked"]["until"] == min(second.values()).isoformat() and found["locked"]["mode"] == "COMPLIANCE"
    assert "locked until 2026-12-15 21:00 UTC (COMPLIANCE)" in found["survives"]
    assert "survives a stolen controller: locked until" in here("status").out
    here.at(DAYS[2])  # in time for the next set, but the locks have lapsed
    assert here.json("status").result["backups"]["portal"]["copies"]["vault"]["survives"] is None


def test_locks_that_another_run_renews_are_left_to_it(scene: tuple[Machine, Bucket]) -> None:
    """Two timers at once: one of them works, the other ends with 0 and says so."""
    machine, _ = scene
    site = Site(load_config(machine.etc), clock=lambda: datetime.now(UTC), environ=machine.environ)
    with site.locks.hold("lock-vault", run="another", purpose="step lock"):
        said = machine.json("backup", "run", "--due", expect=0)
    assert said.result["outcomes"]["skipped"] == 1


def test_a_weaker_default_retention_is_said_and_made_up_for(scene: tuple[Machine, Bucket]) -> None:
    here, bucket = scene
    setting(here, bucket, lock="{mode: COMPLIANCE, days: 30}")
    said = here.json("backup", "run", expect=0).document["warnings"]
    assert "vault: the bucket's default retention is 1 days, and the configuration says 30" in said
    bucket.owner.put_object_lock_configuration(Bucket=bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    change(here, "second")
    here.at(DAYS[1])
    said = here.json("backup", "run", expect=0).document["warnings"]
    assert any("has no default retention" in each for each in said)
    assert min(retentions(bucket).values()) >= datetime.fromisoformat(DAYS[1]) + timedelta(days=30)
    assert "no default retention" in here("status").out


def test_nothing_is_copied_into_a_bucket_that_cannot_lock(made: Path, tmp_path: Path, s3_server: S3Server) -> None:
    here, bucket = in_bucket(made, tmp_path, s3_server.bucket(mode=None))
    before = bucket.keys()
    errors = here.json("backup", "run", expect=23).errors
    assert any("has no Object Lock" in error["message"] for error in errors)
    assert bucket.keys() == before
    assert here.json("status").result["backups"]["portal"]["copies"]["vault"]["survives"] is None
    empty = s3_server.bucket(mode=None)
    setting(here, empty)
    (here.state / "repositories" / "vault.json").unlink()
    assert "has no Object Lock" in here("backup", "init", "vault", expect=23).err and empty.keys() == {}


def test_a_door_that_does_not_open_leaves_the_set_whole(scene: tuple[Machine, Bucket]) -> None:
    here, bucket = scene
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    text = (here.etc / "opsctl.yaml").read_text()
    (here.etc / "opsctl.yaml").write_text(text.replace(bucket.server.endpoint(tls=True), f"https://127.0.0.1:{port}"))
    said = here.json("backup", "run", expect=3)
    assert {error["code"] for error in said.errors} == {13} and said.result["backups"]["portal"]["outcome"] == "changed"
    (here.etc / "opsctl.yaml").write_text(text)
    (here.etc / "keys" / "vault-secret").write_text("another one")
    assert {error["code"] for error in here.json("backup", "copy", "portal", expect=12).errors} == {12}


def test_a_key_that_may_not_lock_is_told_what_it_lacks(made: Path, tmp_path: Path, s3_server: S3Server) -> None:
    here, _ = in_bucket(made, tmp_path, s3_server.bucket(without=("ListBucketVersions",)))
    errors = here.json("backup", "run", expect=3).errors
    assert any("refuses list_object_versions to this access key" in error["message"] for error in errors)


# Stolen keys


def owner_keys(here: Machine, bucket: Bucket) -> list[str]:
    """The options that lend a run the key of the bucket's owner, which no configuration holds."""
    words = []
    for option, word in (("--access-key-file", bucket.server.owner.id), ("--secret-key-file", bucket.server.owner.secret)):
        file = here.root / option.strip("-")
        file.write_text(word + "\n")
        file.chmod(0o600)
        words += [option, str(file)]
    return words


def attack(bucket: Bucket) -> None:
    """All that stolen keys can do: the writer's overwrite and plant, the owner's hide everything."""
    for key in bucket.keys():
        if key.startswith(("repo/snapshots/", "repo/keys/", "repo/data/")) or key == "repo/config":
            bucket.put(key, b"pay us")
    bucket.put(f"repo/snapshots/{'a' * 64}", b"planted" * 10)
    bucket.put(f"repo/locks/{'b' * 64}", b"planted")
    bucket.owner.delete_object(Bucket=bucket.name, Key=f"repo/locks/{'b' * 64}")
    for key in bucket.keys():
        bucket.owner.delete_object(Bucket=bucket.name, Key=key)
    bucket.put(f"repo/snapshots/{'c' * 64}", b"planted again" * 10)


def last_change(bucket: Bucket) -> str:
    return max(each["LastModified"] for each in bucket.versions()).isoformat()


def test_stolen_keys_destroy_nothing_and_a_rewind_proves_it(scene: tuple[Machine, Bucket], tmp_path: Path) -> None:
    here, bucket = scene
    here("backup", "run", expect=0)
    before, moment = bucket.keys(), last_change(bucket)
    original = {each["VersionId"] for each in bucket.versions() if not each["marker"]}
    attack(bucket)
    told = here("backup", "rewind", "vault", expect=0).out
    assert "overwritten" in told and "deleted" in told and "--to" in told
    bucket.put(f"repo/another/snapshots/{'d' * 64}", b"of a repository that lies below this one")

    planned = here("--dry-run", "backup", "rewind", "vault", "--to", moment, expect=0).out
    assert "would copy the version of" in planned and "would hide 1 object of vault that was planted: snapshots/cccc" in planned
    assert here("backup", "rewind", "vault", "--to", moment, expect=4).code == 4, "nobody is there to be asked"
    assert {key for key in bucket.keys() if "another" not in key} == {f"repo/snapshots/{'c' * 64}"}, "so far nothing was done"

    errors = here.json("--yes", "backup", "rewind", "vault", "--to", moment, expect=3).errors
    assert "s3:DeleteObject" in errors[0]["hint"], "the everyday key brings everything back, but may hide nothing"
    assert before.items() < bucket.keys().items()

    said = here.json("--yes", "backup", "rewind", "vault", "--to", moment, *owner_keys(here, bucket), expect=0).result
    assert said["rewind"]["outcome"] == "changed" and said["verify"]["findings"] == 0
    assert before.items() < bucket.keys().items(), "and the record of what was read"
    assert any("another" in key for key in bucket.keys()), "what is none of this repository stays"
    assert original <= {each["VersionId"] for each in bucket.versions()}, "no version was deleted"
    assert not any("/locks/" in key for key in bucket.keys()), "no lock rose again"
    assert "nothing would be done" in here("--dry-run", "backup", "rewind", "vault", "--to", moment, expect=0).out
    shutil.rmtree(here.store)
    here("restore", "set", "portal", "--from", "vault", "--into", str(tmp_path / "out"), expect=0)
    assert (here.data / "bill").read_bytes() in tree(tmp_path / "out").values()


def test_a_rewind_that_cannot_be_is_refused(scene: tuple[Machine, Bucket]) -> None:
    here, bucket = scene
    early = here("--dry-run", "backup", "rewind", "vault", "--to", "2020-01-01", expect=0)
    assert "nothing would be done" in early.out and "the store dates everything after that moment" in early.err
    assert "there is no object snapshots/x" in here("backup", "rewind", "vault", "--to", "1h", "--hide", "snapshots/x", expect=2).err
    assert "is not in an S3 store" in here("backup", "rewind", "main", "--to", "1h", expect=2).err
    assert "still to come" in here("backup", "rewind", "vault", "--to", "2030-01-01", expect=2).err
    assert "nothing was overwritten or deleted" in here("backup", "rewind", "vault", expect=0).out
    assert "belong together" in here("backup", "rewind", "vault", "--access-key-file", "/x", expect=2).err
    assert bucket.owner.list_object_versions(Bucket=bucket.name).get("DeleteMarkers") is None


def test_what_was_replaced_is_said_at_the_next_copy_and_stays_locked(scene: tuple[Machine, Bucket]) -> None:
    here, bucket = scene
    here("backup", "run", expect=0)
    pack = next(key for key in bucket.keys() if key.startswith("repo/data/"))
    bucket.put(pack, b"x" * len(bucket.keys()[pack]))
    here.at(DAYS[1])
    change(here, "second")
    warnings = here.json("backup", "run").document["warnings"]
    assert any("1 objects were replaced after they were stored" in each and "rewind" in each for each in warnings)
    assert min(retentions(bucket).values()) >= datetime.fromisoformat(DAYS[1]) + timedelta(days=1), "the old version too"

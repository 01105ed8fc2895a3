"""Copies of sets in other repositories, through the command line, on real repositories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.places import open_folder
from tests.lab.quick_key import make_quick
from tests.lab.restserver import RestServer
from tests.machine import Kept, Machine, flip_content, tree

OTHER = "the copies have a password of their own"
DAYS = [f"2026-12-{day:02d}T02:30:00+05:30" for day in (12, 15, 18, 21, 24, 27)]


def setting(machine: Machine, *, more: str = "", copies: str = "second, offline", home: str = "main") -> None:
    password = machine.etc / "keys" / "repository-password"
    other = machine.etc / "keys" / "other-password"
    other.write_text(f"{OTHER}\n")
    other.chmod(0o600)
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: {machine.store}, password_file: {password}}}
  second: {{url: {machine.root}/second, password_file: {other}}}
  offline: {{url: {machine.root}/disk/opsctl, password_file: {other}, removable: true, every: 9d}}{more}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: {home}, copies: [{copies}]}}
""")
    machine.make_key()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A machine with all repositories made and one set, copied."""
    root = tmp_path_factory.mktemp("copies") / "m"
    machine = Machine(root)
    setting(machine)
    change(machine, "first")
    (machine.root / "disk").mkdir()
    machine.at(DAYS[0])
    machine("backup", "init", expect=0)
    for name, place, password in (("main", "store", "for tests only"), ("second", "second", OTHER),
                                  ("offline", "disk/opsctl", OTHER)):
        make_quick(root / place, password, machine.state / "repositories" / f"{name}.json")
    machine("backup", "run", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    """Two copies, one on a removable disk that is plugged in; one set, which both have."""
    return made.again()


def unplug(machine: Machine) -> None:
    (machine.root / "disk").rename(machine.root / "drawer")


def plug(machine: Machine) -> None:
    (machine.root / "drawer").rename(machine.root / "disk")


def change(machine: Machine, text: str) -> None:
    (machine.data / "bill").write_text(f"{text:>40} rupees\n" * 300)


def snapshots(machine: Machine, place: str) -> list[dict[str, object]]:
    password = machine.etc / "keys" / ("repository-password" if place == "store" else "other-password")
    done = subprocess.run(["restic", "-r", str(machine.root / place), "--password-file", str(password), "--no-cache",
                           "snapshots", "--json", "--no-lock"], capture_output=True, check=True)
    return json.loads(done.stdout)


def stand(machine: Machine, *words: str, expect: int = 0) -> dict[str, str]:
    """What a call says of each copy of the backup."""
    found = machine.json(*words, expect=expect).result["backups"]["portal"]["copies"]
    return {name: place["state"] for name, place in found.items()}


def states(machine: Machine) -> list[str]:
    return sorted(place["state"] for view in machine.json("backup", "list").result["sets"] for place in (view, *view["copies"]))


def ids(machine: Machine, place: str) -> set[str]:
    """The sets that have snapshots of a source in a repository."""
    return {tag for found in snapshots(machine, place) if "manifest" not in found["tags"]
            for tag in found["tags"] if tag.startswith("set=")}


def source_snapshot(machine: Machine, place: str) -> str:
    return next(str(found["id"]) for found in snapshots(machine, place) if "manifest" not in found["tags"])


def test_a_run_copies_its_set_and_the_second_look_finds_it_there(machine: Machine) -> None:
    assert stand(machine, "backup", "copy", "portal") == {"second": "current", "offline": "current"}
    assert machine.json("backup", "copy", "portal").result["backups"]["portal"]["outcome"] == "ok"
    assert len(snapshots(machine, "second")) == 2, "one source and the manifest, copied once"
    assert states(machine) == ["copy", "copy", "good"]
    (row,) = [line for line in machine("backup", "list", "portal", expect=0).out.splitlines() if line.startswith("portal")]
    assert "good   unknown  main, offline, second" in row, "one row a set, with the places that it is in"
    (held,) = machine.json("backup", "list", expect=0).result["sets"]
    assert held["repository"] == "main" and [one["repository"] for one in held["copies"]] == ["offline", "second"]
    pinned = [json.loads((machine.state / "repositories" / f"{name}.json").read_text())
              for name in ("main", "second", "offline")]
    assert len({one["chunker"] for one in pinned}) == 1, "or every copy would take its full size"
    assert len({one["id"] for one in pinned}) == 3


def test_promise_10_a_set_comes_back_from_its_copy_alone(machine: Machine, tmp_path: Path) -> None:
    fingerprint = subprocess.run(["ssh-keygen", "-lf", machine.etc / "keys" / "controller.pub"], capture_output=True,
                                 text=True, check=True).stdout.split()[1]
    shutil.rmtree(machine.store)
    bare = Machine(tmp_path)
    bare("restore", "set", "portal", "--into", str(bare.root / "back"), "--repository", str(machine.root / "second"),
         "--password-file", str(machine.etc / "keys" / "other-password"), "--trust", fingerprint, expect=0)
    found = {Path(name).name: content for name, content in tree(bare.root / "back").items()}
    assert found["bill"] == (machine.data / "bill").read_bytes()


def test_a_repository_in_the_place_of_a_backup_is_told_from_one(machine: Machine) -> None:
    said = machine("backup", "copy", "offline", expect=2)
    assert "offline is a repository" in said.err and "opsctl backup copy --to offline" in said.err


def test_a_restore_can_be_told_which_copy_to_take(machine: Machine) -> None:
    (machine.root / "store").rename(machine.root / "taken")
    machine("restore", "set", "portal", "--into", str(machine.root / "back"), expect=22)
    machine("restore", "set", "portal", "--into", str(machine.root / "back"), "--from", "offline", expect=0)
    machine("restore", "files", "portal", str(machine.data / "bill"), "--into", str(machine.root / "one"), "--from",
            "second", expect=0)
    content = (machine.data / "bill").read_bytes()
    assert content in tree(machine.root / "back").values()
    assert tree(machine.root / "one") == {"bill": content}
    assert "second" in machine("restore", "set", "portal", "--into", "/tmp/x", "--from", "secnd", expect=2).err


def test_a_key_that_is_gone_is_told_as_that_and_no_set_is_called_damaged(machine: Machine) -> None:
    unplug(machine)
    machine.at(DAYS[1])
    change(machine, "second")
    machine("backup", "run", expect=0)
    plug(machine)
    machine.at("2026-12-15T03:30:00+05:30")
    keys = machine.root / "store" / "keys"
    keys.rename(machine.root / "keys-of-home")
    keys.mkdir()
    for words in (("backup", "run"), ("backup", "copy", "--due"), ("restore", "set", "portal", "--into", str(machine.root / "back"))):
        said = machine(*words, expect=22).err
        assert "its key was deleted from the store" in said and "changed the catalogue" not in said, said
    keys.rmdir()
    (machine.root / "keys-of-home").rename(keys)
    assert stand(machine, "backup", "copy", "--due") == {"second": "current", "offline": "current"}, "it is tried again at once"


def test_a_manifest_that_cannot_be_read_is_no_word_against_the_catalogue(machine: Machine) -> None:
    shutil.rmtree(machine.state / "restic-cache", ignore_errors=True)
    for pack in (machine.store / "data").glob("*/*"):
        pack.chmod(0o600)
        content = bytearray(pack.read_bytes())
        for place in range(40, len(content) - 200, 60):
            content[place] ^= 1
        pack.write_bytes(content)
    said = machine("restore", "set", "portal", "--into", str(machine.root / "back"), expect=22).err
    assert "cannot be used: its record cannot be read" in said and "changed the catalogue" not in said


def test_a_copy_is_drilled_by_itself_without_home_and_cache(machine: Machine) -> None:
    file = machine.etc / "opsctl.yaml"
    file.write_text(file.read_text().replace("copies: [second, offline]}", "copies: [second, offline], verify: {drill: 30d}}"))
    (machine.root / "store").rename(machine.root / "taken")
    shutil.rmtree(machine.state / "restic-cache", ignore_errors=True)
    drill = ("verify", "--level", "drill", "portal", "--from", "offline", "--scratch", str(machine.root))
    machine(*drill, expect=0)
    (machine.root / "taken").rename(machine.root / "store")
    said = machine("status", "--refresh", expect=0).out
    assert "portal in offline: the last drill, " in said and "portal in second: the last drill" not in said
    flip_content(machine.data / "bill", machine.root / "disk/opsctl", OTHER)
    machine(*drill, expect=22)
    late = machine.json("status", expect=5)
    assert [error["where"] for error in late.errors] == ["portal/offline"]
    assert [one["ok"] for one in late.result["backups"]["portal"]["copies"]["offline"]["drills"]] == [True, False]


def test_a_disk_that_is_away_is_no_failure_until_its_copy_is_old(machine: Machine) -> None:
    unplug(machine)
    machine.at(DAYS[1])
    change(machine, "second")
    assert stand(machine, "backup", "run", "--due") == {"second": "current", "offline": "away"}
    said = machine("status", expect=0).out
    assert "away, last seen 2026-12-11 21:00 UTC, the next copy is due 2026-12-20 21:00 UTC" in said
    machine("status", "--refresh", expect=0)
    found = machine.json("status", expect=0).result["backups"]["portal"]["copies"]
    assert (found["offline"]["away"], found["second"]["away"]) == (True, False)
    assert "offline is away" in machine("backup", "copy", "--due", expect=0).out
    assert "offline was left out" in machine("verify", expect=0).err
    machine("verify", "offline", expect=13)
    listed = machine("backup", "list", expect=0)
    assert "the disk of offline is not here" in listed.err
    asked = machine.json("backup", "copy", "portal", "--to", "offline", expect=13)
    assert "the disk of offline is not here" in asked.errors[0]["message"]
    both = machine.json("backup", "copy", "portal", expect=3)
    assert [error["code"] for error in both.errors] == [13], "the other copy is as it was asked for"
    machine.at(DAYS[4])
    change(machine, "third")
    assert stand(machine, "backup", "run", "--due") == {"second": "current", "offline": "away"}
    late = machine.json("status", expect=5)
    assert [error["where"] for error in late.errors] == ["portal/offline"]
    assert machine("status", "--nagios", expect=2).out.startswith("OPSCTL CRITICAL - the copy of portal in offline")
    plug(machine)
    assert stand(machine, "backup", "run", "--due") == {"second": "current", "offline": "current"}
    assert ids(machine, "disk/opsctl") == ids(machine, "store"), "it gets all that it missed"
    machine("status", expect=0)


def test_a_copy_is_made_as_often_as_its_own_every(machine: Machine) -> None:
    file = machine.etc / "opsctl.yaml"
    file.write_text(file.read_text().replace("removable: true, ", ""))
    held = []
    for day in DAYS[1:4]:
        machine.at(day)
        change(machine, day)
        said = machine("backup", "run", "--due", expect=0)
        assert ("backup copy --to offline" in said.out) is (day != DAYS[3])
        held.append(len(ids(machine, "disk/opsctl")))
    assert held == [1, 1, 4]


def test_a_disk_that_is_here_gets_every_set_since_it_may_be_away_tomorrow(machine: Machine) -> None:
    machine.at(DAYS[1])
    change(machine, "second")
    assert stand(machine, "backup", "run", "--due")["offline"] == "current"
    unplug(machine)
    machine.at(DAYS[2])
    change(machine, "third")
    assert stand(machine, "backup", "run", "--due")["offline"] == "away"
    machine.at(DAYS[2].replace("T02", "T05"))
    plug(machine)
    assert stand(machine, "backup", "run", "--due")["offline"] == "current"
    assert ids(machine, "disk/opsctl") == ids(machine, "store")


def test_a_copy_that_fails_stops_neither_the_set_nor_the_other_copy(machine: Machine) -> None:
    (machine.root / "second").rename(machine.root / "taken")
    machine.at(DAYS[3])
    change(machine, "another")
    said = machine.json("backup", "run", expect=22)
    found = said.result["backups"]["portal"]
    assert found["outcome"] == "changed"
    assert found["copies"]["offline"]["newest"] == found["set"]
    assert [(error["code"], error["where"]) for error in said.errors] == [(22, "second")]
    assert "1 set" in said.errors[0]["message"]
    assert not (machine.root / "second").exists(), "a known repository that is gone is never made anew"


def test_a_rewritten_copy_is_no_copy(machine: Machine) -> None:
    second(machine, "rewrite", "--forget", "--exclude", "bill", source_snapshot(machine, "second"))
    assert states(machine) == ["copy", "damaged", "good"]
    machine("verify", "second", expect=22)


def test_a_copy_that_lost_a_snapshot_is_named_and_made_again(machine: Machine) -> None:
    (machine.root / "second" / "snapshots" / source_snapshot(machine, "second")).unlink()
    said = machine.json("verify", "second", expect=22)
    assert any("is gone, or was never finished" in error["message"] for error in said.errors)
    assert stand(machine, "backup", "copy", "--to", "second") == {"second": "current"}
    machine("verify", "second", expect=0)


def test_a_copy_killed_between_its_snapshots_is_finished_by_the_next(machine: Machine) -> None:
    """What a kill leaves: the snapshot of a source without the manifest, which is copied last."""
    victim = next(found for found in snapshots(machine, "second") if "manifest" in found["tags"])
    (machine.root / "second" / "snapshots" / str(victim["id"])).unlink()
    machine.forget()
    machine("backup", "init", expect=0)
    assert states(machine) == ["copy", "good", "incomplete"]
    assert "second: the copy is not finished" in machine("backup", "list", "portal", expect=0).out
    assert stand(machine, "backup", "copy") == {"second": "current", "offline": "current"}
    assert states(machine) == ["copy", "copy", "good"]
    machine("verify", "second", expect=0)


def test_a_copy_with_other_chunker_parameters_is_refused(machine: Machine) -> None:
    shutil.rmtree(machine.root / "second")
    second(machine, "init", "-q")
    (machine.state / "repositories" / "second.json").unlink()
    assert "cuts data up in another way" in machine("backup", "init", expect=0).err
    said = machine.json("backup", "copy", "--to", "second", expect=23)
    assert "cuts data up in another way" in said.errors[0]["message"]


def test_a_wrong_password_says_whose_it_is(machine: Machine) -> None:
    machine.at(DAYS[1])
    change(machine, "another")
    (machine.etc / "keys" / "other-password").write_text("wrong\n")
    said = machine.json("backup", "run", expect=3)
    assert said.result["backups"]["portal"]["outcome"] == "changed"
    assert [error["code"] for error in said.errors] == [12, 12]
    for name, error in zip(("second", "offline"), said.errors, strict=True):
        assert f"repository {name}" in error["message"]


def test_a_damaged_set_is_not_copied_and_the_one_after_it_is(machine: Machine) -> None:
    unplug(machine)
    (machine.root / "second").rename(machine.root / "taken")
    before = {path.name for path in (machine.store / "data").rglob("*")}
    (machine.data / "photo").write_bytes(os.urandom(200_000))
    machine.at(DAYS[1])
    machine("backup", "run", expect=22)
    new = [path for path in (machine.store / "data").rglob("*") if path.is_file() and path.name not in before]
    flip(max(new, key=lambda path: path.stat().st_size))
    (machine.data / "photo").unlink()
    machine.at(DAYS[2])
    machine("backup", "run", "--accept", "files", expect=22)
    (machine.root / "taken").rename(machine.root / "second")
    said = machine.json("backup", "copy", "--to", "second", expect=22)
    assert "main" in said.errors[0]["message"]
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["copies"]["second"]["paused"]
    assert "tried again once a day" in machine("backup", "run", "--due", expect=0).out, "never silent"
    assert "could not be copied" in machine.json("status", expect=5).errors[0]["message"]
    again = machine.json("backup", "copy", "--to", "second", expect=22).errors[0]["message"]
    assert again.startswith("data in repository main") and again.endswith("so it was not copied to second")
    machine.at("2026-12-19T03:30:00+05:30")
    machine("backup", "run", "--due", expect=22)
    newest = max(ids(machine, "store"))
    assert newest in ids(machine, "second"), "one damaged set must not keep the ones after it from being copied"
    assert len(ids(machine, "second")) == 2


def test_a_copy_behind_an_append_only_server(machine: Machine) -> None:
    secret = machine.etc / "keys" / "rest-password"
    secret.write_text("for tests only\n")
    secret.chmod(0o600)
    with open_folder() as directory:
        with RestServer(directory / "store", user="far", password="for tests only", tls=True) as server:
            setting(machine, more=f"""
  far: {{url: "{server.repository_url('portal')}", user: far, secret_file: {secret}, cacert: {server.certificate},
        password_file: {secret}, append_only: true}}""", copies="second, far")
            machine("backup", "init", "far", expect=0)
            place = server.repository_path("portal")
            key = place / "keys" / make_quick(place, "for tests only", machine.state / "repositories" / "far.json")
            os.chown(key, place.stat().st_uid, place.stat().st_gid)
            assert stand(machine, "backup", "copy") == {"second": "current", "far": "current"}
            found = machine.json("status", expect=0).result["backups"]["portal"]["copies"]["far"]
            assert found["sets"] == 1 and "append_only" in found["survives"]
            assert machine.json("verify", "far", expect=0).code == 0
            # and back: a copy whose source is the server, with a certificate that only the source needs
            setting(machine, more=f"""
  far: {{url: "{server.repository_url('portal')}", user: far, secret_file: {secret}, cacert: {server.certificate},
        password_file: {secret}, append_only: true}}
  third: {{url: {machine.root}/third, password_file: {secret}}}""", copies="third", home="far")
            machine("backup", "init", "third", expect=0)
            make_quick(machine.root / "third", "for tests only", machine.state / "repositories" / "third.json")
            machine.at(DAYS[1])
            change(machine, "second")
            assert stand(machine, "backup", "run") == {"third": "current"}


def flip(path: Path) -> None:
    """Change a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(content)


def second(machine: Machine, *words: str) -> None:
    """restic on the second repository, as somebody else would call it."""
    subprocess.run(["restic", "-r", str(machine.root / "second"), "--password-file",
                    str(machine.etc / "keys" / "other-password"), "--no-cache", *words], check=True, capture_output=True)

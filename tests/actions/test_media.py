"""Disks that are carried away and come back: real file systems on loop devices, the real program."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.disk import Disk, Plugged
from tests.lab.quick_key import make_quick
from tests.machine import Kept, tree
from tests.within import within

pytestmark = pytest.mark.as_root("loop devices and mounting need root")

PASSWORD = "for tests only"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A machine with one set, and a copy of it on a disk, which is registered."""
    root = tmp_path_factory.mktemp("media") / "m"
    machine = Plugged(root)
    password = machine.etc / "keys" / "repository-password"
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: {machine.store}, password_file: {password}}}
  offline: {{url: {root}/offline-a/portal, password_file: {password}, removable: true, every: 9d}}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: main, copies: [offline]}}
""")
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    machine.make_key()
    (machine.data / "ledger.csv").write_text("ward,tax\n1,200\n")
    with Disk(root / "disk.img", root / "offline-a") as machine.disk:
        machine("backup", "init", expect=0)
        for name, place in (("main", machine.store), ("offline", machine.disk.from_here / "portal")):
            make_quick(place, PASSWORD, machine.state / "repositories" / f"{name}.json")
        machine("backup", "run", expect=0)
        machine("media", "register", "offline-a", "--repository", "offline", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Iterator[Plugged]:
    """The machine, with its disk plugged in and mounted for writing."""
    again = made.again()
    machine = Plugged(again.root)
    machine.environ = again.environ
    with Disk(machine.root / "disk.img", machine.root / "offline-a") as machine.disk:
        yield machine


def leave(machine: Plugged, *more: str) -> None:
    """Carry it away, sealed, and pull it out."""
    machine("media", "out", "offline-a", "--to", "Asha", "--place", "treasury vault", *more, expect=0)
    assert machine.disk.mounted is None
    machine.disk.pull_out()


def test_a_disk_is_known_by_its_file_system_and_what_lies_on_it(machine: Plugged) -> None:
    (found,) = machine.json("media", "list", expect=0).result["media"]
    assert (found["ident"], found["label"], found["mount"]) == (machine.disk.uuid, "OFFLINE-A", str(machine.disk.mount))
    assert (found["repositories"], found["stands"], found["custody"]["where"]) == (["offline"], "mounted for writing", "here")
    refused = machine("media", "register", "other", "--repository", "offline", expect=23)
    assert "registered already, as offline-a" in refused.err
    assert "not on a removable disk" in machine("media", "register", "x", "--repository", "main", expect=2).err


def test_a_folder_of_this_machine_is_no_disk(machine: Plugged) -> None:
    machine.disk.run("umount", str(machine.disk.mount))
    (machine.disk.mount / "portal").mkdir()
    refused = machine("media", "register", "b", "--repository", "offline", expect=23)
    assert "no disk that could be carried away" in refused.err
    assert [one["name"] for one in machine.json("media", "list", expect=0).result["media"]] == ["offline-a"]


def test_what_left_comes_back_as_it_was_and_standard_tools_can_tell(machine: Plugged) -> None:
    before = machine.disk.tree()
    leave(machine, "--back", "9d")
    listed = (machine.state / "media" / "offline-a.sha256").read_text()
    assert len(listed.splitlines()) == len(before)
    shown = machine("media", "list", expect=0).out
    assert "with Asha, at treasury vault" in shown and "not plugged in" in shown
    assert "with Asha" in machine("status").out

    machine.disk.plug_in()
    said = machine("media", "in", "offline-a", "--from", "Asha", expect=0)
    assert f"all {len(before)} files are what they were when it left" in said.out
    assert machine.disk.mounted is not None and machine.disk.mounted.startswith("ro,nosuid,nodev,noexec")
    assert machine.disk.tree() == before
    machine.disk.run("sh", "-c", 'cd "$1" && sha256sum --check --strict --quiet opsctl-media/offline-a.sha256', "sh", str(machine.disk.mount))
    allowed = machine.root / "signers"
    allowed.write_text(f"controller {(machine.etc / 'keys' / 'controller.pub').read_text()}")
    machine.disk.run("ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "controller", "-n", "medium@opsctl", "-s",
                     str(machine.disk.mount / "opsctl-media" / "offline-a.sha256.sig"), stdin=listed.encode())

    # Mounted for reading only it serves a restore.
    target = machine.root / "back"
    machine("restore", "set", "portal", "--from", "offline", "--into", str(target), expect=0)
    assert tree(target / "files" / str(machine.data).lstrip("/")) == {"ledger.csv": b"ward,tax\n1,200\n"}
    custody = [entry for entry in map(json.loads, machine.json("journal", "show").out.splitlines()) if entry] or []
    assert "treasury vault" in json.dumps(custody)


@pytest.mark.parametrize("harm", ["changed", "missing", "new"])
def test_a_disk_that_was_touched_while_it_was_away_is_22_by_name(machine: Plugged, harm: str) -> None:
    leave(machine)
    machine.disk.plug_in()
    machine.disk.run("mount", machine.disk.device, str(machine.disk.mount))
    pack = next(path for path in machine.disk.tree() if path.startswith("data/"))
    place = str(machine.disk.mount / "portal" / pack)
    if harm == "changed":
        machine.disk.run("sh", "-c", 'chmod u+w "$1" && printf x | dd of="$1" bs=1 seek=40 conv=notrunc status=none', "sh", place)
    elif harm == "missing":
        machine.disk.run("rm", place)
    else:  # and one that nobody can read
        pack = "data/00/" + "0" * 64
        machine.disk.run("mkfifo", str(machine.disk.mount / "portal" / pack))
    machine.disk.run("umount", str(machine.disk.mount))
    with within():
        said = machine.json("media", "in", "offline-a", "--from", "Asha", expect=22)
    (error,) = said.errors
    assert error["details"][harm] == [f"portal/{pack}"]
    assert f"1 file {harm}" in error["message"]
    listed = machine.json("media", "list", expect=5)
    (found,) = listed.result["media"]
    assert f"1 file {harm}" in found["late"] and found["custody"]["where"] == "here"
    assert f"1 file {harm}" in machine("status", expect=5).out


def test_a_list_that_somebody_changed_here_is_refused(machine: Plugged) -> None:
    leave(machine)
    path = machine.state / "media" / "offline-a.sha256"
    path.write_text(path.read_text().replace("a", "b", 1))
    machine.disk.plug_in()
    assert "is not the one that was sealed" in machine("media", "in", "offline-a", "--from", "x", expect=22).err
    assert machine.json("media", "list").result["media"][0]["custody"]["where"] == "out"


def test_one_that_does_not_come_back_in_time_is_overdue(machine: Plugged) -> None:
    leave(machine, "--back", "9d")
    machine.at("2026-12-21T01:30:00+05:30")
    machine("media", "list", expect=0)
    machine.at("2026-12-21T14:00:00+05:30")
    assert "was to be back 11 h ago; with Asha, at treasury vault" in machine("media", "list", expect=5).err
    assert any("medium offline-a was to be back" in error["message"] for error in machine.json("status", expect=5).errors)


def test_one_that_is_not_plugged_in_is_neither_sealed_nor_taken_in(machine: Plugged) -> None:
    machine.disk.run("umount", str(machine.disk.mount))
    machine.disk.pull_out()
    for words in (("out", "offline-a", "--to", "x", "--place", "y"), ("in", "offline-a", "--from", "x")):
        assert "is not plugged in" in machine("media", *words, expect=13).err
    (found,) = machine.json("media", "list", expect=0).result["media"]
    assert (found["custody"]["where"], found["sealed"]) == ("here", None)


def test_another_disk_in_its_place_is_refused(machine: Plugged, tmp_path: Path) -> None:
    leave(machine)
    with Disk(tmp_path / "other.img", machine.disk.mount, beside=machine.disk):
        assert "another file system is mounted" in machine("media", "in", "offline-a", "--from", "x", expect=23).err


def test_copying_begins_when_it_is_plugged_in(machine: Plugged) -> None:
    leave(machine)
    (machine.data / "ledger.csv").write_text("ward,tax\n1,250\n")
    machine.at("2026-12-15T02:30:00+05:30")
    machine("backup", "run", expect=0)
    waiting = machine.start("media", "copy", "offline-a", "--wait", "60s")
    assert waiting.stderr is not None
    told = waiting.stderr.readline()
    assert "plug offline-a in" in told and "with Asha" in told
    machine.disk.plug_in()
    out, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, err
    assert "offline holds 2 sets" in out and "offline-a can be unplugged" in out
    assert machine.disk.mounted is None
    # What status knows was seen while it was there.
    copies = machine.json("status").result["backups"]["portal"]["copies"]["offline"]
    assert (copies["sets"], copies["late"], copies["away"]) == (2, False, True)


def test_a_second_run_finds_nothing_to_do(machine: Plugged) -> None:
    assert "is mounted" in machine("media", "mount", "offline-a", "--write", expect=0).out
    assert machine.json("media", "mount", "offline-a", "--write", expect=0).result["outcomes"] == {"ok": 1}
    assert machine.disk.mounted is not None and machine.disk.mounted.startswith("rw")
    machine("media", "mount", "offline-a", expect=0)
    assert machine.disk.mounted.startswith("ro")
    machine("media", "unmount", "offline-a", expect=0)
    assert machine.json("media", "unmount", "offline-a", expect=0).result["outcomes"] == {"ok": 1}


def test_a_disk_that_is_in_use_is_not_let_go_of(machine: Plugged) -> None:
    holding = subprocess.Popen(machine.disk.inside(["sh", "-c", 'exec 3<"$1"; echo held; exec sleep infinity', "sh", str(machine.disk.mount / "portal" / "config")]),
                               stdout=subprocess.PIPE)
    try:
        assert holding.stdout is not None and holding.stdout.readline() == b"held\n"
        said = machine("media", "unmount", "offline-a", expect=20)
    finally:
        holding.kill()
        holding.communicate()
    assert "fuser -vm" in said.err and machine.disk.mounted is not None


def test_one_that_a_container_still_has_is_not_said_to_be_free(machine: Plugged) -> None:
    container = subprocess.Popen(machine.disk.inside(["unshare", "--mount", "sh", "-c", "echo in; exec sleep infinity"]), stdout=subprocess.PIPE)
    try:
        assert container.stdout is not None and container.stdout.readline() == b"in\n"
        said = machine("media", "unmount", "offline-a", expect=20)
        assert "do not unplug it" in said.err and str(container.pid) in said.err and "can be unplugged" not in said.out
    finally:
        container.kill()
        container.communicate()
    assert "can be unplugged" in machine("media", "unmount", "offline-a", expect=0).out


def test_a_new_controller_takes_the_sealed_list_from_the_disk(machine: Plugged) -> None:
    leave(machine)
    shutil.rmtree(machine.state / "media")
    machine.disk.plug_in()
    machine.disk.run("mount", machine.disk.device, str(machine.disk.mount))
    assert "one of our keys sealed" in machine("media", "register", "offline-a", "--repository", "offline", expect=0).out
    assert machine.json("media", "in", "offline-a", "--from", "Asha", expect=0).result["steps"]["check"]["changed"] == 0
    shutil.rmtree(machine.state / "media")
    path = machine.disk.mount / "opsctl-media" / "offline-a.sha256"
    machine.disk.run("mount", "-o", "remount,rw", str(machine.disk.mount))
    machine.disk.run("sed", "-i", "1s/^./x/", str(path))
    assert "does not hold" in machine("media", "register", "offline-a", "--repository", "offline", expect=22).err
    machine.disk.run("sh", "-c", 'rm "$1" && mkfifo "$1"', "sh", str(path))
    with within():
        assert "cannot be read: it is a pipe" in machine("media", "register", "offline-a", "--repository", "offline", expect=20).err

"""`opsctl restore promote` and `rollback`, whole: clean room, scan, proof, two people, one rename, and back."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from opsctl.actions.clear_room import ClearRoom
from tests.actions.test_promote import OLD, fill, hidden
from tests.approvals.site import make_keys, people_of
from tests.machine import Machine, tree
from tests.scanning.samples import EICAR

GOOD = {"index.html": b"<h1>property tax</h1>\n" * 20, "register/2023.txt": b"marriages\n" * 50}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


def backed_up(machine: Machine, keys: Path, content: dict[str, bytes]) -> None:
    room = machine.root / "rooms"
    room.mkdir(exist_ok=True)
    machine.configure(more=f"clean_room: {{place: {room}}}\nservices: {{portal: {{restores: [files]}}}}\n{people_of(keys)}")
    fill(machine.data, content)
    machine("backup", "run", expect=0)
    shutil.rmtree(machine.data)
    fill(machine.data, OLD)


def approve(machine: Machine, keys: Path, run: str, *by: str) -> None:
    for name in by:
        machine("--yes", "approve", run, "approve", "--by", name, "--key", str(keys / name), expect=0)


def test_promise_9_a_source_comes_into_production_when_two_have_approved_and_goes_back(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    machine.json("--dry-run", "restore", "promote", "portal", "files", "--replace", expect=0)
    begun = machine.json("restore", "promote", "portal", "files", "--replace", expect=4)
    run = str(begun.document["run"])
    assert tree(machine.data) == OLD and hidden(machine.data) == []
    approve(machine, keys, run, "asha")
    machine("resume", run, expect=4)
    assert tree(machine.data) == OLD
    approve(machine, keys, run, "imran")
    done = machine.json("resume", run, expect=0)
    assert tree(machine.data) == GOOD
    (place,) = next(step["result"]["places"] for step in done.result["steps"] if step["step"] == "promote")
    assert tree(Path(place["kept"])) == OLD
    assert list((machine.root / "rooms").iterdir()) == [], "the clean room is gone"
    said = machine("restore", "rollback", run, "portal", expect=0)
    assert "as it was before" in said.out and tree(machine.data) == OLD
    assert [step["outcome"] for step in machine.json("restore", "rollback", run, expect=0).result["steps"]] == ["ok"]
    (one,) = machine.json("restore", "kept", expect=0).result["kept"]
    assert (one["name"], one["before"], one["bytes"]) == (f"{machine.data}.promoted-20261211-2100", False, sum(map(len, GOOD.values())))
    assert "type its name" in machine.json("restore", "kept", "--remove", one["name"], expect=4).errors[0]["message"]
    assert tree(Path(one["name"])) == GOOD, "nobody typed it"
    machine("--dry-run", "restore", "kept", "--remove", one["name"], expect=0)
    machine("restore", "kept", "--remove", str(machine.data), expect=2)
    discard = ("run", "discard", "--set", f"kept={one['name']}", "--set", f"run={run}")
    assert "typed in full" in machine.json(*discard, expect=23).errors[0]["message"]
    machine.json(*discard, "--set", "said=another", expect=23)
    assert tree(Path(one["name"])) == GOOD
    machine(*discard, "--set", f"said={one['name']}", expect=0)
    assert not Path(one["name"]).exists() and tree(machine.data) == OLD
    assert machine.json("restore", "kept", expect=0).result["kept"] == []
    assert "brought nothing" in machine.json("restore", "rollback", "20260101-0000-x-0000", expect=23).errors[0]["message"]


def test_promise_9_what_a_scan_finds_does_not_come_into_production(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, {**GOOD, "mail/invoice.com": EICAR})
    found = machine.json("restore", "promote", "portal", "files", "--replace", expect=22)
    assert tree(machine.data) == OLD
    assert {step["step"]: step["outcome"] for step in found.result["steps"]}["promote"] == "skipped"
    (room,) = (machine.root / "rooms").iterdir()
    machine.at("2026-12-12T03:30:00+05:30")
    told = " ".join(machine("restore", "promote", "portal", "files", "--replace", expect=22).out.split())
    assert f"what was restored stays in the clean room {(name := room.name.removeprefix('opsctl-room-'))}, {room}; when it was looked at: opsctl restore clear {name}" in told
    told = " ".join(machine("resume", str(found.document["run"]), expect=22).out.split())
    assert f"opsctl restore clear {name}" in told


def test_whoever_asks_twice_is_told_of_the_run_that_waits(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    run = machine.json("restore", "promote", "portal", "files", "--replace", expect=4).document["run"]
    machine.at("2026-12-12T03:30:00+05:30")
    again = machine.json("restore", "promote", "portal", "files", "--replace", expect=4)
    assert again.document["run"] == run and f"run {run} waits already: " in again.errors[0]["message"] and f"opsctl resume {run}" in again.errors[0]["hint"]
    assert [one["playbook"] for one in machine.json("runs").result["runs"]].count("promote") == 1
    other = machine.json("restore", "promote", "portal", "files", "--replace", "--people", "3", expect=4).document["run"]
    assert other != run
    machine("restore", "choose", "portal", machine.json("backup", "list").result["sets"][0]["set"], "--why", "calm", expect=4)
    machine.at("2026-12-12T04:30:00+05:30")
    assert "waits already" in machine("restore", "choose", "portal", machine.json("backup", "list").result["sets"][0]["set"], "--why", "calm", expect=4).err


OPENED = ("incident", "open", "--title", "Portal encrypted", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "night operator",
          "--signal", "files renamed", "--in-charge", "Asha Verma")


def test_what_is_decided_while_an_incident_is_open_is_signed_for_it(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    set_id = machine.json("backup", "list").result["sets"][0]["set"]
    choose = ("restore", "choose", "portal", set_id)
    before = machine.json(*choose, expect=4).document["run"]
    machine(*OPENED[:2], "inc-1", *OPENED[2:])
    shown = machine("--yes", "approve", before, "agree", "--by", "asha", "--key", str(keys / "asha")).err
    assert "incident    none, although inc-1 is open: this is signed for none of them" in shown
    for words, step in ((choose, "agree"), (("restore", "promote", "portal", "files", "--replace"), "approve")):
        run = machine.json(*words, expect=4).document["run"]
        assert run != before and machine.json("show", run).result["inputs"]["incident"] == "inc-1"
        shown = machine("--yes", "approve", run, step, "--by", "asha", "--key", str(keys / "asha"), expect=0).err
        assert "incident    inc-1" in shown
        [signed] = [json.loads(line)["data"]["statement"] for path in (machine.state / "journal").glob("*.jsonl") for line in path.read_text().splitlines()
                    if '"approve.signed"' in line and run in line]
        assert signed["incident"] == "inc-1"
    machine(*OPENED[:2], "inc-2", *OPENED[2:])
    for words in (choose, ("restore", "promote", "portal", "files", "--replace"), ("restore", "run"), ("verify", "portal", "--level", "drill")):
        assert "2 incidents are open: inc-1, inc-2; which one is it for?" in machine(*words, expect=2).err
    run = machine.json(*choose, "--incident", "inc-2", "--why", "again", expect=4).document["run"]
    assert machine.json("show", run).result["inputs"]["incident"] == "inc-2"
    machine(*choose, "--incident", "inc-9", expect=2)


@pytest.mark.parametrize("where", ["begun", "done"])
def test_promise_7_killed_while_its_room_is_cleared_it_comes_to_its_end(machine: Machine, keys: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backed_up(machine, keys, GOOD)
    run = str(machine.json("restore", "promote", "portal", "files", "--replace", expect=4).document["run"])
    approve(machine, keys, run, "asha", "imran")
    (room,) = (machine.root / "rooms").iterdir()

    def cut_off(action: ClearRoom, params: Any, change: Any, world: Any) -> None:
        if where == "done":
            shutil.rmtree(room / "files")
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(ClearRoom, "apply", cut_off)
        with contextlib.suppress(KeyboardInterrupt):
            machine("resume", run)
    assert room.exists() and tree(machine.data) == GOOD
    (machine.data / "note.txt").write_text("it is used again\n")
    machine("resume", run, expect=0)
    assert not room.exists()

def test_promise_9_what_was_removed_on_purpose_is_left_out_named_by_every_proof_and_kept(machine: Machine, keys: Path) -> None:
    odd = "mail/inv\\oice\n.com"
    backed_up(machine, keys, {**GOOD, odd: EICAR, "up.php": EICAR})
    begun = machine.json("restore", "promote", "portal", "files", "--replace", expect=22)
    run = str(begun.document["run"])
    found = {error["details"]["path"]: error["details"] for error in begun.errors}
    paths = sorted(found)
    assert len(paths) == 2 and "\n" not in "".join(paths)
    machine("restore", "remove", run, "0123456789abcdef", "--reason", "no bill", expect=2)
    machine("restore", "remove", run, paths[0], "--reason", " ", expect=2)
    dry = machine("--dry-run", "restore", "remove", run, *paths, "--reason", "no bill", expect=0)
    assert found[paths[0]]["sha256"] in dry.out and tree(machine.data) == OLD
    first = machine.json("restore", "remove", run, paths[0], "--reason", "no bill", expect=0)
    (file,) = first.result["steps"][0]["result"]["files"]
    assert Path(file["kept"]).read_bytes() == EICAR and Path(file["kept"]).stat().st_mode & 0o777 == 0o400
    assert [error["details"]["path"] for error in machine.json("resume", run, expect=22).errors] == [paths[1]]
    machine("restore", "remove", run, found[paths[1]]["finding"], "--reason", "a shell", expect=0)
    waits = machine.json("resume", run, expect=4)
    assert all(f"{path} (SHA-256 {found[path]['sha256'][:16]}…, rule eicar_test_file) removed on purpose by" in waits.errors[0]["message"] for path in paths)
    proof = next(step["result"]["proofs"][0] for step in waits.result["steps"] if step["step"] == "prove")
    assert (proof["equal"], sorted(one["path"] for one in proof["removed"])) == (True, paths) and "2 files removed on purpose" in proof["shows"]
    shown = machine("--dry-run", "approve", run, "approve", "--by", "asha", "--key", str(keys / "asha"), expect=0).err
    assert "without" in shown and "removed on purpose by" in shown
    late = machine.json("restore", "remove", run, paths[0], "--reason", "late", expect=2)
    assert "finding" in late.errors[0]["message"]
    approve(machine, keys, run, "asha", "imran")
    machine("resume", run, expect=0)
    assert tree(machine.data) == GOOD, "and nothing else is missing"
    machine("restore", "promote", "portal", "files", "--replace", expect=22)
    machine("journal", "verify", expect=0)


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_what_the_scan_found_and_is_another_file_now_is_not_removed(machine: Machine, keys: Path, how: str) -> None:
    backed_up(machine, keys, {**GOOD, "mail/invoice.com": EICAR})
    run = str(machine.json("restore", "promote", "portal", "files", "--replace", expect=22).document["run"])
    (lies,) = (machine.root / "rooms").rglob("invoice.com")
    lies.unlink()
    if how == "changed":
        lies.write_bytes(b"something else")
    said = machine.json("restore", "remove", run, f"files{machine.data}/mail/invoice.com", "--reason", "no bill", expect=23)
    assert ("not what the scan found" if how == "changed" else "is neither in the clean room") in said.errors[0]["message"]

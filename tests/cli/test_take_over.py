"""A controller lost in the middle of an incident: another one takes the incident over, and what is lost is named."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells import local
from tests.badluck.faults import until
from tests.lab.quick_key import make_quick
from tests.lab.restserver import RestServer
from tests.machine import PACKAGE, Kept, Machine, tree

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code")
NOW = "2026-12-21T03:00:00+05:30"
ORGANISATION = "organisation: {name: Urban Development, timezone: Asia/Kolkata}"


def controller(root: Path, store: Path | str) -> Machine:
    """A controller with a key of its own on a repository that is there."""
    machine = Machine(root)
    machine.make_key()
    machine.store = store  # type: ignore[assignment]
    machine.configure(more=ORGANISATION)
    machine.at(NOW)
    return machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("taken") / "m"
    machine = controller(root, root / "store")
    machine("backup", "init", expect=0)
    make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
    machine(*OPEN, expect=0)
    machine("incident", "order", "inc-1", "send the firewall logs", "--order", "20-77", "--received-at", "2026-12-21T02:45+05:30", "--due-at",
            "2026-12-21T05:00+05:30", expect=0)
    folder = machine.state / "incidents" / "inc-1"
    for name, content in (("evidence/web1/data/log", "GET /\n"), ("evidence/.coming/half", "x"), ("papers/order.pdf", "%PDF")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Iterator[Machine]:
    yield made.again()
    local.reset()


@pytest.fixture
def other(machine: Machine, tmp_path: Path) -> Machine:
    found = controller(tmp_path / "other", machine.store)
    found("backup", "init", expect=0)
    return found


def fingerprint(machine: Machine) -> str:
    return subprocess.run(["ssh-keygen", "-lf", machine.etc / "keys" / "controller.pub"], check=True, capture_output=True, text=True).stdout.split()[1]


def due(machine: Machine) -> dict[str, Any]:
    return {one["duty"]: one["due"] for one in machine.json("incident", "show", "inc-1").result["clocks"]}


def test_promise_8_another_controller_goes_on_with_clocks_and_files_and_names_what_is_lost(machine: Machine, other: Machine) -> None:
    kept = machine.json("incident", "keep", expect=0).result["incidents"]["inc-1"]["repositories"]["main"]
    assert (kept["entries"], kept["files"]) == (2, 2)
    assert "already as wanted" in str(machine.json("incident", "keep", expect=0).result), "a second time there is nothing to do"
    before = due(machine)
    machine("incident", "note", "inc-1", "nobody will know of this", expect=0)
    assert "main still lacks 1 entry" in machine("incident", "show", "inc-1").out
    shutil.move(machine.state, machine.root / "away")
    assert f"--trust {fingerprint(machine)}" in other("incident", "take-over", "inc-1", expect=23).err
    other.at("2026-12-21T06:00:00+05:30")
    said = other("incident", "take-over", "--trust", fingerprint(machine), expect=0)
    assert "lost: whatever was written after 2026-12-21 03:00 IST" in said.out and "certin-initial-report" in said.out
    assert f"opsctl backup init --trust {fingerprint(machine)}" in said.out
    assert due(other) == before, "clocks go on from their own moments"
    assert tree(other.state / "incidents" / "inc-1" / "evidence") == {"web1/data/log": b"GET /\n"}
    assert "is led here already" in other("incident", "take-over", "--trust", fingerprint(machine), expect=0).out
    shown = other.json("incident", "show", "inc-1").result
    assert [one["text"].split(":")[0] for one in shown["timeline"]][::2] == ["opened", "taken over by another controller; lost"]
    other("journal", "verify", expect=0)
    # A third one needs to know the second one's key only: it has kept all of it under its own.
    assert other.json("incident", "keep", expect=0).result["incidents"]["inc-1"]["repositories"]["main"]["entries"] == 3
    third = controller(other.root.parent / "third", machine.store)
    third("backup", "init", expect=0)
    third("incident", "take-over", "inc-1", "--trust", fingerprint(other), expect=0)
    assert due(third) == before and len(third.json("incident", "show", "inc-1").result["timeline"]) == 4


def test_the_same_machine_whose_state_is_gone_needs_to_trust_nobody(machine: Machine) -> None:
    machine("incident", "keep", expect=0)
    shutil.move(machine.state, machine.root / "away")
    machine("backup", "init", expect=0)
    assert "is not led here; where its controller is lost: opsctl incident take-over inc-1" in machine("status", "--refresh").out
    assert machine.json("incident", "take-over", expect=0).result["files"] == 2
    assert "opsctl incident take-over" not in machine("status").out


def test_what_entries_name_and_no_repository_holds_is_lost_by_name(machine: Machine, other: Machine) -> None:
    paper = machine.root / "certificate.pdf"
    paper.write_text("%PDF signed\n")
    machine("incident", "keep", expect=0)
    machine("incident", "paper", "inc-1", "auditor-certificate", str(paper), expect=0)
    assert machine.json("incident", "keep", "--what", "entries", expect=0).result["incidents"]["inc-1"]["repositories"]["main"]["files"] == 2
    (machine.state / "incidents" / "inc-1" / "evidence" / "web1" / "link").symlink_to("/etc/passwd")
    lost = other.json("incident", "take-over", "--trust", fingerprint(machine), expect=0).result["lost"]
    assert len(lost) == 2 and "auditor-certificate" in lost[1], lost


def test_a_repository_that_was_away_gets_it_at_the_next_backup_and_each_has_all_of_it(machine: Machine, tmp_path: Path) -> None:
    second = machine.root / "second"
    machine.configure(repositories=f"  second: {{url: {second}, password_file: {machine.etc}/keys/repository-password}}", more=ORGANISATION)
    machine("backup", "init", expect=0)
    make_quick(second, "for tests only", machine.state / "repositories" / "second.json")
    second.rename(machine.root / "gone")
    said = machine("incident", "keep")
    assert said.code in (3, 22) and "is NOT kept in second" in said.out and "2 entries and 2 files kept in main" in said.out
    assert "second still lacks 2 entries" in machine("status").out
    (machine.root / "gone").rename(second)
    (machine.data / "bill").write_text("12.50")
    assert "kept" not in machine("backup", "run", expect=0).err
    assert "still lacks" not in machine("status").out
    machine.store.rename(machine.root / "gone")
    more = machine("incident", "open", "inc-2", *OPEN[3:])
    assert more.code in (3, 22) and "retention of main is NOT frozen" in more.out and "opsctl backup freeze main --incident inc-2" in more.out
    other = controller(tmp_path / "other", second)
    other("backup", "init", expect=0)
    found = other.json("incident", "take-over", "inc-1", "--trust", fingerprint(machine), expect=0).result
    assert (found["entries"], found["files"]) == (2, 2)


def test_a_controller_that_has_the_journal_of_a_set_gets_only_the_rest(machine: Machine, other: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    machine("incident", "met", "inc-1", "order 20-77", "--channel", "e-mail", "--by", "Asha", expect=0)
    machine("incident", "keep", "--what", "entries", expect=0)
    back = machine.root / "back"
    other("restore", "controller", "--trust", fingerprint(machine), "--into", str(back), expect=0)
    shutil.rmtree(other.state / "journal")
    shutil.copytree(back / "journal", other.state / "journal")
    assert len(other.json("incident", "show", "inc-1").result["timeline"]) == 2
    assert "take over 1 entry" in other("--dry-run", "incident", "take-over", "--trust", fingerprint(machine), expect=0).out
    other("incident", "take-over", "--trust", fingerprint(machine), expect=0)
    shown = other.json("incident", "show", "inc-1").result
    assert len(shown["timeline"]) == 4 and next(one for one in shown["clocks"] if one["duty"] == "order 20-77")["state"] == "met"


def test_entries_that_somebody_took_out_of_the_repository_are_named_and_forged_files_stay_out(machine: Machine, other: Machine, tmp_path: Path) -> None:
    machine("incident", "keep", "--what", "entries", expect=0)
    for number in range(2):
        machine.at(f"2026-12-21T03:1{number}:00+05:30")
        machine("incident", "note", "inc-1", f"note {number}", expect=0)
        machine("incident", "keep", "--what", "all" if number else "entries", expect=0)
    ours = [one for one in machine.snapshots() if "incident=inc-1" in one["tags"] and "incident" in one["tags"]]
    machine.restic("forget", ours[1]["id"])
    machine.restic("restore", ours[2]["id"], "--target", str(tmp_path / "raw"))
    (tmp_path / "raw" / "evidence" / "web1" / "data" / "log").write_text("nothing happened\n")
    machine.restic("forget", ours[2]["id"])
    subprocess.run(["restic", "-r", machine.store, "backup", "--tag", ",".join(ours[2]["tags"]), "--", *sorted(one.name for one in (tmp_path / "raw").iterdir())],
                   cwd=tmp_path / "raw", env={"RESTIC_PASSWORD": "for tests only", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, check=True,
                   stdout=subprocess.DEVNULL)
    other.at("2026-12-21T04:00:00+05:30")
    said = other.json("incident", "take-over", "--trust", fingerprint(machine), expect=22)
    assert "not what was signed: evidence/web1/data/log" in said.errors[0]["message"]
    assert not (other.state / "incidents" / "inc-1" / "evidence").exists()
    assert [one["text"] for one in other.json("incident", "show", "inc-1").result["timeline"]][2] == "note 1", "clocks and entries are there all the same"
    assert "what was written before" in " ".join(said.result["lost"])


@pytest.mark.parametrize("moment", ["entries", "files"])
def test_a_take_over_that_was_killed_is_gone_on_with(machine: Machine, other: Machine, moment: str) -> None:
    machine("incident", "keep", expect=0)
    words = ("incident", "take-over", "--trust", fingerprint(machine))
    stop = {"entries": "opsctl.engine.incidents:Incidents.write", "files": "opsctl.engine.incident_folder:Folder.bring"}[moment]
    module, _, name = stop.partition(":")
    code = (f"import os, signal, sys; import {module} as m; c = m.{name.split('.')[0]}\n"
            f"c.{name.split('.')[1]} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"from opsctl.cli import main; sys.exit(main({['--config', str(other.etc), *words]!r}))")
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, **other.environ, "PYTHONPATH": str(PACKAGE)}, capture_output=True,
                            stdin=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    other(*words, expect=0)
    assert tree(other.state / "incidents" / "inc-1" / "evidence") == {"web1/data/log": b"GET /\n"}
    assert [one["text"][:10] for one in other.json("incident", "show", "inc-1").result["timeline"]] == ["opened: Po", "order 20-7", "taken over"]
    assert "is led here already" in other(*words, expect=0).out


def test_an_append_only_store_takes_it_and_entries_go_there_in_the_background(tmp_path: Path, server_place: Path) -> None:
    with RestServer(server_place / "incident", user="opsctl", password="secret") as server:
        machine = served(tmp_path / "m", server)
        machine("backup", "init", expect=0)
        place = server.repository_path("opsctl")
        key = place / "keys" / make_quick(place, "for tests only", machine.state / "repositories" / "main.json")
        os.chown(key, place.stat().st_uid, place.stat().st_gid)
        del machine.environ["OPSCTL_CLOCK"]  # with the clock of a test nothing goes on in the background
        noticed = (datetime.now(UTC) - timedelta(minutes=30)).isoformat(timespec="seconds")
        machine("incident", "open", "inc-2", "--title", "T", "--noticed-at", noticed, "--noticed-by", "a", "--signal", "b", "--in-charge", "c", expect=0)
        until(lambda: kept(machine) == 1, "the entry to be kept")
        machine("incident", "order", "inc-2", "logs", "--order", "1", "--received-at", noticed, expect=0)
        until(lambda: kept(machine) == 2 and not at_work(machine), "the order to be kept")
        machine("incident", "note", "inc-2", "the help desk was told", expect=0)
        machine("incident", "fill", "inc-2", "system_location=Bhopal", expect=0)
        until(lambda: kept(machine) == 4 and not at_work(machine), "the note and the field to be kept")
        assert "kept in main" in machine("incident", "show", "inc-2").out
        machine.forget()
        other = served(tmp_path / "other", server)
        other("backup", "init", expect=0)
        assert other.json("incident", "take-over", "--trust", fingerprint(machine), expect=0).result["entries"] == 4


def kept(machine: Machine) -> int:
    """How many entries of inc-2 are known to be kept in the repository."""
    try:
        return int(json.loads((machine.state / "incidents" / "inc-2" / ".kept.json").read_text())["main"]["entries"])
    except (OSError, ValueError, KeyError):
        return 0


def at_work(machine: Machine) -> bool:
    """Whether a process works for it in the background."""
    own = str(machine.etc).encode()
    return any(own in line for place in Path("/proc").glob("[0-9]*/cmdline") for line in [_read(place)])


def _read(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError:
        return b""


def served(root: Path, server: RestServer) -> Machine:
    machine = Machine(root)
    machine.make_key()
    secret = machine.etc / "keys" / "rest-secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: "{server.repository_url("opsctl")}", user: opsctl, secret_file: {secret}, password_file: {machine.etc}/keys/repository-password}}
{ORGANISATION}
""")
    return machine


def test_with_break_glass_it_is_kept_from_the_spool(machine: Machine, other: Machine) -> None:
    shutil.rmtree(machine.state)
    machine.state.write_text("no directory any more")
    said = machine("--break-glass", *OPEN[:2], "inc-9", *OPEN[3:])
    spool = Path(re.findall(r"journal goes to (\S+)/journal/", said.err)[0])
    try:
        machine("--break-glass", "incident", "keep", "inc-9", expect=0)
        assert other.json("incident", "take-over", "inc-9", "--trust", fingerprint(machine), expect=0).result["entries"] == 1
    finally:
        shutil.rmtree(spool)


def test_a_repository_that_a_host_opens_is_told_nothing_of_the_incident(machine: Machine) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPZ1VZ5b9gBlQ0rGvXvUO0Vd8w7s1rXyB1uO3e5Q9s2K"
    machine.configure(f"""
state: {machine.state}
repositories: {{far: {{url: "rest:https://store.invalid:8000/web1", user: web1, secret_file: {machine.etc}/keys/repository-password, password_file: {machine.etc}/keys/repository-password}}}}
sources: {{far: {{kind: paths, paths: [/srv], host: web1, run: host}}}}
backups: {{far: {{sources: [far], repository: far}}}}
hosts: {{web1: {{address: web1.invalid, host_key: {key}}}}}
""")
    assert "no repository here that could keep it" in machine("incident", "keep", expect=0).out

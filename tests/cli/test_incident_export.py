"""All of an incident in one folder, which whoever gets it checks without opsctl."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine

NOW = "2026-12-21T03:00:00+05:30"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    found = Machine(tmp_path_factory.mktemp("export") / "m")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "asha", "-f", found.root / "asha"], check=True, stdin=subprocess.DEVNULL)
    public = (found.root / "asha.pub").read_text().strip()
    found.configure(more=f"""
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
people: {{asha: {{name: Asha Verma, roles: [incident-lead], ssh_key: "{public}"}}}}
""")
    found.make_key()
    found.at(NOW)
    (found.data / "a").write_text("a")
    found("backup", "init", expect=0)
    make_quick(found.store, "for tests only", found.state / "repositories" / "main.json")
    found("incident", "open", "inc-1", "--title", "Portal <b>encrypted</b>", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
          "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code", expect=0)
    return Kept(found, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def checked(folder: Path) -> tuple[int, str]:
    """What the script in the folder says, on a machine that has no opsctl."""
    done = subprocess.run([sys.executable, "-I", "check.py"], cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def test_all_of_an_incident_is_packed_and_every_change_to_it_shows(machine: Machine, tmp_path: Path) -> None:
    paper = tmp_path / "review.pdf"
    paper.write_text("the review")
    machine("report", "draft", "cert-in", "--incident", "inc-1")
    machine("incident", "paper", "inc-1", "review", str(paper), expect=0)
    machine("incident", "decide", "inc-1", "police-complaint", "--reason", "none of it is a crime", "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    machine("backup", "run", "portal", expect=0)
    (machine.state / "incidents/inc-1/reports/odd\nname\\n").write_text("odd")
    folder = tmp_path / "handed"
    said = machine.json("incident", "export", "inc-1", str(folder), expect=0)

    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder).returncode == 0
    assert checked(folder) == (0, "every file, entry and signature is as it was handed over; whose key the controller's is, ask on another way\n")
    assert (folder / "incident/papers/review-1.pdf").read_text() == "the review" and list(folder.glob("incident/reports/cert-in-1*.txt"))
    kinds = [json.loads(line)["type"] for line in (folder / "journal/entries.jsonl").read_text().splitlines()]
    assert {"incident.opened", "incident.papered", "incident.decided", "run.bound"} <= set(kinds)
    assert said.result["runs"] and all((folder / "runs" / run / "plan.json").exists() for run in said.result["runs"])
    page = (folder / "index.html").read_text()
    assert "Portal &lt;b&gt;encrypted" in page and "<b>encrypted" not in page and "none of it is a crime" in page
    assert folder.stat().st_mode & 0o777 == 0o700
    assert said.result["sha256sums"] in machine("incident", "show", "inc-1").out, "what was handed over is on record"

    for name, change, told in (
        ("incident/papers/review-1.pdf", lambda path: path.write_text("another"), "review-1.pdf was changed"),
        ("incident/incident.yaml", lambda path: path.unlink(), "incident.yaml is missing"),
        ("strange", lambda path: path.write_text(""), "'strange' is in no list"),
        ("journal/entries.jsonl", lambda path: path.write_text(path.read_text().replace("none of it", "all of it")), "is not what its hash was made from"),
        (str(next(folder.glob("signatures/*.decide.json")).relative_to(folder)), lambda path: path.write_text(path.read_text().replace("none", "all")),
         "is not signed by the key of 'asha'"),
        ("SHA256SUMS", lambda path: path.write_text(path.read_text().upper().replace("  ", "  ")), "not signed by the controller's key"),
    ):
        change(folder / name)
        code, out = checked(folder)
        assert code == 1 and told in out, (name, out)


def test_nothing_is_packed_over_what_is_there_or_into_the_state_directory(machine: Machine, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    assert "nothing is ever packed over it" in machine("incident", "export", "inc-1", str(taken), expect=23).err
    assert [one.name for one in tmp_path.glob("*taken*")] == ["taken"] and (taken / "mine").read_text() == "mine"
    machine("incident", "export", "inc-1", str(machine.state / "incidents" / "inc-1" / "out"), expect=23)
    machine("incident", "export", "inc-7", str(tmp_path / "new"), expect=2)
    assert "would pack" in machine("--dry-run", "incident", "export", "inc-1", str(tmp_path / "new"), expect=0).out and not (tmp_path / "new").exists()


def test_what_cannot_be_signed_is_packed_and_told(machine: Machine, tmp_path: Path) -> None:
    (machine.etc / "keys" / "controller").rename(tmp_path / "away")
    said = machine("incident", "export", "inc-1", str(tmp_path / "out"))
    assert said.code == 3 and (tmp_path / "out" / "SHA256SUMS").exists() and not (tmp_path / "out" / "SHA256SUMS.sig").exists(), said.err
    assert "SHA256SUMS is not signed" in checked(tmp_path / "out")[1]

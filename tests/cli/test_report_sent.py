"""What was sent: its duty ends, a copy stays, and a draft that was changed shows."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.machine import Kept, Machine

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    machine = Machine(tmp_path_factory.mktemp("sent") / "m")
    machine.configure(f"state: {machine.state}\norganisation: {{name: Urban Development, timezone: Asia/Kolkata, languages: [en, hi]}}\n")
    machine.at("2026-12-21T03:00:00+05:30")
    machine(*OPEN, expect=0)
    machine("report", "draft", "cert-in", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def reports(machine: Machine) -> Path:
    return machine.state / "incidents" / "inc-1" / "reports"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def clock(machine: Machine, duty: str) -> dict[str, object]:
    return {one["duty"]: one for one in machine.json("incident", "show", "inc-1").result["clocks"]}[duty]


def test_a_report_that_was_sent_ends_its_duty_and_is_kept_as_it_went(machine: Machine) -> None:
    log = machine.root / "access.log"
    log.write_text("a line\n")
    machine("report", "sent", "cert-in", "--channel", "e-mail", "--by", "Asha", "--at", "2026-12-21T02:50+05:30", "--reference", "CERTIn-77",
            "--file", str(log), expect=0)
    found = clock(machine, "certin-initial-report")
    assert found["state"] == "met"
    assert found["met"].pop("recorded_at") and found["recorded_late"] is False
    assert found["met"] == {"at": "2026-12-21T02:50:00+05:30", "by": "Asha", "channel": "email", "reference": "CERTIn-77"}
    kept = reports(machine) / "sent" / "cert-in-1"
    assert {path.name: digest(path) for path in kept.iterdir()} == {"cert-in-1.eml": digest(reports(machine) / "cert-in-1.eml"), "access.log": digest(log)}
    (sent,) = machine.json("report", "list", expect=0).result["sent"]
    assert (sent["report"], sent["draft"]) == ("cert-in", 1)
    assert {one["name"]: one["sha256"] for one in sent["files"]} == {path.name: digest(path) for path in kept.iterdir()}
    assert "(cert-in, draft 1)" in machine("report", "list", expect=0).out


def test_what_was_read_out_on_the_telephone_is_the_text(machine: Machine) -> None:
    machine("report", "sent", "certin-initial-report", "--channel", "phone", "--by", "Asha", expect=0)
    assert sorted(path.name for path in (reports(machine) / "sent" / "cert-in-1").iterdir()) == ["cert-in-1.en.txt", "cert-in-1.hi.txt"]
    assert clock(machine, "certin-initial-report")["state"] == "met"


def test_a_report_of_two_duties_meets_the_first_and_then_the_second(machine: Machine) -> None:
    for _ in range(2):
        machine("report", "sent", "dpdp-board", "--channel", "portal", "--by", "Asha", expect=0)
    assert [one["duty"] for one in machine.json("report", "list").result["sent"]] == ["dpdp-board-initial", "dpdp-board-detailed"]


def test_sent_late_asks_for_the_reason_and_the_next_draft_has_it(machine: Machine) -> None:
    machine.at("2026-12-21T10:00:00+05:30")
    said = machine("report", "sent", "cert-in", "--channel", "email", "--by", "Asha", expect=0)
    assert "certin-initial-report was late" in said.err and "incident missed" in said.err
    machine("incident", "missed", "inc-1", "certin-initial-report", "--reason", "no line out", expect=0)
    assert "First report of an Annexure I incident to CERT-In was late: no line out" in machine.json("report", "draft", "police", expect=0).result["text"]


def test_sent_before_its_clock_began_is_recorded_and_doubted(machine: Machine) -> None:
    said = machine("report", "sent", "cert-in", "--channel", "email", "--by", "Asha", "--at", "2026-12-20T02:50+05:30", expect=0)
    assert "certin-initial-report is written down as done 2026-12-20 02:50 IST, before its clock began" in said.err


def test_the_reason_can_be_given_with_it(machine: Machine) -> None:
    machine.at("2026-12-21T10:00:00+05:30")
    said = machine("report", "sent", "cert-in", "--channel", "email", "--by", "Asha", "--late-reason", "no line out", expect=0)
    assert "goes into the reports" not in said.err
    assert "no line out" in str(clock(machine, "certin-initial-report")["reason"])


def test_a_channel_that_nobody_knows_is_told_and_taken(machine: Machine) -> None:
    said = machine("report", "sent", "cert-in", "--channel", "poast", "--by", "Asha", expect=0)
    assert "channel poast is none of email, phone, fax, post, portal; did you mean post?" in said.err


@pytest.mark.parametrize("words", [("polise", "--channel", "phone"), ("cert-in", "--channel", "phone", "--draft", "9"),
                                   ("cert-in", "--channel", "phone", "--at", "2026-12-21T02:50"), ("cert-in", "--channel", "phone", "--at", "2027-12-21T02:50Z")])
def test_what_cannot_be_is_refused_and_nothing_is_recorded(machine: Machine, words: tuple[str, ...]) -> None:
    machine("report", "sent", *words, "--by", "Asha", expect=2)
    assert machine.json("report", "list").result["sent"] == [] and not (reports(machine) / "sent").exists()


@pytest.mark.parametrize("command", [("report", "sent", "cert-in", "--incident", "inc-1"), ("incident", "met", "inc-1", "certin-initial-report")])
def test_a_pipe_is_no_attachment_and_nobody_waits_for_it(machine: Machine, command: tuple[str, ...]) -> None:
    os.mkfifo(machine.root / "pipe")
    said = machine(*command, "--channel", "email", "--by", "Asha", "--file", str(machine.root / "pipe"), expect=2)
    assert "pipe is no file" in said.err


def test_a_draft_that_was_changed_or_is_gone_shows(machine: Machine) -> None:
    (reports(machine) / "cert-in-1.en.txt").write_text("nothing happened\n")
    (reports(machine) / "cert-in-1.en.html").unlink()
    said = machine("report", "list", expect=22)
    assert "cert-in-1.en.txt: changed since it was drafted" in said.err and "cert-in-1.en.html gone" in said.out


def test_sent_as_it_was_not_drafted_is_recorded_and_said(machine: Machine) -> None:
    message = reports(machine) / "cert-in-1.eml"
    message.write_bytes(message.read_bytes().replace(b"Subject: ", b"Subject: nothing "))
    said = machine("report", "sent", "cert-in", "--channel", "email", "--by", "Asha", expect=0)
    assert "cert-in-1.eml is not as it was drafted; it is kept as it is now" in said.err
    message.unlink()
    said = machine("report", "sent", "cert-in", "--channel", "email", "--by", "Asha", expect=0)
    assert "nothing is left of draft 1 of cert-in, so that no copy of what was sent is kept" in said.err
    assert [len(one["files"]) for one in machine.json("report", "list", expect=0).result["sent"]] == [1, 0]


def test_a_lost_folder_gives_no_number_twice(machine: Machine) -> None:
    for path in reports(machine).iterdir():
        path.unlink()
    assert machine.json("report", "draft", "cert-in", expect=0).result["draft"] == 2


def test_a_dry_run_writes_nothing(machine: Machine) -> None:
    before = sorted(reports(machine).iterdir())
    machine("--dry-run", "report", "draft", "cert-in", expect=0)
    machine("--dry-run", "report", "sent", "cert-in", "--channel", "phone", "--by", "Asha", expect=0)
    assert sorted(reports(machine).iterdir()) == before
    found = machine.json("report", "list").result
    assert len(found["drafts"]) == 1 and found["sent"] == []


def test_one_language_is_one_set_of_files(machine: Machine) -> None:
    found = machine.json("report", "draft", "police", "--lang", "hi", expect=0).result
    assert {Path(path).name for path in found["files"]} == {f"police-1.{ending}" for ending in ("hi.txt", "hi.html", "hi.pdf", "json", "eml")}
    assert "साइबर पुलिस को शिकायत" in found["text"]
    assert "did you mean hi?" in machine("report", "draft", "police", "--lang", "hin", expect=2).err


def test_fields_of_every_report_can_be_filled_in(machine: Machine) -> None:
    known = [one["key"] for one in machine.json("report", "fields", expect=0).result["fields"]]
    assert {"operating_system", "sector", "person.consequences", "board.impact", "root_cause", "losses", "cost"} <= set(known)
    machine("incident", "fill", "inc-1", *(f"{key}=filled" for key in known), expect=0)
    found = json.loads(machine.json("report", "draft", "dpdp-person", expect=0).out)["result"]["fields"]
    assert {one["value"] for one in found} == {"filled"}
    assert "opsctl report fields" in machine("incident", "fill", "inc-1", "no_such=1", expect=2).err


def test_two_who_draft_at_once_get_two_drafts(machine: Machine) -> None:
    both = [machine.start("--json", "report", "draft", "cert-in") for _ in range(2)]
    ends = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], ends
    assert sorted(json.loads(out)["result"]["draft"] for out, _ in ends) == [2, 3]
    assert all(state == "as drafted" for one in machine.json("report", "list", expect=0).result["drafts"] for state in one["files"].values())


def test_the_closing_report_is_drafted_and_sent_after_closing_as_its_clock_starts_there(machine: Machine) -> None:
    for one in machine.json("incident", "show", "inc-1").result["clocks"]:
        machine("incident", "met", "inc-1", one["duty"], "--channel", "phone", "--by", "Asha", expect=0)
    machine("incident", "close", "inc-1", "--note", "all is back", expect=0)
    assert clock(machine, "lessons-learned")["state"] == "running"
    machine("report", "draft", "closing", "--incident", "inc-1", expect=0)
    machine("report", "sent", "closing", "--incident", "inc-1", "--channel", "post", "--by", "Asha", expect=0)
    assert clock(machine, "lessons-learned")["state"] == "met"
    machine("incident", "note", "inc-1", "one more thing", expect=23)

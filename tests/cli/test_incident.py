"""Incidents on the command line: opened from the first notice, frozen, shown, closed only when nothing is left."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from opsctl.engine.configuration import load_config
from opsctl.engine.incidents import Incidents
from opsctl.engine.journal import Journal
from opsctl.model.incident import DECIDED
from opsctl.wiring import Site
from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code", "--zone", "portal")
NOW = "2026-12-21T03:00:00+05:30"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("incidents") / "m"
    machine = Machine(root)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "asha", "-f", root / "asha"], check=True, stdin=subprocess.DEVNULL)
    public = (root / "asha.pub").read_text().strip()
    machine.configure(more=f"""
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
zones: {{portal: {{title: Portal}}}}
people: {{asha: {{name: Asha Verma, roles: [incident-lead], ssh_key: "{public}"}}}}
""")
    machine.make_key()
    machine.at(NOW)
    machine("backup", "init", expect=0)
    make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
    machine(*OPEN, expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def clocks(machine: Machine) -> dict[str, dict[str, object]]:
    return {one["duty"]: one for one in machine.json("incident", "show", "inc-1").result["clocks"]}


def test_promise_8_the_clock_starts_at_the_first_notice_and_nothing_technical_holds_it_up(machine: Machine) -> None:
    assert clocks(machine)["certin-initial-report"]["due"] == "2026-12-21T08:30:00+05:30"
    shutil.rmtree(machine.store)  # no repository, and a broken configuration of hosts would not matter either
    said = machine.json(*OPEN[:2], "inc-2", *OPEN[3:])
    assert said.code in (3, 22), said.err
    assert machine.json("incident", "show", "inc-2", expect=0).result["noticed_at"] == "2026-12-21T02:30:00+05:30"


def test_opening_freezes_retention_for_everybody_who_shares_the_repository(machine: Machine) -> None:
    tags = [one["tags"] for one in machine.snapshots()]
    assert any("incident=inc-1" in one and "state=frozen" in one for one in tags)


def test_it_is_shown_with_what_is_due_first_in_both_time_zones(machine: Machine) -> None:
    shown = machine("incident", "show", "inc-1", expect=0).out
    assert "21 Dec 2026 08:30 IST (03:00 UTC)" in shown and "1800-11-4949" in shown
    assert shown.index("nic-cert-and-ciso") < shown.index("certin-initial-report")
    assert "incident inc-1 (Portal encrypted) is open; next: nic-cert-and-ciso" in machine("status").out
    machine.at("2026-12-21T09:00:00+05:30")
    assert "certin-initial-report OVERDUE by 30 min" in machine("incident", "list", expect=5).err
    assert any("certin-initial-report" in error["message"] for error in machine.json("status", expect=5).errors)


@pytest.mark.parametrize(("moment", "said"), [
    ("2026-12-21T23:30+05:30", "lies in the future"), ("2026-12-21T02:30", "has no time zone"), ("yesterday", "is no moment"),
])
def test_a_moment_that_cannot_be_is_asked_again_with_its_reading(machine: Machine, moment: str, said: str) -> None:
    refused = machine("incident", "open", "x", "--title", "T", "--noticed-at", moment, "--noticed-by", "a", "--signal", "b", "--in-charge", "c", expect=2)
    assert said in refused.err
    if said == "lies in the future":
        assert "21 Dec 2026 23:30 IST" in refused.err and "21 Dec 2026 18:00 UTC" in refused.err
    machine("incident", "show", "x", expect=2)


def test_the_first_notice_is_asked_and_never_defaulted(machine: Machine) -> None:
    refused = machine("--yes", "incident", "open", "x", "--title", "T", "--noticed-by", "a", "--signal", "b", "--in-charge", "c", expect=4)
    assert "when did anyone first notice" in refused.err and "--noticed-at" in refused.err


def test_a_long_timeline_shows_its_newest_entries_how_many_more_and_all_when_asked(machine: Machine) -> None:
    with Journal(machine.state / "journal", lambda: datetime.now(UTC)) as journal:
        for number in range(30):
            journal.append("incident.noted", {"incident": "inc-1", "by": "asha", "text": f"note {number}."}, durable=False)
    shown = machine("incident", "show", "inc-1", expect=0).out
    assert "… 11 earlier entries: opsctl incident show inc-1 --all" in shown and "note 10." in shown and "note 9." not in shown
    every = machine("incident", "show", "inc-1", "--all", expect=0).out
    assert "earlier entries" not in every and "note 0." in every and "opened: Portal encrypted" in every
    assert len(machine.json("incident", "show", "inc-1", expect=0).result["timeline"]) == 31


def test_what_another_process_writes_is_seen_by_one_that_has_read_before(machine: Machine) -> None:
    with Journal(machine.state / "journal", lambda: datetime.now(UTC)) as mine, Journal(machine.state / "journal", lambda: datetime.now(UTC)) as other:
        incidents = Incidents(mine, machine.root / "pages", lambda: datetime.now(UTC))
        before = incidents.get("inc-1")
        other.append("incident.noted", {"incident": "inc-1", "by": "asha", "text": "written by another"})
        assert incidents.get("inc-1").timeline[-1].text == "written by another" and len(before.timeline) + 1 == len(incidents.lines("inc-1"))
        incidents.all().clear()
        assert incidents.open_ones()


def test_a_doubtful_notice_is_warned_of_and_taken(machine: Machine) -> None:
    said = machine("incident", "open", "inc-2", "--title", "T", "--noticed-at", "2026-12-19T02:30+05:30", "--noticed-by", "a", "--signal", "b",
                   "--in-charge", "c", "--type", "malicious-cod", expect=0)
    assert "the first notice was 2 days ago" in said.err and "say why it is late" in said.err
    assert "did you mean malicious-code?" in said.err
    assert machine.json("incident", "show", "inc-2").result["types"] == ["malicious-cod"]


def test_corrections_keep_both_and_move_the_clock_only_back(machine: Machine) -> None:
    machine("incident", "correct", "inc-1", "--noticed-at", "2026-12-21T02:50+05:30", "--why", "second call", expect=0)
    assert clocks(machine)["certin-initial-report"]["due"] == "2026-12-21T08:30:00+05:30"
    machine("incident", "correct", "inc-1", "--noticed-at", "2026-12-21T01:30+05:30", "--why", "help desk log", "--noticed-by", "help desk", "--type", "data-leak",
            expect=0)
    found = machine.json("incident", "show", "inc-1").result
    assert clocks(machine)["certin-initial-report"]["due"] == "2026-12-21T07:30:00+05:30"
    assert [one["at"][11:16] for one in found["notices"]] == ["02:30", "02:50", "01:30"] and found["types"] == ["data-leak"]
    assert "noticed 21 Dec 2026 01:30 IST (20 Dec 20:00 UTC) by help desk (help desk log)" in machine("incident", "show", "inc-1").out


def test_it_is_closed_only_when_every_duty_was_done_or_decided_under_a_signature(machine: Machine) -> None:
    refused = machine("incident", "close", "inc-1", expect=23)
    for duty in ("nic-cert-and-ciso", "certin-initial-report", "certin-supplementary-report", "police-complaint"):
        assert duty in refused.err
    report = machine.root / "report.pdf"
    report.write_bytes(b"%PDF")
    machine("incident", "met", "inc-1", "certin-initial-report", "--channel", "e-mail", "--by", "Asha", "--reference", "CERTIn-77", "--file",
            str(report), expect=0)
    for duty in ("nic-cert-and-ciso", "certin-supplementary-report"):
        machine("incident", "met", "inc-1", duty, "--channel", "telephone", "--by", "Asha", expect=0)
    other = machine.root / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True, stdin=subprocess.DEVNULL)
    decide = ("incident", "decide", "inc-1", "police-complaint", "--reason", "exercise", "--by", "asha", "--key")
    assert "not the one of asha" in machine(*decide, str(other), expect=12).err
    site = Site(load_config(machine.etc), clock=lambda: datetime.now(UTC))
    site.incidents.write(DECIDED, {"incident": "inc-1", "duty": "police-complaint", "reason": "none", "by": "asha", "statement": {}, "signature": ""})
    assert "police-complaint (the decision that it does not apply is " in machine("incident", "close", "inc-1", expect=23).err
    machine(*decide, str(machine.root / "asha"), expect=0)
    machine("incident", "close", "inc-1", "--note", "portal is back", expect=0)
    found = machine.json("incident", "show", "inc-1", expect=0).result
    assert found["closed"] and [one["files"][0]["sha256"][:8] for one in found["met"] if one["files"]] == [_sha(report)[:8]]
    assert "was closed" in machine("incident", "note", "inc-1", "more", expect=23).err
    machine("journal", "verify", expect=0)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_orders_of_cert_in_have_clocks_of_their_own(machine: Machine) -> None:
    machine("incident", "order", "inc-1", "send the firewall logs", "--order", "20-77", "--received-at", "2026-12-21T02:45+05:30", "--due-at",
            "2026-12-21T05:00+05:30", expect=0)
    assert clocks(machine)["order 20-77"]["due"] == "2026-12-21T05:00:00+05:30"
    assert "order 20-77" in machine("incident", "close", "inc-1", expect=23).err
    assert "already" in machine("incident", "order", "inc-1", "x", "--order", "20-77", "--received-at", "2026-12-21T02:45+05:30", expect=23).err


def test_what_people_say_is_kept_with_its_author_and_two_at_once_lose_nothing(machine: Machine) -> None:
    both = [machine.start("incident", "note", "inc-1", f"note {number}", "--by", f"person-{number}") for number in range(4)]
    for process in both:
        assert process.communicate()[1] is not None and process.returncode == 0
    machine("incident", "state", "inc-1", "leak", "--says", "no evidence until now", "--basis", "firewall logs of 20 December", "--by", "Ravi", expect=0)
    found = machine.json("incident", "show", "inc-1").result
    assert {one["text"] for one in found["timeline"]} >= {f"note {number}" for number in range(4)}
    assert found["statements"] == [{"subject": "leak", "text": "no evidence until now", "basis": "firewall logs of 20 December", "by": "Ravi",
                                    "at": found["statements"][0]["at"]}]
    page = yaml.safe_load((machine.state / "incidents" / "inc-1" / "incident.yaml").read_text())
    assert page["statements"] == found["statements"]


def test_a_missed_duty_stays_missed_and_asks_for_its_reason(machine: Machine) -> None:
    machine.at("2026-12-21T10:00:00+05:30")
    assert "why it was missed: opsctl incident missed inc-1 certin-initial-report" in str(machine.json("incident", "show", "inc-1").errors)
    met = machine("incident", "met", "inc-1", "certin-initial-report", "--channel", "e-mail", "--by", "Asha", expect=0)
    assert "certin-initial-report was late, and the reason goes into the reports" in met.err
    assert "missed: certin-initial-report" in machine("status").out and "MISSED by 90 min: nobody said why yet" in machine("incident", "show", "inc-1").out
    assert "answer it with --reason" in machine("incident", "missed", "inc-1", "certin-initial-report", expect=4).err
    machine("incident", "missed", "inc-1", "certin-initial-report", "--reason", "the line was down", expect=0)
    assert "MISSED by 90 min: the line was down" in machine("incident", "show", "inc-1").out
    refused = machine("incident", "missed", "inc-1", "certin-supplementary-report", "--reason", "r", expect=23)
    assert "was not missed: it is open" in refused.err
    machine("incident", "correct", "inc-1", "--type", "data-leak", "--why", "w", expect=0)
    assert clocks(machine)["certin-initial-report"]["missed"] is True, "no change of type takes it back"


def test_what_is_recorded_when_its_time_had_passed_says_so_everywhere_and_nothing_turns_late_into_met(machine: Machine, tmp_path: Path) -> None:
    machine.at("2026-12-21T10:00:00+05:30")
    duty = "certin-initial-report"
    said = machine("incident", "met", "inc-1", duty, "--channel", "e-mail", "--by", "Asha", "--at", "2026-12-21T05:00+05:30", expect=0)
    assert "with the time of this entry beside it" in said.err

    def everywhere(*told: str) -> None:
        machine("status", "--html", str(tmp_path / "board.html"))
        for shown in (machine("incident", "show", "inc-1").out, machine("status").out, (tmp_path / "board.html").read_text()):
            assert all(one in " ".join(shown.split()) for one in told), (told, shown)

    everywhere("done 21 Dec 2026 05:00 IST", "recorded 21 Dec 2026 10:00 IST (04:30 UTC), AFTER it was due")
    found = clocks(machine)[duty]
    assert (found["state"], found["recorded_late"], found["met"]["recorded_at"][:16]) == ("met", True, "2026-12-21T04:30")
    drafted = machine.json("report", "draft", "police").result["text"]
    assert "recorded 21/12/2026 10:00 IST (UTC+05:30), after it was due" in " ".join(drafted.split())
    machine("incident", "missed", "inc-1", duty, "--reason", "nobody saw it go out", expect=0)
    everywhere("MISSED: nobody saw it go out", "recorded 21 Dec 2026 10:00 IST (04:30 UTC), AFTER it was due")
    assert clocks(machine)[duty]["state"] == "late" and clocks(machine)[duty]["missed"] is True
    machine("incident", "met", "inc-1", duty, "--channel", "telephone", "--by", "Asha", "--at", "2026-12-21T04:00+05:30", expect=0)
    everywhere("MISSED: nobody saw it go out", "one of 21 Dec 2026 04:00 IST", "was recorded only 21 Dec 2026 10:00 IST")
    assert clocks(machine)[duty]["state"] == "late" and clocks(machine)[duty]["earlier"]["at"] == "2026-12-21T04:00:00+05:30"


@pytest.mark.parametrize("other", ["order", "close"])
def test_two_at_once_are_both_kept_or_one_is_told_why_not(machine: Machine, other: str) -> None:
    for duty in ("nic-cert-and-ciso", "certin-initial-report", "certin-supplementary-report", "police-complaint"):
        machine("incident", "met", "inc-1", duty, "--channel", "telephone", "--by", "Asha", expect=0)
    words = ("incident", "order", "inc-1", "logs", "--order", "1", "--received-at", "2026-12-21T02:45+05:30")
    both = [machine.start(*words), machine.start(*(words if other == "order" else ("incident", "close", "inc-1")))]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 23], said
    found = machine.json("incident", "show", "inc-1").result
    assert len(found["orders"]) == (0 if found["closed"] else 1), "never a closed incident with an order that nobody answered"
    machine("journal", "verify", expect=0)


def test_nobody_closes_over_what_another_one_is_writing(machine: Machine) -> None:
    for duty in ("nic-cert-and-ciso", "certin-initial-report", "certin-supplementary-report", "police-complaint"):
        machine("incident", "met", "inc-1", duty, "--channel", "telephone", "--by", "Asha", expect=0)
    words = ("incident", "order", "inc-1", "logs", "--order", "1", "--received-at", "2026-12-21T02:45+05:30")
    write = Incidents.write

    def late(self: Incidents, kind: str, *rest: object, **more: object) -> None:
        if kind == "incident.closed":  # all was looked at and found done; then an order comes
            process = machine.start(*words)
            assert process.communicate()[1] is not None and process.returncode == 0
        write(self, kind, *rest, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Incidents, "write", late)
        assert "order 1" in machine("incident", "close", "inc-1", expect=23).err
    assert machine.json("incident", "show", "inc-1").result["closed"] is None


def test_fields_of_the_form_are_taken_as_they_are_and_doubted_with_the_nearest(machine: Machine) -> None:
    said = machine("incident", "fill", "inc-1", "mission_critical=ja", "ip_address=10.0.0.5", expect=0)
    assert "the form does not know ja" in said.err
    assert machine.json("incident", "show", "inc-1").result["fields"] == {"mission_critical": "ja", "ip_address": "10.0.0.5"}
    assert "did you mean ip_address?" in machine("incident", "fill", "inc-1", "ip_adress=1", expect=2).err


def test_it_opens_with_break_glass_where_the_state_directory_cannot_be_used(machine: Machine) -> None:
    shutil.rmtree(machine.state)
    machine.state.write_text("not a directory any more")
    said = machine("--break-glass", *OPEN[:2], "inc-9", *OPEN[3:])
    spool = Path(re.findall(r"journal goes to (\S+)/journal/", said.err)[0])
    try:
        assert "incident inc-9 is open" in said.out, said.err
        assert "certin-initial-report" in machine("--break-glass", "incident", "show", "inc-9").out
    finally:
        shutil.rmtree(spool)


def test_hostile_text_is_shown_harmless(machine: Machine) -> None:
    machine("incident", "note", "inc-1", "\x1b]0;owned\x07\x1b[2J<script>", expect=0)
    shown = machine("incident", "show", "inc-1", expect=0).out
    assert "\x1b" not in shown and "\x07" not in shown
    assert json.loads(machine.json("incident", "show", "inc-1").out)["result"]["timeline"][-1]["text"].startswith("\x1b]0;")


def test_a_zone_that_there_is_not_is_no_correction(machine: Machine) -> None:
    assert "did you mean portal?" in machine("incident", "correct", "inc-1", "--zone", "portl", "--why", "more is hit", expect=2).err
    assert machine.json("incident", "show", "inc-1").result["zones"] == ["portal"]


def test_the_only_open_incident_is_the_one_that_is_meant(machine: Machine) -> None:
    assert machine("incident", "show", expect=0).out.startswith("inc-1: Portal encrypted")
    machine("incident", "open", "inc-2", *OPEN[3:])
    assert "2 incidents are open: which one?" in machine("incident", "show", expect=2).err


def test_what_a_statement_lacks_is_asked_for(machine: Machine) -> None:
    assert "answer it with --says TEXT" in machine("incident", "state", "inc-1", "leak", expect=4).err
    assert "answer it with --basis TEXT" in machine("incident", "state", "inc-1", "leak", "--says", "none was found", expect=4).err
    assert "answer it with --why TEXT" in machine("incident", "clock", "inc-1", "became-aware", "--at", "2026-12-21T02:45+05:30", expect=4).err
    assert not machine.json("incident", "show", "inc-1").result["statements"]


def test_who_is_named_in_full_is_told_their_short_name(machine: Machine) -> None:
    said = machine("incident", "decide", "inc-1", "police-complaint", "--reason", "x", "--by", "Asha Verma", expect=2)
    assert "Asha Verma is called asha here: --by asha" in said.err


def test_closing_says_that_retention_stays_frozen_and_how_all_of_it_is_handed_over(machine: Machine) -> None:
    (machine.data / "a").write_text("a")
    machine("backup", "run", "portal", expect=0)
    for duty in [name for name, one in clocks(machine).items() if one["state"] in ("running", "open", "overdue")]:
        machine("incident", "met", "inc-1", duty, "--channel", "phone", "--by", "Asha", expect=0)
    said = machine("incident", "close", "inc-1", "--note", "all is back", expect=0).out
    assert "retention stays frozen in main, until two have signed: opsctl backup thaw --incident inc-1" in said
    assert "opsctl incident export inc-1 DIR" in said


@pytest.mark.parametrize("words", [
    ("incident", "correct", "inc-1", "--noticed-at", "0001-01-01T00:00+05:30", "--why", "x"), ("incident", "clock", "inc-1", "became-aware", "--why", "x", "--at", "0001-01-01T00:00+05:30"),
    ("incident", "met", "inc-1", "certin-initial-report", "--channel", "phone", "--by", "A", "--at", "0001-01-01T00:00+05:30"),
    ("incident", "order", "inc-1", "answer us", "--order", "O1", "--received-at", "2026-12-21T02:40+05:30", "--due-at", "9999-12-31T23:59-12:00"),
])
def test_promise_8_no_moment_at_the_end_of_time_gets_into_an_incident_and_one_that_did_holds_nothing_up(machine: Machine, words: tuple[str, ...]) -> None:
    before = machine.json("incident", "show", "inc-1").result["clocks"]
    assert "in the year" in machine(*words, expect=2).err
    Journal(machine.state / "journal", lambda: datetime(2026, 12, 20, 21, 40, tzinfo=UTC)).append("incident.corrected", {"incident": "inc-1", "by": "x", "what": "noticed_at", "value": "0001-01-01T00:00:00+05:30", "why": "x"})
    shown = machine.json("incident", "show", "inc-1", expect=0).result
    assert [one["due"] for one in shown["clocks"]] == [one["due"] for one in before]
    assert shown["timeline"][-1]["text"] == "an entry that cannot be understood (incident.corrected)"
    machine("report", "draft", "cert-in", expect=0)

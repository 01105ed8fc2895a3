"""The status board, opened in a real Chromium: with and without script, narrow and printed, in both languages, with hostile text."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from opsctl.engine.journal import Journal
from opsctl.isolation.register import Entry, Register
from opsctl.model.board import ARMED, CUT_STATES, Backup, Board, Cut, Duty, Opened, Restoration, Step, Zone
from opsctl.model.clocks import State
from opsctl.model.isolation import Mark, Order
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep
from opsctl.reports.board import board_page
from opsctl.repositories.whole import write_whole
from tests.lab.chromium import chromium, opened
from tests.machine import Kept, Machine

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> </bdi></li> \x1b[31mred \u202egnp.exe {{ 7*7 }} &lt; " + "x" * 300
MORE = """
organisation: {{name: Urban Development Department, timezone: Asia/Kolkata, languages: [en, hi]}}
zones: {{portal: {{title: e-Nagar Palika portal}}, bmc: {{title: BMC Online}}}}
hosts:
  db-1: {{address: 10.0.0.11, user: opsctl, zone: portal, isolation: nftables, host_key: "{key}"}}
  app-1: {{address: 10.0.0.12, user: opsctl, zone: portal, isolation: nftables, host_key: "{key}"}}
  app-2: {{address: 10.0.0.13, user: opsctl, zone: portal, isolation: nftables, host_key: "{key}"}}
  web-1: {{address: 10.0.0.14, user: opsctl, zone: portal, isolation: nftables, host_key: "{key}"}}
  mail-1: {{address: 10.0.0.16, user: opsctl, zone: portal, isolation: nftables, host_key: "{key}"}}
  bmc-1: {{address: 10.0.0.15, user: opsctl, zone: bmc, isolation: nftables, host_key: "{key}"}}
people: {{asha: {{name: Asha Verma, roles: [incident-lead], ssh_key: "{key}"}}}}
"""
ASK = """
name: ask
title: {en: Phone the data centre}
steps:
  - {id: phone, uses: person, with: {say: "Have the uplink pulled; `opsctl isolate release --all` is never the answer"}}
"""
NOW = "2026-12-21T05:01:00+05:30"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(_made_machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """An incident of six hours with hosts cut off, one that was not reached, a backup of three days ago and a run that waits."""
    root = tmp_path_factory.mktemp("board") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "asha", "-f", root / "asha"], check=True, stdin=subprocess.DEVNULL)
    machine.configure(more=MORE.format(key=(root / "asha.pub").read_text().strip()))
    (machine.data / "bill.txt").write_text("paid")
    machine.at("2026-12-18T02:30:00+05:30")
    machine("backup", "run", expect=0)
    machine.at("2026-12-21T02:45:00+05:30")
    declare(machine, "inc-1", "Portal servers encrypted")
    machine.at(NOW)
    register = Register(machine.state / "isolated")
    probed = {"db-1": "changed", "mail-1": "failed"}
    write_run(machine, probed)
    for host, stage, at in (*((host, "confirmed", "02:50:00") for host in probed), ("app-1", "ordered", "02:51:00"), ("app-2", "ordered", "05:00:40")):
        register.put(Entry(host, "nftables", Order(Mark("run-1", "asha", f"2026-12-21T{at}+05:30", "inc-1"), seconds=60.0), stage))
    (root / "ask.yaml").write_text(ASK)
    machine("run", str(root / "ask.yaml"), expect=4)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


def write_run(machine: Machine, outcomes: Mapping[str, str]) -> None:
    """A run of `isolate`, as far as it is read: its plan, and how it ended for each host."""
    step = BoundStep("isolate", "isolate", "Cut it off and prove it", (), tuple(BoundItem(host, {"host": host}) for host in outcomes))
    plan = BoundPlan("run-1", "isolate", "Cut off", datetime.fromisoformat(NOW), "asha", {}, (step,))
    write_whole(machine.state / "runs" / "run-1" / "plan.json", json.dumps(plan.as_json()).encode())
    write_whole(machine.state / "runs" / "run-1" / "result.json", b'{"ended": true, "exit_code": 21}')
    with Journal(machine.state / "journal", lambda: datetime.fromisoformat(NOW)) as journal:
        for host, outcome in outcomes.items():
            journal.append("step.end", {"step": "isolate", "item": host, "outcome": outcome, "because": ""}, run="run-1")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def declare(machine: Machine, name: str, title: str, *more: str) -> None:
    machine("incident", "open", name, "--title", title, "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator", "--signal",
            "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code", "--zone", "portal", *more, expect=0)


def board(machine: Machine, *words: str, expect: int | None = None) -> Path:
    place = machine.root / "board.html"
    machine("status", "--html", str(place), *words, expect=expect)
    return place


def test_it_asks_for_nothing_complains_of_nothing_and_counts_down(machine: Machine, browser: Any) -> None:
    before = datetime.now(UTC)
    with opened(browser, board(machine, expect=5), now=before) as found:
        page, first = found.page, found.page.locator(".clocks > li").nth(1)
        assert "First report of an Annexure I incident to CERT-In" in first.inner_text()
        assert "21 Dec 2026 08:30 IST (03:00 UTC)" in first.inner_text() and "1800-11-4949" in first.inner_text()
        begun = seconds(first.locator(".count").inner_text())
        page.clock.run_for(60_000)
        assert begun - seconds(first.locator(".count").inner_text()) == 60 and begun < 3.5 * 3600
        assert page.locator(".old").is_hidden() and "OVERDUE" not in first.inner_text()
        page.clock.run_for(4 * 3_600_000)
        assert "overdue" in first.get_attribute("class") and "OVERDUE" in first.inner_text() and "over time" in first.inner_text()
        assert "left" not in first.inner_text() and page.locator(".old").is_visible()
        assert found.asked == [] and found.complaints == []


def test_on_the_wall_it_is_read_anew_and_only_there(machine: Machine, browser: Any) -> None:
    place = board(machine)
    with opened(browser, place, now=datetime.now(UTC), fragment="#60") as found:
        with found.page.expect_navigation():
            found.page.clock.run_for(61_000)
        assert [one.partition("#")[0] for one in found.asked] == [place.as_uri()] and found.complaints == []
    with opened(browser, place, now=datetime.now(UTC)) as found:
        found.page.clock.run_for(61_000)
        assert found.asked == []


def seconds(shown: str) -> int:
    days, _, clock = shown.rpartition(" d ")
    hours, minutes, rest = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def test_without_script_the_due_times_and_the_time_of_writing_stand(machine: Machine, browser: Any) -> None:
    with opened(browser, board(machine, "--lang", "en"), java_script_enabled=False) as found:
        said = found.text()
    for words in ("As of 21 Dec 2026 05:01 IST (20 Dec 23:31 UTC)", "Times left are as of the time above", "3 h 28 min left",
                  "due 21 Dec 2026 08:30 IST (03:00 UTC)", "In charge Asha Verma", "First notice 21 Dec 2026 02:30 IST (20 Dec 21:00 UTC): night operator",
                  "✓ cut off db-1 since 21 Dec 2026 02:50 IST (20 Dec 21:20 UTC), asha", "▲ NOT CONFIRMED app-1", "▲ NOT PROVEN mail-1", "◔ lifts itself app-2", "▲ OPEN web-1",
                  "portal Newest set 18 Dec 2026 02:30 IST (17 Dec 21:00 UTC)",
                  "Readiness 0 / 9", "▲ The emergency kit was built within 90 days: none was built from here"):
        assert words in said, said
    assert "BMC Online" not in said


def test_promise_4_without_its_run_no_host_is_called_cut_off(machine: Machine, browser: Any) -> None:
    shutil.rmtree(machine.state / "runs" / "run-1")
    with opened(browser, board(machine, "--lang", "en")) as found:
        assert "cut off" not in found.text() and "▲ NOT PROVEN db-1, mail-1" in found.text()


def test_the_command_is_that_of_the_step_whatever_its_text_says(machine: Machine, browser: Any) -> None:
    with opened(browser, board(machine)) as found:
        commands = found.page.locator(".card.waiting code").all_inner_texts()
    assert len(commands) == 1 and re.fullmatch(r"opsctl done \S+-ask-\w+ phone --by NAME --note WHAT", commands[0])


@pytest.mark.parametrize(("languages", "width", "scheme", "drill"), [
    ("both", 1920, "dark", False), ("both", 1920, "light", True), ("hi", 360, "light", False), ("en", 360, "dark", False)])
def test_axe_finds_nothing_and_nothing_runs_out_of_the_screen(
    machine: Machine, browser: Any, languages: str, width: int, scheme: str, drill: bool,
) -> None:
    machine.at("2026-12-21T09:01:00+05:30" if scheme == "light" else NOW)
    if drill:
        machine.forget()
        declare(machine, "inc-2", "Exercise", "--drill")
    with opened(browser, board(machine, "--lang", languages), width=width, color_scheme=scheme) as found:
        assert found.violations() == []
        assert found.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert found.page.get_attribute("html", "lang") == ("hi" if languages == "hi" else "en")
        assert ("DRILL: every incident on this board is an exercise" in found.text()) is drill
        assert found.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_that_a_board_can_need_is_there_in_both_languages_and_axe_finds_nothing(tmp_path: Path, browser: Any, scheme: str) -> None:
    now, hour = datetime.fromisoformat(NOW), timedelta(hours=1)
    duties = [Duty("d", "Tell somebody", "them", state, now + hour if state in ("running", "overdue") else None, now, "said") for state in get_args(State)]
    board = Board(
        "Department", now, checked=now, remarks=["a medium is late"], lacking=[("Contact sheets are printed", "never")], ready=1,
        incidents=[Opened("i", "Title", False, now, "by", "signal", "Asha", [], [], duties, [(now, "asha", "note")], 10_000)],
        zones=[Zone("", "", [Cut(f"{state}-{one}", state, now, "asha", "i", now + hour if state == ARMED else None) for state in CUT_STATES for one in range(14)])],
        restorations=[Restoration("run", run, now, [
            Step("tax", outcome, "approve", "portal s", now + hour, 2 * hour, hour, 2 * hour, hour, "because") for outcome in ("waiting", "failed", "done", "begun", "idle")])
            for run in ("begun", "waiting", "interrupted")],
        backups=[Backup("b", word, word not in ("ok", "due"), now, hour, now, [("offline", None, "never copied"), ("vault", now, "")], "s1", "why", now, False)
                 for word in ("never", "damaged", "suspect", "overdue", "unverified", "undrilled", "unknown", "due", "ok")] + [
                     Backup(f"ok-{one}", "ok", False, now, hour, now, [("vault", now, "")], "", "") for one in range(14)])
    place = tmp_path / "board.html"
    place.write_bytes(board_page(board, zone=UTC, languages=("en", "hi")))
    with opened(browser, place, color_scheme=scheme) as found:
        assert found.violations() == [] and found.complaints == [] and found.asked == []
        assert "unknown-11 + 2 more" in found.text() and "✓ 2 more are as they should be" in found.text() and "(1 / 10,000)" in found.text()


def test_beside_an_incident_in_earnest_only_the_drill_itself_is_marked(machine: Machine, browser: Any) -> None:
    declare(machine, "inc-2", "Exercise", "--drill")
    with opened(browser, board(machine, "--lang", "en")) as found:
        assert found.page.locator("h3 .mark").all_inner_texts() == ["DRILL"] and found.page.locator("aside.drill").count() == 0


def test_it_prints_with_everything_on_it(machine: Machine, browser: Any, tmp_path: Path) -> None:
    with opened(browser, board(machine), color_scheme="dark") as found:
        found.page.pdf(path=tmp_path / "board.pdf", format="A4", print_background=True)
        found.page.emulate_media(media="print")
        assert found.page.evaluate("getComputedStyle(document.body).color") == "rgb(26, 26, 26)"
    said = subprocess.run(["pdftotext", "-layout", tmp_path / "board.pdf", "-"], capture_output=True, text=True, check=True).stdout
    for words in ("First report of an Annexure I incident", "21 Dec 2026 08:30 IST (03:00 UTC)", "स्थिति पटल", "db-1", "opsctl done"):
        assert words in said


def test_hostile_text_is_shown_and_does_nothing(machine: Machine, browser: Any) -> None:
    declare(machine, "inc-2", HOSTILE)
    machine("incident", "note", "inc-2", HOSTILE, "--by", HOSTILE, expect=0)
    machine("incident", "order", "inc-2", HOSTILE, "--order", HOSTILE, "--received-at", "2026-12-21T02:40+05:30", expect=0)
    Register(machine.state / "isolated").put(
        Entry("bmc-1", "nftables", Order(Mark("run-1", HOSTILE, HOSTILE, HOSTILE), seconds=60.0), "confirmed"))
    place = board(machine)
    raw = place.read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", raw) and raw.count("<script") == 1
    with opened(browser, place, width=360) as found:
        said = found.text()
        assert said.count("<script>alert(1)</script><img src=x onerror=alert(2)> </bdi></li> \\x1b[31mred \\u202egnp.exe {{ 7*7 }} &lt; x") >= 5
        assert found.asked == [] and found.complaints == [] and found.page.locator("img").count() == 0
        assert found.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for words in (("status",), ("incident", "show", "inc-2"), ("incident", "list")):
        said = machine(*words).out
        assert "\\x1b[31mred \\u202egnp.exe" in said and not re.search("[\x1b\u202e]", said)


def test_a_page_of_before_never_stands_for_how_it_is_now(machine: Machine, browser: Any) -> None:
    place = board(machine)
    (machine.etc / "opsctl.yaml").write_text("nothing: of the kind\n")
    machine("status", "--html", str(place), expect=10)
    with opened(browser, place) as found:
        assert "opsctl could not look" in found.text() and "Portal servers" not in found.text() and found.complaints == []


def test_it_is_for_its_owner_until_they_say_otherwise(machine: Machine) -> None:
    place = board(machine)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    place.chmod(0o646)
    board(machine)
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_nothing_is_written_through_a_link_in_a_dry_run_or_in_a_folder_that_is_not_there(machine: Machine) -> None:
    place, other = machine.root / "board.html", machine.root / "other"
    other.write_text("kept")
    place.symlink_to(other)
    assert "is no file" in machine("status", "--html", str(place), expect=23).err
    assert other.read_text() == "kept" and place.is_symlink()
    place.unlink()
    machine("--dry-run", "status", "--html", str(place))
    assert not place.exists()
    assert "nowhere" in machine("status", "--html", str(machine.root / "nowhere" / "board.html"), expect=20).err
    assert not (machine.root / "nowhere").exists()
    assert "there are en, hi and both" in machine("status", "--html", str(place), "--lang", "fr", expect=2).err

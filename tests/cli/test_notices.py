"""Notices: a trouble told once, again after a day, and when it is over; by real mail and web servers on loopback."""

from __future__ import annotations

import email
import json
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from opsctl.model.notices import Trouble, settle
from tests.badluck.faults import until
from tests.machine import Machine

NOON = datetime(2026, 12, 12, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Mailbox:
    """An SMTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(email.message_from_bytes(envelope.content))
        return "250 OK"

    def texts(self) -> list[str]:
        found = []
        for message in self.messages:
            parts = [part for part in message.walk() if part.get_content_type() == "text/plain"]
            found.append("\n".join(part.get_payload(decode=True).decode() for part in parts))
        return found


class Web:
    """A web server that counts calls by path."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                calls.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/pulse-token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    box = Mailbox()
    with socket.socket() as probe:  # aiosmtpd does not choose a port itself
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box, f"mailto://127.0.0.1:{port}?from=opsctl@department.invalid&to=oncall@department.invalid&mode=insecure"
    finally:
        controller.stop()


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()
    yield found
    found.server.shutdown()
    found.server.server_close()


def notify(machine: Machine, url: str, **more: str) -> None:
    secret = machine.etc / "keys" / "notify-urls"
    secret.write_text(f"# the person on call\n{url}\n")
    secret.chmod(0o600)
    lines = "".join(f", {key}: {value}" for key, value in more.items())
    machine.configure(more=f"notify: {{urls_file: {secret}{lines}}}")


def test_a_failure_is_told_once_and_again_after_a_day_and_when_it_is_over(
    machine: Machine, mailbox: tuple[Mailbox, str], web: Web
) -> None:
    box, url = mailbox
    notify(machine, url, dead_man=web.url)
    away = machine.root / "away"
    machine.data.rename(away)
    for moment in ("2026-12-12T02:30:00+05:30", "2026-12-12T03:30:00+05:30", "2026-12-13T03:30:00+05:30"):
        machine.at(moment)
        machine("backup", "run", "--due", expect=3)
    told = box.texts()
    assert len(told) == 2, "once, and once again after a day; nothing for the hour between"
    assert "FAILED: opsctl backup run: portal/files: " in told[0] and str(machine.data) in told[0]
    assert "OVERDUE: portal: no good set" in told[0]
    assert "(since 2026-12-12 02:30)" in told[1]
    assert web.calls == [], "the dead man's switch is not held while something is wrong"
    away.rename(machine.data)
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", "--due", expect=0)
    assert "recovered: over: opsctl backup run: portal/files: " in box.texts()[2]
    assert web.calls == ["/pulse-token"]
    machine("backup", "run", "--due", expect=0)
    assert len(box.messages) == 3 and len(web.calls) == 2


def test_a_backup_that_was_left_alone_tells_nothing_of_its_troubles(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    file, go = machine.etc / "opsctl.yaml", machine.root / "go"
    file.write_text(file.read_text().replace("[files]", "[tax]").replace(
        "sources:\n", f"sources:\n  tax: {{kind: command, argv: [sh, -c, 'touch {go}.asked; until [ -e {go} ]; do sleep 0.02; done; cat {go}']}}\n"))
    go.touch()
    machine("backup", "run", "--due", expect=20)
    assert len(box.messages) == 1 and "portal/tax" in box.texts()[0]
    go.unlink()
    (machine.root / "go.asked").unlink()
    working = machine.start("backup", "run", "--due")
    with working:
        until((machine.root / "go.asked").exists, "the other one at work")
        assert machine("backup", "run", "--due", expect=0).out.startswith("portal: left alone")
        assert len(box.messages) == 1, "nobody knows yet whether it is over"
        go.write_text("content\n")
        assert working.communicate(timeout=120) and working.returncode == 0
    assert "recovered: over: opsctl backup run: portal/tax" in box.texts()[1]


def test_what_is_overdue_is_told_by_a_look_at_the_status(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", "--due", expect=0)
    assert box.messages == []
    machine.at("2026-12-16T02:30:00+05:30")
    machine("status", expect=5)
    machine("status", expect=5)
    (told,) = box.texts()
    assert "OVERDUE: portal: the newest set is 4 days old" in told


def test_a_suspect_set_is_told_at_once_and_over_when_somebody_has_looked(machine: Machine, mailbox: tuple[Mailbox, str], web: Web) -> None:
    box, url = mailbox
    notify(machine, url, dead_man=web.url)
    for number in range(4):
        (machine.data / f"bill-{number}.pdf").write_bytes(b"%PDF-1.7\n" + b"12.50 to pay\n" * 200)
    machine("backup", "run", "--due", expect=0)
    for number in range(4):
        (machine.data / f"bill-{number}.pdf").write_bytes(random.Random(number).randbytes(3000))
    machine.at("2026-12-15T02:30:00+05:30")
    machine("backup", "run", "--due", expect=0)
    (told,) = box.texts()
    assert "SUSPECT: set 20261214-2100-" in told and "restore points portal" in told and "OVERDUE" not in told
    assert len(web.calls) == 1, "the dead man's switch is not held while it stands"
    machine("--yes", "restore", "looked", "portal", told.partition("SUSPECT: set ")[2].split()[0], "--innocent", expect=0)
    machine("backup", "run", "--due", expect=0)
    assert "recovered: over: set 20261214-2100-" in "".join(box.texts()[1:]) and len(web.calls) == 2


def are_told(machine: Machine, box: Mailbox, code: int, *names: str) -> None:
    """A run fails for these: one notice names them all, and so does the terminal."""
    said = machine("backup", "run", "--due", expect=code)
    (told,) = box.texts()
    for name in names:
        assert f"FAILED: opsctl backup run: {name}: " in told and f"opsctl: {name}: " in said.err


def test_two_sources_that_fail_in_the_same_way_are_both_told_by_name(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    file = machine.etc / "opsctl.yaml"
    sources = "".join(f"  {name}: {{kind: command, argv: [/bin/false]}}\n" for name in ("tax", "water"))
    file.write_text(file.read_text().replace("sources:\n", f"sources:\n{sources}").replace("[files]", "[tax, water]"))
    are_told(machine, box, 20, "portal/tax", "portal/water")


def test_stores_that_do_not_answer_are_told_by_name(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    file = machine.etc / "opsctl.yaml"
    password = f"password_file: {machine.etc}/keys/repository-password"
    far = "".join(f"  {name}: {{url: 'rest:http://127.0.0.1:{port}/portal', {password}}}\n" for name, port in (("far", 9), ("farther", 7)))
    file.write_text(file.read_text().replace("sources:\n", f"{far}sources:\n", 1)
                    .replace("repository: main", "repository: main, copies: [far, farther]"))
    (machine.data / "bill").write_text("12.50")
    for name in ("far", "farther"):
        ledger = machine.state / "repositories" / f"{name}.json"
        ledger.write_text(json.dumps({"id": "0" * 64, "chunker": "0", "key": "0" * 64, "sets": []}))
    are_told(machine, box, 3, "far", "farther")


def test_a_broken_configuration_and_a_lost_repository_are_told(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", "--due", expect=0)
    shutil.rmtree(machine.store)
    machine("backup", "run", "--due", expect=22)
    assert "it held 1 set" in box.texts()[0]
    file = machine.etc / "opsctl.yaml"
    file.write_text(file.read_text().replace("kind: paths", "kind: pathes"))
    machine("backup", "run", "--due", expect=10)
    assert "FAILED" in box.texts()[1] and "opsctl.yaml" in box.texts()[1]
    machine("backup", "run", "--due", expect=10)
    assert len(box.messages) == 2


def test_a_mail_server_that_is_down_hides_nothing(machine: Machine, mailbox: tuple[Mailbox, str], web: Web) -> None:
    box, url = mailbox
    notify(machine, "mailto://clerk:s3cret@127.0.0.1:9?from=a@b.invalid&to=c@d.invalid&mode=insecure",
           dead_man="http://127.0.0.1:9/x")
    machine.data.rmdir()
    said = machine("backup", "run", "--due", expect=3)
    assert str(machine.data) in said.err
    assert "a notice to mailto://127.0.0.1 was not taken" in said.err
    assert "s3cret" not in said.err + said.out + (machine.state / "notices.json").read_text()
    notify(machine, url)
    machine("backup", "run", "--due", expect=3)
    assert "FAILED" in box.texts()[0], "what was not taken is told the next time"
    machine.data.mkdir()
    (machine.data / "a").write_text("a")
    notify(machine, url, dead_man="http://127.0.0.1:9/x")
    done = machine.json("backup", "run", "--due", expect=0)
    assert any("all is well, was not taken" in warning for warning in done.document["warnings"])


def test_passwords_do_not_stand_in_the_configuration(machine: Machine) -> None:
    machine.configure(more="notify: {urls: ['mailto://clerk:s3cret@mail.invalid', nothing], dead_man: x, dead_man_file: y}")
    said = machine("status", expect=10)
    assert "holds a password" in said.err and "urls_file" in said.err
    assert "notify.urls[1]: must be an address" in said.err
    assert "only one of dead_man and dead_man_file" in said.err
    assert "s3cret" not in said.err


def test_a_trouble_that_was_not_looked_at_is_not_over() -> None:
    trouble = Trouble("failed:backup run:portal", "failed", "it failed")
    notices, kept = settle({}, [trouble], lambda key: False, NOON, DAY)
    assert [notice.kind for notice in notices] == ["failed"]
    notices, kept = settle(kept, [], lambda key: False, NOON, DAY)
    assert notices == [] and set(kept) == {trouble.key}
    notices, kept = settle(kept, [], lambda key: True, NOON, DAY)
    assert [notice.kind for notice in notices] == ["recovered"] and kept == {}


def test_a_record_that_has_decayed_only_tells_again(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    machine.data.rmdir()
    for content in ("", "{", "[]", json.dumps({"x": 1})):
        (machine.state / "notices.json").write_text(content)
        machine("backup", "run", "--due", expect=3)
    assert len(box.messages) == 4


def test_a_person_at_a_terminal_and_a_mistyped_command_are_not_told(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    machine("backup", "run", "nothing", expect=2)
    machine("--dry-run", "backup", "run")
    assert box.messages == []


def test_a_lock_that_stays_is_told(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    (machine.data / "bill").write_text("12.50")
    password = machine.etc / "keys" / "repository-password"
    with subprocess.Popen(["restic", "--repo", str(machine.store), "--password-file", str(password), "--no-cache", "check"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as other:
        try:
            until(lambda: any("-tmp-" not in each.name for each in (machine.store / "locks").iterdir()), "a lock")
            other.send_signal(signal.SIGSTOP)
            machine("backup", "run", "--due", "--wait", "1s", expect=11)
        finally:
            other.kill()
    assert f"process {other.pid} of " in box.texts()[0] and "FAILED: opsctl backup run: portal" in box.texts()[0]
    machine("backup", "run", "--due", expect=0)
    assert "recovered: over: opsctl backup run: portal" in box.texts()[1]


INCIDENT = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "operator", "--signal", "files",
            "--in-charge", "Asha", "--type", "malicious-code")


def test_an_incident_is_told_at_once_its_duties_before_they_are_due_and_its_end(machine: Machine, mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox
    notify(machine, url)
    machine.at("2026-12-21T03:00:00+05:30")
    machine(*INCIDENT, expect=0)
    [opened] = box.texts()
    assert "INCIDENT: incident inc-1: Portal encrypted; noticed 20 Dec 2026 21:00 UTC; in charge: Asha; next: nic-cert-and-ciso, in 29 min" in opened
    machine("incident", "note", "inc-1", "nothing to tell", expect=0)
    assert len(box.texts()) == 1
    near = "INCIDENT: incident inc-1: certin-initial-report is due in "
    for moment, told in (("2026-12-21T06:29:00+05:30", 0), ("2026-12-21T06:31:00+05:30", 1), ("2026-12-21T07:31:00+05:30", 1)):
        machine.at(moment)
        machine("status")
        assert "".join(box.texts()).count(near) == told, moment
    for duty in ("nic-cert-and-ciso", "certin-initial-report", "certin-supplementary-report", "police-complaint"):
        machine("incident", "met", "inc-1", duty, "--channel", "telephone", "--by", "Asha", expect=0)
    machine("status")
    assert "is due in" not in box.texts()[-1], "that a duty was done that was near is no news of its own"
    machine("incident", "close", "inc-1", expect=0)
    assert "recovered: over: incident inc-1: Portal encrypted" in box.texts()[-1]


def test_who_could_not_be_told_holds_nothing_up_and_is_said(machine: Machine) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    notify(machine, f"mailto://127.0.0.1:{port}?from=a@b.invalid&to=c@d.invalid&mode=insecure")
    machine.at("2026-12-21T03:00:00+05:30")
    said = machine(*INCIDENT, expect=3)
    assert "incident inc-1 is open" in said.out and "was not taken" in said.err
    assert machine.json(*INCIDENT[:2], "inc-2", *INCIDENT[3:], expect=3).result["incident"] == "inc-2"

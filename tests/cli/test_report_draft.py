"""Drafts of the report to CERT-In: from what is known, never blocked, older ones kept."""

from __future__ import annotations

import email
import email.policy
import json
import subprocess
from pathlib import Path

import pytest

from opsctl.protocols.cert_in import protocol
from tests.machine import Kept, Machine

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code", "--zone", "portal")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("reports") / "m"
    machine = Machine(root)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", root / "host"], check=True, stdin=subprocess.DEVNULL)
    public = (root / "host.pub").read_text().strip()
    machine.configure(f"""
state: {machine.state}
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
zones: {{portal: {{title: Portal}}, bmc: {{title: City}}}}
people: {{asha: {{name: Asha Verma, roles: [incident-lead], phone: "+91 755 000000", email: asha@example.invalid}}}}
hosts:
  db-1: {{address: 10.0.0.11, zone: portal, host_key: "{public}", isolation: nftables}}
  city: {{address: 10.0.9.9, zone: bmc, host_key: "{public}", isolation: nftables}}
""")
    machine.at("2026-12-21T03:00:00+05:30")
    machine(*OPEN, expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def test_all_twenty_two_fields_are_there_and_what_is_unknown_says_so(machine: Machine) -> None:
    said = machine("report", "draft", "cert-in", expect=0).out
    for field in protocol().fields:
        assert f"{field.order:2}. {field.label}:" in said
    assert "21/12/2026 02:30 IST (UTC+05:30)" in said and "due: 21/12/2026 08:30 IST" in said
    assert "Operating System: not yet known" in said and "10.0.0.11 (db-1)" in said and "10.0.9.9" not in said
    assert "Contact No.: +91 755 000000" in said and "1800-11-4949" in said


def test_it_is_a_message_ready_for_a_person_and_nothing_is_sent(machine: Machine) -> None:
    paths = [Path(path) for path in machine.json("report", "draft", "cert-in", expect=0).result["files"]]
    assert [path.name for path in paths] == ["cert-in-1.en.txt", "cert-in-1.en.pdf", "cert-in-1.en.html", "cert-in-1.json", "cert-in-1.eml"]
    message = email.message_from_bytes(paths[-1].read_bytes(), policy=email.policy.default)
    assert message["To"] == "incident@cert-in.org.in" and "Portal encrypted" in str(message["Subject"])
    body = message.get_body()
    assert body is not None and body.get_content().replace("\r\n", "\n").strip() == paths[0].read_text().strip()
    assert machine.json("report", "list", expect=0).result["sent"] == []


def test_older_drafts_stay_and_what_changed_is_shown(machine: Machine) -> None:
    first = Path(machine.json("report", "draft", "cert-in", expect=0).result["files"][0]).read_text()
    machine("incident", "fill", "inc-1", "mission_critical=yes", "operating_system=Debian 12", expect=0)
    said = machine.json("report", "draft", "cert-in", expect=0)
    assert set(said.result["changed"]) >= {"Operating System"} and Path(said.result["files"][0]).name == "cert-in-2.en.txt"
    assert (machine.state / "incidents" / "inc-1" / "reports" / "cert-in-1.en.txt").read_text() == first
    assert "Operating System" in machine("report", "draft", "cert-in", expect=0).out


def test_a_doubtful_value_is_warned_of_and_never_blocks(machine: Machine) -> None:
    machine("incident", "fill", "inc-1", "mission_critical=ys", expect=0)
    said = machine("report", "draft", "cert-in", expect=0)
    assert "the form does not know ys; did you mean 'yes'?" in said.err.replace("mean yes?", "mean 'yes'?") and ": ys" in said.out


def test_a_drill_says_so_and_is_addressed_to_nobody_real(machine: Machine) -> None:
    machine(*OPEN[:2], "drill-1", *OPEN[3:], "--drill", expect=0)
    found = machine.json("report", "draft", "cert-in", "--incident", "drill-1", expect=0).result
    assert found["text"].startswith("DRILL") and b"cert-in.org.in\r\n" not in Path(found["files"][-1]).read_bytes().split(b"\r\n\r\n")[0]
    for line in machine("incident", "show", "drill-1", expect=0).out.splitlines():
        assert "cert-in.org.in" not in line or "nobody (DRILL); in earnest: " in line
    refused = machine("report", "draft", "cert-in", expect=2)
    assert "2 incidents are open: which one?" in refused.err


def test_hostile_text_stays_text(machine: Machine) -> None:
    machine("incident", "note", "inc-1", "evil\r\nBcc: x@x.invalid\x1b[2J", expect=0)
    machine(*OPEN[:2], "inc-2", "--title", "t\r\nBcc: y@y.invalid", *OPEN[5:])
    found = machine.json("report", "draft", "cert-in", "--incident", "inc-1", expect=0).result
    head = Path(found["files"][-1]).read_bytes().split(b"\r\n\r\n")[0]
    assert b"Bcc" not in head
    assert "\x1b" not in machine("report", "draft", "cert-in", "--incident", "inc-1", expect=0).out
    json.loads(Path(found["files"][-2]).read_text())


def test_with_a_full_folder_it_is_shown_all_the_same(machine: Machine) -> None:
    (machine.state / "incidents" / "inc-1" / "reports").write_text("in the way")
    said = machine("report", "draft", "cert-in", expect=3)
    assert "Incident report to CERT-In" in said.out


def test_without_an_incident_it_says_how_to_open_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    machine.configure(f"state: {machine.state}\n")
    said = machine("report", "draft", "cert-in", expect=2)
    assert "no incident is open" in said.err and "opsctl incident open" in said.err

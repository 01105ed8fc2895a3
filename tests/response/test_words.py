"""The words that hold a run of weeks together: papers, duties, other runs, notices; each taken up again after a kill."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from opsctl.isolation.register import Entry, Register
from opsctl.model.isolation import Mark, Order
from tests.badluck.faults import until
from tests.lab.quick_key import make_quick
from tests.machine import Machine
from tests.response.conftest import NOTICED, own


def steps(machine: Machine, run: str) -> dict[str, str]:
    return {one["step"]: one["outcome"] for one in machine.json("show", run).result["steps"]}


def begun(machine: Machine, name: str) -> tuple[str, str]:
    """A run that waits, and its incident."""
    said = machine.json("run", name, *NOTICED, expect=4)
    run = said.document["run"]
    return run, machine.json("show", run).result["inputs"]["incident"]


PAPER = """
  - {id: certificate, uses: document, with: {kind: auditor-certificate, say: {en: the auditor's certificate, hi: लेखा परीक्षक का प्रमाणपत्र}}}
  - {id: after, uses: command, with: {argv: [touch, AFTER]}}
"""


def test_a_paper_that_is_waited_for_opens_the_gate_and_is_hashed_again_there(machine: Machine) -> None:
    own(machine, "wait", PAPER.replace("AFTER", str(machine.root / "after")))
    run, incident = begun(machine, "wait")
    assert re.fullmatch(r"inc-20261220-[0-9a-f]{4}", incident) and run.endswith(incident[-4:])
    said = machine.json("resume", run, expect=4)
    assert f"opsctl incident paper {incident} auditor-certificate FILE" in said.errors[0]["message"]
    asked = machine.json("incident", "show", incident).result["records"]["paper-asked"]
    assert [(one["kind"], one["text"]) for one in asked] == [("auditor-certificate", "the auditor's certificate")], "asked for once"
    assert "auditor-certificate is not there" in machine("incident", "close", incident, expect=23).err

    scan = machine.root / "Scan 12.PDF"
    scan.write_bytes(b"%PDF certificate")
    machine("incident", "paper", incident, "auditor-certificate", str(scan), "--note", "no. 77", expect=0)
    [paper] = machine.json("incident", "show", incident).result["records"]["papered"]
    kept = machine.state / "incidents" / incident / "papers" / paper["name"]
    assert paper["name"] == "auditor-certificate-1.pdf" and kept.read_bytes() == scan.read_bytes() and kept.stat().st_mode & 0o077 == 0
    assert paper["note"] == "no. 77" and paper["from"] == "Scan 12.PDF"

    kept.write_bytes(b"%PDF forged")
    assert "was changed since it was taken in" in machine.json("resume", run, expect=22).errors[0]["message"]
    kept.unlink()
    assert "cannot be read" in machine.json("resume", run, expect=22).errors[0]["message"]
    assert not (machine.root / "after").exists()
    machine("incident", "paper", incident, "auditor-certificate", str(scan), expect=0)
    machine("resume", run, expect=0)
    assert (machine.root / "after").exists()
    machine("journal", "verify", expect=0)


def test_likely_mistakes_with_papers_are_told(machine: Machine) -> None:
    own(machine, "wait", PAPER.replace("AFTER", "/dev/null"))
    _, incident = begun(machine, "wait")
    (machine.root / "x").write_text("x")
    said = machine("incident", "paper", incident, "auditors-certificate", str(machine.root / "x"), expect=0)
    assert "did you mean auditor-certificate?" in said.err
    assert machine("incident", "paper", incident, "../x", str(machine.root / "x"), expect=2).err
    assert "No such file" in machine("incident", "paper", incident, "review", str(machine.root / "none"), expect=20).err
    assert machine("incident", "paper", "inc-none", "review", str(machine.root / "x"), expect=2).err
    with (machine.root / "large").open("wb") as out:
        out.truncate((256 << 20) + 1)
    assert "larger than 256 MiB" in machine("incident", "paper", incident, "review", str(machine.root / "large"), expect=2).err
    (machine.root / "blank").touch()
    assert "blank is empty" in machine("incident", "paper", incident, "auditor-certificate", str(machine.root / "blank"), expect=2).err
    os.mkfifo(machine.root / "pipe")
    for what in (str(machine.root / "pipe"), "/dev/zero"):
        assert "is no file" in machine("incident", "paper", incident, "auditor-certificate", what, expect=2).err
    folder = machine.state / "incidents" / incident / "papers"
    assert [one.name for one in folder.iterdir()] == ["auditors-certificate-1"], "nothing is left of what was refused"


def test_two_who_bring_a_paper_of_one_kind_at_once_lose_none(machine: Machine) -> None:
    own(machine, "wait", PAPER.replace("AFTER", "/dev/null"))
    _, incident = begun(machine, "wait")
    for number in range(4):
        (machine.root / f"paper-{number}").write_text(str(number))
    both = [machine.start("incident", "paper", incident, "review", str(machine.root / f"paper-{number}")) for number in range(4)]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    papers = machine.json("incident", "show", incident).result["records"]["papered"]
    folder = machine.state / "incidents" / incident / "papers"
    assert sorted((folder / one["name"]).read_text() for one in papers) == ["0", "1", "2", "3"]


DUTY = """
  - {id: sent, uses: met, with: {duty: certin-initial-report, say: send the report}}
  - {id: orders, uses: met, with: {duty: certin-order-compliance, say: answer every order}}
  - {id: persons, uses: met, with: {duty: dpdp-principals, say: tell those concerned}}
"""


def test_a_duty_is_waited_for_until_its_submission_or_a_signed_decision_is_on_record(machine: Machine) -> None:
    own(machine, "duty", DUTY)
    run, incident = begun(machine, "duty")
    machine("incident", "order", incident, "send logs", "--order", "20-7", "--received-at", "2026-12-21T02:45+05:30", expect=0)
    message = machine.json("resume", run, expect=4).errors[0]["message"]
    assert "certin-initial-report, due 2026-12-21 08:30 IST" in message and "opsctl report sent certin-initial-report" in message and "incident decide" in message
    machine("report", "sent", "certin-initial-report", "--incident", incident, "--channel", "phone", "--by", "Asha", expect=0)
    assert "order 20-7" in machine.json("resume", run, expect=4).errors[0]["message"]
    machine("incident", "decide", incident, "order 20-7", "--reason", "withdrawn by telephone", "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    machine("resume", run, expect=0)  # no personal data is concerned: that clock has not started


OTHER = """
  - id: back
    uses: other_run
    with: {playbook: [small, drill], inputs: {services: [tax]}, say: bring the services back, role: restore-officer}
"""
SMALL = """
name: small
title: small
inputs: {services: {type: list, help: which}, incident: {type: string, help: for which, default: ""}}
steps:
  - {id: a, uses: command, with: {argv: [test, -e, FLAG]}}
"""


def test_another_run_is_waited_for_only_since_the_incident_and_only_as_it_was_asked_for(machine: Machine) -> None:
    flag = machine.root / "flag"
    flag.touch()
    (machine.etc / "playbooks" / "small.yaml").write_text(SMALL.replace("FLAG", str(flag)))
    machine("run", "small", "--set", "services=tax", expect=0)  # before the incident: it does not count
    own(machine, "other", OTHER)
    run, incident = begun(machine, "other")
    ours = ("--set", f"incident={incident}")
    machine("run", "small", "--set", "services=water", *ours, expect=0)  # another service
    machine("run", "small", "--set", "services=tax", "--set", "incident=inc-9", expect=0)  # another incident
    nobodys = machine.json("run", "small", "--set", "services=tax", expect=0).document["run"]
    flag.unlink()
    failed = machine.json("run", "small", "--set", "services=tax,water", *ours, expect=20).document["run"]
    said = machine.json("resume", run, expect=4).errors[0]["message"]
    assert said.startswith(f"bring the services back ({nobodys} was begun for no incident; {failed} ended with 20); this goes on when")
    flag.touch()
    machine("resume", failed, expect=0)
    assert machine.json("resume", run, expect=0).result["steps"][-1]["result"]["runs"] == [failed]


def test_while_two_incidents_are_open_one_run_does_not_end_what_both_wait_for(machine: Machine) -> None:
    flag = machine.root / "flag"
    flag.touch()
    (machine.etc / "playbooks" / "small.yaml").write_text(SMALL.replace("FLAG", str(flag)))
    own(machine, "other", OTHER)
    first, incident = begun(machine, "other")
    second, _ = begun(machine, "other")
    nobodys = machine.json("run", "small", "--set", "services=tax", expect=0).document["run"]
    for run in (first, second):
        assert f"{nobodys} was begun for no incident" in machine.json("resume", run, expect=4).errors[0]["message"]
    machine("run", "small", "--set", "services=tax", "--set", f"incident={incident}", expect=0)
    machine("resume", first, expect=0)
    machine("resume", second, expect=4)


LIFTED = """
  - {id: back, uses: other_run, with: {playbook: small, say: lift it, lifted: true, zone: portal}}
"""


def test_one_host_that_is_let_back_is_not_the_zone(machine: Machine) -> None:
    (machine.etc / "hosts.yaml").write_text("hosts: {h1: {address: 10.0.0.1, zone: portal}, h2: {address: 10.0.0.2, zone: portal}}\n")
    flag = machine.root / "flag"
    flag.touch()
    (machine.etc / "playbooks" / "small.yaml").write_text(SMALL.replace("FLAG", str(flag)))
    own(machine, "other", LIFTED)
    run, incident = begun(machine, "other")
    register = Register(machine.state / "isolated")
    for host, whose in (("h1", incident), ("h2", None), ("h3", incident), ("h4", "inc-other")):
        register.put(Entry(host, "nftables", Order(Mark("r", "asha", "2026-12-21T03:00:00+05:30", whose)), "confirmed"))
    machine("run", "small", "--set", "services=tax", "--set", f"incident={incident}", expect=0)
    for left, gone in (("h1, h2, h3", "h1"), ("h2, h3", "h3"), ("h2", "h2")):
        assert f"still cut off: {left})" in machine.json("resume", run, expect=4).errors[0]["message"]
        register.drop(gone)
    (machine.state / "isolated" / "h2.json").write_text("spoilt")
    assert "still cut off: h2)" in machine.json("resume", run, expect=4).errors[0]["message"]
    register.drop("h2")
    machine("resume", run, expect=0)


def test_what_was_done_without_opsctl_is_said_under_a_signature_with_its_note_and_paper(machine: Machine) -> None:
    own(machine, "other", OTHER)
    run, incident = begun(machine, "other")
    protocol = machine.root / "protocol.pdf"
    protocol.write_bytes(b"%PDF")
    machine("done", run, "back", "--by", "asha", "--key", str(machine.root / "asha"), expect=0)
    assert "has not the role restore-officer" in machine.json("resume", run, expect=4).errors[0]["message"]
    machine("done", run, "back", "--by", "imran", "--note", "restored by the vendor", "--file", str(protocol), "--key", str(machine.root / "imran"), expect=0)
    said = machine.json("resume", run, expect=0).result["steps"][-1]["result"]["said"]
    assert said == [{"by": "imran", "note": "restored by the vendor"}]
    [paper] = machine.json("incident", "show", incident).result["records"]["papered"]
    assert (paper["kind"], paper["by"], paper["name"]) == ("back", "imran", "back-1.pdf")
    signed = [json.loads(line)["data"] for path in sorted((machine.state / "journal").glob("*.jsonl")) for line in path.read_text().splitlines()
              if '"person.done"' in line]
    assert signed[-1]["statement"]["papers"] == [{"name": "back-1.pdf", "sha256": paper["sha256"]}]


class _Sink(HTTPServer):
    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        self.hold = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                sink.hold.wait(30)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def sink() -> Iterator[_Sink]:
    server = _Sink()
    server.hold.set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


DRAFT = """
  - {id: draft, uses: report, on_unknown: repeat, with: {report: cert-in}}
  - {id: after, uses: command, with: {argv: [touch, AFTER]}}
"""


def test_a_report_is_drafted_once_and_after_a_kill_again_with_nothing_lost(machine: Machine) -> None:
    own(machine, "draft", DRAFT.replace("AFTER", str(machine.root / "after")))
    run = machine.json("run", "draft", *NOTICED, expect=0).document["run"]
    incident = machine.json("show", run).result["inputs"]["incident"]
    machine("resume", run, expect=0)
    folder = machine.state / "incidents" / incident / "reports"
    assert (folder / "cert-in-1.json").exists() and not (folder / "cert-in-2.json").exists()
    assert [one["number"] for one in machine.json("incident", "show", incident).result["records"]["drafted"]] == [1]

    process = machine.start("run", "draft", *NOTICED, start_new_session=True)
    incidents = machine.state / "incidents"
    until(lambda: any(path.parent.parent.name != incident for path in incidents.glob("*/reports/cert-in-1.json")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    later = machine.json("runs").result["runs"][0]["run"]
    assert later != run
    (machine.root / "after").unlink(missing_ok=True)
    machine("resume", later, expect=0)
    found = machine.json("incident", "show", machine.json("show", later).result["inputs"]["incident"]).result
    assert found["records"]["drafted"] and (incidents / found["incident"] / "reports" / f"cert-in-{found['records']['drafted'][-1]['number']}.en.txt").exists()
    machine("journal", "verify", expect=0)


def test_a_report_that_there_is_not_is_told_before_anything_is_done(machine: Machine) -> None:
    own(machine, "draft", DRAFT.replace("cert-in", "police-report"))
    assert "did you mean police?" in machine("run", "draft", *NOTICED, expect=10).err
    assert machine.json("incident", "list").result["incidents"] == []


TELL = """
  - {id: tell, uses: notify, may_fail: true, with: {say: {en: the portal is cut off, hi: पोर्टल काट दिया गया है}}}
  - {id: after, uses: command, with: {argv: [touch, AFTER]}}
"""


def _to(machine: Machine, sink: _Sink) -> None:
    path = machine.etc / "opsctl.yaml"
    path.write_text(path.read_text().replace("127.0.0.1:9/", f"127.0.0.1:{sink.server_port}/"))


def test_people_are_told_once_in_their_languages(machine: Machine, sink: _Sink) -> None:
    own(machine, "tell", TELL.replace("AFTER", str(machine.root / "after")))
    _to(machine, sink)
    run = machine.json("run", "tell", *NOTICED, expect=0).document["run"]
    machine("resume", run, expect=0)
    [got] = sink.got
    assert "the portal is cut off" in got["message"] and "पोर्टल काट दिया गया है" in got["message"] and "Portal encrypted" in got["title"]
    incident = machine.json("show", run).result["inputs"]["incident"]
    assert machine.json("incident", "show", incident).result["timeline"][-1]["text"] == "told json://127.0.0.1: the portal is cut off"


def test_a_notice_that_nobody_takes_holds_nothing_up_and_is_tried_again(machine: Machine, sink: _Sink) -> None:
    own(machine, "tell", TELL.replace("AFTER", str(machine.root / "after")))
    said = machine.json("run", "tell", *NOTICED)
    run = said.document["run"]
    assert steps(machine, run)["tell"] == "failed" and "nobody took the notice" in json.dumps(said.document)
    assert said.code == 0 and (machine.root / "after").exists()
    _to(machine, sink)
    machine("resume", run, expect=0)
    assert len(sink.got) == 1 and steps(machine, run)["tell"] == "changed"


def test_a_notice_that_was_cut_off_in_the_middle_is_asked_about(machine: Machine, sink: _Sink) -> None:
    own(machine, "tell", TELL.replace("AFTER", str(machine.root / "after")))
    _to(machine, sink)
    sink.hold.clear()
    process = machine.start("run", "tell", *NOTICED, start_new_session=True)
    until(lambda: bool(sink.got))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    sink.hold.set()
    run = machine.json("runs").result["runs"][0]["run"]
    said = machine.json("resume", run, expect=4)
    assert "nobody wrote down how it ended" in said.errors[0]["message"] and len(sink.got) == 1
    machine("resume", run, "--repeat", "tell", expect=0)
    assert len(sink.got) == 2 and steps(machine, run)["declare"] == "changed"


def test_a_run_goes_on_with_the_incident_that_is_open_and_asks_nobody_twice(machine: Machine) -> None:
    machine("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T01:30+05:30", "--noticed-by", "Ravi", "--signal",
            "a call", "--in-charge", "Imran", expect=None)
    own(machine, "duty", DUTY)
    run = machine.json("run", "duty", "--set", "incident=inc-1", expect=4).document["run"]
    assert machine.json("show", run).result["inputs"]["noticed_by"] == "Ravi"
    found = machine.json("incident", "show", "inc-1").result
    assert [one["text"].partition(":")[0] for one in found["timeline"]].count("opened") == 1
    assert [one["incident"] for one in machine.json("incident", "list").result["incidents"]] == ["inc-1"]


def test_a_first_notice_is_never_defaulted_and_never_in_the_future(machine: Machine) -> None:
    own(machine, "duty", DUTY)
    assert "--set noticed_at=… is needed" in machine("run", "duty", *NOTICED[2:], expect=2).err
    for moment, why in (("2026-12-22T02:30+05:30", "lies in the future"), ("2026-12-21T02:30", "has no time zone"), ("yesterday", "is no moment")):
        assert why in machine("run", "duty", "--set", f"noticed_at={moment}", *NOTICED[2:], expect=2).err
    assert machine.json("incident", "list").result["incidents"] == []


def test_the_first_report_lies_ready_while_no_host_answers_and_the_store_is_gone(machine: Machine) -> None:
    """Promise 8, by the whole playbook: hosts that are tried for minutes, a repository that is not there, nobody who takes a notice."""
    silent(machine, 3)
    process = machine.start("run", "ransomware", "--set", "zone=portal", *NOTICED, start_new_session=True)
    try:
        until(lambda: bool(list((machine.state / "incidents").glob("*/reports/cert-in-1.eml"))))
        assert process.poll() is None, "hosts are still tried"
        [incident] = machine.json("incident", "list").result["incidents"]
        assert incident["next"]["duty"] in ("nic-cert-and-ciso", "certin-initial-report")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def silent(machine: Machine, count: int) -> None:
    """Hosts in zone portal, at addresses where nobody is, that could be logged into."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", machine.etc / "keys" / "ssh-isolation"], check=True, stdin=subprocess.DEVNULL)
    config = machine.etc / "opsctl.yaml"
    config.write_text(f"{config.read_text()}hosts:\n" + "".join(
        f'  h{number}: {{address: 198.51.100.{number + 1}, user: root, zone: portal, isolation: nftables, host_key: "{_KEY}"}}\n' for number in range(count)))


def test_a_host_that_could_not_be_cut_off_is_left_alone_once_people_were_let_in_again(machine: Machine) -> None:
    silent(machine, 1)
    own(machine, "cut", """
  - {id: cut, uses: isolate, after: [], with: {host: h0, retry_for: 0}}
  - {id: wave, uses: other_run, after: [declare], with: {playbook: [reopen], inputs: {wave: pilot}, say: let the pilot bodies in}}
""")
    said = machine.json("run", "cut", *NOTICED, expect=13)
    run = said.document["run"]
    machine("done", run, "wave", "--by", "asha", "--note", "by the switch", "--key", str(machine.root / "asha"), expect=0)
    machine("resume", run, expect=13)
    assert "people were let in again since (wave): it is left as it is" in machine.json("resume", run, expect=23).errors[0]["message"]


def test_a_response_is_planned_without_opening_anything(machine: Machine) -> None:
    machine("backup", "init", expect=0)
    said = machine("plan", "web-intrusion", "--set", "hosts=", *NOTICED, expect=0)
    for line in ("would once: Write it down and start the clocks", "would wait: Send it within six hours of the first notice", "would freeze main for incident inc-",
                 "would wait: The auditor's certificate", "would wait: Close the incident"):
        assert line in said.out, line
    assert "stands" not in said.err and machine.json("incident", "list").result["incidents"] == []


def test_a_response_begins_also_where_the_state_directory_cannot_be_used(machine: Machine) -> None:
    machine("backup", "init", expect=0)
    make_quick(machine.store, "for tests only")
    shutil.rmtree(machine.state)
    machine.state.write_text("not a directory any more")
    said = machine("--break-glass", "run", "web-intrusion", "--set", "hosts=", *NOTICED)
    spool = Path(re.findall(r"journal goes to (\S+)/journal/", said.err)[0])
    try:
        assert said.code == 4 and "retention frozen: main" in said.out and "sent: send the draft to CERT-In as it is" in said.out, said.err
        assert list(spool.glob("incidents/*/reports/cert-in-1.en.txt"))
        run = re.findall(r"opsctl resume (\S+)", said.out)[0]
        assert "call: " in machine("--break-glass", "resume", run, expect=4).out
    finally:
        shutil.rmtree(spool)


_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01"

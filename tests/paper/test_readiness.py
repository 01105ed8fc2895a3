"""Readiness on the command line: what a machine sees, what people say until when, and the sheet to print."""

from __future__ import annotations

import subprocess

import pytest

from tests.machine import Machine

PEOPLE = """
organisation: {name: Urban Development, timezone: Asia/Kolkata, languages: [en, hi]}
people:
  asha: {name: Asha Verma, roles: [point-of-contact], phone: "+91 00000 00001", email: asha@department.invalid}
"""


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.configure(more=PEOPLE)
    return machine


def states(machine: Machine) -> dict[str, str]:
    """How each item stands; the clocks are this machine's, whoever keeps it."""
    return {one["item"]: one["state"] for one in machine.json("readiness").result["items"] if one["item"] != "clocks"}


def record(machine: Machine, item: str, until: str = "2027-06-01") -> None:
    machine("readiness", "record", item, "--by", "asha", "--on", "2026-12-01", "--until", until, expect=0)


def test_what_is_missing_is_named_with_source_force_and_what_to_do(ready: Machine) -> None:
    shown = ready("readiness", expect=3).out
    for said in ("S1 Direction (iii), Annexure II", "binding", "info@cert-in.org.in", "samay1.nic.in", "180 days", "roles: [ciso]", "opsctl kit build"):
        assert said in shown, said
    assert set(states(ready).values()) == {"missing"}


def test_a_persons_word_holds_until_its_day_and_no_change_of_what_it_is_about(ready: Machine) -> None:
    for item in ("point-of-contact", "contact-sheets", "logs"):
        record(ready, item)
    assert [states(ready)[item] for item in ("point-of-contact", "contact-sheets", "logs")] == ["recorded"] * 3
    assert "readiness" not in ready("status").out
    ready.configure(more=PEOPLE.replace("00001", "00009"))
    assert [states(ready)[item] for item in ("point-of-contact", "contact-sheets", "logs")] == ["changed", "changed", "recorded"]
    assert "readiness: point-of-contact, contact-sheets have to be looked at again" in ready("status").out
    ready.at("2027-07-01T10:00:00+05:30")
    assert states(ready)["logs"] == "expired"
    assert [entry["data"]["item"] for entry in ready.json("journal", "show").result["lines"] if entry["type"] == "readiness.recorded"] == [
        "point-of-contact", "contact-sheets", "logs"]


@pytest.mark.parametrize(("words", "code", "said"), [
    (("contact",), 2, "did you mean contact-sheets?"), (("logs", "--by", "a", "--on", "2027-01-01", "--until", "2027-02-01"), 2, "lies in the future"),
    (("logs", "--by", "a", "--on", "01/12/2026", "--until", "30/11/2026"), 2, "lies before"), (("logs", "--by", "a", "--on", "soon", "--until", "later"), 2, "is no date"),
    (("logs", "--by", "a", "--on", "01/12/2026"), 4, "--until"), (("logs", "--on", "01/12/2026", "--until", "2027-01-01"), 4, "--by"),
])
def test_what_cannot_be_recorded_is_refused(ready: Machine, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in ready("readiness", "record", *words, expect=code).err
    assert set(states(ready).values()) == {"missing"}


def test_what_a_machine_can_see_is_seen(ready: Machine) -> None:
    (ready.data / "a").write_text("a")
    ready("backup", "run", expect=0)
    found = {one["item"]: one for one in ready.json("readiness", expect=3).result["items"]}
    assert found["restore-test"]["seen"] == "portal: never" and "removable" in found["offline-copy"]["seen"]
    ready.configure(more=PEOPLE.replace("[point-of-contact]", "[ciso]"))
    assert states(ready)["ciso"] == "ok"


def test_the_contact_sheet_tells_what_was_verified_and_leaves_blank_what_nobody_knows(ready: Machine) -> None:
    into = ready.root / "print"
    ready("readiness", "contacts", "--into", str(into), expect=0)
    text = (into / "contacts.en.txt").read_text()
    assert "incident@nic-cert.nic.in (NOT verified)" in text and "1800-11-4949" in text and "Asha Verma" in text
    assert "State Cyber Police / district cyber cell: FIR and criminal investigation; ____" in text
    assert "Mobile No.: +91 00000 00001" in text and "Office Fax: ____" in text
    pdf = subprocess.run(["pdftotext", "-layout", into / "contacts.hi.pdf", "-"], capture_output=True, text=True, check=True).stdout
    assert "1800-11-4949" in pdf and "CERT-In" in pdf
    assert "संपर्क सूची" in (into / "contacts.hi.html").read_text()

"""Bags that are handed over, and the certificate that goes with them: facts and hashes, never a statement, tick or signature."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from opsctl.protocols.cert_in import protocol
from tests.evidence.test_local import OPEN, bag, items
from tests.machine import Kept, Machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    machine = Machine(tmp_path_factory.mktemp("custody") / "m")
    (machine.data / "#set page(width: 1pt)\n<b>=1+1").write_text("*bold* <script>")
    machine.configure(f"""
state: {machine.state}
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
evidence: {{profiles: {{own: {{extends: nothing, files: [{machine.data}], commands: {{hello: {{argv: [echo, hello], about: A greeting}}}}}}}}}}
""")
    machine.make_key()
    machine.at("2026-12-21T03:00:00+05:30")
    machine(*OPEN, "--drill", expect=0)
    machine("evidence", "collect", "localhost", "--profile", "own", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


HAND = ("--to", "Insp. R. Singh, State Cyber Police", "--reason", "seized by order 12/26")


def test_a_hand_over_is_checked_signed_and_chained_and_any_change_to_it_shows(machine: Machine) -> None:
    name = bag(machine).name
    assert "it is with Insp. R. Singh" in machine("evidence", "hand", name, *HAND, expect=0).out
    machine("evidence", "hand", name, "--to", "Forensic laboratory", "--reason", "examination", expect=0)
    records = machine.json("incident", "show", "inc-1", expect=0).result["records"]["handed"]
    assert [(one["from"], one["to"], one["hash_rechecked"]) for one in records] == [
        ("Urban Development", "Insp. R. Singh, State Cyber Police", True), ("Insp. R. Singh, State Cyber Police", "Forensic laboratory", True)]
    assert "Forensic laboratory" in machine("evidence", "list", expect=0).out
    machine("evidence", "verify", expect=0)
    second = bag(machine) / "handed-2.json"
    kept = second.read_bytes()
    second.chmod(0o600)
    second.write_bytes(kept.replace(b"Forensic laboratory", b"a friend of mine..."))
    assert "the hand-over handed-2.json was altered" in machine("evidence", "verify", expect=22).err
    second.write_bytes(kept.replace(b'{"bag"', b'{"to":"nobody","bag"'))  # the name twice: programs take the last one, people the first
    assert "handed-2.json" in machine("evidence", "verify", expect=22).err
    second.unlink()
    assert "there are 1 hand-overs in it, and 2 in the journal" in machine("evidence", "verify", expect=22).err


def test_what_is_not_as_it_was_sealed_is_neither_handed_over_nor_certified(machine: Machine) -> None:
    file = bag(machine) / "data" / str(items(bag(machine))["own-hello"]["file"])
    file.chmod(0o600)
    file.write_text("good bye\n")
    for words in (("hand", bag(machine).name, *HAND), ("certificate",)):
        assert f"data/{file.name} was changed" in machine("evidence", *words, expect=22).err
    assert machine.json("incident", "show", "inc-1").result["records"].get("handed") is None
    assert not (machine.state / "incidents" / "inc-1" / "certificates").exists()


def test_the_certificate_holds_facts_and_hashes_and_leaves_the_rest_to_people(machine: Machine) -> None:
    (said,) = machine.json("evidence", "certificate", expect=0).result["certificates"]
    form = protocol().raw["bsa63_certificate"]
    for part, title in (("part_a", "Part A"), ("part_b", "Part B")):
        fields = said["parts"][title]["fields"]
        assert [(one["order"], one["label"]) for one in fields] == [(one["order"], one["label"]) for one in form[part]]
        filled = {one["key"] for one in fields if one["value"]}
        assert filled <= {"make_model", "serial_number", "device_id", "other_info", "hash_values", "hash_algorithm", "hash_report"}
        assert {"other_info", "hash_values", "hash_report"} <= filled
    files = {path.split(".", 1)[1]: Path(path) for path in said["files"]}
    assert set(files) == {"txt", "hashes.txt", "json", "html", "pdf"}
    digest = items(bag(machine))["own-hello"]["sha256"]
    text = files["txt"].read_text()
    assert f"SHA256 {digest}" in text and "[ ] owned" in text and "[x]" not in text.lower() and text.startswith("DRILL")
    report = files["hashes.txt"].read_text()
    assert str(digest) in report and "%0A%3Cb%3E=1+1" in report and "opsctl 0." in report and "\n<b>" not in report
    html = files["html"].read_text()
    assert "DRILL" in html and "<script>" not in html and "checked" not in html and str(digest) in html
    shown = subprocess.run(["pdftotext", "-layout", files["pdf"], "-"], capture_output=True, text=True, check=True).stdout
    assert "DRILL" in shown and "Part B: expert" in shown and str(digest) in shown.replace("\n", "")
    assert "#set page(width: 1pt)" in shown
    again = machine.json("evidence", "certificate", expect=0).result["certificates"][0]["files"]
    assert not set(again) & set(said["files"])  # older ones are kept
    assert json.loads(files["json"].read_text())["drill"] is True


def test_a_bag_that_somebody_put_there_gets_no_seal_of_ours(machine: Machine) -> None:
    planted = bag(machine).with_name("vm-9")
    shutil.copytree(bag(machine), planted)
    (planted / "tagmanifest-sha256.txt.sig").unlink()
    assert "vm-9 is not sealed: the journal does not know that it was collected" in machine("evidence", "collect", "localhost", "--profile", "own").err
    assert not (planted / "tagmanifest-sha256.txt.sig").exists()
    assert "vm-9: the journal knows nothing of this bag" in machine("evidence", "verify", expect=22).err


def test_a_half_bag_is_neither_sealed_nor_handed_over(machine: Machine) -> None:
    half = bag(machine).with_name("vm-9.half")
    shutil.copytree(bag(machine), half)
    assert "half bag" in machine("evidence", "hand", half.name, *HAND, expect=23).err
    assert "half bag" in machine("evidence", "certificate", half.name, expect=23).err


def test_personal_data_has_a_date_after_which_somebody_has_to_decide(machine: Machine) -> None:
    assert machine.json("evidence", "list", expect=0).result["bags"][0]["personal_data_until"] == "2027-12-21"
    assert "personal data" not in machine("evidence", "list", expect=0).out
    machine.at("2027-12-22T09:00:00+05:30")
    assert "personal data in it was to be kept until 2027-12-21" in machine("evidence", "list", expect=0).out

"""What people say of a suspect set: that it is innocent is signed, by two while an incident is open, and told wherever the set is called clean."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.wiring import Site
from tests.approvals.site import make_keys, people_of
from tests.machine import Machine

OPENED = ("--title", "T", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


@pytest.fixture
def suspect(machine: Machine, keys: Path) -> str:
    """The id of a suspect set, the newest of its machine after two clean ones."""
    machine.configure(more=f"clean_room: {{place: {machine.root / 'rooms'}}}\nservices: {{portal: {{restores: [files]}}}}\n"
                           f"organisation: {{name: O, timezone: Asia/Kolkata}}\n{people_of(keys)}")
    (machine.root / "rooms").mkdir()
    for day, content in ((12, None), (15, b"later"), (18, b"")):
        machine.at(f"2026-12-{day}T02:30:00+05:30")
        for number in range(5):
            noise = random.Random(number).randbytes(3000) if content == b"" else b"%PDF-1.7\n" + b"12.50 to pay\n" * 200
            if content != b"later":
                (machine.data / f"bill-{number}.pdf").write_bytes(noise)
        (machine.data / "note.txt").write_text(f"day {day}\n")
        machine("backup", "run", expect=0)
    return str(machine.json("backup", "show", "newest", expect=0).result["sets"][0]["set"])


def looked(machine: Machine, keys: Path, by: str, expect: int = 0, key: str = "") -> str:
    said = machine("--yes", "restore", "looked", "portal", "newest", "--innocent", "--by", by, "--key", str(keys / (key or by)), expect=expect)
    return said.out + said.err


def clean(machine: Machine) -> str:
    return str(machine.json("restore", "points", "portal", expect=0).result["clean"])


def test_promise_9_innocent_is_signed_and_told_wherever_the_set_is_called_clean(machine: Machine, keys: Path, suspect: str) -> None:
    assert clean(machine) != suspect
    assert "who says that it is innocent?" in machine("--yes", "restore", "looked", "portal", "newest", "--innocent", expect=2).err
    looked(machine, keys, "asha", 12, key="stranger")
    site = Site(load_config(machine.etc), clock=lambda: datetime.fromisoformat(machine.environ["OPSCTL_CLOCK"]), environ=machine.environ)
    forged = {"backup": "portal", "set": suspect, "word": "innocent", "by": "asha", "time": "2026-12-18T03:00:00+05:30", "note": ""}
    site.journal.append("signals.looked", forged)
    site.journal.flush()
    assert clean(machine) != suspect, "a word that nobody signed is none"
    looked(machine, keys, "asha")
    assert clean(machine) == suspect
    told = "looked at by asha, 18 Dec"
    assert told in machine("restore", "points", "portal", expect=0).out
    assert told in machine("restore", "plan", expect=0).out
    said = machine.json("restore", "run", expect=4)
    assert f"clean as it was {told}" in said.errors[0]["message"]
    (machine.data / "note.txt").write_text("quiet\n")
    machine.at("2026-12-21T02:30:00+05:30")
    machine("backup", "run", expect=0)
    assert machine.json("restore", "points", "portal", expect=0).result["points"][-1]["relies_on"] == [suspect]
    assert f"after set {suspect}, {told}" in " ".join(machine("restore", "points", "portal", expect=0).out.split())


def test_promise_9_in_an_incident_one_word_does_not_make_a_set_clean(machine: Machine, keys: Path, suspect: str) -> None:
    before = clean(machine)
    machine("incident", "open", "inc-9", *OPENED, expect=0)
    assert "counts once another person has signed it as well" in looked(machine, keys, "asha")
    looked(machine, keys, "asha")
    assert clean(machine) == before
    assert "asha called it innocent, and 1 more person has to sign that" in machine("restore", "points", "portal", expect=0).out
    looked(machine, keys, "imran")
    assert clean(machine) == suspect
    (machine.state / "catalogue.sqlite").unlink()
    assert clean(machine) == suspect


def test_an_attack_stays_critical_until_an_incident_is_open(machine: Machine, suspect: str) -> None:
    machine("status", expect=5)
    said = machine("restore", "looked", "portal", "newest", "--attack", expect=0)
    assert "opsctl incident open" in said.out
    for _ in range(2):
        status = machine("status", expect=5)
        assert "it is an attack, says" in status.err and "opsctl incident open" in status.err
        machine("incident", "open", "inc-d", "--drill", *OPENED)
    machine("incident", "open", "inc-9", *OPENED, expect=0)
    assert "it is an attack" not in machine("status").err

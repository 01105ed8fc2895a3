"""Times name their zone for people, and carry their offset for programs."""

from __future__ import annotations

import re
from datetime import datetime

from tests.machine import Machine

SHOWN = re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d(?::\d\d)? ?(\S*)")


def test_every_time_that_is_shown_names_its_zone(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    made = machine.json("backup", "list", expect=0).result["sets"][0]["set"]
    run = machine.json("runs", expect=0).result["runs"][0]["run"]
    for words in (("backup", "list"), ("backup", "show", made), ("status",), ("runs",), ("show", run), ("journal", "show")):
        zones = SHOWN.findall(machine(*words, expect=0).out)
        assert zones and set(zones) <= {"UTC", "UTC;"}, words


def test_times_for_programs_have_an_offset(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    times = [
        machine.json("backup", "list", expect=0).result["sets"][0]["time"],
        machine.json("status", expect=0).result["backups"]["portal"]["newest_time"],
        machine.json("runs", expect=0).result["runs"][0]["started"],
        machine.json("journal", "show", expect=0).result["lines"][0]["time"],
    ]
    assert [datetime.fromisoformat(time).tzinfo for time in times].count(None) == 0

"""`opsctl journal`: what happened, and whether it is still what was written."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.journal import Journal
from tests.machine import Machine

NOON = datetime.fromisoformat("2026-12-01T12:00:00+05:30")


@pytest.fixture
def site(tmp_path: Path) -> Machine:
    """A machine without a repository whose journal has six lines, an hour apart, of two runs in turn."""
    machine = Machine(tmp_path / "m")
    machine.configure(f"state: {machine.state}\norganisation: {{name: Test, timezone: Asia/Kolkata}}\n")
    number = 0
    with Journal(machine.state / "journal", lambda: NOON + timedelta(hours=number)) as journal:
        for number in range(6):
            journal.append("step.begin", {"n": number, "name": "x\x1b\n"}, run=f"R{number % 2}")
    machine.at("2026-12-01T18:00:00+05:30")
    return machine


def change(machine: Machine, old: str, new: str) -> None:
    path = machine.state / "journal" / "000001.jsonl"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


class TestShow:
    @pytest.mark.parametrize(
        ("words", "numbers"),
        [
            ((), [0, 1, 2, 3, 4, 5]),
            (("--run", "R1"), [1, 3, 5]),
            (("--limit", "2"), [4, 5]),
            (("--limit", "0", "--run", "R0"), [0, 2, 4]),
            (("--since", "2026-12-01T15:00"), [3, 4, 5]),
            (("--since", "2026-12-01T09:30:00Z"), [3, 4, 5]),
            (("--since", "2h30m"), [4, 5]),
            (("--since", "2h30m", "--limit", "1"), [5]),
            (("--run", "R7"), []),
        ],
    )
    def test_which_lines(self, site: Machine, words: tuple[str, ...], numbers: list[int]) -> None:
        found = site.json("journal", "show", *words, expect=0).result["lines"]
        assert [line["data"]["n"] for line in found] == numbers

    def test_for_people(self, site: Machine) -> None:
        said = site("journal", "show", "--limit", "1", expect=0)
        assert said.out.splitlines() == [
            "seq  time                     run  type        what",
            "  6  2026-12-01 17:00:00 IST  R1   step.begin  n 5, name x\\x1b\\n",
        ]

    def test_a_long_line_is_cut_for_people_only(self, site: Machine) -> None:
        with Journal(site.state / "journal", lambda: NOON) as journal:
            journal.append("long", {"text": "a" * 1000})
        assert max(map(len, site("journal", "show", expect=0).out.splitlines())) < 300
        assert site.json("journal", "show").result["lines"][-1]["data"] == {"text": "a" * 1000}

    def test_a_damaged_line_is_left_out_and_named(self, site: Machine) -> None:
        change(site, '"n":2', '"n":8')
        said = site.json("journal", "show", expect=22)
        assert [line["data"]["n"] for line in said.result["lines"]] == [0, 1, 3, 4, 5]
        assert [error["where"] for error in said.errors] == [f"{site.state}/journal/000001.jsonl:3"]

    def test_without_a_journal(self, site: Machine) -> None:
        site.forget()
        assert site("journal", "show", expect=0).out == "no lines\n"

    @pytest.mark.parametrize("words", [("--since", "yesterday"), ("--limit", "-1")])
    def test_wrong_usage(self, site: Machine, words: tuple[str, ...]) -> None:
        site("journal", "show", *words, expect=2)


class TestVerify:
    def test_whole_on_this_machines_word(self, site: Machine) -> None:
        assert site("journal", "verify", expect=0).out.splitlines() == [
            "lines                         6",
            "whole                         yes",
            "vouched for                   no line",
            "on this machine's word alone  lines 1 to 6",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [('"n":2', '"n":8', 3), ('"seq":5', '"seq":6', 5), ('"run":"R1","seq":2', '"run":"R0","seq":2', 2)],
    )
    def test_a_change_is_named_by_its_line(self, site: Machine, old: str, new: str, line: int) -> None:
        change(site, old, new)
        said = site.json("journal", "verify", expect=22)
        assert said.errors[0]["where"] == f"000001.jsonl:{line}"
        assert said.result["problems"][0]["line"] == line
        assert "no: " in site("journal", "verify", expect=22).out

    def test_more_problems_than_a_screen_holds(self, site: Machine) -> None:
        path = site.state / "journal" / "000001.jsonl"
        path.write_text(path.read_text() + "nonsense\n" * 50)
        said = site.json("journal", "verify", expect=22)
        assert len(said.errors) == 21 and said.errors[-1]["message"].startswith("and ")
        assert len(said.result["problems"]) > 40

    def test_the_sets_in_the_repositories_vouch(self, machine: Machine) -> None:
        (machine.data / "a").write_text("a")
        machine("backup", "run", "portal", expect=0)
        found = machine.json("journal", "verify", expect=0).result
        assert 0 < found["vouched_to"] <= found["last_seq"]
        assert found["vouched_by"].startswith("set portal/")
        assert machine.json("journal", "verify", "--offline", expect=0).result["vouched_to"] == 0

    def test_a_repository_that_cannot_be_asked_is_warned_of(self, machine: Machine) -> None:
        machine.store.rename(machine.root / "away")
        said: Any = machine.json("journal", "verify", expect=0)
        assert len(said.document["warnings"]) == 1
        assert said.document["warnings"][0].startswith("repository main was not asked")

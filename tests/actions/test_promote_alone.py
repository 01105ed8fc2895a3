"""Whoever tries to bring something into production without two people, or past the scan: by a playbook, an input, a forged line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.engine.playbooks import packaged
from opsctl.wiring import Site
from tests.actions import planting
from tests.actions.test_promote import OLD, hidden, set_of
from tests.actions.test_promote_command import GOOD, approve, backed_up
from tests.approvals.site import make_keys
from tests.machine import Machine, Said, tree
from tests.scanning.samples import EICAR


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


def begin(machine: Machine, playbook: str, expect: int, *more: str) -> Said:
    given = {"backup": "portal", "set": set_of(machine), "source": "files", "room": "alone", "replace": "yes"}
    return machine.json("run", playbook, *(word for name, value in given.items() for word in ("--set", f"{name}={value}")), *more, expect=expect)


def written(machine: Machine, change: tuple[str, str]) -> str:
    """A site's own playbook: the packaged one with one thing changed."""
    text = (packaged() / "promote.yaml").read_text()
    found = re.sub(*change, text, flags=re.DOTALL)
    assert found != text
    place = machine.root / "own.yaml"
    place.write_text(found.replace("name: promote", "name: own"))
    return str(place)


@contextlib.contextmanager
def older_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that began what could not come to its end."""
    with monkeypatch.context() as older:
        older.setattr("opsctl.cli.work.refuse_hopeless", lambda *_: None)
        yield


def refused(machine: Machine, said: Said, word: str) -> None:
    assert any(word in error["message"] for error in said.errors), said.errors
    assert tree(machine.data) == OLD and hidden(machine.data) == []


def test_promise_9_no_playbook_brings_anything_into_production_without_two_people(machine: Machine, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backed_up(machine, keys, GOOD)
    no_gate = written(machine, (r"  - id: approve\n.*?(?=  - id: promote)", ""))
    refused(machine, begin(machine, no_gate, 23), "nobody was asked")
    machine.at("2026-12-12T03:30:00+05:30")
    one = begin(machine, "promote", 23, "--set", "people=1")
    refused(machine, one, "before it only 1 is asked")
    assert not (machine.root / "rooms").exists() or list((machine.root / "rooms").iterdir()) == [], "refused before anything was done"
    with older_version(monkeypatch):
        run = begin(machine, "promote", 4, "--set", "people=1").document["run"]
    approve(machine, keys, run, "asha")
    refused(machine, machine.json("resume", run, expect=23), "it takes 2 people")
    approve(machine, keys, run, "imran")
    machine("resume", run, expect=0)
    assert tree(machine.data) == GOOD


def test_promise_9_a_line_in_the_journal_is_no_approval(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    run = begin(machine, "promote", 4).document["run"]
    approve(machine, keys, run, "asha")
    site = Site(load_config(machine.etc), clock=lambda: datetime.fromisoformat(machine.environ["OPSCTL_CLOCK"]), environ=machine.environ)
    site.journal.append("step.end", {"step": "approve", "item": None, "outcome": "ok", "because": "said and signed", "codes": []}, run=run)
    site.journal.append("step.begin", {"step": "promote", "item": None, "uses": "promote", "params": {}, "changes": []}, run=run)
    site.journal.flush()
    refused(machine, machine.json("resume", run, expect=23), "it takes 2 people")


@pytest.mark.parametrize(("where", "why"), [
    ("folder: {empty}, backup: \"${{backup}}\", set: \"${{set}}\", sources: []", "a folder that has nothing in it"),
    ("backup: \"${{backup}}\", set: \"${{set}}\", room: \"${{room}}\"", "whatever lies in the room"),
])
def test_promise_9_a_scan_of_something_else_is_none(machine: Machine, keys: Path, where: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backed_up(machine, keys, {**GOOD, "mail/invoice.com": EICAR})
    (machine.root / "empty").mkdir()
    line = where.format(empty=machine.root / "empty")
    own = written(machine, (r"(uses: scan\n    with: )\{[^\n]*", r"\1{" + line.replace("\\", r"\\") + "}"))
    refused(machine, begin(machine, own, 23), "was not scanned by a step before it")
    with older_version(monkeypatch):
        said = begin(machine, own, 4 if "empty" in line else 22)
    run = said.document["run"]
    if "empty" in line:
        approve(machine, keys, run, "asha", "imran")
        refused(machine, machine.json("resume", run, expect=23), "was not scanned")
    else:
        refused(machine, said, "invoice.com")  # it lay there; had it not yet, the scan would count for nothing


def test_promise_9_a_set_that_looks_like_an_attack_is_named_by_whoever_wants_it_and_shown_to_those_who_approve(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    entry = {"verdict": "suspect", "reasons": ["all of it changed"], "notes": [], "examples": [], "numbers": {}}
    record = {**planting.newest(machine), "set": "20261211-2200-beef", "time": "2026-12-12T03:30:00+05:30",
              "signals": {"format": "opsctl-signals/1", "verdict": "suspect", "sources": {"files": entry}}}
    machine.at("2026-12-12T04:30:00+05:30")
    planting.plant(machine, record, machine.etc / "keys" / "controller")
    said = machine.json("restore", "promote", "portal", "files", "--replace", expect=23)
    refused(machine, said, f"set {record['set']}, the newest of portal, looks like an attack")
    for words in (["promote", "portal", "files", "--replace", "--set", record["set"]], ["run", "--set", f"portal={record['set']}"]):
        run = machine.json("restore", *words, expect=4).document["run"]
        gate = "approve" if words[0] == "promote" else "portal.approve"
        shown = machine("--dry-run", "approve", run, gate, "--by", "asha", "--key", str(keys / "asha"), expect=0)
        assert f"of set {record['set']} of portal, which looks like an attack, come" in shown.err

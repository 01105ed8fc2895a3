"""Restores into production while an incident is open: nothing comes there that its run has not scanned, and two have not approved."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from opsctl.model.production import database_in_use, place_in_use
from tests.actions.test_promote import OLD
from tests.actions.test_promote_command import GOOD, approve, backed_up
from tests.approvals.site import make_keys
from tests.machine import Machine, tree

OPENED = ("--title", "T", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")

OWN = """
name: own
title: Put one folder back, scanned and approved
inputs: {backup: {type: string, help: b}, set: {type: set, help: s}, paths: {type: list, help: p}, into: {type: path, help: i}}
steps:
  - {id: room, uses: restore, with: {backup: "${backup}", set: "${set}", sources: [files], room: own}}
  - {id: scan, uses: scan, with: {backup: "${backup}", set: "${set}", sources: [files], room: own}}
  - {id: approve, uses: approve, with: {say: it comes back, people: 2}}
  - {id: back, uses: restore_files, with: {backup: "${backup}", set: "${set}", paths: "${paths}", into: "${into}", replace: true}}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


def test_promise_9_in_an_incident_no_restore_goes_round_the_scan_and_the_two(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    files = ("restore", "files", "portal", str(machine.data), "--replace", "--into", str(machine.data.parent))
    machine("restore", "files", "portal", f"{machine.data}/index.html", "--into", f"{machine.data}/quick", expect=0)
    shutil.rmtree(machine.data / "quick")
    machine("incident", "open", "inc-d", "--drill", *OPENED, expect=0)
    machine("--dry-run", *files, expect=0)
    machine("incident", "open", "inc-9", *OPENED, expect=0)
    machine("restore", "files", "portal", str(machine.data), "--into", str(machine.root / "elsewhere"), expect=0)
    machine("restore", "set", "portal", "--into", str(machine.root / "elsewhere-too"), expect=0)
    (machine.root / "link").symlink_to(machine.data)
    for words in (files, ("restore", "files", "portal", f"{machine.data}/index.html", "--into", f"{machine.root}/link/sub"),
                  ("restore", "set", "portal", "--into", str(machine.data / "new")), ("--dry-run", *files)):
        said = machine.json(*words, expect=23).errors[0]
        assert "is production, and while incident inc-9 is open" in said["message"] and "restore run" in said["hint"]
    assert tree(machine.data) == OLD


def test_promise_9_a_playbook_that_scans_and_asks_two_goes_on_in_an_incident(machine: Machine, keys: Path) -> None:
    backed_up(machine, keys, GOOD)
    machine("incident", "open", "inc-9", *OPENED, expect=0)
    own = machine.root / "own.yaml"
    given = {"backup": "portal", "set": machine.json("backup", "list").result["sets"][0]["set"], "paths": str(machine.data), "into": str(machine.root)}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    for number, (line, why) in enumerate([("  - {id: scan", "was not scanned"), ("  - {id: approve", "nobody was asked")]):
        machine.at(f"2026-12-12T0{3 + number}:30:00+05:30")
        own.write_text("".join(one for one in OWN.splitlines(keepends=True) if not one.startswith(line)))
        said = machine.json("run", str(own), *words, expect=4 if "scan" in line else 23)
        if "scan" in line:
            approve(machine, keys, said.document["run"], "asha", "imran")
            said = machine.json("resume", said.document["run"], expect=23)
        assert why in said.errors[0]["message"] and tree(machine.data) == OLD
    machine.at("2026-12-12T05:30:00+05:30")
    own.write_text(OWN)
    run = machine.json("run", str(own), *words, expect=4).document["run"]
    approve(machine, keys, run, "asha", "imran")
    machine("resume", run, expect=0)
    assert tree(machine.data) == GOOD


def test_what_is_production() -> None:
    sources = {"up": SimpleNamespace(kind="paths", host=None, paths=("/srv/portal/up",)), "far": SimpleNamespace(kind="paths", host="h", paths=("/far",)),
               "lite": SimpleNamespace(kind="sqlite", host=None, path="/srv/lite.db"),
               "db": SimpleNamespace(kind="postgresql", host="h", database="enagar"), "own": SimpleNamespace(kind="command", host=None)}
    services = {"tax": SimpleNamespace(into={"up": "/srv/new", "db": "enagar2"})}
    config = SimpleNamespace(sources=sources, services=services)
    inside = {"/srv/portal/up": True, "/srv/portal/up/2023": True, "/srv/portal": True, "/srv/portal/upper": False, "/far": False, "/srv/lite.db": True,
              "/srv/new/x": True, "/tmp/back": False}
    assert {place: place_in_use(place, config) is not None for place in inside} == inside
    names = {("db", "enagar"): True, ("db", "enagar2"): True, ("db", "enagar_restored"): False, ("own", "anything"): True, ("gone", "enagar"): True}
    assert {one: database_in_use(*one, config) for one in names} == names

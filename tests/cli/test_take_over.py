"""A controller lost in the middle of an incident: another one takes the incident over, and what is lost is named."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells import local
from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine, tree

OPEN = ("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "night operator",
        "--signal", "files renamed", "--in-charge", "Asha Verma", "--type", "malicious-code")
NOW = "2026-12-21T03:00:00+05:30"
ORGANISATION = "organisation: {name: Urban Development, timezone: Asia/Kolkata}"


def controller(root: Path, store: Path | str) -> Machine:
    """A controller with a key of its own on a repository that is there."""
    machine = Machine(root)
    machine.make_key()
    machine.store = store  # type: ignore[assignment]
    machine.configure(more=ORGANISATION)
    machine.at(NOW)
    return machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("taken") / "m"
    machine = controller(root, root / "store")
    machine("backup", "init", expect=0)
    make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
    machine(*OPEN, expect=0)
    machine("incident", "order", "inc-1", "send the firewall logs", "--order", "20-77", "--received-at", "2026-12-21T02:45+05:30", "--due-at",
            "2026-12-21T05:00+05:30", expect=0)
    folder = machine.state / "incidents" / "inc-1"
    for name, content in (("evidence/web1/data/log", "GET /\n"), ("evidence/.coming/half", "x"), ("papers/order.pdf", "%PDF")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Iterator[Machine]:
    yield made.again()
    local.reset()


@pytest.fixture
def other(machine: Machine, tmp_path: Path) -> Machine:
    found = controller(tmp_path / "other", machine.store)
    found("backup", "init", expect=0)
    return found


def fingerprint(machine: Machine) -> str:
    return subprocess.run(["ssh-keygen", "-lf", machine.etc / "keys" / "controller.pub"], check=True, capture_output=True, text=True).stdout.split()[1]


def due(machine: Machine) -> dict[str, Any]:
    return {one["duty"]: one["due"] for one in machine.json("incident", "show", "inc-1").result["clocks"]}


def test_promise_8_another_controller_goes_on_with_clocks_and_files_and_names_what_is_lost(machine: Machine, other: Machine) -> None:
    kept = machine.json("incident", "keep", expect=0).result["incidents"]["inc-1"]["repositories"]["main"]
    assert (kept["entries"], kept["files"]) == (2, 2)
    assert "already as wanted" in str(machine.json("incident", "keep", expect=0).result), "a second time there is nothing to do"
    before = due(machine)
    machine("incident", "note", "inc-1", "nobody will know of this", expect=0)
    assert "main still lacks 1 entry" in machine("incident", "show", "inc-1").out
    shutil.move(machine.state, machine.root / "away")
    assert f"--trust {fingerprint(machine)}" in other("incident", "take-over", "inc-1", expect=23).err
    other.at("2026-12-21T06:00:00+05:30")
    said = other("incident", "take-over", "--trust", fingerprint(machine), expect=0)
    assert "lost: whatever was written after 2026-12-21 03:00 IST" in said.out and "certin-initial-report" in said.out
    assert due(other) == before, "clocks go on from their own moments"
    assert tree(other.state / "incidents" / "inc-1" / "evidence") == {"web1/data/log": b"GET /\n"}
    assert "is led here already" in other("incident", "take-over", "--trust", fingerprint(machine), expect=0).out
    shown = other.json("incident", "show", "inc-1").result
    assert [one["text"].split(":")[0] for one in shown["timeline"]][::2] == ["opened", "taken over by another controller; lost"]
    other("journal", "verify", expect=0)
    # A third one needs to know the second one's key only: it has kept all of it under its own.
    assert other.json("incident", "keep", expect=0).result["incidents"]["inc-1"]["repositories"]["main"]["entries"] == 3
    third = controller(other.root.parent / "third", machine.store)
    third("backup", "init", expect=0)
    third("incident", "take-over", "inc-1", "--trust", fingerprint(other), expect=0)
    assert due(third) == before and len(third.json("incident", "show", "inc-1").result["timeline"]) == 4

"""What somebody may do who has the repository's password, a shared folder, or bad luck: nothing is covered or believed."""

from __future__ import annotations

import copy
import json
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from opsctl.model.records import MANIFEST, NAMESPACES, canonical, envelope
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer
from tests.machine import Machine, tree

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with one set of one file."""
    (machine.data / "top.txt").write_text("top\n")
    machine("backup", "run", expect=0)
    return machine


def plant(machine: Machine, record: Mapping[str, Any], key: Path | None = None, *, mark: str = "manifest") -> None:
    """Store a record as somebody who knows the password would; signed where there is a key."""
    content = json.dumps({"record": record, "signature": "none"}).encode()
    if key is not None:
        signature = Signer(key, LocalShell()).sign(canonical(record), NAMESPACES[record["format"]])
        content = envelope(record, signature)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "record.json"
        file.write_bytes(content)
        machine.restic("backup", "--tag", f"opsctl,{mark}", str(file))


def newest(machine: Machine) -> dict[str, Any]:
    """The record of the newest set."""
    sets = machine.json("backup", "list", expect=0).result["sets"]
    return dict(machine.json("backup", "show", sets[-1]["set"], expect=0).result["sets"][0]["record"])


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A key that nobody vouched for."""
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, stdin=subprocess.DEVNULL)
    return key


@pytest.mark.parametrize("name", ["../../victim", "/VICTIM"])
def test_a_foreign_set_cannot_name_a_source_out_of_its_folder(
    kept: Machine, stranger: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "a" / "victim"
    victim.mkdir(parents=True)
    (victim / "mine").write_text("mine")
    record = newest(kept)
    entry = record["sources"].pop("files")
    record["sources"][name.replace("/VICTIM", str(victim))] = entry
    record["set"] = "20261212-0000-ffff"
    plant(kept, record, stranger)
    said = kept("restore", "set", "portal", "--set", "20261212-0000-ffff", "--into", str(tmp_path / "a" / "b" / "c"))
    assert said.code == 23
    assert tree(victim) == {"mine": b"mine"}


ODD: dict[str, Change] = {
    "backup is no text": lambda record: record.update(backup={"a": 1}),
    "set is no text": lambda record: record.update(set=["x"]),
    "no sources": lambda record: record.update(sources=[]),
    "bytes is a text": lambda record: record["sources"]["files"].update(bytes="many"),
    "no proof": lambda record: record["sources"]["files"].pop("proof"),
    "time is a number": lambda record: record.update(time=5),
    "time without a zone": lambda record: record.update(time="2026-12-12T00:00:00"),
    "previous is a text": lambda record: record.update(previous="x"),
    "paths climb": lambda record: record["sources"]["files"].update(paths=["/../../etc/shadow"]),
    "every is a text": lambda record: record.update(every_seconds="x"),
}


def test_records_of_any_shape_stop_neither_lists_nor_backups(kept: Machine, stranger: Path, tmp_path: Path) -> None:
    record = newest(kept)
    for number, change in enumerate(ODD.values()):
        odd = {**copy.deepcopy(record), "set": f"20261212-0000-{number:04x}"}
        change(odd)
        plant(kept, odd, stranger)
        plant(kept, odd)
    plant(kept, {"format": MANIFEST, "backup": {}, "set": {}})
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "deep.json"
        file.write_text("[" * 100_000)
        kept.restic("backup", "--tag", "opsctl,manifest", str(file))
    listed = kept.json("backup", "list", expect=0).result["sets"]
    assert [one["set"] for one in listed if one["state"] == "good"] == [record["set"]]
    assert kept("backup", "list").code == 0
    for one in listed:
        assert kept("backup", "show", str(one["set"])).code == 0
    kept("verify", expect=22)
    kept.at("2026-12-15T02:30:00+05:30")
    kept("backup", "run", expect=0)
    kept("status", "--refresh", expect=0)

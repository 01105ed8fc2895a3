"""A name on the command line that stands for nothing is wrong usage, and the nearest one that does is named."""

from __future__ import annotations

import pytest

from tests.machine import Machine

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01"


@pytest.mark.parametrize("line", [
    "backup init mian", "backup run portl", "backup run portal --accept fils", "backup list portl", "backup copy portl",
    "backup compare portl", "backup rewind mian --to 2026-12-12T00:00:00Z", "verify mian", "verify --level drill portl",
    "verify --level drill portal --from mian", "restore set portl --into /nowhere", "restore files portl /x --into /nowhere",
    "restore set portal --from mian --into /nowhere", "hosts check db-2", "hosts rekey db-2", "hosts check --zone portl",
    "isolate apply db-2", "isolate plan --zone portl",
    "run bakup", "plan verify --set repositories=mian", "playbooks show bakup", "playbooks check bakup", "explain bakup",
])
def test_an_unknown_name_is_wrong_usage(machine: Machine, line: str) -> None:
    machine.configure(more=f"hosts:\n  db-1: {{address: 10.0.0.1, host_key: {KEY}, zone: portal}}\nzones: {{portal: {{title: x}}}}")
    said = machine(*line.split(), expect=2)
    assert "there is no " in said.err and "; did you mean " in said.err


def test_an_unknown_set_or_run_is_wrong_usage(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    made = machine.json("backup", "run", expect=0).document
    known = made["result"]["backups"]["portal"]["set"]
    mistyped = f"{known[:-1]}{'0' if known[-1] != '0' else '1'}"
    for words in (["backup", "show", mistyped], ["restore", "set", "portal", "--set", mistyped, "--into", str(machine.root / "back")],
                  ["verify", "--level", "drill", "portal", "--set", mistyped]):
        assert f"there is no set '{mistyped}'; did you mean {known}?" in machine(*words, expect=2).err
    assert f"did you mean {made['run']}?" in machine("resume", f"{made['run'][:-1]}x", expect=2).err


def test_a_name_in_a_file_that_stands_for_nothing_is_a_mistake_of_the_file(machine: Machine) -> None:
    machine.configure(more="  other: {sources: [fils], repository: main}")
    assert "there is no source fils; did you mean files?" in machine("backup", "run", "other", expect=10).err


def test_a_certificate_of_a_restore_is_a_file_of_the_server_that_is_named(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    words = ["restore", "set", "portal", "--into", str(machine.root / "back")]
    assert "the server that --server names" in machine(*words, "--server-cacert", "none", expect=2).err
    assert "there is no such file" in machine(*words, "--server", "db-2", "--server-cacert", "/nowhere.pem", expect=2).err
    assert not (machine.root / "back").exists()

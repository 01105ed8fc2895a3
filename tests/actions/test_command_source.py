"""A dump program, hooks and limits in a whole run, and a dump brought back by its own program."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from opsctl.model import limits
from tests.machine import Machine
from tests.sources.databases import until


def program(machine: Machine, name: str, script: str) -> Path:
    path = machine.root / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def hana(machine: Machine) -> Machine:
    """Beside the folder a database that writes into a spool, with a program that brings it back."""
    (machine.data / "a.txt").write_text("a\n")
    (machine.root / "spool").mkdir(mode=0o755)
    dump = program(machine, "dump", 'echo "kept: $HANA_KEY"; printf rows >"$1/data"; printf log >"$1/log"')
    load = program(machine, "load", f'cp -r "$1" "{machine.root}/db-$2"; echo loaded')
    machine.configure(sources=f"""
  hana: {{kind: command, argv: [{dump}, "${{spool}}"], restore: [{load}, "${{spool}}", "${{target}}"],
         spool: {{directory: {machine.root}/spool}}, environment: {{HANA_KEY: OPSCTL}}}}
""", backup_sources="[files, hana]")
    return machine


def journal(machine: Machine) -> str:
    return "".join(path.read_text() for path in sorted((machine.state / "journal").glob("*.jsonl")))


def with_hooks(machine: Machine, *, before: str = "", after: str = "", more: str = "", kind: str = "") -> None:
    hooks = "".join(f", {when}: [{program(machine, when, script)}, word]"
                    for when, script in (("before", before), ("after", after)) if script)
    what = kind or f"kind: paths, paths: [{machine.root}/hooked]"
    (machine.root / "hooked").mkdir(exist_ok=True)
    (machine.root / "hooked" / "file").write_text("x\n")
    (machine.data / "a.txt").write_text("a\n")
    machine.configure(sources=f"  hooked: {{{what}{hooks}{more}}}", backup_sources="[files, hooked]")


def test_a_dump_goes_there_and_back_and_every_command_says_what_is_proven(hana: Machine, tmp_path: Path) -> None:
    words = "bytes proven, rows not"
    assert words in hana("backup", "run", expect=0).out
    assert sorted(os.listdir(hana.root / "spool")) == [".opsctl-hana.lock"]
    set_id = hana.json("backup", "list", expect=0).result["sets"][0]["set"]
    shown = hana.json("backup", "show", set_id, expect=0).result["sets"][0]["record"]["sources"]["hana"]
    assert (shown["files"], shown["bytes"], sorted(shown["proof"]["listed"])) == (2, 7, ["data", "log"])
    assert "hooks" not in shown
    assert words in hana("status").out and hana.json("status").result["backups"]["portal"]["only_bytes"] == ["hana"]
    verified = hana("verify", expect=0)
    assert f"portal/hana: {words}" in verified.out

    landed = hana("restore", "set", "portal", "--into", str(tmp_path / "files"), expect=0)
    assert words in landed.out and "no program has loaded it" in landed.out
    assert Path(f"{tmp_path}/files/hana{hana.root}/spool/opsctl-hana/data").read_text() == "rows"

    dry = hana("--dry-run", "restore", "set", "portal", "--into", str(tmp_path / "b"), "--database", "hana=NEW", expect=0)
    assert "restore program for NEW" in dry.out and not (hana.root / "db-NEW").exists()
    back = hana("restore", "set", "portal", "--into", str(tmp_path / "b"), "--database", "hana=NEW", expect=0)
    assert "its restore program took what was backed up" in back.out and words in back.out
    assert (hana.root / "db-NEW" / "data").read_text() == "rows"
    assert sorted(os.listdir(hana.root / "spool")) == [".opsctl-hana.lock"]


def test_a_restore_program_that_fails_keeps_the_dump_out_of_view_and_is_resumed(hana: Machine, tmp_path: Path) -> None:
    hana("backup", "run", expect=0)
    program(hana, "load", "echo no room; exit 1")
    failed = hana.json("restore", "set", "portal", "--into", str(tmp_path / "b"), "--database", "hana=NEW")
    assert failed.code in (3, 20) and "no room" in failed.errors[0]["message"]
    assert not (tmp_path / "b").exists()
    program(hana, "load", f'cp -r "$1" "{hana.root}/db-$2"')
    hana("resume", failed.document["run"], expect=0)
    assert (hana.root / "db-NEW" / "log").read_text() == "log" and (tmp_path / "b" / "hana").is_dir()


def test_a_restore_program_that_was_cut_off_is_never_run_again_by_itself(hana: Machine, tmp_path: Path) -> None:
    hana("backup", "run", expect=0)
    program(hana, "load", f'echo x >>"{hana.root}/runs"; exec sleep 300')
    running = hana.start("restore", "set", "portal", "--into", str(tmp_path / "b"), "--database", "hana=NEW")
    try:
        until((hana.root / "runs").exists, "the restore program")
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=30)
    run = hana.json("runs").result["runs"][0]["run"]
    refused = hana.json("resume", run, expect=23)
    assert "nobody knows what NEW holds" in refused.errors[0]["message"]
    assert (hana.root / "runs").read_text() == "x\n"


def test_without_a_restore_program_a_database_is_refused_before_anything(machine: Machine, tmp_path: Path) -> None:
    machine.configure(sources="  ldap: {kind: command, argv: [seq, '5']}", backup_sources="[ldap]")
    machine("backup", "run", expect=0)
    said = machine.json("restore", "set", "portal", "--into", str(tmp_path / "b"), "--database", "ldap=x", expect=2)
    assert "restore:" in said.errors[0]["hint"] and not (tmp_path / "b").exists()
    machine("restore", "set", "portal", "--into", str(tmp_path / "b"), expect=0)
    assert (tmp_path / "b" / "ldap" / "ldap.dump").read_text() == "1\n2\n3\n4\n5\n"


def test_hooks_run_around_a_source_and_what_they_said_is_in_the_journal(machine: Machine) -> None:
    with_hooks(machine, before=f'test "$1" = word; echo "down $OPSCTL_SOURCE of $OPSCTL_BACKUP" | tee -a {machine.root}/log',
               after=f'echo "up $OPSCTL_OUTCOME" | tee -a {machine.root}/log')
    done = machine.json("backup", "run", expect=0)
    assert (machine.root / "log").read_text() == "down hooked of portal\nup ok\n"
    said = done.result["backups"]["portal"]["sources"]["hooked"]["hooks"]
    assert [(one["when"], one["said"]) for one in said] == [("before", ["down hooked of portal"]), ("after", ["up ok"])]
    assert "down hooked of portal" in journal(machine)
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "ok"
    assert (machine.root / "log").read_text().count("\n") == 2, "nothing was due, so no hook ran"


def test_a_hook_that_fails_stops_its_source_and_no_other(machine: Machine) -> None:
    with_hooks(machine, before="echo cannot stop it; exit 3", after=f'echo "$OPSCTL_OUTCOME" >{machine.root}/after')
    said = machine.json("backup", "run", expect=3)
    (error,) = said.errors
    assert error["code"] == 20 and "the hook before hooked (before) failed (3): cannot stop it" in error["message"]
    assert [one["paths"] for one in machine.snapshots()] == [[str(machine.data)]]
    assert (machine.root / "after").read_text() == "failed\n"


def test_a_hook_that_hangs_is_ended_with_its_children(machine: Machine) -> None:
    with_hooks(machine, before=f"sleep 300 & echo $! >{machine.root}/pid; trap '' TERM; wait; wait", more=", hook_limit: 1s")
    said = machine.json("backup", "run", expect=3)
    assert said.errors[0]["code"] == 20 and "did not finish within 1s" in said.errors[0]["message"]
    pid = int((machine.root / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text(), "the child's end")


def test_the_hook_after_runs_when_the_dump_failed_and_both_failures_are_told(machine: Machine) -> None:
    with_hooks(machine, after="echo cannot start it; exit 4", kind="kind: command, argv: [sh, -c, 'echo half; exit 7']")
    said = machine.json("backup", "run", expect=3)
    (error,) = said.errors
    assert error["code"] == 20 and "sh failed (7)" in error["message"] and "cannot start it" in error["message"]
    assert error["details"]["after"]["code"] == 20
    with_hooks(machine, after="echo cannot start it; exit 4")
    again = machine.json("backup", "run", expect=3)
    assert "the hook after hooked" in again.errors[0]["message"]
    assert {one["state"] for one in machine.json("backup", "list").result["sets"]} == {"incomplete"}


def test_a_kill_before_the_hook_after_has_run_takes_the_source_anew(machine: Machine) -> None:
    with_hooks(machine, before=f"echo before >>{machine.root}/log",
               after=f"echo after >>{machine.root}/log; test -e {machine.root}/go || exec sleep 300")
    running = machine.start("backup", "run")
    try:
        until(lambda: (machine.root / "log").exists() and "after" in (machine.root / "log").read_text(), "the hook after")
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=30)
    (machine.root / "go").touch()
    run = machine.json("runs").result["runs"][0]["run"]
    machine("resume", run, expect=0)
    assert (machine.root / "log").read_text().split() == ["before", "after"] * 2
    assert machine.json("backup", "list").result["sets"][0]["state"] == "good"


def test_a_store_that_does_not_answer_is_tried_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_FIRST_WAIT", 0.05)
    (machine.data / "a.txt").write_text("a\n")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    config = (machine.etc / "opsctl.yaml").read_text().replace(f"url: {machine.store}", f"url: 'rest:http://127.0.0.1:{port}/'")
    for retries, told in ((0, 0), (2, 2)):
        text = config.replace("repository: main", f"repository: main, retries: {retries}")
        (machine.etc / "opsctl.yaml").write_text(text)
        said = machine.json("backup", "run", expect=13)
        assert len([one for one in said.document["warnings"] if "tried again" in one]) == told, said.out

"""A step with many items, from the command line: what is tolerated, what is not begun, and what a resume does."""

from __future__ import annotations

import getpass
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.badluck.faults import ended, lines, until
from tests.machine import Machine

HOSTS = 20


@pytest.fixture
def zone(machine: Machine) -> Machine:
    """A machine with a zone of hosts, and a folder in which one finds what was done for each."""
    machine.configure(more="zones:\n  portal: {title: the portal}\nhosts:\n" + "".join(
        f"  h{number}: {{address: 10.0.0.{number}, zone: portal}}\n" for number in range(1, HOSTS + 1)))
    (machine.etc / "playbooks").mkdir()
    (machine.root / "done").mkdir()
    return machine


def playbook(machine: Machine, pace: str, script: str) -> None:
    (machine.etc / "playbooks" / "cut.yaml").write_text(f"""
name: cut
title: cut
inputs: {{zone: {{type: zone, help: which}}}}
steps:
  - {{id: cut, uses: command, for_each: {{hosts: "${{zone}}", {pace}}}, with: {{argv: [sh, -c, '{script}', cut, "${{item}}"]}}}}
  - {{id: after, uses: command, with: {{argv: [touch, {machine.root}/after]}}}}
""")


def done(machine: Machine) -> set[str]:
    return set(os.listdir(machine.root / "done"))


def outcomes(said: Any) -> dict[str, str]:
    return {one["item"] or one["step"]: one["outcome"] for one in said.result["steps"]}


def test_tolerated_failures_are_listed_and_let_the_rest_go_on(zone: Machine) -> None:
    script = f'test "$1" != h3 -a ! -e {zone.root}/broken-$1 || exit 7; echo $1 >> {zone.root}/done/$1'
    playbook(zone, "at_once: 20, tolerate: 10%", script)
    (zone.root / "broken-h5").touch()
    partly = zone.json("run", "cut", "--set", "zone=portal", expect=3)
    assert {item for item, outcome in outcomes(partly).items() if outcome == "failed"} == {"h3", "h5"}
    assert (zone.root / "after").exists() and len(done(zone)) == HOSTS - 2
    run = partly.document["run"]
    assert zone.json("show", run).result["outcome"]["warnings"][-1] == (
        "step cut: 2 of 20 failed, which it tolerates (2); what comes after it went on")

    (zone.root / "broken-h5").unlink()
    again = zone.json("resume", run, expect=3)
    assert {item for item, outcome in outcomes(again).items() if outcome == "failed"} == {"h3"}
    assert (zone.root / "done" / "h5").exists()
    assert {(zone.root / "done" / name).read_text() for name in done(zone)} == {f"{name}\n" for name in done(zone)}

    for name in ("h6", "h7"):
        (zone.root / f"broken-{name}").touch()
    (zone.root / "after").unlink()
    zone.json("run", "cut", "--set", "zone=portal", expect=3)
    assert not (zone.root / "after").exists(), "more failed than are tolerated"


def test_what_was_not_begun_says_why_and_is_done_by_a_resume(zone: Machine) -> None:
    playbook(zone, "at_once: 20, canary: 2", f"test -e {zone.root}/fixed || exit 7; touch {zone.root}/done/$1")
    failed = zone.json("run", "cut", "--set", "zone=portal", expect=20)
    said = {one["item"]: one for one in failed.result["steps"] if one["step"] == "cut"}
    assert [said[name]["outcome"] for name in ("h1", "h2", "h3", "h20")] == ["failed", "failed", "skipped", "skipped"]
    assert "not begun: the canary" in said["h20"]["because"] and not (zone.root / "after").exists()
    (zone.root / "fixed").touch()
    zone.json("resume", failed.document["run"], expect=0)
    assert len(done(zone)) == HOSTS and (zone.root / "after").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_hundreds_of_items_that_are_under_way(zone: Machine, number: int) -> None:
    zone.configure(more="zones:\n  portal: {title: the portal}\nhosts:\n" + "".join(
        f"  h{number}: {{address: 10.0.0.1, zone: portal}}\n" for number in range(400)))
    playbook(zone, "at_once: 512, tolerate: 100%", f"touch {zone.root}/done/$1; exec sleep 600")
    with zone.start("--json", "run", "cut", "--set", "zone=portal") as process:
        until(lambda: len(done(zone)) == 400, "all of them under way")
        process.send_signal(number)
        end = ended(process, 30)
    assert (end.code, end.document["exit_code"], end.err) == (128 + number, 128 + number, "")
    run = end.document["run"]
    assert not (zone.root / "after").exists()
    assert sum((one["type"], one["run"]) == ("step.begin", run) for one in lines(zone)) == 400
    until(lambda: not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(zone.root).encode() in _read(path)],
          "the end of what was started")
    assert zone.json("runs").result["runs"][0] | {"started": ""} == {
        "run": run, "playbook": "cut", "started": "", "by": getpass.getuser(), "state": "interrupted", "exit_code": None}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""

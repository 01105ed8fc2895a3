"""Evidence of hosts over SSH: cut off or not, silent, lost midway, killed midway; and hosts that are left as they were found."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells import local
from tests.evidence.test_local import OPEN
from tests.lab.isolation import INSIDE, Lab
from tests.lab.sshd import until
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]

EVIDENCE = """
evidence:
  profiles:
    logs: {extends: nothing, logs: ['%(inside)s/logs/*']}
    slow:
      extends: nothing
      commands: {first: {argv: [echo, first], about: Comes first, when: volatile}, slow: {argv: [sh, -c, 'echo begun; sleep 60'], about: Takes long}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2) as made:
        (made.place / "logs").mkdir()
        for number in range(3):
            (made.place / "logs" / f"access.log.{number}").write_bytes(os.urandom(1 << 20) * (1 + number))
        (made.place / "logs" / "new\n\x1b[2Jline").write_text("hostile")
        yield made


@pytest.fixture
def machine(tmp_path: Path, lab: Lab) -> Iterator[Machine]:
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\n{EVIDENCE % {'inside': INSIDE}}")
    found.make_key()
    lab.configure(found.etc, lab.config(user="ops"))
    found.environ.pop("OPSCTL_CLOCK")
    found(*(word.replace("2026-12", "2025-11") for word in OPEN), expect=0)
    yield found
    for name in ("h0", "h1"):
        lab.run(name, ["nft", "flush", "ruleset"])
    local.reset()


def bags(machine: Machine) -> dict[str, Path]:
    return {path.name: path for path in sorted((machine.state / "incidents" / "inc-1" / "evidence").glob("*"))}


def items(folder: Path) -> list[dict[str, Any]]:
    return [one for one in map(json.loads, (folder / "custody.jsonl").read_text().splitlines()) if "outcome" in one]


def stands(lab: Lab, name: str) -> tuple[list[str], list[str]]:
    """Files of a host that anything could have left, with size and time; and its processes, without those of this very look.

    What sshd and sudo themselves write down of a login is left out.
    """
    places = ["/etc", "/run", "/tmp", INSIDE]
    files = lab.run(name, ["find", *places, "-xdev", "-printf", "%p %s %T@ %m %U\n"], check=False).splitlines()
    processes = lab.run(name, ["ps", "-eo", "args"]).splitlines()
    return sorted(line for line in files if "/sudo" not in line and f"{INSIDE}/{name}/log " not in line), sorted(line for line in processes if "ps -eo" not in line and "sshd" not in line)


def test_a_host_is_collected_whole_also_when_it_is_cut_off_and_left_as_it_was(machine: Machine, lab: Lab) -> None:
    before = stands(lab, "h0")
    said = machine.json("evidence", "collect", "h0", "--profile", "volatile")
    assert said.code in (0, 3), said.err
    until(lambda: stands(lab, "h0")[1] == before[1])
    assert set(stands(lab, "h0")[0]) ^ set(before[0]) == set()
    first = {one["name"]: one for one in items(bags(machine)["h0-1"])}
    assert first["sockets"]["outcome"] == "collected" and first["processes"]["outcome"] == "collected"
    header = json.loads((bags(machine)["h0-1"] / "custody.jsonl").read_text().splitlines()[0])
    assert header["device"]["user"] == "root" and abs(header["clock_off_seconds"]) < 10 and "mac" in header["device"]

    machine("isolate", "apply", "h0", "--incident", "inc-1", expect=0)
    machine("evidence", "collect", "h0", "--profile", "logs", expect=0)
    found = {one["description"].split("/")[-1]: one for one in items(bags(machine)["h0-2"]) if "path" in one}
    assert len(found) == 4
    for number in range(3):
        content = (lab.place / "logs" / f"access.log.{number}").read_bytes()
        one = found[f"access.log.{number}"]
        assert one["sha256"] == hashlib.sha256(content).hexdigest() == one["other_hashes"]["sha256_at_source"]
        assert (bags(machine)["h0-2"] / "data" / one["file"]).read_bytes() == content
    until(lambda: stands(lab, "h0")[1] == before[1])
    machine("evidence", "verify", expect=0)
    for bag in bags(machine).values():
        subprocess.run([sys.executable, "-m", "bagit", "--validate", bag], check=True, capture_output=True)


def test_a_host_that_does_not_answer_holds_up_no_other(machine: Machine, lab: Lab) -> None:
    lab.stop(lab.hosts["h1"])
    try:
        said = machine.json("evidence", "collect", "h0", "h1", "--profile", "logs", expect=3)
    finally:
        lab.start(lab.hosts["h1"])
    assert [*bags(machine)] == ["h0-1"] and said.result["sealed"] == ["h0-1"]
    assert said.result["hosts"]["h1"]["outcome"] == "failed" and any(error["code"] == 13 for error in said.errors)


def test_killed_midway_it_is_resumed_and_the_half_bag_is_named_and_never_called_collected(machine: Machine, lab: Lab) -> None:
    run = machine.start("evidence", "collect", "h0", "--profile", "slow")
    until(lambda: "h0-1.half" in bags(machine) and len(items(bags(machine)["h0-1.half"])) == 1 and any(
        "0002" in path.name for path in (bags(machine)["h0-1.half"] / "data").iterdir()))
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    until(lambda: "sleep 60" not in lab.run("h0", ["ps", "-eo", "args"]))
    listed = machine("evidence", "list", expect=0)
    assert "h0-1.half is half: collecting was cut off; 1 collected had arrived whole" in listed.out
    assert machine.json("incident", "show", "inc-1").result["records"].get("collected") is None
    assert "h0-1.half is a half bag" in machine("evidence", "verify", expect=3).err

    (etc,) = [machine.etc / "opsctl.yaml"]
    etc.write_text(etc.read_text().replace("sleep 60", "sleep 0"))
    (run_id,) = [one.name for one in (machine.state / "runs").iterdir() if "evidence" in one.name]
    said = machine("resume", run_id, expect=0)
    assert "h0-1.half is a half bag" in said.err
    assert [*bags(machine)] == ["h0-1.half", "h0-2"]
    shown = machine.json("incident", "show", "inc-1").result["records"]
    assert [one["bag"] for one in shown["collected"]] == [one["bag"] for one in shown["sealed"]] == ["h0-2"]
    assert "h0-2: as it was sealed" in machine("evidence", "verify", expect=3).out


def test_a_connection_that_is_lost_midway_leaves_what_came_and_the_rest_failed(machine: Machine, lab: Lab) -> None:
    run = machine.start("--json", "evidence", "collect", "h0", "--profile", "slow")
    until(lambda: "h0-1.half" in bags(machine) and len(items(bags(machine)["h0-1.half"])) == 1 and any(
        "0002" in path.name for path in (bags(machine)["h0-1.half"] / "data").iterdir()))
    lab.stop(lab.hosts["h0"])
    try:
        lab.run("h0", ["pkill", "-KILL", "sshd"], check=False)
        out, _ = run.communicate(timeout=60)
    finally:
        lab.start(lab.hosts["h0"])
    assert run.returncode == 3, out
    first, slow = items(bags(machine)["h0-1"])
    assert first["outcome"] == "collected" and slow["outcome"] == "failed" and "the connection was lost" in slow["because"]
    assert slow["cut"] and (bags(machine)["h0-1"] / "data" / slow["file"]).read_text() == "begun\n"
    machine("evidence", "verify", expect=0)


def test_where_root_is_refused_the_account_itself_has_to_do_and_that_is_said(machine: Machine, lab: Lab) -> None:
    lab.hosts["h0"].put("sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    try:
        said = machine("evidence", "collect", "h0", "--profile", "logs", expect=0)
    finally:
        lab.hosts["h0"].drop("sudo")
    header = json.loads((bags(machine)["h0-1"] / "custody.jsonl").read_text().splitlines()[0])
    assert "not as root" in said.err and "not as root" in header["note"] and header["device"]["user"] == "ops"

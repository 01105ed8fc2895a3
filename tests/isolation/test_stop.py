"""Services stopped and started in the order in which they need each other: real daemons on a real sshd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.model.config_services import Service, to_start, to_stop
from opsctl.shells import local
from tests.lab.isolation import Lab
from tests.machine import Machine

# Keeps a daemon by its process number, and notes what was done.
_CONTROL = """#!/bin/sh
pid=/run/$1.pid
case $2 in
    running) [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null || exit 1 ;;
    start) rm -f "$pid"; setsid sh -c 'echo $$ >"$0"; exec sleep infinity' "$pid" </dev/null >/dev/null 2>&1 &
        until [ -s "$pid" ]; do sleep 0.02; done  # by then it has left this session, which ends with this script
        echo "start $1" >>/run/done ;;
    stop) kill "$(cat "$pid")"; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.02; done; echo "stop $1" >>/run/done ;;
esac
"""
# Nothing boots systemd in a namespace: this answers as it would, and notes how it was called.
_SYSTEMCTL = """#!/bin/sh
echo "$*" >>/run/calls
case $1 in
    show) printf 'LoadState=%s\\nActiveState=%s\\nMainPID=812\\nMemoryCurrent=1048576\\nPrivateTmp=yes\\n' \\
              "$(case $* in *nginx*) echo loaded ;; *) echo not-found ;; esac)" "$(cat /run/state)" ;;
    stop) echo inactive >/run/state ;;
    start) echo active >/run/state ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path, isolation_lab: Lab) -> Iterator[Machine]:
    """``portal`` needs ``tax``, which needs ``database``; ``water`` needs ``database``, too."""
    found = Machine(tmp_path / "m")

    def service(name: str, *needs: str) -> str:
        words = ", ".join(f"{word}: [control, {name}, {word}]" for word in ("running", "stop", "start"))
        return f"  {name}: {{on: h1, {words}, needs: [{', '.join(needs)}]}}\n"

    found.configure(f"state: {found.state}\nservices:\n" + service("portal", "tax") + service("tax", "database")
                    + service("water", "database") + service("database") + "  web: {on: h1, unit: nginx.service}\n"
                    + "  other: {on: h1, unit: other.service}\n")
    isolation_lab.configure(found.etc, isolation_lab.config("h1", user="ops"))
    isolation_lab.hosts["h1"].put("control", _CONTROL)
    yield found
    for name in ("control", "systemctl"):
        isolation_lab.hosts["h1"].drop(name)
    isolation_lab.run("h1", ["sh", "-c", 'for one in /run/*.pid; do kill "$(cat "$one")"; done; rm -f /run/*.pid /run/done /run/calls'],
                      check=False)
    local.reset()


def done(lab: Lab) -> list[str]:
    said = lab.run("h1", ["sh", "-c", "cat /run/done; rm -f /run/done"], check=False)
    return said.splitlines()


def step(said: Any) -> Any:
    return said.result["steps"][0]


@pytest.mark.lab
@pytest.mark.as_root("network namespaces need root")
@pytest.mark.xdist_group("isolation")
def test_what_needs_a_service_is_stopped_before_it_and_what_it_needs_started_first(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    said = machine.json("run", "start", "--set", "services=portal", expect=0)
    assert done(lab) == ["start database", "start tax", "start portal"]
    assert step(said)["result"] == {"services": {"database": "running", "tax": "running", "portal": "running"}}
    machine("run", "start", "--set", "services=water", expect=0)
    assert done(lab) == ["start water"]
    assert step(machine.json("run", "start", "--set", "services=portal,water", expect=0))["outcome"] == "ok"

    shown = machine("--dry-run", "run", "stop", "--set", "services=tax", expect=0)
    assert "stop tax on h1; lost for good: its memory, its connections, its temporary files" in shown.out and done(lab) == []
    machine("run", "stop", "--set", "services=database", expect=0)
    stopped = done(lab)
    assert sorted(stopped[:3]) == ["stop portal", "stop tax", "stop water"] and stopped[3] == "stop database"
    assert stopped.index("stop portal") < stopped.index("stop tax")
    lines = [json.loads(line) for path in sorted((machine.state / "journal").glob("*.jsonl")) for line in path.read_text().splitlines()]
    begun = [line["data"]["text"] for line in lines if line["type"] == "change.begin" and line["data"]["change"] == "database"]
    assert begun[-1] == "stop database on h1; lost for good: its memory, its connections, its temporary files"
    assert step(machine.json("run", "stop", "--set", "services=database", expect=0))["outcome"] == "ok"
    assert "there is no service 'databse' in the configuration; did you mean database?" in machine("run", "stop", "--set", "services=databse", expect=10).err


@pytest.mark.lab
@pytest.mark.as_root("network namespaces need root")
@pytest.mark.xdist_group("isolation")
def test_what_does_not_stop_keeps_what_it_needs_running(machine: Machine, isolation_lab: Lab) -> None:
    lab = isolation_lab
    machine("run", "start", "--set", "services=portal", expect=0)
    lab.hosts["h1"].put("control", _CONTROL.replace("stop)", 'stop) [ "$1" = tax ] && exit 0;'))
    done(lab)
    said = machine.json("run", "stop", "--set", "services=database", expect=21)
    assert [one["message"] for one in said.errors] == ["tax was stopped, and still runs"]
    assert done(lab) == ["stop portal"]
    lab.run("h1", ["sh", "-c", "control database running"], check=False)
    lab.hosts["h1"].put("control", _CONTROL)
    machine("run", "stop", "--set", "services=database", expect=0)
    assert done(lab) == ["stop tax", "stop database"]


@pytest.mark.lab
@pytest.mark.as_root("network namespaces need root")
@pytest.mark.xdist_group("isolation")
def test_a_unit_is_asked_and_stopped_by_systemctl(machine: Machine, isolation_lab: Lab) -> None:
    """By a script in its place: that systemd does what it is told is not shown here."""
    lab = isolation_lab
    lab.hosts["h1"].put("systemctl", _SYSTEMCTL)
    lab.run("h1", ["sh", "-c", "echo active >/run/state; chmod 666 /run/state; : >/run/calls; chmod 666 /run/calls"])
    said = machine.json("run", "stop", "--set", "services=web", expect=0)
    assert step(said)["changes"] == [
        "stop web on h1; lost for good: 1MiB of memory (process 812), its connections, its private /tmp"]
    asked = "show --property=LoadState,ActiveState,MainPID,MemoryCurrent,PrivateTmp -- nginx.service"
    assert lab.run("h1", ["cat", "/run/calls"]).splitlines() == [asked, "stop nginx.service", asked, asked]
    assert "there is no unit other.service on h1" in machine("run", "stop", "--set", "services=other", expect=20).err


def test_the_order_holds_by_every_way_down() -> None:
    needs = {"portal": ["tax", "login"], "tax": ["database"], "login": ["directory"], "directory": ["database"], "database": [], "mail": []}
    services = {name: Service(unit=name, needs=tuple(needed)) for name, needed in needs.items()}
    assert to_start(["portal"], services) == ["database", "tax", "directory", "login", "portal"]
    assert to_stop(["directory"], services) == ["portal", "login", "directory"]
    assert to_stop(["database", "mail"], services)[-1] in ("database", "mail")
    assert set(to_stop(["database"], services)) == set(needs) - {"mail"}

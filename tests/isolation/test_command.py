"""The site's own tool as a way to cut a host off: a switch whose ports really go down, over three commands."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.configuration import load_config
from opsctl.errors import ConfigError, NotConverged, ProgramFailed, SafetyRefusal, Unreachable
from opsctl.isolation.command import Command
from opsctl.model.config_isolation_page import PAGE
from opsctl.model.isolation import Mark, Order, Stand, opening
from opsctl.shells import local
from opsctl.shells.local import LocalShell
from opsctl.wiring import Site
from tests.isolation.switch import Switch, script, words
from tests.lab.isolation import Lab
from tests.machine import Machine

on_hosts = [pytest.mark.lab, pytest.mark.as_root("network namespaces need root"), pytest.mark.xdist_group("isolation")]
MARK = Mark(run="20261129-1733-portal-7f3a", by="asha", at="2026-11-29T17:33:00Z", incident="inc-1")
HELD = Order(MARK, managers=("10.9.0.2",), allow=(opening("in:10.0.0.5:443"),), seconds=None)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01"

@pytest.fixture
def lab(isolation_lab: Lab) -> Lab:
    return isolation_lab


@pytest.fixture
def switch(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """The program of the switch that the hosts of the lab are plugged into."""
    made = Switch(lab, tmp_path / "switch")
    yield made.program
    made.close()


def reached(lab: Lab, name: str, space: str = "outside") -> list[bool]:
    """Whether a host's sshd answers a machine of the lab: over IPv4, over IPv6."""
    found = []
    for address in (lab.hosts[name].address, lab.hosts[name].address6):
        with lab.within(space):
            try:
                socket.create_connection((address, 22), timeout=1).close()
                found.append(True)
            except OSError:
                found.append(False)
    return found


class TestOnASwitch:
    pytestmark = on_hosts

    def test_a_port_goes_down_and_up_again(self, lab: Lab, switch: Path) -> None:
        driver = Command("h0", address=lab.hosts["h0"].address, tool=words(switch), shell=LocalShell())
        assert driver.observe().standing == "open" and reached(lab, "h0") == [True, True]
        with pytest.raises(NotConverged, match="says that h0 is not cut off"):
            driver.confirm()
        driver.load(HELD, driver.observe())
        driver.confirm()
        assert driver.observe().standing == "isolated"
        assert reached(lab, "h0") == [False, False] and reached(lab, "h1") == [True, True]
        driver.load(HELD, driver.observe())  # the switch refuses what is done already, and it is as wanted
        driver.release()
        assert driver.observe().standing == "open" and reached(lab, "h0") == [True, True]
        driver.release()

    def test_the_command_line_cuts_off_only_with_hold(self, lab: Lab, switch: Path, tmp_path: Path) -> None:
        machine = Machine(tmp_path / "m")
        machine.configure(f"state: {machine.state}\nisolation:\n  tools:\n    core: {json.dumps(words(switch))}\n")
        lab.configure(machine.etc, lab.config("h0", "h1", h0={"isolation": "command", "tool": "core"}))
        try:
            said = machine.json("isolate", "apply", "h0", expect=23)
            assert "--hold" in said.errors[0]["hint"] and reached(lab, "h0") == [True, True]
            machine("isolate", "apply", "h0", "--hold", expect=0)
            assert reached(lab, "h0") == [False, False]
            again = machine.json("isolate", "apply", "h0", "--hold", expect=0).result["hosts"]["h0"]
            assert again["outcome"] == "ok"
            again = machine.json("isolate", "apply", "--zone", "main", expect=0).result["hosts"]  # it is as wanted, so nothing has to be held
            assert again["h0"]["outcome"] == "ok" and again["h1"]["outcome"] == "changed"
            assert "--hold" in machine.json("isolate", "apply", "h0", "--allow", "10.9.9.9", expect=23).errors[0]["hint"]
            machine("isolate", "release", "h1", expect=0)
            machine("isolate", "release", "h0", expect=0)
            assert reached(lab, "h0") == [True, True]
        finally:
            local.reset()

    def test_it_can_run_on_another_host(self, lab: Lab, tmp_path: Path) -> None:
        """As the account that logs in, with words that no shell reads."""
        host = lab.hosts["manager"]
        host.put("core-switch", '#!/bin/sh\nprintf "%s|" "$(hostname)" "$(id -un)" "$OPSCTL_RUN" "$@" >/tmp/said\n[ $1 != show ]\n')
        machine = Machine(tmp_path / "m")
        tool = {verb: [each.replace("{host}", "$(reboot); {host}") for each in line] for verb, line in words("core-switch").items()}
        machine.configure(f"state: {machine.state}\nisolation:\n  tools:\n    core: {json.dumps({**tool, 'host': 'manager'})}\n")
        lab.configure(machine.etc, lab.config("h0", "manager", user="ops", h0={"isolation": "command", "tool": "core"}))
        driver = Site(load_config(machine.etc), clock=lambda: datetime.now(UTC)).isolations.driver("h0")
        assert driver.observe().standing == "open"
        driver.load(HELD, Stand("open"))
        said = lab.run("manager", ["cat", "/tmp/said"])
        assert said == f"manager|ops|{MARK.run}|shut|$(reboot); h0|{lab.hosts['h0'].address}|"


def tool(tmp_path: Path, text: str, **more: Any) -> Command:
    program = script(tmp_path / "tool", f"#!/bin/sh\n{text}\n")
    return Command("db-1", address="10.0.0.1", tool=words(program), shell=LocalShell(), **more)


def test_what_it_gets_to_know_is_in_words_and_environment(tmp_path: Path) -> None:
    said = tmp_path / "said"
    driver = tool(tmp_path, f'printf "%s|" "$@" >{said}; env >>{said}')
    driver.tool["load"] = [*driver.tool["load"], "run={run}", "{{host}}", "{print}", "a b; c"]
    driver.load(HELD, Stand("open"))
    line, _, rest = said.read_text().partition("OPSCTL")
    assert line.split("|")[:-1][:7] == ["shut", "db-1", "10.0.0.1", f"run={MARK.run}", "{db-1}", "{print}", "a b; c"]
    for told in ("OPSCTL_HOST=db-1", "OPSCTL_INCIDENT=inc-1", "OPSCTL_MANAGERS=10.9.0.2", "OPSCTL_ALLOW=in:tcp:10.0.0.5/32:443"):
        assert told in line + "OPSCTL" + rest


def test_what_is_filled_in_is_not_looked_into(tmp_path: Path) -> None:
    driver = tool(tmp_path, f"echo $3 >{tmp_path}/said")
    driver.address = "{host}"
    driver.observe()
    assert (tmp_path / "said").read_text() == "{host}\n"


@pytest.mark.parametrize(("text", "told"), [
    ("echo 'login refused' >&2; exit 2", r"tool failed \(2\) at observe of db-1: login refused"),
    ("kill -9 $$", "was ended by SIGKILL"),
    ("exit 127", r"failed \(127\)"),
])
def test_a_tool_that_cannot_tell_is_20_with_what_it_said(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ProgramFailed, match=told) as caught:
        tool(tmp_path, text).observe()
    assert caught.value.code == 20 and "exit 0 where the host is cut off" in (caught.value.hint or "")


def test_a_tool_that_refuses_is_20_and_one_that_is_missing_too(tmp_path: Path) -> None:
    driver = tool(tmp_path, "[ $1 = show ] && exit 1; echo 'no such port'; exit 5")
    with pytest.raises(ProgramFailed, match=r"failed \(5\) at load of db-1: no such port"):
        driver.load(HELD, Stand("open"))
    shut = tool(tmp_path, "[ $1 = show ] && exit 0; echo 'no such port'; exit 5")
    with pytest.raises(ProgramFailed, match="at release of db-1: no such port"):
        shut.release()
    driver.tool = {verb: ["/nowhere/tool"] for verb in driver.tool}
    with pytest.raises(ProgramFailed, match="is not installed"):
        driver.observe()


def test_a_tool_that_hangs_is_ended(tmp_path: Path) -> None:
    driver = tool(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600", limit=0.5)
    with pytest.raises(Unreachable, match=r"did not finish within 0\.5 seconds"):
        driver.observe()
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_nothing_runs_for_an_order_that_would_have_to_lift_itself(tmp_path: Path) -> None:
    driver = tool(tmp_path, f"touch {tmp_path}/ran")
    for act in (lambda: driver.load(Order(MARK, seconds=60), Stand("open")), lambda: driver.extend(60)):
        with pytest.raises(SafetyRefusal):
            act()
    assert not (tmp_path / "ran").exists() and not driver.lifts_itself


# configuration


def mistakes(etc: Path, tools: str, hosts: Sequence[str] = ("db-1",)) -> str:
    lines = "".join(f"  {name}: {{address: 10.0.0.{n}, host_key: {KEY}, isolation: command, tool: t}}\n" for n, name in enumerate(hosts, 1))
    (etc / "opsctl.yaml").write_text(f"state: /var/lib/opsctl\nisolation: {{tools: {{t: {{{tools}}}}}}}\nhosts:\n{lines}")
    try:
        load_config(etc)
    except ConfigError as error:
        return "\n".join(error.problems)
    return ""


GOOD = "observe: [t, '{host}'], load: [t, '{address}', '{run}'], release: [t, '{host}']"


@pytest.mark.parametrize(("tools", "told"), [
    (GOOD.replace("{host}'], load", "{hots}'], load"), r"observe\[1\]: \{hots\} is not filled in here; did you mean host\?"),
    (GOOD.replace("release: [t,", "release: [t, '{run}',"), r"release\[1\]: \{run\} is for load only"),
    (GOOD.replace("load: [t,", "load: [t, --password=x,"), r"load\[1\]: a command line can be seen by others"),
    (f"{GOOD}, host: nobody", "there is no host nobody"),
    (f"{GOOD}, host: db-1", "is cut off by this tool itself"),
    (GOOD.replace(", load: [t, '{address}', '{run}']", ""), "load: is required|load"),
    ("", "observe"),
])
def test_mistakes_are_named(tmp_path: Path, tools: str, told: str) -> None:
    assert re.search(told, mistakes(tmp_path, tools))


def test_a_tool_for_several_hosts_has_to_tell_them_apart(tmp_path: Path) -> None:
    fixed = "observe: [t], load: [t], release: [t]"
    assert mistakes(tmp_path, GOOD, ("a", "b")) == "" and mistakes(tmp_path, fixed) == ""
    assert "a and b would be one to it" in mistakes(tmp_path, fixed, ("a", "b"))


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_page_load(tmp_path: Path, text: str) -> None:
    (tmp_path / "opsctl.yaml").write_text(f"state: /var/lib/opsctl\n{text}")
    assert any(host.isolation for host in load_config(tmp_path).hosts.values())

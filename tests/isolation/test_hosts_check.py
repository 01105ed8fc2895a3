"""`hosts check` and `doctor`: could a host be cut off now, and what is missing for it, before anybody needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells import local
from tests.lab.isolation import Lab
from tests.machine import Machine

pytestmark = [pytest.mark.lab, pytest.mark.as_root("network namespaces need root"), pytest.mark.xdist_group("isolation")]
RESTIC = "#!/bin/sh\necho 'restic 0.18.0 compiled with go1.24 on linux/amd64'\n"


@pytest.fixture
def lab(isolation_lab: Lab) -> Iterator[Lab]:
    for name in ("h0", "h1", "gw", "manager"):
        isolation_lab.hosts[name].put("restic", RESTIC)
    yield isolation_lab
    for host in isolation_lab.hosts.values():
        for program in (host.folder / "bin").iterdir():
            program.unlink()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path / "m")
    found.configure(f"state: {found.state}\n")
    yield found
    local.reset()


def isolation(said: Any, host: str) -> tuple[bool, str]:
    (found,) = [each for each in said.result["hosts"][host]["checks"] if each["name"] == "isolation"]
    return found["ok"], found["seen"]


@pytest.mark.parametrize("user", ["root", "ops"])
def test_what_can_be_cut_off_and_what_cuts_off(machine: Machine, lab: Lab, user: str) -> None:
    lab.configure(machine.etc, lab.config("h0", "gw", "a0", "manager", user=user))
    said = machine.json("hosts", "check", expect=0 if user == "root" else 3)  # no restic there that sudo knows
    assert isolation(said, "h0")[0] and isolation(said, "h0")[1].startswith("logs in; nft 1.")
    assert isolation(said, "gw")[0]
    assert {each["name"] for each in said.result["hosts"]["manager"]["checks"]} == {"answers", "host key", "login", "restic", "clock"} | (
        {"sudo"} if user == "ops" else set())


def test_the_other_key_is_a_login_of_its_own(machine: Machine, lab: Lab) -> None:
    """Each may be let in where the other is not."""
    lab.configure(machine.etc, lab.config("h0", "manager", user="ops"))
    backup, other = (machine.etc / "keys" / name for name in ("ssh-backup", "ssh-isolation"))
    good = other.read_bytes()
    other.write_bytes((lab.hosts["h1"].folder / "key").read_bytes())  # a key that nobody lets in
    said = machine.json("hosts", "check", "h0", expect=3)
    ok, seen = isolation(said, "h0")
    assert not ok and "h0" in seen and said.result["hosts"]["h0"]["checks"][2]["ok"]
    other.write_bytes(good)
    backup.write_bytes((lab.hosts["h1"].folder / "key").read_bytes())
    said = machine.json("hosts", "check", "h0", expect=12)
    assert said.result["hosts"]["h0"]["checks"][2]["ok"] is False and isolation(said, "h0")[0]


def test_what_is_missing_stands_in_one_line(machine: Machine, lab: Lab) -> None:
    lab.configure(machine.etc, lab.config("h0", "h1", "gw", "a0"))
    lab.hosts["h0"].put("nft", "#!/bin/sh\n[ $1 = --version ] && echo 'nftables v0.9.0 (Fearless Fosdick)' || { echo 'Operation not permitted' >&2; exit 1; }\n")
    said = machine.json("hosts", "check", expect=3)
    assert isolation(said, "h0") == (False, "nft 0.9.0 is too old: 0.9.7 or newer is needed; "
                                            "nft refuses to list its tables: Operation not permitted")
    assert isolation(said, "h1")[0] and "nft 0.9.0 is too old" in said.errors[0]["message"]


def test_tools_of_the_site_are_looked_for_where_they_run(machine: Machine, lab: Lab) -> None:
    words = {"observe": ["port", "{host}"], "load": ["port", "{host}"], "release": ["open-port", "{host}"], "host": "manager"}
    machine.configure(f"state: {machine.state}\nisolation: {{witness: h1, tools: {{core: {json.dumps(words)}}}}}\n")
    lab.configure(machine.etc, lab.config("h1", "manager", user="ops"))
    lab.hosts["manager"].put("port", "#!/bin/sh\n")
    said = machine.json("hosts", "check", expect=3)
    assert isolation(said, "manager") == (False, "open-port is not there") and isolation(said, "h1")[0]
    lab.hosts["manager"].put("open-port", "#!/bin/sh\n")
    assert isolation(machine.json("hosts", "check", "manager"), "manager") == (True, "logs in")
    machine("--dry-run", "hosts", "prepare", "manager", expect=0)
    lines = machine.json("hosts", "prepare", "manager", expect=0).result["authorized_keys"]
    assert len(lines) == 2


def doctor(machine: Machine, **more: Any) -> dict[str, dict[str, Any]]:
    said = machine.json("doctor", **more)
    return {each["name"]: each for each in said.result["checks"]}


def test_doctor_says_whether_hosts_could_be_cut_off_and_whether_that_would_be_proven(machine: Machine, lab: Lab) -> None:
    outside, silent = lab.hosts["outside"].address, lab.silent
    shut = {verb: ["port", "{host}"] for verb in ("observe", "load", "release")}

    def look(common: str) -> dict[str, dict[str, Any]]:
        machine.configure(f"state: {machine.state}\nisolation: {{{common}}}\n")
        text = lab.config("h0", "h1", "gw", "a0", "a1", "manager", user="root", h1={"zone": "a"})
        text += ("  switch: {address: 10.0.0.8, os: appliance, isolation: command, tool: core}\n" if "core" in common else "")
        lab.configure(machine.etc, f"{text}  printer: {{address: 10.0.0.9, os: appliance, by_hand: Pull its plug}}\n")
        return doctor(machine)

    found = look("")
    assert found["isolation"]["state"] == "warning"
    assert found["isolation"]["detail"] == ("4 of 7 hosts by software, printer by a person; nothing says how manager would be cut off")
    assert found["witness"]["state"] == "warning" and "isolation: {witness" in found["witness"]["hint"]
    assert found["gateway gw"]["state"] == "ok" and found["outside"]["state"] == "warning" and "outside from h0" not in found
    found = look(f'witness: manager, store: gw, outside: ["{outside}:22", "[{lab.hosts["outside"].address6}]:22"]')
    assert {found[name]["state"] for name in ("witness manager", "store host gw", "outside from h0", "outside from h1", "isolation")} == {"ok"}
    assert "outside from a0" not in found and "outside" not in found
    found = look(f'outside: ["{outside}:22", "{silent}:22"], tools: {{core: {json.dumps({**shut, "host": "manager"})}}}')
    assert found["outside from h0"]["state"] == "warning" and f"{silent}:22 does not answer h0 now" in found["outside from h0"]["detail"]
    assert found["tool core"]["state"] == "wrong" and "port" in found["tool core"]["detail"]
    lab.hosts["manager"].put("port", "#!/bin/sh\nexit 1\n")
    lab.hosts["gw"].put("nft", "#!/bin/sh\nexit 1\n")
    found = look(f'outside: ["{silent}:22"], tools: {{core: {json.dumps({**shut, "host": "manager"})}}}')
    assert found["outside from h0"]["state"] == "wrong" and "isolation: outside:" in found["outside from h0"]["hint"]
    assert found["tool core"]["detail"] == "answers: switch is open"
    assert found["gateway gw"]["state"] == "wrong" and "nft" in found["gateway gw"]["detail"]
    machine("doctor", "--offline")

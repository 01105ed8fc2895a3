"""opsctl cuts off the machine that it runs on, and opens it again, without logging into anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.isolation.beds import ruleset
from tests.isolation.flows import alive, dead, flow, open_flows
from tests.lab.isolation import Lab, reached
from tests.machine import PACKAGE, Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


def test_this_machine_is_cut_off_and_opened_again(isolation_lab: Lab, tmp_path: Path) -> None:
    lab, machine = isolation_lab, Machine(tmp_path / "m")
    machine.configure(f"state: {machine.state}\nhosts:\n  me: {{address: localhost, isolation: nftables}}\n")
    host, sitting = lab.hosts["h1"], lab.hosts["manager"]

    def opsctl(*words: str) -> dict[str, object]:
        """As it runs on h1, called by a person who is logged in from the manager."""
        within = ["nsenter", "-t", str(host.pid), "-n", "-p", "--", "unshare", "--mount", "--propagation", "private", "sh", "-c",
                  'mount -t proc lab /proc && mount -t sysfs lab /sys && exec "$@"', "sh"]
        env = {**os.environ, **machine.environ, "PYTHONPATH": str(PACKAGE), "SSH_CONNECTION": f"{sitting.address} 40000 {host.address} 22"}
        done = subprocess.run([*within, sys.executable, "-m", "opsctl", "--config", str(machine.etc), "--json", *words], env=env,
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    with open_flows([flow(lab, "in", "outside", "h1", host.address, near="h1")]) as theirs:
        applied = opsctl("isolate", "apply", "me", "--yes")
        assert applied["exit_code"] == 0, applied  # its loopback is open, and no finding
        assert applied["result"]["hosts"]["me"]["proof"]["verdict"] == "partial"  # type: ignore[index]
        shown = opsctl("isolate", "status", "me")
        assert shown["result"]["hosts"]["me"]["stand"]["standing"] == "isolated", shown  # type: ignore[index]
        assert dead(theirs[0].near) and alive(theirs) == []
        assert not reached(lab, "outside", host.address, 22, 0.4) and reached(lab, "manager", host.address, 22)
        assert opsctl("isolate", "release", "me", "--yes")["exit_code"] == 0
    assert ruleset(lab, "h1") == "" and reached(lab, "outside", host.address, 22)

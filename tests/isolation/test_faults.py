"""Ten isolations at a time, a fault at a random moment on each host, and on opsctl itself: nobody is stranded, nothing is half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.lab.isolation import Host, Lab, reached
from tests.lab.sshd import until
from tests.machine import Machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]

HOSTS = 10
SEED = int(os.environ.get("OPSCTL_TEST_SEED", "0"))
FAULTS = ("nothing", "wire", "sessions", "sshd", "flush", "slow", "shut out")
ENDS = (None, None, signal.SIGKILL, signal.SIGINT)


@dataclass
class Scene:
    """The lab, and a machine that is configured for it."""

    lab: Lab
    machine: Machine
    dealt: random.Random
    scale: float = 1.0

    def rules(self, name: str) -> str:
        return self.lab.run(name, ["nft", "list", "ruleset"])

    def wire(self, host: Host, to: str) -> None:
        """Pull its plug, or put it in again."""
        subprocess.run(["nsenter", "-t", str(self.lab._one), "-n", "--", "ip", "link", "set",
                        f"p{list(self.lab.hosts).index(host.name)}", to], check=True, capture_output=True)

    def faults(self, host: Host) -> tuple[str, list[tuple[float, Callable[[], object]]]]:
        """What befalls a host, and what is done for it at which second."""
        what, at = self.dealt.choice(FAULTS), self.dealt.uniform(0.2, 3.0 * self.scale)
        later = at + self.dealt.uniform(0.3, 7.0 * self.scale)
        if what == "wire":
            return what, [(at, lambda: self.wire(host, "down")), (later, lambda: self.wire(host, "up"))]
        if what == "sessions":
            return what, [(at, lambda: self.lab.run(host.name, ["pkill", "-KILL", "-f", "sshd: root"], check=False))]
        if what == "sshd":
            return what, [(at, lambda: self.lab.stop(host)), (later, lambda: self.lab.start(host))]
        if what == "flush":
            return what, [(at, lambda: self.lab.run(host.name, ["nft", "flush", "ruleset"]))]
        if what == "slow":
            host.put("nft", f"#!/bin/sh\nsleep {self.dealt.uniform(0.5, 4) * self.scale:.1f}\nexec /usr/sbin/nft \"$@\"\n")
        if what == "shut out":
            host.put("nft", f"#!/bin/sh\ncase $1 in add*|delete*) echo \"$1\" | sed 's/{self.lab.address}/192.0.2.1/g' | /usr/sbin/nft -f -; "
                            "exit $?;; esac\nexec /usr/sbin/nft \"$@\"\n")
        return what, []


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(HOSTS) as made:
        yield made


@pytest.fixture
def scene(tmp_path: Path, lab: Lab) -> Iterator[Scene]:
    machine = Machine(tmp_path / "m")
    machine.configure(f"state: {machine.state}\n")
    lab.configure(machine.etc)
    yield Scene(lab, machine, random.Random())
    local.reset()


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.full) for number in range(1, 21))])
def test_promise_5_no_fault_at_any_moment_strands_a_host(scene: Scene, number: int) -> None:
    lab, machine = scene.lab, scene.machine
    scene.dealt.seed(SEED * 1000 + number)
    hosts = [host for name, host in lab.hosts.items() if name[0] == "h"]
    if not number:  # the sample of every day is a short one
        scene.scale, hosts = 0.3, hosts[:6]
        lab.configure(machine.etc, lab.config(*(host.name for host in hosts)))
    befell, timeline = {}, []
    for host in hosts:
        befell[host.name], dealt = scene.faults(host)
        timeline += dealt
    end = scene.dealt.choice(ENDS)
    running = machine.start("isolate", "apply", "--zone", "main", "--confirm-within", "5s", "--retry-for", f"{20 * scene.scale:.0f}s")
    if end is not None:
        timeline.append((scene.dealt.uniform(0.5, 4.0 * scene.scale), lambda: running.send_signal(end)))
    begun = time.monotonic()
    for at, act in sorted(timeline, key=lambda one: one[0]):
        time.sleep(max(0.0, begun + at - time.monotonic()))
        act()
    out, err = running.communicate(timeout=120)
    told = f"seed {SEED * 1000 + number}, {befell}, {end}\n{out}\n{err}"
    for host in hosts:
        host.drop("nft")
    until(lambda: not any("expires" in scene.rules(host.name) for host in hosts))
    said = machine.json("isolate", "status", *(host.name for host in hosts))
    for host in hosts:
        found = said.result["hosts"][host.name]
        assert found["error"] is None, f"{host.name} is stranded: {found}\n{told}"
        isolated = found["stand"]["standing"] == "isolated"
        assert isolated != reached(lab, "outside", host.address, 22), f"{host.name}: {found}\n{told}"
        if f"{host.name}: isolated and confirmed" in err and befell[host.name] != "flush":
            assert isolated and found["stage"] == "confirmed", f"{host.name}: {found}\n{told}"
        if isolated:
            assert found["stage"] in ("confirmed", "ordered"), f"{host.name} is cut off and nobody wrote it down\n{told}"
    runs = sorted(machine.state.glob("runs/*/plan.json"))
    if runs:  # killed before there was one, nothing had begun
        again = machine("resume", runs[0].parent.name)
        machine("isolate", "apply", "--zone", "main", expect=0)
        assert again.code in (0, 3, 13, 21), f"{again}\n{told}"
        machine("isolate", "status", expect=0)
    machine("isolate", "release", "--zone", "main", expect=0)
    assert not any(scene.rules(host.name) for host in hosts), told

"""412 hosts cut off, confirmed, their connections ended and probed, beside two bare connections each and one task of Ansible."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from opsctl.model import nft_rules
from opsctl.model.isolation import Facts, Mark, Order
from tests.bench.bench import Bench, environment
from tests.bench.measure import PACKAGE, Cost, Failed, cpu, python, run, turns, wall
from tests.bench.table import Row, compare, limit, megabytes, seconds
from tests.lab.fleet import Fleet
from tests.machine import Machine

ANSIBLE = "2.19.14"
_CONFIG = """[defaults]
forks = 50
inventory = {place}/inventory
host_key_checking = True
gathering = explicit
interpreter_python = /usr/bin/python3
private_key_file = {login}
remote_user = root
[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=no -o UserKnownHostsFile={place}/known_hosts -o GlobalKnownHostsFile=/dev/null
"""
# opsctl as it is, and at its end the most memory that it had.
_OURS = """
import sys
from opsctl.cli import main
from tests.bench.measure import peak_memory
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(str(peak_memory()))
sys.exit(code)
"""


@dataclass
class Scene:
    """The hosts, a controller, Ansible in a folder of its own, and what was seen of each run of ours."""

    bench: Bench
    place: Path
    fleet: Fleet
    machine: Machine
    loaded: list[list[float]] = field(default_factory=list)
    confirmed: list[list[float]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    took: Mapping[str, list[Cost]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.fleet.count} hosts isolated, confirmed, cut, probed"

    def prepare(self) -> None:
        self.fleet.configure(self.machine.etc, self.machine.state)
        (self.place / "rules").write_text(_rules(self.fleet))
        (self.place / "inventory").write_text("".join(f"{host.address}\n" for host in self.fleet.hosts))
        (self.place / "known_hosts").write_text("".join(f"{host.address} {host.key}\n" for host in self.fleet.hosts))
        (self.place / "ansible.cfg").write_text(_CONFIG.format(place=self.place, login=self.fleet.login))
        (self.place / "bare").write_text(json.dumps({
            "login": str(self.fleet.login), "hosts": {host.address: host.key for host in self.fleet.hosts}}))

    def install_ansible(self) -> bool:
        """By version, from the package index that this machine's pip uses."""
        self.bench.say(f"installing ansible-core {ANSIBLE}")
        home = self.place / "ansible"
        steps = ([sys.executable, "-m", "venv", str(home)],
                 [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", f"ansible-core=={ANSIBLE}"])
        return all(subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0 for argv in steps)

    def bare(self) -> Cost:
        return run(python(str(PACKAGE / "tests" / "bench" / "bare_ssh.py"), str(self.place / "bare")), out=self.place / "said")

    def ansible(self, module: str) -> Callable[[], Cost]:
        """One task that loads the same rules: from standard input, or, as Ansible is quickest, as a word of a raw command line."""
        rules = (self.place / "rules").read_text()
        arguments = {"command": json.dumps({"argv": ["nft", "-f", "-"], "stdin": rules}),
                     "raw": f"nft -f - <<'EOF'\n{rules}EOF"}[module]

        def measure() -> Cost:
            self.open()
            env = {**environment(self.machine), "ANSIBLE_CONFIG": str(self.place / "ansible.cfg"), "HOME": str(self.place)}
            return run([str(self.place / "ansible" / "bin" / "ansible"), "all", "-m", module, "-a", arguments], env=env,
                       out=self.place / "said")

        return measure

    def ours(self) -> Cost:
        """The whole of it. What is timed inside comes from the journal's own clock."""
        self.open()
        shutil.rmtree(self.machine.state, ignore_errors=True)
        begun = time.time()
        cost = self.call("isolate", "apply", "--zone", "fleet")
        moments = self.moments(begun)
        self.loaded.append(moments["load"])
        self.confirmed.append(moments["confirm"])
        self.memory.append(int((self.place / "memory").read_text()))
        return cost

    def call(self, *words: str, codes: tuple[int, ...] = (0,)) -> Cost:
        return run(python("-c", _OURS, str(self.place / "memory"), "--config", str(self.machine.etc), *words), codes=codes,
                   env=environment(self.machine), out=self.place / "said")

    def moments(self, begun: float) -> Mapping[str, list[float]]:
        """When each change of each host was done, in seconds since ``begun``, by the kind of change."""
        found: dict[str, list[float]] = {"load": [], "confirm": []}
        for path in sorted((self.machine.state / "journal").glob("*.jsonl")):
            for line in map(json.loads, path.read_bytes().splitlines()):
                if line["type"] == "change.done":
                    found.setdefault(line["data"]["change"], []).append(datetime.fromisoformat(line["time"]).timestamp() - begun)
        return found

    def open(self) -> None:
        self.fleet.everywhere("nft flush ruleset")

    def silent(self, number: int) -> Row:
        """So many hosts that never answer: when the last of the others was confirmed."""
        self.fleet.silence(range(number))
        self.open()
        shutil.rmtree(self.machine.state, ignore_errors=True)
        begun = time.time()
        self.call("isolate", "apply", "--zone", "fleet", "--retry-for", "0s", codes=(3,))
        last, before = max(self.moments(begun)["confirm"]), statistics.median(max(times) for times in self.confirmed)
        return compare(f"{number} of {self.fleet.count} hosts silent: the last of the others confirmed after", last, before,
                       beside="where all answer", at_most=1.0)

    def load_time(self) -> Row:
        """The rules of one host, on the host."""
        load = self.fleet.inside(0, ["nft", "-f", str(self.place / "rules")])
        nothing = self.fleet.inside(0, ["true"])
        took = turns(self.bench.rounds(21), load=lambda: run(load), nothing=lambda: run(nothing))
        return Row("rules of one host loaded by nft", seconds(wall(took["load"]) - wall(took["nothing"])), "on the host itself")


def _rules(fleet: Fleet) -> str:
    order = Order(Mark("20261129-0000-bench-0000", "bench", "2026-11-29T00:00:00+00:00"), seconds=600)
    return nft_rules.load(order, Facts(devices=("eth0",), manager=fleet.controller))


def rows(bench: Bench) -> list[Row]:
    if os.geteuid():
        raise Failed("hosts in network namespaces need root")
    place = bench.place("isolate")
    with Fleet(bench.size(412, 3)) as fleet:
        scene = Scene(bench, place, fleet, bench.bare_machine(place / "m"))
        scene.prepare()
        return [*beside_bare(scene), *beside_ansible(scene), *afterwards(scene)]


def beside_bare(scene: Scene) -> list[Row]:
    """The whole of it beside two bare connections, and what was seen inside."""
    scene.took = turns(scene.bench.rounds(3), ours=scene.ours, bare=scene.bare)
    ours, bare = scene.took["ours"], scene.took["bare"]
    found = [compare(f"{scene.name}: wall", wall(ours), wall(bare), at_most=1.5, beside="two bare connections each"),
             compare(f"{scene.name}: processor of the controller", cpu(ours), cpu(bare), beside="the same")]
    for word, times in (("loaded", scene.loaded), ("confirmed", scene.confirmed)):
        first, last = statistics.median(map(min, times)), statistics.median(map(max, times))
        found.append(Row(f"  {word}", f"the first after {seconds(first)}", f"the last after {seconds(last)}"))
    memory = statistics.median(scene.memory)
    return [*found, limit("  memory of the controller", memory, megabytes(memory), at_most=300e6, aim="< 300 MB")]


def beside_ansible(scene: Scene) -> list[Row]:
    """One task that loads the rules and neither confirms nor looks; once, since it takes minutes."""
    if scene.bench.quick:
        return [Row("  beside Ansible", "", "not in the quick variant")]
    if not scene.install_ansible():
        return [Row(f"  beside ansible-core {ANSIBLE}", "", "could not be installed")]
    ours, found = scene.took["ours"], []
    for module, words, aim in (("command", f"ansible-core {ANSIBLE}, one task", 0.333), ("raw", "its raw module", None)):
        theirs = turns(1, ansible=scene.ansible(module))["ansible"]
        found += [compare(f"{scene.name}: wall", wall(ours), wall(theirs), at_most=aim, beside=words),
                  compare(f"{scene.name}: processor of the controller", cpu(ours), cpu(theirs), beside="the same")]
    return found


def afterwards(scene: Scene) -> list[Row]:
    """One host by itself, the way back, and hosts that do not answer."""
    found = [scene.load_time()]
    scene.ours()
    released = scene.call("isolate", "release", "--zone", "fleet")
    found.append(Row(f"{scene.fleet.count} hosts released", seconds(released.wall), f"processor of the controller {seconds(released.cpu)}"))
    return [*found, scene.silent(scene.bench.size(82, 1))]

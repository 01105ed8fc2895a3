"""Evidence of a host: a set of logs collected into a sealed bag, beside ``ssh HOST cat`` of the same files into one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import Bench, call
from tests.bench.measure import Cost, Failed, cpu, run, turns, wall
from tests.bench.table import Row, compare
from tests.lab.sshd import Lab
from tests.machine import Machine

_INSIDE = "/run/lab"
_MOST = 1.1
_FILES = 16


@dataclass
class Scene:
    """A controller and a host with ``logs`` and ``small``; the logs are lines, like those of a web server."""

    place: Path
    lab: Lab
    machine: Machine

    def prepare(self, size: int, small: int) -> None:
        chance = random.Random(7)
        block = b"".join(b"10.%d.%d.%d - - [18/Dec/2026:%02d:%02d:%02d +0530] \"GET /tax/%d HTTP/1.1\" 200 %d\n" % tuple(
            chance.randrange(most) for most in (256, 256, 256, 24, 60, 60, 10**6, 10**5)) for _ in range(12_000))[:1 << 20]
        for name, count, each in (("logs", _FILES, size // _FILES), ("small", small, 2000)):
            (self.lab.place / name).mkdir()
            for number in range(count):
                with (self.lab.place / name / f"access.log.{number}").open("wb") as file:
                    for start in range(0, each, len(block)):
                        file.write(block[:each - start])
        shutil.copy(self.lab.place / "login", self.machine.etc / "keys" / "ssh-backup")
        host = self.lab.hosts[0]
        profiles = "\n".join(f"    {name}: {{extends: nothing, logs: ['{_INSIDE}/{name}/*']}}" for name in ("logs", "small"))
        self.machine.configure(more=f"hosts:\n  h0: {{address: {host.address}, user: ops, host_key: {host.key}}}\n"
                                    f"evidence:\n  free: 0B\n  profiles:\n{profiles}\n")
        call(self.machine, "incident", "open", "inc-1", "--title", "T", "--noticed-at", "2025-12-21T02:30+05:30", "--noticed-by", "a", "--signal", "b",
             "--in-charge", "c")

    def ours(self, name: str) -> Callable[[], Cost]:
        def measure() -> Cost:
            shutil.rmtree(self.machine.state / "incidents" / "inc-1" / "evidence", ignore_errors=True)
            return call(self.machine, "evidence", "collect", "h0", "--profile", name, "--incident", "inc-1")

        return measure

    def cat(self, name: str) -> Callable[[], Cost]:
        def measure() -> Cost:
            options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
            return run(["ssh", "-i", str(self.lab.place / "login"), *options, f"ops@{self.lab.hosts[0].address}", "cat", f"{_INSIDE}/{name}/*"],
                       out=self.place / "said")

        return measure


def rows(bench: Bench) -> list[Row]:
    if os.geteuid():
        raise Failed("hosts in network namespaces need root")
    place = bench.place("evidence")
    with Lab(1) as lab:
        scene = Scene(place, lab, bench.machine(place / "m"))
        scene.prepare(bench.size(1 << 30, 1 << 20), bench.size(1000, 20))
        found = []
        logs, small = ("1 GiB of logs in 16 files", "1,000 logs of 2 kB") if not bench.quick else ("1 MiB of logs in 16 files", "20 logs of 2 kB")
        for name, words in (("logs", logs), ("small", small)):
            took = turns(bench.rounds(5), ours=scene.ours(name), raw=scene.cat(name))
            found.append(compare(f"evidence of a host, {words}, hashed on both sides, sealed: wall", wall(took["ours"]), wall(took["raw"]),
                                 at_most=_MOST if name == "logs" else None, beside="ssh HOST cat"))
            found.append(compare(f"evidence of a host, {words}: processor of the controller", cpu(took["ours"]), cpu(took["raw"]), beside="ssh"))
        return found

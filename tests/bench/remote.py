"""Files and dumps of other machines over SSH, beside ``ssh HOST restic backup``; and ten hosts at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import Bench, call, environment, large_file, raw_restic, small_files
from tests.bench.measure import Cost, Failed, cpu, opsctl, run, turns, wall
from tests.bench.table import Row, compare, seconds
from tests.lab.restserver import RestServer
from tests.lab.sshd import Lab
from tests.machine import Machine

_INSIDE = "/run/lab"
_MOST = 1.05


@dataclass
class Scene:
    """A controller, hosts, and a REST server that both reach. The sources are ``large``, ``small``, ``dump`` and ``h0`` …"""

    bench: Bench
    place: Path
    lab: Lab
    store: RestServer
    machine: Machine

    def prepare(self) -> None:
        large_file(self.lab.place / "large", self.bench.size(1 << 30, 1 << 20))
        (self.lab.place / "small").mkdir()
        small_files(self.lab.place / "small", self.bench.size(20_000, 100))
        (self.lab.place / "part").mkdir()
        large_file(self.lab.place / "part" / "file", self.bench.size(100 << 20, 1 << 20))
        keys = self.machine.etc / "keys"
        names = ["large", "small", *(host.name for host in self.lab.hosts)]
        for name in names:
            for secret in ("login", "password"):
                (keys / f"{name}-{secret}").write_text(f"{secret} of {name}\n")
                (keys / f"{name}-{secret}").chmod(0o600)
        shutil.copy(self.lab.place / "login", keys / "ssh-backup")
        host = {name: name if name.startswith("h") else "h0" for name in names}
        path = {"large": "large", "small": "small"}
        repositories = "\n".join(
            f"  {name}: {{url: {self.store.repository_url(name)}, user: {name}, secret_file: {keys}/{name}-login, "
            f"password_file: {keys}/{name}-password}}" for name in names)
        sources = "\n".join(f"  {name}: {{kind: paths, host: {host[name]}, paths: [{_INSIDE}/{path.get(name, 'part')}]}}"
                            for name in names)
        sources += f"\n  dump: {{kind: command, host: h0, argv: [cat, {_INSIDE}/large]}}"
        backups = "\n".join(f"  {name}: {{sources: [{name}], repository: {name}}}" for name in names)
        hosts = "\n".join(f"  {each.name}: {{address: {each.address}, user: ops, host_key: {each.key}}}" for each in self.lab.hosts)
        self.machine.configure(repositories=repositories, sources=sources, backup_sources="[dump]",
                               more=f"{backups}\nhosts:\n{hosts}")
        call(self.machine, "backup", "init", *names)
        for name in ("state", "store"):
            shutil.copytree(self.machine.root / name, self.place / name)
        shutil.copytree(self.store.directory / "repositories", self.place / "repositories")

    def again(self) -> None:
        """Everything as it was before the first backup."""
        for kept, used in (("state", self.machine.state), ("store", self.machine.store),
                           ("repositories", self.store.directory / "repositories")):
            shutil.rmtree(used)
            shutil.copytree(self.place / kept, used)
        subprocess.run(["chown", "-R", f"--reference={self.store.directory}", str(self.store.directory / "repositories")], check=True)
        shutil.rmtree(self.lab.home / ".cache", ignore_errors=True)

    def ours(self, name: str) -> Callable[[], Cost]:
        def measure() -> Cost:
            self.again()
            return call(self.machine, "backup", "run", name)

        return measure

    def ssh(self, *words: str) -> list[str]:
        options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "LogLevel=ERROR"]
        return ["ssh", "-i", str(self.lab.place / "login"), *options, f"ops@{self.lab.hosts[0].address}", *words]

    def raw(self, name: str) -> Callable[[], Cost]:
        """restic there, as one does it by hand."""

        def measure() -> Cost:
            self.again()
            words = ["env", f"RESTIC_PASSWORD='password of {name}'", f"RESTIC_REPOSITORY={self.store.repository_url(name)}",
                     "restic", "backup", f"{_INSIDE}/{name}"]
            return run(self.ssh(*words), env=environment(self.machine), out=self.place / "said")

        return measure

    def raw_dump(self) -> Cost:
        self.again()
        words = ["restic", "backup", "--stdin-from-command", "--stdin-filename", "dump", "--"]
        return run([*words, *self.ssh("cat", f"{_INSIDE}/large")], env=raw_restic(self.machine, self.machine.store),
                   out=self.place / "said")

    def together(self) -> Row:
        """Every host at once, each by a call of its own, as hourly timers would."""
        self.again()
        begun, before = time.perf_counter(), os.times()
        running = [subprocess.Popen(opsctl("--config", str(self.machine.etc), "backup", "run", host.name),
                                    env=environment(self.machine), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for host in self.lab.hosts]
        codes = [each.wait() for each in running]
        took, after = time.perf_counter() - begun, os.times()
        if any(codes):
            raise Failed(f"hosts at once ended with {codes}")
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return Row(f"{len(codes)} hosts at once, {self.bench.size(100, 1)} MiB each: processor of the controller", seconds(spent),
                   f"{spent / took / (os.cpu_count() or 1):.0%} of the machine in {seconds(took)}, hosts and store on the same one")


def rows(bench: Bench) -> list[Row]:
    if os.geteuid():
        raise Failed("hosts in network namespaces need root")
    place = bench.place("remote")
    with Lab(bench.size(10, 1)) as lab, RestServer(lab.place / "store", append_only=False, address=lab.controller) as store:
        scene = Scene(bench, place, lab, store, bench.machine(place / "m"))
        scene.prepare()
        found = []
        what = {"large": "1 GiB in a file", "small": "20,000 small files"} if not bench.quick else {"small": "100 small files"}
        for name, words in what.items():
            took = turns(bench.rounds(3), ours=scene.ours(name), raw=scene.raw(name))
            found.append(compare(f"files of a host, {words}: wall", wall(took["ours"]), wall(took["raw"]), at_most=_MOST,
                                 beside="ssh HOST restic backup"))
            found.append(compare(f"files of a host, {words}: processor of the controller", cpu(took["ours"]), cpu(took["raw"]),
                                 beside="ssh"))
        took = turns(bench.rounds(3), ours=scene.ours("portal"), raw=scene.raw_dump)
        dump = "1 GiB" if not bench.quick else "1 MiB"
        found.append(compare(f"a dump of {dump} streamed from a host: wall", wall(took["ours"]), wall(took["raw"]), at_most=_MOST,
                             beside="restic --stdin-from-command ssh"))
        found.append(compare(f"a dump of {dump} streamed from a host: processor", cpu(took["ours"]), cpu(took["raw"]),
                             beside="the same"))
        return [*found, scene.together()]

"""A machine without any repository, whose playbook ``open`` does its second half only when two have approved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opsctl import wiring
from opsctl.engine.journal import Journal
from opsctl.model.config import Config
from tests.machine import PACKAGE, Machine, Said

#: Roles, and whom they stand in for.
PEOPLE = {"asha": (["restore-officer"], None), "imran": (["restore-officer"], None), "ravi": ([], "asha"), "usha": (["auditor"], None)}

PLAYBOOK = """
name: open
title: {{en: Open the doors, hi: दरवाज़े खोलें}}
inputs:
  incident: {{type: string, help: the incident, default: ""}}
steps:
  - {{id: before, uses: command, with: {{argv: [sh, -c, "echo before >> {diary}"]}}}}
  - {{id: agree, uses: approve, title: Agree, with: {{say: the doors may be opened, role: restore-officer{more}}}}}
{between}  - {{id: act, uses: command, title: Open them, with: {{argv: [sh, -c, "{act}"]}}}}
"""

#: A process that kills itself behind the first line of a type that is on disk.
_DIES = """
import os, sys
from opsctl.engine.journal import Journal
from opsctl.cli import main
write = Journal.append
def append(self, type, *rest, **more):
    entry = write(self, type, *rest, **more)
    if type == sys.argv[1]:
        self.flush()
        os.kill(os.getpid(), 9)
    return entry
Journal.append = append
main(sys.argv[2:])
"""


def make_keys(place: Path) -> Path:
    """A folder with a key pair for each of the people, and one of a stranger."""
    for name in (*PEOPLE, "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)], check=True,
                       stdin=subprocess.DEVNULL)
    return place


def people_of(keys: Path, names: Iterable[str] = PEOPLE, **own: str) -> str:
    """The section of a configuration; ``own`` gives people other keys: the name of the key's file, empty for none."""
    lines = ["people:\n"]
    for name in names:
        roles, deputy = PEOPLE[name]
        file = own.get(name, name)
        key = f", ssh_key: {(keys / f'{file}.pub').read_text().strip()}" if file else ""
        lines.append(f"  {name}: {{name: {name.title()}, roles: [{', '.join(roles)}]{key}"
                     + (f", deputy_of: {deputy}" if deputy else "") + "}\n")
    return "".join(lines)


def spools(machine: Machine) -> list[Path]:
    """What break-glass left on this machine for it."""
    site = wiring.Site(Config.model_validate({"state": str(machine.state)}), clock=lambda: datetime.now(UTC), environ=machine.environ)
    return sorted(site.locks.directory.glob(f"spool-{site.scope}-*"))


class Site(Machine):
    """``keys``: where the people's keys lie."""

    def __init__(self, root: Path, keys: Path) -> None:
        super().__init__(root)
        self.keys = keys
        self.write_people()
        self.write_playbook()

    def write_people(self, *, more: str = "", **own: str) -> None:
        self.configure(f"state: {self.state}\n{people_of(self.keys, **own)}{more}")

    def write_playbook(self, more: str = "", *, between: str = "", act: str = "") -> None:
        """``more`` parameters of the gate, steps ``between`` it and the act, and what the act does."""
        place = self.etc / "playbooks"
        place.mkdir(exist_ok=True)
        diary = self.root / "diary"
        (place / "open.yaml").write_text(PLAYBOOK.format(diary=diary, more=more, between=between, act=act or f"echo opened >> {diary}"))

    @property
    def diary(self) -> list[str]:
        path = self.root / "diary"
        return path.read_text().split() if path.exists() else []

    def begin(self, *words: str) -> str:
        """Start the run, which waits for approval; its id."""
        return str(self.json("run", "open", *words, expect=4).document["run"])

    def approve(self, run: str, by: str, *more: str, key: str | None = None, expect: int = 0) -> Said:
        return self.json("--yes", "approve", run, "agree", "--by", by, "--key", str(self.keys / (key or by)), *more, expect=expect)

    def journal(self, type: str, run: str | None = None) -> Iterator[Mapping[str, Any]]:
        """What the journal has of one type."""
        return (entry.data for entry in Journal(self.state / "journal", lambda: datetime.now(UTC)).read(run, types=(type,)))

    def forge(self, run: str | None, type: str, data: Mapping[str, Any]) -> None:
        """A line in the journal as whoever may write there could make it: in order, with hashes that are right."""
        with Journal(self.state / "journal", lambda: datetime.now(UTC)) as journal:
            journal.append(type, data, run=run)

    def die_after(self, type: str, *words: str) -> None:
        """Run a command line in a process that is killed (-9) as soon as the journal has a line of this type."""
        env = {**os.environ, **self.environ, "PYTHONPATH": str(PACKAGE)}
        done = subprocess.run([sys.executable, "-c", _DIES, type, "--config", str(self.etc), *words], env=env, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert done.returncode == -signal.SIGKILL, (done.returncode, done.stdout, done.stderr)

    @staticmethod
    def kill_all(process: subprocess.Popen[str]) -> None:
        """kill -9, with all that it started: it has to lead a session of its own."""
        os.killpg(process.pid, signal.SIGKILL)

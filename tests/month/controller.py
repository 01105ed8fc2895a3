"""The controller of the department: one machine, whose cron line is run through /bin/sh exactly as it was installed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from opsctl.cli.schedule import program
from tests.badluck.faults import until
from tests.lab.cron import ENVIRONMENT
from tests.lab.namespaces import propagation

#: As root of the machine sees it: its own cron folders, logs and locks, and in front of the PATH a folder for faulty programs.
_VIEW = """\
set -eu
root=$1
mkdir -p "$root/etc/cron.d" "$root/var/log" "$root/empty" "$root/sbin"
mount --bind "$root/etc/cron.d" /etc/cron.d
mount --bind "$root/empty" /var/spool/cron
mount --bind "$root/var/log" /var/log
mount --bind "$root/sbin" /usr/local/sbin
mount -t tmpfs none /run
touch "$root/ready"
exec sleep infinity
"""
_DONE = re.compile(r"^(\S+): set (\S+) is whole and signed, in (\S+)$", re.MULTILINE)
_COPIED = re.compile(r"^(\S+): (\S+) holds \d+ sets, the newest (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Tick:
    """What one firing of cron's line came to. ``mailed``: what cron would send to root; ``said``: the new part of the log.

    ``done``: what it called done, as (backup, set, repository); ``copied``: (backup, set, repository) that it said a copy holds.
    ``notices``: what was sent to the person on call; ``alive``: whether the dead man's switch was called.
    """

    at: datetime
    code: int
    mailed: str
    said: str
    notices: tuple[str, ...]
    alive: bool
    fault: str | None

    @property
    def done(self) -> list[tuple[str, str, str]]:
        return _DONE.findall(self.said)

    @property
    def copied(self) -> list[tuple[str, str, str]]:
        return [(backup, found, place) for backup, place, found in _COPIED.findall(self.said)]

    def __str__(self) -> str:
        told = "\n".join(f"    | {line}" for line in self.said.splitlines())
        return f"{self.at:%d %b %H:%M} ended with {self.code} under {self.fault or 'no fault'}\n{told}"


class Controller:
    """The machine. ``root`` holds its cron folders and logs; configuration and state are the department's."""

    def __init__(self, root: Path, config: Path) -> None:
        self.root, self.config = root, config
        self.mark = f"OPSCTL_TEST_MONTH={root}"
        self._view: subprocess.Popen[bytes] | None = None
        self.minute = 0
        self._line = ""
        self._night = ""
        self._environment: dict[str, str] = {}

    @property
    def programs(self) -> Path:
        """What lies here goes before the machine's own programs."""
        return self.root / "sbin"

    @property
    def log(self) -> Path:
        found, = (self.root / "var/log/opsctl").glob("backup-*.log")
        return found

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", propagation(), "sh", "-c", _VIEW, "view",
                str(self.root)]
        self._view = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        until(lambda: (self.root / "ready").exists(), "the controller's view of its machine")

    def stop(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._view is not None:
            self._view.kill()
            self._view.wait()

    def install(self) -> None:
        """`backup schedule --cron --write`, and what it installed."""
        done = self.opsctl(None, "backup", "schedule", "--cron", "--write", "--into", str(self.root))
        assert done.returncode == 0, done.stdout + done.stderr
        file, = (self.root / "etc/cron.d").iterdir()
        told = file.read_text().splitlines()
        self._environment = {**ENVIRONMENT, **dict(line.split("=", 1) for line in told if re.match(r"(SHELL|PATH|LANG)=", line))}
        backup, = (line for line in told if "backup run --due;" in line)
        verify, = (line for line in told if "verify --level data;" in line)
        self.minute = int(backup.split()[0])
        self._line, self._night = (line.split(" ", 6)[6].replace("\\%", "%") for line in (backup, verify))

    def cron(self, at: datetime, *, night: bool = False) -> subprocess.Popen[str]:
        """Fire the hourly line (or the nightly one) as cron would."""
        return self._start(["/bin/sh", "-c", self._night if night else self._line], self._environment, at)

    def opsctl(self, at: datetime | None, *words: str) -> subprocess.CompletedProcess[str]:
        """What a person types on this machine."""
        argv = [*program("pytest", sys.executable), "--config", str(self.config), *words]
        process = self._start(argv, {**ENVIRONMENT, "PATH": f"/usr/local/sbin:{os.environ['PATH']}"}, at)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def shell(self, script: str) -> None:
        """A command of the machine's administrator, in the machine's own view."""
        process = self._start(["/bin/sh", "-euc", script], ENVIRONMENT, None)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err

    def _start(self, argv: list[str], env: Mapping[str, str], at: datetime | None) -> subprocess.Popen[str]:
        assert self._view is not None
        key, _, value = self.mark.partition("=")
        environment = {**env, key: value, **({"OPSCTL_CLOCK": at.isoformat()} if at else {})}
        return subprocess.Popen(["nsenter", f"--mount=/proc/{self._view.pid}/ns/mnt", "--", *argv], env=environment, text=True,
                                cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def processes(self) -> list[int]:
        """Everything that runs on this machine, by its environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def commands(self) -> list[str]:
        """What each of them is, what it waits for in the kernel, and its call there, for whoever has to find out why it hangs."""
        found = []
        for pid in self.processes():
            with suppress(OSError):
                place = Path(f"/proc/{pid}")
                argv = place.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.append(f"{pid} {place.joinpath('wchan').read_text()} {place.joinpath('syscall').read_text().strip()}: {argv}")
        return found

    def all_gone(self) -> None:
        until(lambda: not self.processes(), "the end of everything on the machine")

"""Faults for tests: kills at a chosen restic call or journal line, slow stores, small disks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.waiting import until
from tests.machine import Machine

LIMIT = 120.0
"""Seconds after which a wait is given up. A limit, never an expectation."""

FULL = pytest.mark.full

_SCRIPT = """\
#!/bin/sh
# The real restic, with a fault at one of its calls.
here=${0%/*}
case "$*" in *"version --json"*) exec REAL "$@";; esac
number=1
until mkdir "$here/calls/$number" 2>/dev/null; do number=$((number + 1)); done
echo $$ > "$here/calls/$number/pid"
printf '%s\\n' "$*" > "$here/calls/$number/new" && mv "$here/calls/$number/new" "$here/calls/$number/words"
if [ -f "$here/brake" ]; then
  read -r kib where < "$here/brake"
  case "$*" in *"$where"*) exec REAL --limit-upload "$kib" --limit-download "$kib" "$@";; esac
fi
if [ -f "$here/fault" ]; then
  read -r moment victim which < "$here/fault"
  case "#$number $*" in
    "#$which "*|*" $which"*)
      mv "$here/fault" "$here/fired"
      code=0
      if [ "$moment" = after ]; then REAL "$@"; code=$?; fi
      if [ "$victim" = opsctl ]; then kill -KILL $PPID; else kill -KILL $$; fi
      exit $code;;
  esac
fi
exec REAL "$@"
"""


class FaultyRestic:
    """A program ``restic`` in a folder of its own: the real one, which can be made slow or struck down.

    Put it first on a process's PATH with ``env``. ``restic version`` passes untouched and is not counted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self) -> None:
        real = shutil.which("restic")
        assert real is not None, "restic is not installed"
        (self.folder / "calls").mkdir(parents=True)
        script = self.folder / "restic"
        script.write_text(_SCRIPT.replace("REAL", real))
        script.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def strike(self, which: str | int, moment: str, victim: str) -> None:
        """Kill opsctl or restic (``victim``) before or after the call of that number or with these words."""
        self.forget_calls()
        (self.folder / "fired").unlink(missing_ok=True)
        (self.folder / "fault").write_text(f"{moment} {victim} {which}\n")

    def forget_calls(self) -> None:
        shutil.rmtree(self.folder / "calls")
        (self.folder / "calls").mkdir()

    @property
    def struck(self) -> bool:
        return (self.folder / "fired").exists()

    def brake(self, kib_per_second: int = 64, *, at: str = "") -> None:
        """From the next call on (with these words): that slow, both ways."""
        (self.folder / "brake").write_text(f"{kib_per_second} {at}\n")

    def release(self) -> None:
        (self.folder / "brake").unlink(missing_ok=True)

    def calls(self) -> list[str]:
        """The words of each call so far, in order."""
        found = sorted((self.folder / "calls").glob("*/words"), key=lambda path: int(path.parent.name))
        return [path.read_text().strip() for path in found]

    def pid(self, words: str) -> int:
        """The process of the first call with these words, once it has begun."""

        def begun() -> int | None:
            for path in (self.folder / "calls").glob("*/words"):
                if words in path.read_text():
                    return int((path.parent / "pid").read_text())
            return None

        return until(begun, f"restic {words}")

    def unreaped(self) -> list[int]:
        """Calls that have ended and whose parent, or the init that inherited them, has not noticed yet."""
        found = []
        for path in (self.folder / "calls").glob("*/pid"):
            with suppress(OSError, ValueError):
                pid = int(path.read_text())
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    found.append(pid)
        return found


@dataclass(frozen=True)
class Ended:
    """How a process of opsctl ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


def ended(process: subprocess.Popen[str], limit: float = LIMIT) -> Ended:
    """Wait for a process of opsctl and everything that it wrote."""
    out, err = process.communicate(timeout=limit)
    return Ended(process.returncode, out, err)


def processes(machine: Machine) -> list[int]:
    """What works for this machine (opsctl in processes of its own, restic, dumps), by their environment."""
    mark = f"XDG_RUNTIME_DIR={machine.environ['XDG_RUNTIME_DIR']}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def all_gone(machine: Machine, restic: FaultyRestic) -> None:
    """Wait until nothing works for this machine any more, and every dead restic has been reaped."""
    until(lambda: not processes(machine) and not restic.unreaped(), "the end of all processes")


def end_all(machine: Machine, restic: FaultyRestic) -> None:
    """The end of a test, also of one that failed."""
    for pid in processes(machine):
        for number in (signal.SIGCONT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    all_gone(machine, restic)


def lines(machine: Machine) -> list[dict[str, Any]]:
    """The whole lines of the journal."""
    found = []
    for path in sorted((machine.state / "journal").glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return found


def at(type: str, **data: str) -> Callable[[dict[str, Any]], bool]:
    """Which line of the journal to kill at."""
    return lambda line: (
        line["type"] == type and all(line["data"].get(key) == value for key, value in data.items())
    )


def kill_at_line(
    machine: Machine, restic: FaultyRestic, words: Sequence[str], strikes: Callable[[dict[str, Any]], bool]
) -> str:
    """Start opsctl and kill it with SIGKILL as soon as such a line is in the journal; the id of its run."""
    before = len(lines(machine))
    process = machine.start(*words, env=restic.env)
    with process:

        def struck() -> str | None:
            new = lines(machine)[before:]
            over = process.poll() is not None
            return next((line["run"] for line in new if over or strikes(line)), None)

        try:
            run = until(struck, f"the line of {' '.join(words)}")
        finally:
            process.kill()
        process.communicate(timeout=LIMIT)
    all_gone(machine, restic)
    return run


def kill_at_call(
    machine: Machine, restic: FaultyRestic, words: Sequence[str], which: str | int, moment: str, victim: str
) -> tuple[str, Ended]:
    """Start opsctl with a fault at one of its restic calls; the id of its run, and how opsctl ended."""
    before = len(lines(machine))
    restic.strike(which, moment, victim)
    done = ended(machine.start(*words, env=restic.env))
    all_gone(machine, restic)
    return next((line["run"] for line in lines(machine)[before:] if line.get("run")), ""), done


def locked(machine: Machine) -> bool:
    """Whether a lock lies in the store. One that restic was still writing when it was killed is none."""
    return any("-tmp-" not in path.name for path in (machine.store / "locks").iterdir())


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of its own of that size (``8M``) at ``place``, gone afterwards.

    Skips the test where this user may not mount one.
    """
    place.mkdir(parents=True, exist_ok=True)
    if os.geteuid():
        pytest.skip("only root can mount the small disk that is filled here")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
    )
    if done.returncode:
        pytest.skip(f"this root may not mount the small disk that is filled here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, stdin=subprocess.DEVNULL, timeout=LIMIT)


def resize(place: Path, size: str) -> None:
    """Make a small disk larger, as an administrator would."""
    subprocess.run(
        ["mount", "-o", f"remount,size={size}", str(place)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
    )


def read_only(place: Path, only: bool = True) -> None:
    """Let nobody write on a small disk, or let them again."""
    subprocess.run(
        ["mount", "-o", f"remount,{'ro' if only else 'rw'}", str(place)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
    )


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk up to ``leave`` bytes; the file that does it."""
    ballast = disk / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        if leave:
            file.truncate(max(0, file.tell() - leave))
    return ballast


def free(disk: Path) -> int:
    place = os.statvfs(disk)
    return place.f_bavail * place.f_frsize

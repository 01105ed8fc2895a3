"""Where benchmarks run: a directory, sizes, machines with a repository, restic with a note of each call."""

from __future__ import annotations

import os
import random
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import PACKAGE, Cost, opsctl, run
from tests.machine import Machine

# bash knows the time and what its children used without starting anything.
_NOTING = """#!/bin/bash
for word; do case $word in -*) ;; *) break;; esac; done
begun=$EPOCHREALTIME
{restic} "$@"
code=$?
{{ echo "$begun $EPOCHREALTIME $word"; times; }} > "{notes}/$begun.$$"
exit $code
"""
_FREE = Cost(0.0, 0.0)


@dataclass(frozen=True)
class Call:
    """One restic call that opened the repository: when it ran and its processor time, in seconds."""

    command: str
    begun: float
    ended: float
    cpu: float


@dataclass
class Bench:
    """What a benchmark gets. ``quick``: sizes that only show that it runs.

    ``pristine`` is the folder of a machine that has just pinned its new repository; made when first needed.
    """

    root: Path
    quick: bool
    say: Callable[[str], None] = print
    pristine: Path | None = None

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def rounds(self, full: int) -> int:
        return 1 if self.quick else full

    def place(self, name: str) -> Path:
        """A new directory of a benchmark's own. Servers of other accounts can pass through it."""
        place = self.root / name
        place.mkdir(mode=0o711)
        return place

    def machine(self, root: Path) -> Machine:
        """A machine with a key and a pinned, empty repository.

        All have the same one: the cost of restic's key derivation is chosen when a repository is made, and
        differs by a third from one to the next.
        """
        shutil.copytree(self.empty(), root, symlinks=True)
        machine = Machine(root)
        machine.environ.pop("OPSCTL_CLOCK")
        machine.configure()
        return machine

    def again(self, machine: Machine) -> None:
        """Bring a machine's repository and state back to the empty ones."""
        for name in ("store", "state"):
            shutil.rmtree(machine.root / name)
            shutil.copytree(self.empty() / name, machine.root / name)

    def empty(self) -> Path:
        """The folder of the machine that all others are copies of."""
        if self.pristine is None:
            made = Machine(self.root / "pristine")
            made.make_key()
            made.configure()
            made.environ.pop("OPSCTL_CLOCK")
            call(made, "backup", "init")
            self.pristine = made.root
        return self.pristine

    def bare_machine(self, root: Path) -> Machine:
        """A machine that has no repository yet."""
        machine = Machine(root)
        machine.environ.pop("OPSCTL_CLOCK")
        return machine


class Notes:
    """restic with a note of each call, on the PATH of whoever gets ``path``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "calls"
        self.folder.mkdir(parents=True)
        programs = folder / "programs"
        programs.mkdir()
        self._script(programs / "restic", shutil.which("restic"))
        self.path = f"{programs}:{os.environ['PATH']}"
        self._nothing = self._script(folder / "nothing", shutil.which("true"))

    def _script(self, script: Path, program: str | None) -> Path:
        script.write_text(_NOTING.format(restic=program, notes=self.folder))
        script.chmod(0o755)
        return script

    def noting(self) -> Cost:
        """What taking a note of one call costs itself: a program that does nothing, with a note and without."""
        walls, cpus = [], []
        for _ in range(15):
            alone, noted = run(["true"]), run([str(self._nothing), "nothing"])
            (call,) = self.take()
            walls.append(noted.wall - (call.ended - call.begun) - alone.wall)
            cpus.append(noted.cpu - call.cpu - alone.cpu)
        return Cost(max(0.0, statistics.median(walls)), max(0.0, statistics.median(cpus)))

    def take(self) -> list[Call]:
        """The calls since the last look, in order."""
        found = []
        for note in sorted(self.folder.iterdir()):
            first, *used = note.read_text().splitlines()
            begun, ended, command = first.split()
            cpu = sum(map(_duration, " ".join(used).split()))
            if command != "version":
                found.append(Call(command, float(begun), float(ended), cpu))
            note.unlink()
        return found


def own_wall(cost: Cost, calls: list[Call], noting: Cost = _FREE) -> float:
    """The wall time during which no restic call was under way, without what the notes of them cost."""
    busy, until = 0.0, 0.0
    for call in sorted(calls, key=lambda each: each.begun):
        busy += max(0.0, call.ended - max(call.begun, until))
        until = max(until, call.ended)
    return cost.wall - busy - noting.wall * len(calls)


def own_cpu(cost: Cost, calls: list[Call], noting: Cost = _FREE) -> float:
    """The processor time of everything but restic, without what the notes of its calls cost."""
    return max(0.0, cost.cpu - sum(call.cpu + noting.cpu for call in calls))


def _duration(text: str) -> float:
    """bash's ``0m1.234s`` in seconds."""
    minutes, _, rest = text.rstrip("s").partition("m")
    return int(minutes) * 60 + float(rest)


def environment(machine: Machine, **more: str) -> dict[str, str]:
    """The environment of a measured opsctl, and of what is measured beside it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "TMPDIR") if name in os.environ}
    return {**kept, **machine.environ, "PYTHONPATH": str(PACKAGE), **more}


def call(
    machine: Machine, *words: str, env: Mapping[str, str] | None = None, codes: Sequence[int] | None = (0,)
) -> Cost:
    """Run one command line of opsctl on a machine; what it prints is in ``machine.root / "said"``."""
    return run(
        opsctl("--config", str(machine.etc), *words),
        env=env or environment(machine),
        codes=codes,
        out=machine.root / "said",
    )


def raw_restic(machine: Machine, store: Path, **more: str) -> dict[str, str]:
    """The environment of restic by itself on ``store``, a copy of the machine's repository."""
    return environment(
        machine,
        RESTIC_REPOSITORY=str(store),
        RESTIC_CACHE_DIR=str(machine.root / "raw-cache"),
        RESTIC_PASSWORD_FILE=str(machine.etc / "keys" / "repository-password"),
        **more,
    )


def small_files(folder: Path, count: int, size: int = 2048) -> None:
    """``count`` files of ``size`` bytes that no store can compress or keep once, a hundred to a folder."""
    draw = random.Random(412)
    for number in range(count):
        place = folder / f"{number // 100:05d}"
        if number % 100 == 0:
            place.mkdir(parents=True)
        (place / f"{number:07d}").write_bytes(draw.randbytes(size))


def large_file(path: Path, size: int) -> None:
    """``size`` bytes that cannot be compressed, in one file."""
    draw = random.Random(412)
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(draw.randbytes(min(size, 1 << 24)))

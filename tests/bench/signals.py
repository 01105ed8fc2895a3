"""What change signals cost: of a new set against its backup, and of old sets against `restic diff` alone."""

from __future__ import annotations

import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, Notes, call, environment, raw_restic, small_files
from tests.bench.measure import python, run, turns
from tests.bench.table import Row, compare, limit
from tests.machine import Machine

_CODE = "from tests.bench.signals import main; main()"


def rows(bench: Bench) -> list[Row]:
    place = bench.place("signals")
    machine = bench.machine(place / "m")
    notes = Notes(place)
    env = {**environment(machine), "PATH": notes.path}
    count, large = bench.size(20_000, 200), bench.size(1 << 30, 1 << 22)
    small_files(machine.data, count)
    call(machine, "backup", "run", "portal", env=env)
    notes.take()
    found = []
    for what, change, rounds in ((f"{count:,} small files, 1 % changed", lambda: _change(machine, count // 100), bench.rounds(5)),
                                 (f"{large >> 20:,} MiB of new data", lambda: _grow(machine, large), 1)):
        took = turns(rounds, same=lambda: _set(machine, notes, env), changed=lambda change=change: (change(), _set(machine, notes, env))[1])
        backup, calls = statistics.median(one.backup for one in took["changed"]), max(one.calls for one in took["changed"])
        longer = statistics.median(one.beside for one in took["changed"]) - statistics.median(one.beside for one in took["same"])
        found.append(limit(f"signals of a new set, {what}: restic calls", calls, str(calls), at_most=2, aim="≤ 2"))
        found.append(compare(f"signals of a new set, {what}: what it takes longer", max(longer, 0.001), backup, at_most=0.1, beside="restic backup"))
    return [*found, *_old(bench, place, machine, env)]


@dataclass(frozen=True)
class _Set:
    """One set: seconds of the backup of its source, of all the rest, and how often restic was called for its signals."""

    backup: float
    beside: float
    calls: int


def _set(machine: Machine, notes: Notes, env: dict[str, str]) -> _Set:
    cost = call(machine, "backup", "run", "portal", env=env)
    calls = notes.take()
    backup = next(one.ended - one.begun for one in calls if one.command == "backup")
    return _Set(backup, cost.wall - backup, sum(one.command in ("diff", "ls", "restore") for one in calls))


def _change(machine: Machine, count: int) -> None:
    for path in sorted(machine.data.rglob("*"))[-count:]:
        if path.is_file():
            path.write_bytes(path.read_bytes() + b"changed\n")


def _grow(machine: Machine, size: int) -> None:
    chance = random.Random(9)
    for number in range(16):
        (machine.data / f"large {number}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + chance.randbytes(size // 16))


def _old(bench: Bench, place: Path, machine: Machine, env: dict[str, str]) -> list[Row]:
    """Sets whose signals are computed as those of an older version would be."""
    sets = bench.size(30, 3)
    for _ in range(sets):
        _change(machine, 20)
        call(machine, "backup", "run", "portal", env=env)
    said = place / "old.json"
    run(python("-c", _CODE, str(machine.etc), str(said), str(sets)), env=environment(machine), out=place / "said")
    ours = json.loads(said.read_text())
    begun = time.monotonic()
    for before, after in ours["pairs"]:
        run(["restic", "diff", "--json", "--no-lock", before, after], env=raw_restic(machine, machine.store), out=place / "said")
    theirs = time.monotonic() - begun
    return [compare(f"signals of {len(ours['pairs'])} old sets, 20 files changed in each", ours["seconds"], theirs, beside="restic diff of each")]


def main() -> None:
    """In a process of its own: ``CONFIG FILE COUNT``; computes the signals of the last sets anew."""
    from datetime import UTC, datetime

    from opsctl.actions import signalling
    from opsctl.engine.configuration import load_config
    from opsctl.wiring import Site

    site = Site(load_config(Path(sys.argv[1])), clock=lambda: datetime.now(UTC))
    history = site.history("main")
    sets = history.look(site.clock()).judgement.of("portal")
    count = int(sys.argv[3])

    class Place:
        source = staticmethod(site.source)

        @staticmethod
        @contextmanager
        def scratch() -> Any:
            with tempfile.TemporaryDirectory() as made:
                yield Path(made)

    begun = time.monotonic()
    wanted = [signalling.Old(view, signalling.before(sets, view), history.repository) for view in sets[-count:]]
    for found in signalling.of_sets(wanted, Place(), {}):
        assert found["verdict"] == "clean", found
    pairs = [(one.snapshots["files"], other.snapshots["files"]) for one, other in itertools.pairwise(sets)][-count:]
    Path(sys.argv[2]).write_text(json.dumps({"seconds": time.monotonic() - begun, "pairs": pairs}))

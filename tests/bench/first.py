"""The first backup of 1 GiB that cannot be compressed, beside restic itself."""

from __future__ import annotations

import shutil
import statistics

from tests.bench.bench import Bench, Notes, call, environment, large_file, own_cpu, raw_restic
from tests.bench.measure import Cost, cpu, run, turns, wall
from tests.bench.table import Row, compare, limit, seconds


def rows(bench: Bench) -> list[Row]:
    place = bench.place("first")
    machine = bench.machine(place / "m")
    large_file(machine.data / "large", bench.size(1 << 30, 1 << 22))
    notes, store = Notes(place), place / "raw"
    env, raw_env = environment(machine, PATH=notes.path), raw_restic(machine, store)
    noting = notes.noting()
    own: list[float] = []

    def ours() -> Cost:
        bench.again(machine)
        notes.take()
        took = call(machine, "backup", "run", "portal", env=env)
        own.append(own_cpu(took, notes.take(), noting))
        return took

    def raw() -> Cost:
        for folder in (store, machine.root / "raw-cache"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bench.empty() / "store", store)
        return run(["restic", "backup", str(machine.data)], env=raw_env, out=place / "said")

    took = turns(bench.rounds(3), ours=ours, raw=raw)
    spent = statistics.median(own)
    share = spent / cpu(took["ours"])
    what = f"backup run, first time, {'1 GiB' if not bench.quick else '4 MiB'}"
    return [
        compare(f"{what}: wall", wall(took["ours"]), wall(took["raw"]), beside="restic backup"),
        compare(f"{what}: processor", cpu(took["ours"]), cpu(took["raw"]), beside="restic backup"),
        limit(
            f"{what}: our own processor time",
            share,
            f"{seconds(spent)}, {share:.1%}",
            at_most=0.02,
            aim="< 2 %",
            theirs=f"of {seconds(cpu(took['ours']))}",
        ),
    ]

"""A backup of 20,000 small files in which nothing changed, beside restic itself and two wrappers of it."""

from __future__ import annotations

import shutil

from tests.bench.bench import Bench, call, environment, raw_restic, small_files
from tests.bench.measure import Cost, cpu, run, turns, wall
from tests.bench.peers import Peers
from tests.bench.table import Row, compare


def rows(bench: Bench) -> list[Row]:
    place = bench.place("unchanged")
    machine = bench.machine(place / "m")
    small_files(machine.data, bench.size(20_000, 200))
    store = place / "raw"
    shutil.copytree(machine.store, store)
    env, raw_env = environment(machine), raw_restic(machine, store)

    def ours() -> Cost:
        return call(machine, "backup", "run", "portal", env=env)

    def raw() -> Cost:
        return run(["restic", "backup", str(machine.data)], env=raw_env, out=place / "said")

    peers = Peers.install(bench, place, machine)
    wrapped = {name: peers.backup(name) for name in peers.ready}
    first = turns(1, ours=ours, raw=raw, **wrapped)
    took = first if bench.quick else turns(7, ours=ours, raw=raw, **wrapped)
    what = f"backup run, {bench.size(20_000, 200):,} small files"
    found = [
        compare(f"{what}, nothing changed: wall", wall(took["ours"]), wall(took["raw"]), beside="restic backup"),
        compare(f"{what}, nothing changed: processor", cpu(took["ours"]), cpu(took["raw"]), beside="restic backup"),
        compare(f"{what}, first time: wall", wall(first["ours"]), wall(first["raw"]), beside="restic backup"),
    ]
    for name in wrapped:
        found.append(
            compare(f"  beside {name}, nothing changed: wall", wall(took["ours"]), wall(took[name]), beside=name)
        )
        found.append(compare(f"  beside {name}, nothing changed: processor", cpu(took["ours"]), cpu(took[name])))
    return [*found, *peers.problems, *peers.unchecked()]

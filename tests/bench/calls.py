"""How often a set calls restic beside storing its sources, and how long opsctl works outside of its calls."""

from __future__ import annotations

import sqlite3
import statistics
from collections import Counter

from tests.bench.bench import Bench, Notes, call, environment, own_cpu, own_wall
from tests.bench.table import Row, limit, seconds
from tests.machine import Machine


def rows(bench: Bench) -> list[Row]:
    place = bench.place("calls")
    found: list[Row] = []
    many = bench.size(8, 2)
    for name, folders in (("a set of one folder", 1), (f"a set of {many} folders and a database", many)):
        machine = bench.machine(place / f"m{folders}")
        sources = _fill(machine, folders)
        found += _measure(bench, machine, name, sources)
    return found


def _fill(machine: Machine, folders: int) -> int:
    """Sources for a set; how many there are."""
    names = [f"folder-{number}" for number in range(folders)]
    lines = []
    for name in names:
        (machine.data / name).mkdir()
        (machine.data / name / "file").write_text(name)
        lines.append(f"  {name}: {{kind: paths, paths: [{machine.data / name}]}}")
    if folders > 1:
        with sqlite3.connect(machine.data / "tax.sqlite") as connection:
            connection.execute("create table bills (rupees integer)")
            connection.executemany("insert into bills values (?)", [(number,) for number in range(1000)])
        connection.close()
        names.append("tax")
        lines.append(f"  tax: {{kind: sqlite, path: {machine.data}/tax.sqlite}}")
    machine.configure(sources="\n".join(lines), backup_sources=f"[{', '.join(names)}]")
    return len(names)


def _measure(bench: Bench, machine: Machine, name: str, sources: int) -> list[Row]:
    notes = Notes(machine.root)
    noting = notes.noting()
    env = environment(machine, PATH=notes.path)
    beside: list[int] = []
    walls: list[float] = []
    cpus: list[float] = []
    commands: Counter[str] = Counter()
    for _ in range(bench.size(6, 1)):
        took = call(machine, "backup", "run", "portal", env=env)
        calls = notes.take()
        commands = Counter(call.command for call in calls)
        beside.append(len(calls) - sources)
        walls.append(own_wall(took, calls, noting))
        cpus.append(own_cpu(took, calls, noting))
    own = statistics.median(walls)
    listed = ", ".join(f"{number} {command}" for command, number in commands.most_common())
    return [
        limit(
            f"{name}: restic calls beside its {sources}",
            max(beside),
            str(max(beside)),
            at_most=3,
            aim="≤ 3",
            theirs=listed,
        ),
        limit(
            f"{name}: our own time",
            own,
            seconds(own),
            at_most=0.3,
            aim="< 300 ms",
            theirs=f"processor {seconds(statistics.median(cpus))}",
        ),
    ]

"""Every shipped playbook read, its words looked up, and held against the protocol."""

from __future__ import annotations

from tests.bench.bench import Bench, call, environment
from tests.bench.measure import Cost, cpu, wall
from tests.bench.table import Row, limit, seconds


def rows(bench: Bench) -> list[Row]:
    machine = bench.bare_machine(bench.place("playbooks") / "m")
    machine.configure(f"state: {machine.state}\n")
    costs: list[Cost] = [call(machine, "playbooks", "check", env=environment(machine)) for _ in range(bench.rounds(9))]
    return [limit("playbooks check, all that are shipped", wall(costs), seconds(wall(costs)), at_most=1.0, aim="< 1 s",
                  theirs=f"processor {seconds(cpu(costs))}")]

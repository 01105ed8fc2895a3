"""``opsctl status`` for 412 backups, from the catalogue."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from opsctl.demo.portal import body_code
from opsctl.repositories.catalogue import Catalogue, seal_from
from opsctl.repositories.standing import Standing, as_dict
from tests.bench.bench import Bench, call, environment
from tests.bench.measure import Failed, cpu, turns, wall
from tests.bench.table import Row, limit, seconds
from tests.machine import Machine


def rows(bench: Bench) -> list[Row]:
    machine = bench.bare_machine(bench.place("status") / "m")
    env = environment(machine)
    bodies = bench.size(412, 12)
    found = []
    for shared, what in ((True, "one repository"), (False, "a repository each")):
        _configure(machine, bodies, shared)
        _fill(machine, bodies, shared)
        took = turns(
            bench.rounds(15),
            text=lambda: call(machine, "status", env=env),
            json=lambda: call(machine, "--json", "status", env=env),
        )
        _see(json.loads((machine.root / "said").read_text()), bodies)
        found.append(
            limit(
                f"status, {bodies} backups, {what}",
                wall(took["text"]),
                f"{seconds(wall(took['text']))}, as JSON {seconds(wall(took['json']))}",
                at_most=0.5,
                aim="< 500 ms",
                theirs=f"processor {seconds(cpu(took['text']))}",
            )
        )
    return found


def _configure(machine: Machine, bodies: int, shared: bool) -> None:
    """A folder and a backup for each body, in one repository or in as many."""
    password = machine.etc / "keys" / "repository-password"
    names = [body_code(number + 1).lower() for number in range(bodies)]
    homes = ["main"] if shared else names
    lines = [f"state: {machine.state}", "repositories:"]
    lines += [f"  {name}: {{url: {machine.store}/{name}, password_file: {password}}}" for name in homes]
    lines += ["sources:"]
    lines += [f"  files-{name}: {{kind: paths, paths: [{machine.data}/{name}]}}" for name in names]
    lines += ["backups:"]
    lines += [
        f"  {name}: {{sources: [files-{name}], repository: {'main' if shared else name}, every: 3d}}" for name in names
    ]
    (machine.etc / "opsctl.yaml").write_text("\n".join(lines) + "\n")


def _fill(machine: Machine, bodies: int, shared: bool) -> None:
    now = datetime.now(UTC)
    catalogue = Catalogue(machine.state / "catalogue.sqlite", seal_from(machine.etc / "keys" / "controller"))
    for number in range(bodies):
        name = body_code(number + 1).lower()
        newest = now - timedelta(minutes=number)
        catalogue.put_standing(
            name,
            as_dict(
                Standing(
                    backup=name,
                    repository="main" if shared else name,
                    checked=now.isoformat(),
                    newest=f"set-{number}",
                    newest_time=newest.isoformat(),
                    first_time=(newest - timedelta(days=9)).isoformat(),
                    states={"good": 4},
                    bytes=40_000_000 + number,
                    unfinished=None,
                    read_since=(newest - timedelta(days=1)).isoformat(),
                    verified=newest.isoformat(),
                    damage=0,
                )
            ),
        )


def _see(document: dict[str, dict[str, dict[str, dict[str, str]]]], bodies: int) -> None:
    states = [backup["state"] for backup in document["result"]["backups"].values()]
    if states != ["ok"] * bodies:
        raise Failed(f"status did not show {bodies} backups as ok")

"""By how much a second set makes the repository grow when 1 % of the rows have changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from opsctl.demo import portal
from opsctl.sources.postgresql_server import Postgres, program_directory
from tests.bench.bench import Bench, call, environment, raw_restic
from tests.bench.measure import run
from tests.bench.table import Row, megabytes


def rows(bench: Bench) -> list[Row]:
    place = bench.place("growth")
    machine = bench.machine(place / "m")
    raw = place / "raw"
    shutil.copytree(machine.store, raw)
    with Postgres(place / "server") as server:
        portal.build(server, scale=1 if not bench.quick else 0.01)
        machine.configure(
            sources=f"  portal-db: {{kind: postgresql, database: {portal.DATABASE}, server: {server.socket}, "
            f"port: {server.port}, user: postgres}}",
            backup_sources="[portal-db]",
        )
        env = environment(machine)
        # The same dump as pg_dump compresses it, given to restic by itself.
        compressed = [
            "restic",
            "backup",
            "--stdin-filename",
            "portal.dump",
            "--stdin-from-command",
            "--",
            str(program_directory() / "pg_dump"),
            "--format=custom",
            f"--dbname=host={server.socket} port={server.port} user=postgres dbname={portal.DATABASE}",
        ]

        def back_up() -> tuple[int, int]:
            call(machine, "--json", "backup", "run", "portal", env=env)
            entry = json.loads((machine.root / "said").read_text())["result"]["backups"]["portal"]
            run(compressed, env=raw_restic(machine, raw), out=place / "said")
            return entry["sources"]["portal-db"]["bytes"], _size(raw)

        empty = _size(machine.store)
        _, raw_before = back_up()
        before = _size(machine.store)
        changed, total = portal.day(server), portal.totals(server)["rows"]
        dump, raw_after = back_up()
    ours, theirs = _size(machine.store) - before, raw_after - raw_before
    what = f"second set, {changed / total:.1%} of {total:,} rows changed"
    return [
        Row(
            f"{what}: growth of the repository",
            f"{megabytes(ours)}, {ours / dump:.1%} of the dump of {megabytes(dump)} (the first: {megabytes(before - empty)})",
            f"{megabytes(theirs)} with pg_dump --format=custom",
            ours / theirs,
            "ratio < 1",
            ours < theirs,
        )
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

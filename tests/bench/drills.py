"""A drill of 1 GiB and of a database, beside restoring the same with restic and loading it by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

from opsctl.sources.postgresql_server import Postgres, program_directory
from tests.bench.bench import Bench, call, environment, large_file, raw_restic, small_files
from tests.bench.measure import Cost, run, turns, wall
from tests.bench.table import Row, compare

_TABLE = """
CREATE TABLE bills AS SELECT i AS id, md5(i::text) AS receipt, (i * 7919 % 1000000)::numeric / 100 AS rupees,
  'संपत्ति कर ' || i % 97 AS purpose FROM generate_series(1::bigint, {rows}) AS i;
ALTER TABLE bills ADD PRIMARY KEY (id);
"""


def rows(bench: Bench) -> list[Row]:
    place = bench.place("drills")
    machine = bench.machine(place / "m")
    large_file(machine.data / "large", bench.size(1 << 30, 1 << 22))
    small_files(machine.data / "small", bench.size(5_000, 50))
    count = bench.size(2_000_000, 10_000)
    scratch, by_hand = place / "scratch", place / "by-hand"
    scratch.mkdir(mode=0o711)
    with Postgres(place / "server") as server:
        server.psql("CREATE DATABASE enagar TEMPLATE template0 ENCODING 'UTF8';")
        server.psql(_TABLE.format(rows=count), "enagar")
        keys = f"kind: postgresql, database: enagar, server: {server.socket}, port: {server.port}, user: {server.superuser}"
        machine.configure(sources=f"  db: {{{keys}}}", more="  database: {sources: [db], repository: main}")
        call(machine, "backup", "run")
    env, raw_env = environment(machine), raw_restic(machine, machine.store)

    def drill(backup: str) -> Cost:
        return call(machine, "verify", "--level", "drill", backup, "--set", "newest", "--scratch", str(scratch), env=env)

    def restore(*words: str, source: str = "files") -> Cost:
        shutil.rmtree(by_hand, ignore_errors=True)
        argv = ["restic", "--no-cache", "restore", "latest", "--tag", f"source={source}", "--target", str(by_hand), *words]
        return run(argv, env=raw_env, out=place / "said")

    def load() -> Cost:
        """What a person would do: restore the dump, make a server, load the dump into it."""
        first = restore(source="db")
        with Postgres(place / "hand") as fresh:
            fresh.psql("CREATE DATABASE drill TEMPLATE template0 ENCODING 'UTF8';")
            words = ["-X", "-q", "-d", "drill", "-f", str(by_hand / "db.sql")]
            loaded = run([str(Path(program_directory()) / "psql"), *words], out=place / "said",
                         env={**env, **fresh.environment(), "PGUSER": fresh.superuser})
        return Cost(first.wall + loaded.wall, first.cpu + loaded.cpu)

    took = turns(bench.rounds(3), ours=lambda: drill("portal"), raw=restore, verified=lambda: restore("--verify"))
    loaded = turns(bench.rounds(3), ours=lambda: drill("database"), raw=load)
    what = f"drill of {'1 GiB and 5,000 files' if not bench.quick else '4 MiB'}"
    return [
        compare(what, wall(took["ours"]), wall(took["verified"]), beside="restic restore --verify", at_most=1.05),
        compare(what, wall(took["ours"]), wall(took["raw"]), beside="restic restore"),
        compare(f"drill of {count:,} rows of PostgreSQL", wall(loaded["ours"]), wall(loaded["raw"]),
                beside="restoring and loading it, without making the server and without proof"),
    ]

"""The same PostgreSQL backup with ``proof: full``, ``counts`` and ``off``."""

from __future__ import annotations

from opsctl.sources.postgresql_server import Postgres
from tests.bench.bench import Bench, call, environment
from tests.bench.measure import Cost, turns, wall
from tests.bench.table import Row, compare

LEVELS = ("full", "counts", "off")
TABLES = 3

_TABLE = """
CREATE TABLE bills_{number} AS
  SELECT i AS id, 1 + i % 412 AS body, md5(i::text) AS receipt,
    (i * 7919 % 1000000)::numeric / 100 AS rupees, 'संपत्ति कर ' || i % 97 AS purpose,
    timestamptz '2026-04-01 00:00+05:30' + i * interval '7 seconds' AS paid_at
  FROM generate_series(1::bigint, {rows}) AS i;
ALTER TABLE bills_{number} ADD PRIMARY KEY (id);
"""


def rows(bench: Bench) -> list[Row]:
    place = bench.place("proofs")
    machine = bench.machine(place / "m")
    count = bench.size(3_000_000, 20_000)
    with Postgres(place / "server") as server:
        bench.say(f"filling {count:,} rows")
        server.psql("CREATE DATABASE enagar TEMPLATE template0 ENCODING 'UTF8';")
        for number in range(TABLES):
            server.psql(_TABLE.format(number=number, rows=count // TABLES), "enagar")
        server.psql("VACUUM ANALYZE;", "enagar")
        machine.configure(
            sources="\n".join(
                f"  {level}: {{kind: postgresql, database: enagar, server: {server.socket}, "
                f"port: {server.port}, user: postgres, proof: '{level}'}}"
                for level in LEVELS
            ),
            more="\n".join(f"  {level}: {{sources: [{level}], repository: main}}" for level in LEVELS),
        )
        env = environment(machine)

        def back_up(level: str) -> Cost:
            return call(machine, "backup", "run", level, env=env)

        # It fills the repository; afterwards restic has nothing to store, so that the proof shows most.
        if not bench.quick:
            back_up("off")
        took = turns(
            bench.rounds(3),
            full=lambda: back_up("full"),
            counts=lambda: back_up("counts"),
            off=lambda: back_up("off"),
        )
    what = f"backup of {count:,} rows"
    return [
        compare(f"{what}, proof: full", wall(took["full"]), wall(took["off"]), at_most=2, beside="proof: off"),
        compare(f"{what}, proof: counts", wall(took["counts"]), wall(took["off"]), beside="proof: off"),
    ]

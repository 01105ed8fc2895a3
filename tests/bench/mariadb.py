"""A MariaDB backup with its proof, beside ``mariadb-dump`` stored by restic, and beside ``mariadb-dump`` alone."""

from __future__ import annotations

import shutil

from opsctl.sources.mariadb_server import Mariadb
from tests.bench.bench import Bench, call, environment, raw_restic
from tests.bench.measure import Cost, run, turns, wall
from tests.bench.table import Row, compare

TABLES = 3

_TABLE = """
CREATE TABLE bills_{number} (id BIGINT PRIMARY KEY, body INT, receipt CHAR(32), rupees DECIMAL(12,2), purpose VARCHAR(60),
  paid_at DATETIME);
INSERT INTO bills_{number} SELECT seq, 1 + seq % 412, MD5(seq), seq * 7919 % 1000000 / 100, CONCAT('संपत्ति कर ', seq % 97),
  '2026-04-01' + INTERVAL seq * 7 SECOND FROM seq_1_to_{rows};
"""


def rows(bench: Bench) -> list[Row]:
    place = bench.place("mariadb")
    machine = bench.machine(place / "m")
    count = bench.size(3_000_000, 15_000)
    with Mariadb(place / "server") as server:
        bench.say(f"filling {count:,} rows")
        server.sql("CREATE DATABASE licence CHARACTER SET utf8mb4;")
        for number in range(TABLES):
            server.sql(_TABLE.format(number=number, rows=count // TABLES), "licence")
        keys = f"kind: mariadb, database: licence, server: {server.socket}, user: {server.superuser}"
        machine.configure(
            sources=f"  db: {{{keys}}}\n  unproven: {{{keys}, proof: 'off'}}", backup_sources="[db]",
            more="  unproven: {sources: [unproven], repository: main}",
        )
        env, store = environment(machine), place / "raw"
        shutil.copytree(machine.store, store)
        raw_env = raw_restic(machine, store)
        dump = ["mariadb-dump", "--no-defaults", f"--socket={server.socket}", f"--user={server.superuser}", "--single-transaction",
                "--order-by-primary", "--hex-blob", "--routines", "--events", "--skip-dump-date", "licence"]

        def ours() -> Cost:
            return call(machine, "backup", "run", "portal", env=env)

        def unproven() -> Cost:
            return call(machine, "backup", "run", "unproven", env=env)

        def raw() -> Cost:
            words = ["backup", "--no-cache", "--stdin-filename", "db.sql", "--stdin-from-command", "--", *dump]
            return run(["restic", *words], env=raw_env, out=place / "said")

        def alone() -> Cost:
            return run(dump, env=env, out=place / "dump")

        first = turns(1, ours=ours, raw=raw)
        # Afterwards restic has nothing to store, so that the proof shows most.
        took = first if bench.quick else turns(3, ours=ours, unproven=unproven, raw=raw, alone=alone)
    what = f"backup of {count:,} rows of MariaDB with proof"
    found = [compare(f"{what}, first time", wall(first["ours"]), wall(first["raw"]), beside="restic with mariadb-dump", at_most=1.05),
             compare(what, wall(took["ours"]), wall(took["raw"]), beside="restic with mariadb-dump", at_most=1.05)]
    if not bench.quick:
        found += [compare(f"{what}", wall(took["ours"]), wall(took["unproven"]), beside="proof: off"),
                  compare(f"{what}", wall(took["ours"]), wall(took["alone"]), beside="mariadb-dump into a file")]
    return found

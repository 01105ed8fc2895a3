"""Restoring 1 GiB, many files, and a database, beside restic and PostgreSQL's own programs."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from opsctl.sources.postgresql_server import Postgres, program_directory
from tests.bench.bench import Bench, call, environment, large_file, raw_restic, small_files
from tests.bench.measure import Cost, run, turns, wall
from tests.bench.table import Row, compare

_TABLE = """
CREATE TABLE bills AS SELECT i AS id, md5(i::text) AS receipt, (i * 7919 % 1000000)::numeric / 100 AS rupees,
  'संपत्ति कर ' || i % 97 AS purpose FROM generate_series(1::bigint, {rows}) AS i;
ALTER TABLE bills ADD PRIMARY KEY (id);
CREATE INDEX ON bills (receipt);
CREATE TABLE bodies AS SELECT * FROM bills WHERE id % 4 = 0;
ALTER TABLE bodies ADD PRIMARY KEY (id);
"""


def rows(bench: Bench) -> list[Row]:
    place = bench.place("restore")
    return [*_files(bench, place), *_database(bench, place)]


def _files(bench: Bench, place: Path) -> list[Row]:
    count = bench.size(100_000, 200)
    return [
        _one(bench, place, "4 MiB" if bench.quick else "1 GiB", lambda data: large_file(data / "large", bench.size(1 << 30, 1 << 22))),
        _one(bench, place, f"{count:,} files", lambda data: small_files(data / "small", count)),
    ]


def _one(bench: Bench, place: Path, what: str, fill: Callable[[Path], None]) -> Row:
    machine = bench.machine(place / re.sub(r"\W+", "-", what))
    fill(machine.data)
    call(machine, "backup", "run")
    shutil.rmtree(machine.data)
    into, by_hand = place / "into", place / "by-hand"
    env, raw_env = environment(machine), raw_restic(machine, machine.store)

    def ours() -> Cost:
        shutil.rmtree(into, ignore_errors=True)
        return call(machine, "restore", "set", "portal", "--into", str(into), env=env)

    def raw() -> Cost:
        shutil.rmtree(by_hand, ignore_errors=True)
        argv = ["restic", "--no-cache", "restore", "latest", "--tag", "source=files", "--target", str(by_hand), "--verify", "--quiet"]
        return run(argv, env=raw_env, out=place / "said")

    took = turns(bench.rounds(3), ours=ours, raw=raw)
    for folder in (into, by_hand, machine.root):
        shutil.rmtree(folder, ignore_errors=True)
    return compare(f"restore of {what}", wall(took["ours"]), wall(took["raw"]), beside="restic restore --verify", at_most=1.05)


def _database(bench: Bench, place: Path) -> list[Row]:
    machine, count = bench.machine(place / "db"), bench.size(2_000_000, 10_000)
    programs, number = Path(program_directory()), itertools.count()
    with Postgres(place / "server") as server:
        server.psql("CREATE DATABASE enagar TEMPLATE template0 ENCODING 'UTF8';")
        server.psql(_TABLE.format(rows=count), "enagar")
        keys = f"kind: postgresql, database: enagar, server: {server.socket}, port: {server.port}, user: {server.superuser}"
        machine.configure(sources=f"  db: {{{keys}}}", backup_sources="[db]")
        call(machine, "backup", "run")
        env, raw_env = environment(machine), raw_restic(machine, machine.store)
        own = {**env, **server.environment(), "PGUSER": server.superuser}
        archive, into, by_hand = place / "archive", place / "into", place / "by-hand"
        run([str(programs / "pg_dump"), "-Fc", "-f", str(archive), "enagar"], env=own)

        def ours() -> Cost:
            shutil.rmtree(into, ignore_errors=True)
            name = f"again_{next(number)}"
            took = call(machine, "restore", "set", "portal", "--into", str(into), "--database", f"db={name}", env=env)
            server.psql(f"DROP DATABASE {name}")
            return took

        def plain() -> Cost:
            shutil.rmtree(by_hand, ignore_errors=True)
            name = _fresh()
            argv = ["restic", "--no-cache", "restore", "latest", "--tag", "source=db", "--target", str(by_hand), "--verify", "--quiet"]
            first = run(argv, env=raw_env, out=place / "said")
            then = run([str(programs / "psql"), "-X", "-q", "-d", name, "-f", str(by_hand / "db.sql")], env=own, out=place / "said")
            server.psql(f"DROP DATABASE {name}")
            return Cost(first.wall + then.wall, first.cpu + then.cpu)

        def parallel() -> Cost:
            name = _fresh()
            took = run([str(programs / "pg_restore"), "-j2", "-d", name, str(archive)], env=own, out=place / "said")
            server.psql(f"DROP DATABASE {name}")
            return took

        def _fresh() -> str:
            name = f"again_{next(number)}"
            server.psql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8';")
            return name

        took = turns(bench.rounds(3), ours=ours, plain=plain, parallel=parallel)
    what = f"restore of {count * 5 // 4:,} rows of PostgreSQL, with proof"
    return [
        compare(what, wall(took["ours"]), wall(took["plain"]), beside="restic restore --verify and psql, without proof", at_most=1.05),
        compare(what, wall(took["ours"]), wall(took["parallel"]), beside="pg_restore -j2 of a file that is there, without proof"),
    ]

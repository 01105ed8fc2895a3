"""The throw-away municipal portal: 412 bodies, their taxes, water, licences, marriages and receipts."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from importlib import resources
from typing import TypedDict

from opsctl.sources.postgresql_server import Postgres

DATABASE = "enagar"
SEED = 412
BODIES = 412
OPENED = date(2026, 12, 1)  # the first day of business that day() plays
DAYS = 3  # days of business in one call of day()


class Totals(TypedDict):
    """What stands in the portal: rows by table (partitions in their parent), all rows, rupees paid."""

    tables: dict[str, int]
    rows: int
    paid: Decimal
    large_objects: int


def body_code(number: int) -> str:
    """The code of body 1 to 412: NN nagar nigam (16), NP nagar palika (99), PR nagar parishad (297)."""
    kind = "NN" if number <= 16 else "NP" if number <= 115 else "PR"
    return f"{kind}-{number:03d}"


def build(server: Postgres, database: str = DATABASE, *, scale: float = 1.0, seed: int = SEED) -> None:
    """Make `database` with the portal in it, about 478,000 rows at scale 1, and the roles that use it.

    The same seed and scale give the same rows, ids and sequences. About 5 s at scale 1, under 1 s at 0.01.
    Raises ProgramFailed when the database is there already or the server refuses a statement.
    """
    server.psql(f"""CREATE DATABASE "{database}" TEMPLATE template0 ENCODING 'UTF8';""")
    server.psql(
        "\n".join(
            [
                _settings(seed=str(seed), scale=str(scale), opened=OPENED.isoformat()),
                f"""COMMENT ON DATABASE "{database}" IS 'DRILL: a made-up municipal portal, no real data';""",
                "BEGIN;",
                *(_text(name) for name in ("portal", "portal_names", "portal_rows", "portal_rules")),
                "COMMIT;",
                "ANALYZE;",
            ]
        ),
        database,
    )


def day(server: Postgres, database: str = DATABASE, n: int = 1, seed: int = SEED) -> int:
    """Play the n-th three days of business, n = 1, 2, … in turn; returns how many rows were added or changed.

    About one row in a hundred. Raises ProgramFailed when `n` was played already or its forerunner was not.
    """
    begins = OPENED + timedelta(days=DAYS * (n - 1))
    closes = begins + timedelta(days=DAYS - 1)
    settings = _settings(
        seed=str(seed), n=str(n), opened=begins.isoformat(), closed=f"'{closes.isoformat()} 17:30:00+05:30'"
    )
    script = [settings, "BEGIN;", _text("portal_names"), _text("portal_day"), "COMMIT;"]
    printed = server.psql("\n".join(script), database)
    return sum(int(line) for line in printed.splitlines())


def totals(server: Postgres, database: str = DATABASE) -> Totals:
    """Count the portal: every table's rows, the sum of all payments in rupees, and the large objects."""
    printed = server.psql(_text("portal_totals"), database)
    counted = dict(line.split("|") for line in printed.splitlines())
    paid, large = Decimal(counted.pop("paid")), int(counted.pop("large_objects"))
    tables = {name: int(counted[name]) for name in sorted(counted)}
    return Totals(tables=tables, rows=sum(tables.values()), paid=paid, large_objects=large)


def parts(server: Postgres, database: str = DATABASE) -> int:
    """How many tables the portal has where each partition counts and its parent does not, as in a proof."""
    kept = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    query = f"SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {kept};"
    return int(server.psql(query, database))


def _text(name: str) -> str:
    return resources.files("opsctl.demo").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def _settings(**variables: str) -> str:
    lines = [f"\\set {name} {value}" for name, value in variables.items()]
    return "\n".join([*lines, "SET client_min_messages = warning;", "SET timezone = 'Asia/Kolkata';"])

"""What tests of databases share: sources on the fixtures' servers, and stand-ins for pg_dump."""

from __future__ import annotations

from typing import Any

from opsctl.shells.local import LocalShell
from opsctl.sources.postgresql import Postgresql
from opsctl.sources.postgresql_server import Postgres
from tests.lab.waiting import until as until


def source_of(on: Postgres, database: str, **more: Any) -> Postgresql:
    known = {"server": str(on.socket), "port": on.port, "user": on.superuser, "shell": LocalShell()}
    return Postgresql("db", database=database, **{**known, **more})


def where(server: Postgres) -> dict[str, str]:
    return {"server": str(server.socket), "port": str(server.port), "user": server.superuser}


#: Outside of the test's own PATH, so that a stand-in does not call itself.
REAL_DUMP = "/usr/bin/env PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin pg_dump"


def fake_dump(body: str) -> str:
    return f'#!/bin/sh\ncase "$1" in --version) exec {REAL_DUMP} --version;; esac\n{body}\n'


def sessions(server: Postgres, database: str) -> str:
    return server.psql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")

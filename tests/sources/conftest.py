"""A real restic repository and real PostgreSQL servers for the tests of sources."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.model.secrets import SecretRef
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell
from opsctl.sources.interface import Captured, Context
from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.mariadb_session import quote_ident
from opsctl.sources.postgresql_server import Postgres
from tests.lab.quick_key import make_quick

MakeContext = Callable[..., Context]


@pytest.fixture(scope="session")
def password_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("password") / "password"
    file.write_text("for tests only\n")
    file.chmod(0o600)
    return file


def open_repository(place: Path, password_file: Path, program: str = "restic") -> Restic:
    ref = SecretRef("password of the repository", file=str(password_file))
    return Restic("main", str(place), password=ref, shell=LocalShell(), cache_dir=None, program=program)


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory, password_file: Path) -> Path:
    """Made once: making a repository takes seconds."""
    place = tmp_path_factory.mktemp("template") / "repository"
    open_repository(place, password_file).create()
    make_quick(place, "for tests only")
    return place


@pytest.fixture
def repository(empty_repository: Path, password_file: Path, tmp_path: Path) -> Restic:
    place = tmp_path / "repository"
    shutil.copytree(empty_repository, place)
    return open_repository(place, password_file)


@pytest.fixture
def context(repository: Restic, tmp_path: Path) -> MakeContext:
    """Makes what a capture gets, each time with a scratch directory of its own."""

    def make(**more: Any) -> Context:
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=tmp_path))
        known = {
            "repository": repository,
            "tags": ("opsctl", "source=x"),
            "host": "test",
            "now": datetime(2026, 12, 12, tzinfo=UTC),
            "scratch": scratch,
        }
        return Context(**{**known, **more})

    return make


def entry(captured: Captured) -> dict[str, Any]:
    """What a manifest keeps of a captured source."""
    import rfc8785

    kept = {
        "proof": captured.proof,
        "files": captured.files,
        "bytes": captured.bytes,
        "paths": list(captured.paths),
    }
    assert rfc8785.dumps(kept)
    return kept


def restored(repository: Restic, captured: Captured, place: Path) -> Path:
    place.mkdir()
    repository.restore(captured.snapshot, place)
    return place


@pytest.fixture(scope="session")
def postgres(server_place: Path) -> Iterator[Postgres]:
    """The server that is backed up. It asks for passwords on TCP."""
    with Postgres(server_place / "main", tcp=True, password="superuser's own") as server:
        yield server


@pytest.fixture(scope="session")
def bare(server_place: Path) -> Iterator[Postgres]:
    """Another server, which knows nothing of the first."""
    with Postgres(server_place / "bare") as server:
        yield server


@pytest.fixture
def as_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program of the test's own in front of the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> Path:
        program = folder / name
        program.write_text(script)
        program.chmod(0o755)
        return program

    return put


@pytest.fixture(scope="session")
def rich(postgres: Postgres) -> str:
    """A database with one of everything; read only in tests."""
    postgres.psql(f"\\set db rich\n{Path(__file__).with_name('rich.sql').read_text()}")
    return "rich"


@pytest.fixture
def database(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"t {request.node.name}"[:40]
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);'
    postgres.psql(drop)
    postgres.psql(f"""CREATE DATABASE "{name}" TEMPLATE template0 ENCODING 'UTF8';""")
    yield name
    postgres.psql(drop)


@pytest.fixture(scope="session")
def mariadb(server_place: Path) -> Iterator[Mariadb]:
    """The MariaDB server that is backed up."""
    with Mariadb(server_place / "mariadb", tcp=True) as server:
        yield server


@pytest.fixture(scope="session")
def bare_mariadb(server_place: Path, mariadb: Mariadb) -> Iterator[Mariadb]:
    """Another server, which knows nothing of the first."""
    with Mariadb(server_place / "bare-mariadb") as server:
        yield server


@pytest.fixture
def schema(mariadb: Mariadb, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the test's own on the MariaDB server."""
    name = f"t {request.node.name}"[:40].strip()
    quoted = quote_ident(name)
    mariadb.sql(f"DROP DATABASE IF EXISTS {quoted}; CREATE DATABASE {quoted} CHARACTER SET utf8mb4;")
    yield name
    mariadb.sql(f"DROP DATABASE IF EXISTS {quoted};")

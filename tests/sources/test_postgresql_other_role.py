"""Another role than the source's own loads a restore with its own password, never with the source's."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsctl.errors import Refused
from opsctl.model.secrets import SecretRef
from opsctl.shells.local import LocalShell
from opsctl.sources.postgresql import Postgresql
from opsctl.sources.postgresql_server import LOOPBACK, Postgres


@pytest.fixture
def source(postgres: Postgres, tmp_path: Path) -> Postgresql:
    """A source whose role has a password; beside it the role `loader`, which has another one."""
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("superuser's own\n")
    if not postgres.psql("SELECT 1 FROM pg_roles WHERE rolname = 'loader';"):
        postgres.psql("CREATE ROLE loader LOGIN CREATEDB;")
    postgres.set_password("loader", "loader's own")
    return Postgresql("portal-db", database="postgres", user=postgres.superuser, server=LOOPBACK, port=postgres.port,
                      password=SecretRef("the password", file=str(file)), shell=LocalShell())


def test_the_password_comes_from_where_libpq_looks(
    source: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".pgpass").touch(0o600)
    (home / ".pgpass").write_text("*:*:*:loader:loader's own\n")
    monkeypatch.setenv("HOME", str(home))
    assert source.exists("postgres", server={"user": "loader"})
    assert source.exists("postgres")


def test_the_sources_password_is_not_tried_for_another_role(
    source: Postgresql, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    postgres.set_password("loader", "superuser's own")
    with pytest.raises(Refused, match="no password supplied"):
        source.exists("postgres", server={"user": "loader"})

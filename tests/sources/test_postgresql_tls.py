"""PostgreSQL over TLS: only with the server that can prove its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.model.secrets import SecretRef
from opsctl.shells.local import LocalShell
from opsctl.shells.tether import Account
from opsctl.sources.postgresql import Postgresql
from opsctl.sources.postgresql_server import LOOPBACK, Postgres
from tests.sources.conftest import MakeContext
from tests.sources.test_mariadb_tls import certificate

PASSWORD = "superuser's own"


class WithTls(Postgres):
    files: tuple[Path, Path]

    def serve(self, account: Account, port: int) -> list[str]:
        self.files[1].chmod(0o600)
        if os.geteuid() == 0:
            os.chown(self.files[1], account.uid, account.gid)
        return [*super().serve(account, port), "-c", "ssl=on", "-c", f"ssl_cert_file={self.files[0]}", "-c", f"ssl_key_file={self.files[1]}"]


@pytest.fixture(scope="module")
def guarded(server_place: Path) -> Iterator[Postgres]:
    place = server_place / "pg-tls"
    place.mkdir(mode=0o711)
    server = WithTls(place / "server", tcp=True, password=PASSWORD)
    server.files = certificate(place, LOOPBACK)
    with server:
        server.psql("CREATE DATABASE shop")
        yield server


def at(server: Postgres, tmp_path: Path, cacert: Path, name: str = LOOPBACK) -> Postgresql:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    return Postgresql("shop", database="shop", server=name, port=server.port, user=server.superuser, cacert=str(cacert),
                      password=SecretRef("the password", file=str(secret)), shell=LocalShell())


def test_only_the_server_that_proves_its_name_is_spoken_to(
    guarded: Postgres, postgres: Postgres, context: MakeContext, tmp_path: Path
) -> None:
    own = guarded.directory.parent / f"{LOOPBACK}.pem"
    assert at(guarded, tmp_path, own).check(None) == []
    assert at(guarded, tmp_path, own).capture(context()).proof["tables"] == {}
    stranger, _ = certificate(tmp_path, LOOPBACK)
    (unknown,) = at(guarded, tmp_path, stranger).check(None)
    assert "certificate verify failed" in unknown.message
    (other,) = at(guarded, tmp_path, own, "localhost").check(None)
    assert "does not match host name" in other.message
    (without,) = at(postgres, tmp_path, own).check(None)
    assert "does not support SSL" in without.message, "nor is one asked for a password without TLS"
    assert {unknown.code, other.code, without.code} == {12}

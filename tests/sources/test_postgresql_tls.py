"""PostgreSQL over TLS: only with the server that can prove its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.errors import Refused
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


def test_a_restore_to_another_server_takes_its_own_certificate_or_none(
    guarded: Postgres, postgres: Postgres, tmp_path: Path
) -> None:
    own = guarded.directory.parent / f"{LOOPBACK}.pem"
    postgres.set_password(postgres.superuser, PASSWORD)
    source = at(guarded, tmp_path, own)
    other = {"server": LOOPBACK, "port": str(postgres.port), "user": postgres.superuser}
    with pytest.raises(Refused, match="could not prove that it is the one") as refused:
        source.exists("shop", server=other)
    assert refused.value.hint is not None and "--server-cacert FILE" in refused.value.hint and str(own) in refused.value.hint
    assert not source.exists("shop", server={**other, "cacert": "none"})
    stranger, _ = certificate(tmp_path, LOOPBACK)
    here = {**other, "port": str(guarded.port), "cacert": str(stranger)}
    with pytest.raises(Refused, match="certificate verify failed"):
        source.exists("shop", server=here)
    assert at(guarded, tmp_path, stranger).exists("shop", server={**here, "cacert": str(own)})

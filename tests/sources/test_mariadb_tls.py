"""MariaDB over TLS: only with the server that can prove its name."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opsctl.shells.tether import Account
from opsctl.sources.mariadb_server import LOOPBACK, Mariadb
from tests.lab.mariadb import source_of
from tests.sources.conftest import MakeContext, entry


def certificate(place: Path, address: str) -> tuple[Path, Path]:
    """One that signs itself, for an address; its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=9))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    file, secret = place / f"{address}.pem", place / f"{address}.key"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()))
    for path in (file, secret):
        path.chmod(0o644)  # the account that the server runs under has to read it
    return file, secret


class WithTls(Mariadb):
    files: tuple[Path, Path]

    def serve(self, account: Account, port: int) -> list[str]:
        return [*super().serve(account, port), f"--ssl-cert={self.files[0]}", f"--ssl-key={self.files[1]}"]


@pytest.fixture(scope="module")
def guarded(server_place: Path) -> Iterator[Mariadb]:
    place = server_place / "tls"
    place.mkdir(mode=0o711)
    server = WithTls(place / "server", tcp=True)
    server.files = certificate(place, LOOPBACK)
    with server:
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT); CREATE USER far@'%' REQUIRE SSL; GRANT ALL ON *.* TO far@'%';")
        yield server


def test_only_the_server_that_proves_its_name_is_spoken_to(guarded: Mariadb, context: MakeContext, tmp_path: Path) -> None:
    more = {"server": LOOPBACK, "port": guarded.port, "user": "far"}
    own = guarded.directory.parent / f"{LOOPBACK}.pem"
    source = source_of(guarded, "shop", cacert=str(own), **more)
    assert source.check(None) == []
    captured = source.capture(context())
    assert captured.proof["tables"] == {"t": {"rows": 0, "sum": "0"}}
    assert source.prove(entry(captured), "shop") == []
    stranger, _ = certificate(tmp_path, LOOPBACK)
    (unknown,) = source_of(guarded, "shop", cacert=str(stranger), **more).check(None)
    assert unknown.code == 12 and "certificate" in unknown.message.lower()
    (other,) = source_of(guarded, "shop", cacert=str(own), **{**more, "server": "localhost"}).check(None)
    assert other.code == 12, "the certificate is not for that name"


def test_a_server_without_tls_gets_no_password(server_place: Path) -> None:
    place = server_place / "plain"
    place.mkdir(mode=0o711)
    file, _ = certificate(place, LOOPBACK)
    with Mariadb(place / "server", tcp=True) as server:
        server.sql("CREATE DATABASE shop; CREATE USER far@'%'; GRANT ALL ON *.* TO far@'%';")
        more = {"server": LOOPBACK, "port": server.port, "user": "far"}
        assert source_of(server, "shop", **more).check(None) == [], "it can be reached"
        (stripped,) = source_of(server, "shop", cacert=str(file), **more).check(None)
        assert stripped.code == 12 and "SSL" in stripped.message, stripped

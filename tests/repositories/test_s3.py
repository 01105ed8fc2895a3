"""A repository in a bucket of an S3 store: the same promises, and every refusal in words."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.repositories import objectlock, versions
from opsctl.repositories.restic import Restic
from opsctl.repositories.s3_place import S3Place
from opsctl.repositories.s3_store import S3Store
from opsctl.repositories.store import store_for
from tests.lab.s3server import Bucket, Key, S3Server
from tests.repositories.conftest import Template, make_restic

pytestmark = pytest.mark.lab


def store(bucket: Bucket, key: Key | None = None, **more: Any) -> S3Store:
    key = key or bucket.server.writer
    more.setdefault("cacert", str(bucket.server.certificate))
    found = store_for(bucket.url(tls=True), keys=lambda: (key.id, key.secret), **more)
    assert isinstance(found, S3Store)
    return found


def connect(bucket: Bucket, template: Template, directory: Path, **more: Any) -> Restic:
    refs = []
    for name, word in (("id", bucket.server.writer.id), ("secret", bucket.server.writer.secret)):
        (directory / name).write_text(word + "\n")
        (directory / name).chmod(0o600)
        refs.append(SecretRef(name, file=str(directory / name)))
    return make_restic(bucket.url(tls=True), template.password, s3_keys=(refs[0], refs[1]),
                       cacert=str(bucket.server.certificate), cache_dir=directory / "cache", **more)


@pytest.fixture(scope="module")
def loaded(s3_server: S3Server, template: Template) -> Bucket:
    """The template's repository in a bucket; nothing here changes it."""
    bucket = s3_server.bucket()
    bucket.load(template.root)
    return bucket


def test_everything_goes_through(loaded: Bucket, template: Template, tmp_path: Path) -> None:
    repository = connect(loaded, template, tmp_path, pin=template.identity)
    assert repository.identity() == template.identity
    assert [each.id for each in repository.snapshots()] == [template.first, template.second, template.document]
    wanted = template.source / "uploads" / "uploads-0"
    repository.restore(template.second, tmp_path / "out", include=[str(wanted)])
    assert (tmp_path / "out" / str(wanted).lstrip("/")).read_bytes() == wanted.read_bytes()
    assert repository.check((1, 1)) == [] and repository.locks() == [] and repository.junk() == []


def test_the_store_is_read_as_it_lies_there(loaded: Bucket, template: Template) -> None:
    found = store(loaded)
    for kind in ("snapshots", "index", "keys", "data"):
        sizes = {path.name: path.stat().st_size for path in (template.root / kind).rglob("*") if path.is_file()}
        assert found.list(kind) == sizes and sizes
    pack = next(iter(found.list("data")))
    content = (template.root / "data" / pack[:2] / pack).read_bytes()
    assert found.read("data", pack, (7, 9)) == content[7:16] and found.digest("data", pack) == pack
    assert found.read("data", pack, (len(content), 5)) == b"" and found.read("data", "0" * 64) is None
    assert found.config() == (template.root / "config").read_bytes()
    assert not found.is_empty() and not found.is_only_begun()


def test_made_in_an_empty_place_only(s3_server: S3Server, template: Template, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    assert store(bucket).is_empty() and store(bucket).config() is None
    bucket.put("repo/opsctl/probe", b"ours")
    assert store(bucket).is_empty(), "what we keep beside restic's objects is no repository"
    bucket.put("repo/keys/" + "0" * 64, b"{}")
    assert store(bucket).is_only_begun() and not store(bucket).is_empty()
    with pytest.raises(OpsError) as caught:
        connect(bucket, template, tmp_path).create()
    assert caught.value.code == 23
    gone = S3Place.at(f"s3:{s3_server.endpoint()}/no-such-bucket/repo", keys=lambda: (s3_server.writer.id, s3_server.writer.secret))
    with pytest.raises(ProgramFailed, match="there is no bucket no-such-bucket"):
        S3Store(gone).is_empty()


def test_who_is_not_let_in(loaded: Bucket) -> None:
    writer = loaded.server.writer
    with pytest.raises(Refused, match=r"does not accept this access key \(InvalidAccessKeyId\)"):
        store(loaded, Key("AKIANOBODY", writer.secret, "")).config()
    with pytest.raises(Refused, match="SignatureDoesNotMatch") as caught:
        store(loaded, Key(writer.id, "a guess", "")).config()
    assert writer.secret not in str(caught.value.as_dict()) and "a guess" not in str(caught.value.as_dict())
    assert writer.secret not in repr(store(loaded).place)
    with pytest.raises(Refused, match="refuses get_bucket_policy to this access key") as caught:
        store(loaded).place.ask("get_bucket_policy")
    assert caught.value.details["kind"] == "access-denied"


def test_a_certificate_that_is_not_ours(loaded: Bucket) -> None:
    with pytest.raises(Refused, match="its certificate is not accepted"):
        store(loaded, cacert=None).config()


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_clock_that_is_off_is_named(loaded: Bucket, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    """The store's own refusal of requests that are signed twenty minutes too early or too late."""
    import botocore.auth

    right = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: right(*a, **k) + timedelta(minutes=minutes))
    with pytest.raises(Refused, match="its clock and this machine's are too far apart") as caught:
        store(loaded).config()
    assert caught.value.details["kind"] == "clock-skew" and "clock" in str(caught.value.hint)


@contextmanager
def silent() -> Iterator[int]:
    """A door that opens and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door.getsockname()[1]


def test_a_store_that_does_not_answer() -> None:
    keys = lambda: ("id", "secret")  # noqa: E731
    with silent() as port:
        with pytest.raises(Unreachable, match="does not answer"):
            S3Store(S3Place.at(f"s3:http://127.0.0.1:{port}/bucket/repo", keys=keys, time_limit=0.4)).list("data")
    with pytest.raises(Unreachable, match="does not answer"):
        S3Store(S3Place.at(f"s3:http://127.0.0.1:{port}/bucket/repo", keys=keys)).config()


def test_what_a_version_holds_is_read_once(loaded: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    place, reads, read = store(loaded).place, [], S3Place.read

    def counted(self: S3Place, name: str, **more: Any) -> bytes | None:
        reads.append(name)
        return read(self, name, **more)

    monkeypatch.setattr(S3Place, "read", counted)
    found = versions.read(place)
    loaded.put(f"repo/{(pack := next(name for name in found if name.startswith('data/')))}", b"x" * found[pack].versions[0].size)
    bad = versions.read(place)[pack].versions[0]
    for _ in range(2):
        assert all(versions.is_sound(place, name, kept.versions[0], None) for name, kept in found.items())
        assert not versions.is_sound(place, pack, bad, None)
    assert sorted(reads) == sorted([*(name for name in found if name != "config"), pack])


class NotFound(BaseHTTPRequestHandler):
    """A door in front of a store that has lost it."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_listing_that_is_cut_off_is_not_taken_for_the_whole() -> None:
    with HTTPServer(("127.0.0.1", 0), NotFound) as door:
        Thread(target=door.serve_forever, daemon=True).start()
        try:
            place = S3Place.at(f"s3:http://127.0.0.1:{door.server_port}/bucket/repo", keys=lambda: ("id", "secret"))
            with pytest.raises(ProgramFailed, match="list_objects_v2 ended with 404"):
                S3Store(place).list("data")
            with pytest.raises(ProgramFailed, match="list_object_versions ended with 404"):
                versions.read(place)
        finally:
            door.shutdown()


def test_nothing_but_the_configuration_says_where_and_who(
    loaded: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "config"
    other.write_text("[profile other]\nendpoint_url = http://127.0.0.1:1\nregion = nowhere\n")
    for name, value in {"AWS_PROFILE": "other", "AWS_CONFIG_FILE": str(other), "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
                        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "no", "AWS_CA_BUNDLE": "/nowhere",
                        "AWS_SECRET_ACCESS_KEY": "no", "AWS_SESSION_TOKEN": "no", "HTTPS_PROXY": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    assert store(loaded, time_limit=9.0).config(), "asked by a client that was made just now"


def test_other_stores_never_load_boto3() -> None:
    script = ("import sys\nfrom opsctl.repositories.store import store_for\n"
              "store_for('/srv/x'); store_for('rest:http://127.0.0.1:1/x')\n"
              "assert store_for('s3:http://127.0.0.1:1/bucket/x', keys=lambda: ('a', 'b')) is not None\n"
              "print([name for name in sys.modules if name.startswith('boto')])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"



def test_refusal_is_proven_and_leaves_two_small_versions(s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    bucket.put("repo/config", b"what counts")
    for _ in range(2):
        tried = store(bucket).prove_refusal()
        assert {each.what for each in tried} == {"delete", "overwrite", "shorten"}
        assert [each.message for each in tried if not each.refused] == []
    assert sorted(each["Key"] for each in bucket.versions()) == ["repo/config", "repo/opsctl/probe", "repo/opsctl/probe"]
    assert bucket.keys()["repo/config"] == b"what counts"


@pytest.mark.parametrize(
    ("made", "found_out"),
    [
        ({"mode": None}, {"delete", "overwrite"}),
        # Whoever stored an object may bypass GOVERNANCE at Ceph, whatever the policy of the bucket says.
        ({"mode": "GOVERNANCE"}, {"shorten"}),
        ({"mode": "GOVERNANCE", "also": ("DeleteObjectVersion", "BypassGovernanceRetention")}, {"delete", "shorten"}),
        ({"also": ("DeleteObject", "DeleteObjectVersion")}, set()),
    ],
    ids=["no-versions", "governance", "bypass", "compliance-holds-without-a-policy"],
)
def test_what_a_store_would_let_go_is_found_out(s3_server: S3Server, made: dict[str, Any], found_out: set[str]) -> None:
    tried = store(s3_server.bucket(**made)).prove_refusal()
    assert {each.what for each in tried if not each.refused} == found_out


def test_a_lock_that_cannot_be_weakened_is_told_and_goes_on_as_it_is(s3_server: S3Server) -> None:
    bucket = s3_server.bucket(mode="COMPLIANCE", days=1)
    bucket.put("repo/config", b"config")
    place, until = store(bucket).place, datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    with pytest.raises(Refused, match="locked in COMPLIANCE mode, and nobody can make GOVERNANCE of that") as refused:
        objectlock.extend(place, "GOVERNANCE", until)
    assert refused.value.hint == "what is locked already can only be locked for longer as it is: mode: COMPLIANCE"
    assert objectlock.extend(place, "COMPLIANCE", until).versions == 1
    assert objectlock.retention(place, "config") == ("COMPLIANCE", until)

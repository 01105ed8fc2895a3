"""A repository behind rest-server: the same, with logins, silence and an append-only door."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import DamagedData, Refused, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.repositories.rest_store import RestStore
from opsctl.repositories.restic import Restic
from opsctl.repositories.store import store_for
from tests.badluck.faults import until
from tests.lab.restserver import RestServer
from tests.repositories.conftest import PASSWORD, Template, make_restic

pytestmark = pytest.mark.lab
USER, LOGIN = "portal", "login of portal"


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[RestServer]:
    with RestServer(server_place / "rest", append_only=True, user=USER, password=LOGIN, tls=True) as server:
        yield server


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("login") / "login"
    path.write_text(LOGIN)
    path.chmod(0o600)
    return path


def connect(server: RestServer, template: Template, login: Path, name: str, **more: Any) -> Restic:
    return make_restic(
        server.repository_url(name),
        template.password,
        name=name,
        rest_user=USER,
        rest_secret=SecretRef("secret of main", file=str(login)),
        cacert=str(server.certificate),
        **more,
    )


@pytest.fixture(scope="module")
def repository(server: RestServer, template: Template, login: Path) -> Restic:
    """A repository with one document and one snapshot of files."""
    made = connect(server, template, login, "portal")
    made.pin(made.create())
    made.backup_bytes(b"document", filename="document", tags=["manifest"], host="h")
    made.backup_paths([str(template.source / "scans")], tags=["x"], host="h")
    return made


def test_everything_goes_through(
    repository: Restic, server: RestServer, template: Template, tmp_path: Path
) -> None:
    document, files = repository.snapshots()
    assert repository.read(document.id, "document") == b"document"
    assert len(list(repository.ls(files.id))) >= 12
    wanted = template.source / "scans" / "scans-1"
    repository.restore(files.id, tmp_path / "out", include=[str(wanted)])
    assert (tmp_path / "out" / str(wanted).lstrip("/")).read_bytes() == wanted.read_bytes()
    assert repository.check((1, 1)) == []
    assert repository.locks() == [] and repository.junk() == []
    assert set(repository.store.list("snapshots")) == {document.id, files.id}  # type: ignore[union-attr]


def test_a_store_that_goes_silent_half_way_is_given_up_within_a_limit_of_ours(
    server_place: Path, template: Template, login: Path, tmp_path: Path
) -> None:
    with RestServer(server_place / "silent", user=USER, password=LOGIN, tls=True) as own:
        made = connect(own, template, login, "portal", time_limit=4.0)
        made.pin(made.create())
        half, pid = tmp_path / "half", tmp_path / "pid"
        dump = f"echo $$ >{pid}; head -c 40000000 /dev/urandom; touch {half}; exec sleep 4723"

        def lose() -> None:
            until(half.exists, "half a dump")
            own.stop()

        thief = threading.Thread(target=lose)
        thief.start()
        with pytest.raises(Unreachable, match=r"could not store the dump of db: repository portal .* did not answer in time"):
            made.backup_command(["sh", "-c", dump], filename="db.sql", tags=["x"], host="h")
        thief.join()
        until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), "the end of the dump")
        own.start()
        assert made.snapshots() == [], "nothing half is left"


def test_a_known_one_is_recognised_without_restic(
    repository: Restic, server: RestServer, template: Template, login: Path
) -> None:
    pinned = repository.identity()
    again = connect(server, template, login, "portal", pin=pinned)
    again.make_sure()
    assert again.calls == 0
    moved = connect(server, template, login, "elsewhere", pin=pinned)
    with pytest.raises(DamagedData) as caught:
        moved.snapshots()
    assert caught.value.details["kind"] == "config-missing" and moved.calls == 0
    assert not server.repository_path("elsewhere").exists()


def test_wrong_login(server: RestServer, template: Template, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    wrong.chmod(0o600)
    with pytest.raises(Refused, match="does not accept these credentials") as caught:
        connect(server, template, wrong, "portal").snapshots()
    assert LOGIN not in str(caught.value.as_dict()) and "guess" not in str(caught.value.as_dict())


def test_a_certificate_that_is_not_ours(server: RestServer, template: Template, login: Path) -> None:
    stranger = make_restic(
        server.repository_url("portal"),
        template.password,
        rest_user=USER,
        rest_secret=SecretRef("secret of main", file=str(login)),
    )
    with pytest.raises(Refused, match="certificate is not accepted"):
        stranger.snapshots()


def test_a_store_that_does_not_answer(template: Template, login: Path, repository: Restic) -> None:
    """One that refuses, and one that accepts and then says nothing: both end within a limit of ours."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = RestStore(f"http://127.0.0.1:{port}/portal", time_limit=0.3)
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            store.config()
        assert time.monotonic() - begun < 60
    refusing = make_restic(
        f"rest:http://127.0.0.1:{port}/portal", template.password, pin=repository.identity()
    )
    with pytest.raises(Unreachable) as caught:
        refusing.snapshots()
    assert refusing.calls == 0 and caught.value.hint


def test_a_planted_object_through_the_append_only_door(
    server: RestServer, template: Template, login: Path
) -> None:
    """Attack 1: anyone with write access may post five bytes, and nobody may take them away again."""
    repository = connect(server, template, login, "attacked")
    repository.pin(repository.create())
    good = repository.backup_bytes(b"good", filename="good", tags=["x"], host="h").snapshot
    store = repository.store
    assert isinstance(store, RestStore) and good is not None
    name = hashlib.sha256(b"abcde").hexdigest()
    assert post(server, f"attacked/snapshots/{name}", b"abcde") == 200
    assert post(server, f"attacked/snapshots/{name}", None) == 403

    assert [each.id for each in repository.snapshots()] == [good]
    assert [finding.object for finding in repository.junk()] == [f"snapshots/{name}"]
    assert repository.read(good, "good") == b"good"
    assert repository.backup_bytes(b"more", filename="more", tags=["x"], host="h").snapshot
    (finding,) = repository.check()
    assert (finding.kind, finding.object) == ("junk-object", f"snapshots/{name}")


def post(server: RestServer, path: str, content: bytes | None) -> int:
    """What anyone with the login can do, without restic; ``None`` deletes. Returns the HTTP status."""
    word = base64.b64encode(f"{USER}:{LOGIN}".encode()).decode()
    request = urllib.request.Request(
        f"{server.url}/{path}",
        data=content,
        headers={"Authorization": f"Basic {word}"},
        method="DELETE" if content is None else "POST",
    )
    context = ssl.create_default_context(cafile=str(server.certificate))
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
    )
    try:
        with opener.open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_login_in_the_url_stays_out_of_messages() -> None:
    store = store_for("rest:https://portal:hunter2@backup-1.invalid:8000/portal")
    assert isinstance(store, RestStore) and store.url == "https://backup-1.invalid:8000/portal"
    restic = Restic(
        "main",
        "rest:https://portal:hunter2@backup-1.invalid:8000/portal",
        shell=make_restic("/x", Path("/x/y")).program.shell,
        password=SecretRef("password", file="/x"),
        cache_dir=None,
    )
    assert "hunter2" not in f"{restic.url} {restic.place}"
    assert PASSWORD not in restic.url


@pytest.mark.parametrize(
    "url", ["s3:https://s3.example.in/opsctl", "sftp:user@host:/srv/store", "b2:bucket:path", "rclone:x:y"]
)
def test_stores_without_a_direct_way(url: str) -> None:
    assert store_for(url) is None

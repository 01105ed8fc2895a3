"""A repository kept by restic: made, pinned, filled, listed, read back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import DamagedData, ProgramFailed, Refused, SafetyRefusal
from opsctl.model.snapshots import Progress
from opsctl.repositories.restic import Restic
from opsctl.repositories.restic_gate import Gate
from tests.repositories.conftest import PASSWORD, Copy, make_restic

Make = Callable[..., Restic]
ODD = [
    b"new\nline",
    b"not \xff\xfe UTF-8",
    b"\x1b[31mred\x1b[0m",
    b"we[i]rd*?\\name",
    b"-dash",
    b"--",
    b"n" * 255,
    "कर विभाग".encode(),
]


class Memory:
    """A snapshot cache."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Mapping[str, Any]]] = {}

    def get_snapshots(self, repository_id: str) -> Mapping[str, Mapping[str, Any]]:
        return self.known.get(repository_id, {})

    def put_snapshots(self, repository_id: str, found: Mapping[str, Mapping[str, Any]]) -> None:
        self.known.setdefault(repository_id, {}).update(found)


def content(directory: Path) -> dict[bytes, bytes]:
    """Relative path to content of every file below a directory."""
    base = os.fsencode(directory)
    return {
        os.path.relpath(os.path.join(here, name), base): Path(
            os.fsdecode(os.path.join(here, name))
        ).read_bytes()
        for here, _, names in os.walk(base)
        for name in names
    }


# Made on purpose, and always the same one


def test_create(empty: Make) -> None:
    made, other = empty("made"), empty("other")
    identity = made.create()
    assert identity == made.identity()
    assert identity.config_sha256 == hashlib.sha256(Path(made.url, "config").read_bytes()).hexdigest()
    assert [identity.key] == os.listdir(Path(made.url, "keys"))
    copied = other.create(chunker_from=made)
    assert copied.chunker == identity.chunker and copied.id != identity.id


@pytest.mark.parametrize("what", ["a file", "a repository"])
def test_create_refuses_where_something_is(copy: Copy, what: str) -> None:
    if what == "a file":
        shutil.rmtree(copy.root)
        copy.root.mkdir()
        (copy.root / "somebody's").write_text("data")
    before = content(copy.root)
    repository = copy.open()
    with pytest.raises(SafetyRefusal, match="something is already at"):
        repository.create()
    assert content(copy.root) == before


def test_the_pinned_one_costs_no_call(copy: Copy) -> None:
    repository = copy.open(pin=copy.template.identity)
    repository.make_sure()
    assert repository.calls == 0


@pytest.mark.parametrize("how", ["gone", "empty", "without config"])
def test_a_known_repository_that_is_gone(copy: Copy, how: str) -> None:
    if how == "without config":
        copy.path("config").unlink()
    else:
        shutil.rmtree(copy.root)
    if how == "empty":
        copy.root.mkdir()
    before = sorted(copy.root.rglob("*")) if copy.root.exists() else None
    repository = copy.open(pin=copy.template.identity)
    for action in (
        repository.snapshots,
        repository.identity,
        lambda: repository.read("0" * 64, "/x"),
        lambda: repository.backup_bytes(b"x", filename="x", tags=["x"], host="h"),
        lambda: repository.backup_paths([str(copy.template.source)], tags=["x"], host="h"),
    ):
        with pytest.raises(DamagedData) as caught:
            action()
        assert caught.value.details["kind"] == "config-missing"
        assert "main" in caught.value.message and copy.template.identity.id[:12] in caught.value.message
    assert (sorted(copy.root.rglob("*")) if copy.root.exists() else None) == before


def test_never_pinned_and_not_there(empty: Make) -> None:
    with pytest.raises(DamagedData, match="there is no repository at") as caught:
        empty("nowhere").snapshots()
    assert "backup init" in (caught.value.hint or "")


def test_another_repository_in_its_place(copy: Copy, empty: Make, tmp_path: Path) -> None:
    other = empty("other")
    other.create()
    shutil.rmtree(copy.root)
    shutil.move(other.url, copy.root)
    with pytest.raises(DamagedData, match="is another one") as caught:
        copy.open(pin=copy.template.identity).backup_bytes(b"x", filename="x", tags=["x"], host="h")
    assert caught.value.details["expected"] == copy.template.identity.id

    strange = tmp_path / "strange"
    strange.write_text("another password")
    strange.chmod(0o600)
    with pytest.raises(DamagedData, match="is another one"):
        make_restic(copy.root, strange, pin=copy.template.identity).snapshots()


# Putting in, getting out


def test_odd_names_come_back_equal(copy: Copy, tmp_path: Path) -> None:
    source = tmp_path / "odd source"
    for number, name in enumerate(ODD):
        (source / f"d{number}").mkdir(parents=True)
        Path(os.fsdecode(os.fsencode(source) + b"/d%d/" % number + name)).write_bytes(b"content of " + name)
    repository = copy.open(pin=copy.template.identity)
    roots = [os.fsencode(source) + b"/d%d" % number for number in range(len(ODD))]
    files = [root + b"/" + name for root, name in zip(roots, ODD, strict=True)]
    found = repository.backup_paths([os.fsencode(source), *files], tags=["odd"], host="portal")
    assert found.unreadable == () and found.snapshot is not None

    repository.restore(found.snapshot, tmp_path / "all")
    assert content(tmp_path / "all" / str(source).lstrip("/")) == content(source)
    for path in files:
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        repository.restore(found.snapshot, tmp_path / "one", include=[path])
        restored = content(tmp_path / "one")
        assert list(restored) == [path.lstrip(b"/")] and restored[path.lstrip(b"/")].startswith(
            b"content of "
        )


def test_excludes_parent_and_progress(copy: Copy, tmp_path: Path) -> None:
    template = copy.template
    repository = copy.open(pin=template.identity, environment={"RESTIC_PROGRESS_FPS": "60"})
    seen: list[Progress] = []
    found = repository.backup_paths(
        [str(template.source)],
        excludes=["scans"],
        tags=["a", "b=c"],
        host="elsewhere",
        parent=template.second,
        on_progress=seen.append,
    )
    assert found.data_added < 100_000 and found.snapshot is not None
    saved = next(each for each in repository.snapshots() if each.id == found.snapshot)
    assert saved.tags == ("a", "b=c") and saved.hostname == "elsewhere" and saved.tag("b") == "c"
    assert saved.raw["parent"] == template.second
    paths = {node.path for node in repository.ls(found.snapshot)}
    assert str(template.source / "new") in paths and str(template.source / "scans") not in paths

    repository.restore(template.second, tmp_path / "out", on_progress=seen.append)
    assert seen and seen[-1].bytes_total and 0 <= seen[-1].bytes_done <= seen[-1].bytes_total


def test_a_parent_that_is_gone_only_costs_time(copy: Copy) -> None:
    repository = copy.open(pin=copy.template.identity)
    found = repository.backup_paths([str(copy.template.source)], tags=["x"], host="portal", parent="0" * 64)
    assert found.snapshot in copy.names("snapshots")
    assert any("read anew" in note for note in repository.notes)


def test_a_tag_with_a_comma_would_be_two(copy: Copy) -> None:
    with pytest.raises(ValueError, match="commas"):
        copy.open().backup_bytes(b"x", filename="x", tags=["a,b"], host="h")


def test_missing_paths(copy: Copy, tmp_path: Path) -> None:
    repository = copy.open(pin=copy.template.identity)
    found = repository.backup_paths(
        [str(copy.template.source / "new"), str(tmp_path / "missing")], tags=["x"], host="h"
    )
    assert found.unreadable == ((str(tmp_path / "missing"), "does not exist"),)
    assert found.snapshot in copy.names("snapshots")
    with pytest.raises(ProgramFailed, match="all source directories/files do not exist"):
        repository.backup_paths([str(tmp_path / "missing")], tags=["x"], host="h")


@pytest.fixture
def unprivileged(tmp_path: Path) -> str:
    """restic, unable to read what its modes forbid, also for root."""
    if os.geteuid():
        return "restic"
    program = tmp_path / "restic-without-privilege"
    program.write_text(
        '#!/bin/sh\nexec setpriv --bounding-set -dac_override,-dac_read_search -- restic "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("with_progress", [True, False])
def test_unreadable_files_are_named_once_and_the_rest_is_kept(
    copy: Copy,
    tmp_path: Path,
    unprivileged: str,
    with_progress: bool,
) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    for name in ("open", "secret", "closed/inside"):
        (source / name).write_text(name)
    (source / "secret").chmod(0)
    (source / "closed").chmod(0)
    repository = copy.open(pin=copy.template.identity, program=unprivileged)
    try:
        found = repository.backup_paths(
            [str(source)], tags=["x"], host="h", on_progress=(lambda _: None) if with_progress else None
        )
    finally:
        (source / "closed").chmod(0o700)
    assert [path for path, _ in found.unreadable] == [str(source / "closed"), str(source / "secret")]
    assert all("permission denied" in message for _, message in found.unreadable)
    assert found.snapshot is not None
    assert str(source / "open") in {node.path for node in repository.ls(found.snapshot)}


def test_documents(copy: Copy) -> None:
    repository = copy.open(pin=copy.template.identity)
    assert repository.read(copy.template.document, "/manifest.json") == b'{"set": 2}\n'
    large = os.urandom(300_000)
    found = repository.backup_bytes(large, filename="large.bin", tags=["manifest"], host="h")
    assert found.bytes == len(large) and found.snapshot is not None
    assert repository.read(found.snapshot, "large.bin") == large
    for snapshot, path in ((copy.template.document, "/other.json"), ("0" * 64, "/manifest.json")):
        with pytest.raises((ProgramFailed, DamagedData)) as caught:
            repository.read(snapshot, path)
        assert ".go:" not in caught.value.message and "\n" not in caught.value.message
    with pytest.raises(ValueError, match="empty"):
        repository.backup_bytes(b"", filename="x", tags=["x"], host="h")


def test_a_document_is_made_while_its_repository_is_being_opened(copy: Copy, tmp_path: Path) -> None:
    repository = copy.open(pin=copy.template.identity)
    before = {found.id for found in repository.snapshots()}
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "journal").write_text("a line\n")

    def store(make: Callable[[], bytes]) -> str | None:
        return repository.backup_bytes(make, filename="manifest.json", tags=["manifest"], host="h", beside=tmp_path / "beside").snapshot

    def fails() -> bytes:
        while not os.listdir(copy.root / "locks"):  # restic has opened it by then, and waits
            time.sleep(0.02)
        raise ValueError("nothing to say")

    with pytest.raises(ValueError, match="nothing to say"):
        store(fails)
    assert {found.id for found in repository.snapshots()} == before, "what was not made is not stored"
    assert not os.listdir(copy.root / "locks")

    def looks() -> bytes:
        return str(len(repository.snapshots())).encode()

    made = store(looks)
    assert made is not None and repository.read(made, "/manifest.json") == str(len(before)).encode()
    assert repository.read(made, "/journal") == b"a line\n"


def test_a_document_is_not_stored_where_its_maker_is_killed(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "journal").write_text("a line\n")
    with Gate() as gate:
        words = ["restic", "--no-cache", "-r", str(copy.root), "-p", str(copy.template.password), "backup", "--force", *gate.options, "journal"]
        running = subprocess.Popen(words, cwd=tmp_path / "beside", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        pipe = os.readlink(gate.options[-1])
        while pipe not in {os.readlink(one) for one in Path(f"/proc/{running.pid}/fd").iterdir()}:
            time.sleep(0.02)
    # The ends of the pipe are gone as they are where the process is.
    assert b"invalid pattern" in running.communicate()[1] and running.returncode == 1
    assert len(copy.open(pin=copy.template.identity).snapshots()) == 3


def test_dump_to(copy: Copy, tmp_path: Path) -> None:
    repository = copy.open(pin=copy.template.identity)
    wanted = copy.template.source / "scans" / "scans-3"
    repository.dump_to(copy.template.second, str(wanted), tmp_path / "dumped")
    assert (tmp_path / "dumped").read_bytes() == wanted.read_bytes()
    with pytest.raises(ProgramFailed, match="not found in snapshot"):
        repository.dump_to(copy.template.second, "/not/there", tmp_path / "nothing")
    assert {path.name for path in tmp_path.iterdir()} == {"dumped", "repository"}


def test_restore_tells_what_is_not_in_the_snapshot(copy: Copy, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="not in snapshot") as caught:
        copy.open().restore(
            copy.template.first, tmp_path / "out", include=[str(copy.template.source / "new"), "/no/such"]
        )
    assert caught.value.details["missing"] == [str(copy.template.source / "new"), "/no/such"]


def test_ls_streams(copy: Copy) -> None:
    repository = copy.open(pin=copy.template.identity)
    below = [node.path for node in repository.ls(copy.template.second, str(copy.template.source / "scans"))]
    assert len(below) == 13 and all("/scans" in path for path in below)
    entries = repository.ls(copy.template.second)
    next(entries)
    entries.close()  # ends restic, quietly
    with pytest.raises((ProgramFailed, DamagedData)):
        list(repository.ls("0" * 64))


# Commands


def test_command(copy: Copy) -> None:
    repository = copy.open(pin=copy.template.identity)
    script = "printf 'dump of %s\\n' \"$PGSERVICE\"; env | grep -c RESTIC_; echo warning >&2"
    found = repository.backup_command(
        ["sh", "-c", script], filename="portal.sql", env={"PGSERVICE": "portal"}, tags=["dump"], host="h"
    )
    assert found.snapshot is not None
    lines = repository.read(found.snapshot, "/portal.sql").decode().splitlines()
    assert lines[0] == "dump of portal"
    seen = repository.backup_command(["env"], filename="env", tags=["dump"], host="h")
    assert seen.snapshot is not None
    assert PASSWORD not in repository.read(seen.snapshot, "env").decode()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo half; echo first >&2; echo 'pg_dump: error: gone' >&2; exit 7",
            r"sh failed \(exit status 7\): first; pg_dump: error: gone",
        ),
        ("echo half; kill -9 $$", r"sh failed \(signal: killed\): it said nothing"),
    ],
)
def test_a_command_that_dies_leaves_no_snapshot(copy: Copy, script: str, said: str) -> None:
    before = copy.names("snapshots")
    with pytest.raises(ProgramFailed, match=said):
        copy.open(pin=copy.template.identity).backup_command(
            ["sh", "-c", script], filename="x.sql", tags=["x"], host="h"
        )
    assert copy.names("snapshots") == before and copy.names("locks") == []


def test_a_command_that_writes_nothing_is_a_failure(copy: Copy) -> None:
    before = set(copy.names("snapshots"))
    with pytest.raises(ProgramFailed, match="sh wrote nothing: no data here") as caught:
        copy.open(pin=copy.template.identity).backup_command(
            ["sh", "-c", "echo no data here >&2"], filename="x.sql", tags=["x"], host="h"
        )
    assert set(caught.value.details["stray"]) == set(copy.names("snapshots")) - before


def test_a_command_that_is_not_there(copy: Copy) -> None:
    with pytest.raises(ProgramFailed, match=r"no-such-dump failed .*not found"):
        copy.open(pin=copy.template.identity).backup_command(
            ["no-such-dump"], filename="x", tags=["x"], host="h"
        )


# Listing


def test_listing_asks_restic_once(copy: Copy) -> None:
    memory, pin = Memory(), copy.template.identity
    repository = copy.open(pin=pin, snapshot_cache=memory)
    assert [each.id for each in repository.snapshots()] == [
        copy.template.first,
        copy.template.second,
        copy.template.document,
    ]
    assert repository.calls == 1
    repository.snapshots()
    again = copy.open(pin=pin, snapshot_cache=memory)
    assert again.snapshots() == repository.snapshots()
    assert (repository.calls, again.calls) == (1, 0)
    new = again.backup_bytes(b"new", filename="x", tags=["x"], host="h").snapshot
    assert again.snapshots()[-1].id == new and again.calls == 2


def plant(copy: Copy, stored: bytes) -> str:
    name = hashlib.sha256(stored).hexdigest()
    copy.path(f"snapshots/{name}").write_bytes(stored)
    return name


def test_planted_and_damaged_snapshots_are_named_and_do_not_stop_us(copy: Copy, tmp_path: Path) -> None:
    """Each of these alone stops restic's own listing, backup, or restore of the latest."""
    short, long, template = plant(copy, b"abcde"), plant(copy, os.urandom(400)), copy.template
    copy.flip(f"snapshots/{template.first}", 60)
    copy.path("snapshots/\x1b[31m").write_text("no object at all")
    repository = copy.open(pin=template.identity)
    assert [each.id for each in repository.snapshots()] == [template.second, template.document]
    junk = {finding.object: finding.kind for finding in repository.junk()}
    assert junk == {
        f"snapshots/{short}": "junk-object",
        f"snapshots/{long}": "junk-object",
        f"snapshots/{template.first}": "snapshot-damaged",
        r"snapshots/\x1b[31m": "junk-object",
    }
    assert all(finding.repair and "goroutine" not in finding.message for finding in repository.junk())
    assert repository.calls == 1

    saved = repository.backup_paths([str(template.source)], tags=["x"], host="portal").snapshot
    with_parent = repository.backup_paths(
        [str(template.source)], tags=["x"], host="portal", parent=template.second
    )
    repository.backup_command(["echo", "dump"], filename="x", tags=["x"], host="portal")
    assert saved in [each.id for each in repository.snapshots()] and with_parent.data_added < 100_000
    repository.restore(template.second, tmp_path / "out", include=[str(template.source / "new")])
    assert copy.names("locks") == []


def test_a_planted_key_does_not_stop_us(copy: Copy) -> None:
    stored = json.dumps({"not": "a key"}).encode() + b" " * 32
    copy.path(f"keys/{hashlib.sha256(stored).hexdigest()}").write_bytes(stored)
    copy.path(f"keys/{hashlib.sha256(b'abcde').hexdigest()}").write_bytes(b"abcde")
    for pin in (None, copy.template.identity):
        assert len(copy.open(pin=pin).snapshots()) == 3


# Passwords and programs


def test_wrong_password(copy: Copy, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    wrong.chmod(0o600)
    with pytest.raises(Refused, match="the password does not open repository main"):
        make_restic(copy.root, wrong, pin=copy.template.identity).snapshots()


def test_our_key_is_gone_and_another_is_left(copy: Copy, tmp_path: Path) -> None:
    """An escrowed key is left: restic says "wrong password", and it is not."""
    extra = tmp_path / "extra"
    extra.write_text("escrowed")
    env = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(copy.root)}
    subprocess.run(
        ["restic", "--no-cache", "key", "add", "--new-password-file", str(extra)],
        env=env,
        check=True,
        capture_output=True,
    )
    identity = copy.open(pin=copy.template.identity).identity()
    assert identity == copy.template.identity  # of two keys, the one that our password opens
    copy.path(f"keys/{identity.key}").unlink()
    with pytest.raises(DamagedData) as caught:
        copy.open(pin=identity).snapshots()
    assert caught.value.details["kind"] == "key-missing"
    assert caught.value.details["object"] == f"keys/{identity.key}"


def test_nothing_secret_in_arguments(copy: Copy, tmp_path: Path) -> None:
    log, program = tmp_path / "argv", tmp_path / "logging-restic"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{log}\nexec restic "$@"\n')
    program.chmod(0o755)
    repository = copy.open(pin=copy.template.identity, program=str(program))
    repository.backup_bytes(b"x", filename="x", tags=["x"], host="h")
    repository.snapshots()
    assert "backup" in log.read_text() and PASSWORD not in log.read_text()


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        (
            "restic 0.16.4 compiled with go1.21.6 on linux/amd64",
            "is restic 0.16.4; opsctl needs 0.17 or newer",
        ),
        ("something else", "does not say its version"),
    ],
)
def test_an_old_restic_is_refused_by_name_and_version(
    copy: Copy, tmp_path: Path, says: str, problem: str
) -> None:
    program = tmp_path / "restic-of-old"
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/"$1"\necho "{says}"\n')
    program.chmod(0o755)
    with pytest.raises(ProgramFailed, match=problem) as caught:
        copy.open(program=str(program)).snapshots()
    assert str(program) in caught.value.message
    assert (tmp_path / "version").exists() and not (tmp_path / "snapshots").exists()


def test_unreadable_answers_are_no_success(copy: Copy, tmp_path: Path) -> None:
    """A restic that exits 0 without naming a snapshot, or names one that is not there."""
    for number, line in enumerate(
        [
            "",
            '{"message_type":"summary","total_files_processed":1}',
            '{"message_type":"summary","snapshot_id":"' + "0" * 64 + '"}',
        ]
    ):
        program = tmp_path / f"lying-restic-{number}"
        program.write_text(f"#!/bin/sh\n[ $1 = version ] && exec restic \"$@\"\necho '{line}'\n")
        program.chmod(0o755)
        with pytest.raises((ProgramFailed, DamagedData)):
            copy.open(program=str(program)).backup_paths(["/etc/hostname"], tags=["x"], host="h")

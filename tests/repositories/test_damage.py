"""Every damage of a repository is found, named, and followed to the snapshots and files it reaches."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from opsctl.model.snapshots import Finding
from opsctl.repositories.restic import Restic
from tests.repositories.conftest import PASSWORD, Copy

EVERYTHING = (1, 1)


def one(findings: list[Finding], kind: str) -> Finding:
    """The only finding, of the kind that it must have, with texts that a person may read."""
    assert [finding.kind for finding in findings] == [kind]
    for text in (findings[0].message, findings[0].repair or ""):
        assert "goroutine" not in text and ".go:" not in text and "\n" not in text
    assert findings[0].repair
    return findings[0]


def packs(copy: Copy) -> dict[str, dict[str, list[str]]]:
    """Pack to its blob ids by type, read by restic itself, from a whole repository."""
    found: dict[str, dict[str, list[str]]] = {}
    for index in copy.names("index"):
        for pack in json.loads(restic(copy, "cat", "index", index, "--no-lock"))["packs"]:
            types = found.setdefault(pack["id"], {"data": [], "tree": []})
            for blob in pack["blobs"]:
                types[blob["type"]].append(blob["id"])
    return found


def restic(copy: Copy, *words: str) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(copy.root.parent),
        "RESTIC_REPOSITORY": str(copy.root),
        "RESTIC_PASSWORD": PASSWORD,
    }
    return subprocess.run(
        ["restic", "--no-cache", *words], env=env, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def contents(template) -> dict[str, dict[str, list[str]]]:
    return packs(Copy(template.root, template))


@pytest.fixture
def data_pack(contents) -> str:
    """The largest pack that holds file content."""
    return max(
        (name for name, types in contents.items() if types["data"]),
        key=lambda name: len(contents[name]["data"]),
    )


@pytest.fixture
def tree_pack(contents, copy: Copy) -> str:
    """The pack that holds the first snapshot's trees."""
    root = json.loads(restic(copy, "cat", "snapshot", copy.template.first, "--no-lock"))["tree"]
    return next(name for name, types in contents.items() if root in types["tree"])


def lost_files(copy: Copy, pack: str, contents) -> set[str]:
    """Paths whose content lies in a pack, found in the sources: a small file is one blob, its SHA-256."""
    blobs = set(contents[pack]["data"])
    found = set()
    for path in copy.template.source.rglob("*"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in blobs:
            found.add(str(path))
    assert found, "the pack should hold a whole file"
    return found


def check(copy: Copy, share: tuple[int, int] | None = None) -> list[Finding]:
    repository = copy.open(pin=copy.template.identity)
    return repository.check(share)


def test_nothing_is_wrong(copy: Copy) -> None:
    assert check(copy, EVERYTHING) == []
    assert copy.names("locks") == []


def test_a_flipped_byte_of_data(copy: Copy, data_pack: str, contents) -> None:
    copy.flip(f"data/{data_pack}", 1000)
    assert check(copy) == []  # only reading the packs shows it
    found = one(check(copy, EVERYTHING), "pack-damaged")
    assert found.object == f"data/{data_pack}"
    assert lost_files(copy, data_pack, contents) <= set(found.files)
    assert set(found.sets) == {copy.template.first, copy.template.second}


def test_a_flipped_byte_in_a_pack_header(copy: Copy, data_pack: str, contents) -> None:
    copy.flip(f"data/{data_pack}", -20)
    found = one(check(copy, EVERYTHING), "pack-damaged")
    assert found.object == f"data/{data_pack}"
    assert lost_files(copy, data_pack, contents) <= set(found.files)


def test_only_the_asked_share_is_read(copy: Copy, data_pack: str) -> None:
    copy.flip(f"data/{data_pack}", 1000)
    number = int(data_pack[:2], 16) % 2 + 1
    assert check(copy, (3 - number, 2)) == []
    assert one(check(copy, (number, 2)), "pack-damaged").object == f"data/{data_pack}"


def test_a_pack_that_is_gone(copy: Copy, data_pack: str, contents) -> None:
    copy.path(f"data/{data_pack}").unlink()
    found = one(check(copy), "pack-missing")
    assert found.object == f"data/{data_pack}"
    assert lost_files(copy, data_pack, contents) <= set(found.files)
    assert set(found.sets) == {copy.template.first, copy.template.second}


def test_a_pack_cut_short(copy: Copy, data_pack: str, contents) -> None:
    os.truncate(copy.path(f"data/{data_pack}"), 1_000_000)
    for share in (None, EVERYTHING):
        found = one(check(copy, share), "pack-truncated")
        assert found.object == f"data/{data_pack}"
        assert lost_files(copy, data_pack, contents) <= set(found.files)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_pack_of_directories(copy: Copy, tree_pack: str, damage: str) -> None:
    if damage == "gone":
        copy.path(f"data/{tree_pack}").unlink()
    else:
        for offset in range(0, copy.path(f"data/{tree_pack}").stat().st_size - 300, 50):
            copy.flip(f"data/{tree_pack}", offset)
    found = one(check(copy), "pack-missing" if damage == "gone" else "pack-damaged")
    assert found.object == f"data/{tree_pack}"
    assert copy.template.first in found.sets
    assert any(f"{copy.template.source}/".startswith(path) for path in found.files)


def test_a_flipped_byte_of_an_index(copy: Copy) -> None:
    name = max(copy.names("index"), key=lambda each: copy.path(f"index/{each}").stat().st_size)
    copy.flip(f"index/{name}", 100)
    found = one(check(copy), "index-damaged")
    assert found.object == f"index/{name}"
    assert copy.template.first in found.sets
    assert found.files
    assert "repair index" in found.repair


def test_an_index_that_is_gone(copy: Copy) -> None:
    name = max(copy.names("index"), key=lambda each: copy.path(f"index/{each}").stat().st_size)
    copy.path(f"index/{name}").unlink()
    found = one(check(copy), "index-missing")
    assert {copy.template.first, copy.template.second} <= set(found.sets)
    assert any(path.startswith(str(copy.template.source)) for path in found.files)
    assert "repair index" in found.repair and "never restic prune" in found.repair


def test_all_indexes_gone(copy: Copy) -> None:
    for name in copy.names("index"):
        copy.path(f"index/{name}").unlink()
    found = one(check(copy), "index-missing")
    assert found.reaches_all
    assert set(found.sets) == {copy.template.first, copy.template.second, copy.template.document}


def test_a_flipped_byte_of_a_snapshot(copy: Copy) -> None:
    copy.flip(f"snapshots/{copy.template.second}", 50)
    found = one(check(copy), "snapshot-damaged")
    assert found.object == f"snapshots/{copy.template.second}"
    assert found.sets == (copy.template.second,)


@pytest.mark.parametrize("offset", [50, 420])
def test_a_flipped_byte_of_the_key(copy: Copy, offset: int) -> None:
    (name,) = copy.names("keys")
    copy.flip(f"keys/{name}", offset)
    found = one(check(copy), "key-damaged")
    assert found.object == f"keys/{name}" and found.reaches_all


def test_the_key_is_gone(copy: Copy) -> None:
    (name,) = copy.names("keys")
    copy.path(f"keys/{name}").unlink()
    found = one(check(copy), "key-missing")
    assert found.object == f"keys/{name}" and found.reaches_all


def test_the_config_is_gone(copy: Copy) -> None:
    copy.path("config").unlink()
    found = one(check(copy), "config-missing")
    assert found.object == "config" and found.reaches_all


@pytest.mark.parametrize(
    "damage", [lambda copy: copy.flip("config", 50), lambda copy: cut(copy.root / "config", 5)]
)
def test_the_config_is_damaged(copy: Copy, damage: Callable[[Copy], None]) -> None:
    damage(copy)
    found = one(check(copy), "config-damaged")
    assert found.object == "config" and found.reaches_all


def cut(path: Path, size: int) -> None:
    path.chmod(0o600)
    os.truncate(path, size)


def plant(copy: Copy, kind: str, content: bytes) -> str:
    """Put an object into the store as anyone with write access can: named by its own hash."""
    name = hashlib.sha256(content).hexdigest()
    path = copy.path(f"{kind}/{name}")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return f"{kind}/{name}"


@pytest.mark.parametrize("content", [b"abcde", b"x" * 200], ids=["crashes restic", "is ignored"])
@pytest.mark.parametrize("kind", ["snapshots", "index", "keys", "locks"])
def test_a_planted_object(copy: Copy, kind: str, content: bytes) -> None:
    planted = plant(copy, kind, content)
    found = one(check(copy), "junk-object")
    assert found.object == planted
    assert planted in found.repair


def test_a_planted_object_does_not_hide_other_damage(copy: Copy, data_pack: str) -> None:
    planted = [plant(copy, "snapshots", b"abcde"), plant(copy, "index", b"abcde")]
    copy.path(f"data/{data_pack}").unlink()
    found = check(copy)
    assert {finding.object for finding in found if finding.kind == "junk-object"} == set(planted)
    (missing,) = (finding for finding in found if finding.kind == "pack-missing")
    assert missing.object == f"data/{data_pack}" and missing.files


def test_a_passing_download_error_is_no_damage(copy: Copy, data_pack: str, tmp_path: Path) -> None:
    """restic 0.18.0 calls a bad download damage; the second look finds the pack in order."""
    stored = copy.path(f"data/{data_pack}")
    good = tmp_path / "good"
    good.write_bytes(stored.read_bytes())
    copy.flip(f"data/{data_pack}", 1000)
    program = tmp_path / "restic-then-heal"
    program.write_text(
        f'#!/bin/sh\nrestic "$@"\ncode=$?\ncase "$*" in *check*) cp -f {good} {stored};; esac\nexit $code\n'
    )
    program.chmod(0o755)
    assert copy.open(pin=copy.template.identity, program=str(program)).check(EVERYTHING) == []


def test_restore_names_the_files_that_are_lost(copy: Copy, data_pack: str, contents, tmp_path: Path) -> None:
    from opsctl.errors import DamagedData

    copy.path(f"data/{data_pack}").unlink()
    with pytest.raises(DamagedData) as caught:
        copy.open(pin=copy.template.identity).restore(copy.template.second, tmp_path / "out")
    assert lost_files(copy, data_pack, contents) - {
        str(copy.template.source / "uploads" / "uploads-0")
    } <= set(caught.value.details["files"])


def test_opening_takes_no_restic_call(copy: Copy) -> None:
    repository: Restic = copy.open(pin=copy.template.identity)
    assert repository.junk() == [] and repository.calls == 0

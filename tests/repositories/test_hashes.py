"""The proof of files by content: whatever differs from the snapshot is named, with what is there instead."""

from __future__ import annotations

import copy
import os
import shutil
import socket
from pathlib import Path

import pytest

from opsctl.errors import ProgramFailed
from opsctl.proofs import hashes
from opsctl.repositories.restic import Restic
from tests.repositories.conftest import Template, make_restic


@pytest.fixture(scope="module")
def tree(template: Template, tmp_path_factory: pytest.TempPathFactory) -> tuple[Restic, str, Path]:
    """A repository, a snapshot, and the tree that it is of: all sorts of things, and files of one chunk and of many."""
    base = tmp_path_factory.mktemp("hashes")
    source = base / "source"
    (source / "deep" / "er").mkdir(parents=True)
    for name in ("a", "b", "c", "deep/d", "deep/er/e"):
        (source / name).write_bytes(os.urandom(40_000))
    (source / "large").write_bytes(os.urandom(5_000_000))
    (source / "empty").touch()
    (source / "deep" / "link").symlink_to("../a")
    os.link(source / "b", source / "deep" / "second-name")
    os.mkfifo(source / "pipe")
    (source / "deep" / "बिल 7").write_bytes(b"bill")
    with open(os.path.join(os.fsencode(source), b"\xff\xfe\xe0\xa4"), "wb") as file:
        file.write(b"odd")
    os.link(source / "c", os.path.join(os.fsencode(source), b"second-\xe9"))
    with open(os.path.join(os.fsencode(source), b"empty-\xe9"), "wb"):
        pass
    with open(source / "sparse", "wb") as file:
        file.truncate(2_000_000)
    shutil.copytree(template.root, base / "repository")
    repository = make_restic(base / "repository", template.password)
    snapshot = repository.backup_paths([str(source)], tags=["x"], host="portal").snapshot
    assert snapshot is not None
    return repository, snapshot, source


@pytest.fixture
def back(tree: tuple[Restic, str, Path], tmp_path: Path) -> Path:
    """The tree, restored."""
    repository, snapshot, _ = tree
    repository.restore(snapshot, tmp_path / "back")
    return tmp_path / "back"


def change(path: Path, at: int, byte: int = 1) -> None:
    """Flip bits of one byte; size and time stay."""
    kept = path.stat()
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ byte]))
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def swap(one: Path, other: Path) -> None:
    """Two files of one size and time change their content."""
    first, second = one.read_bytes(), other.read_bytes()
    for path, content in ((one, second), (other, first)):
        kept = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def test_what_was_restored_is_equal(tree: tuple[Restic, str, Path], back: Path) -> None:
    repository, snapshot, _ = tree
    found = hashes.compare(repository, snapshot, back)
    assert found.differences == () and found.more == 0
    assert found.files == 13, "every name of a file, the empty one and the one with several names too"


def test_every_difference_is_named_with_what_is_there_instead(tree: tuple[Restic, str, Path], back: Path) -> None:
    repository, snapshot, source = tree
    root = Path(f"{back}{source}")
    change(root / "large", 4_000_000)
    swap(root / "a", root / "c")
    (root / "deep" / "d").unlink()
    (root / "deep" / "er" / "e").unlink()
    (root / "deep" / "er" / "e").symlink_to(source / "deep" / "er" / "e")
    (root / "deep" / "second-name").unlink()
    (root / "deep" / "second-name").write_bytes(os.urandom(40_000))
    (root / "empty").write_bytes(b"no longer")
    (root / "deep" / "link").unlink()
    (root / "deep" / "link").write_bytes(b"../a")
    (root / "pipe").unlink()
    (root / "deep" / "shell.php").write_bytes(b"strange")
    with open(os.path.join(os.fsencode(root), b"\xff\xfe\xe0\xa4"), "wb") as file:
        file.write(b"odr")
    os.unlink(os.path.join(os.fsencode(root), b"empty-\xe9"))
    found = hashes.compare(repository, snapshot, back)
    told = {one.where.removeprefix(str(source)): (one.expected, one.found) for one in found.differences}
    content = "its content as in the set"
    assert told == {
        "/large": (content, "other content"), "/a": (content, "other content"), "/c": (content, "other content"),
        "/deep/d": (content, "missing"), "/deep/er/e": (content, "a symbolic link"),
        "/deep/second-name": (f"the content of {source}/b", "other content"), "/empty": (content, "other content"),
        "/deep/link": ("a symbolic link", "a file"), "/pipe": ("a pipe", "missing"),
        "/deep/shell.php": ("nothing", "a file that the set does not hold"),
        "/\ufffd\ufffd\ufffd\ufffd": (content, "other content"), "/empty-\ufffd": ("a file", "missing"),
        "/second-\ufffd": (f"the content of {source}/c", "other content"),
    }
    assert found.files == 3 and (root / "large").read_bytes() != (source / "large").read_bytes(), "nothing was mended"


def test_a_folder_that_became_a_link_is_told_though_its_files_are_the_same(tree: tuple[Restic, str, Path], back: Path) -> None:
    repository, snapshot, source = tree
    root = Path(f"{back}{source}")
    shutil.move(root / "deep" / "er", back / "moved")
    (root / "deep" / "er").symlink_to(back / "moved")
    found = {one.where.removeprefix(str(source)): one.found for one in hashes.compare(repository, snapshot, back).differences}
    assert found["/deep/er"] == "a symbolic link"


def test_a_folder_is_compared_where_it_became_another(tree: tuple[Restic, str, Path], back: Path) -> None:
    repository, snapshot, source = tree
    place = back / "elsewhere"
    shutil.move(f"{back}{source}/deep", place)
    whole = hashes.compare(repository, snapshot, place, below=f"{source}/deep")
    assert whole.differences == () and whole.files == 4
    (place / "second-name").unlink()
    os.truncate(place / "d", 39_999)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
    found = hashes.compare(repository, snapshot, place, below=f"{source}/deep").differences
    assert [(one.where, one.found) for one in found] == [
        ("/d", "other content"), ("/second-name", "missing"), ("/socket", "a file that the set does not hold")]


def test_a_second_name_may_be_a_file_of_its_own_with_the_same_content(tree: tuple[Restic, str, Path], back: Path) -> None:
    repository, snapshot, source = tree
    second = Path(f"{back}{source}/deep/second-name")
    content = second.read_bytes()
    second.unlink()
    second.write_bytes(content)
    assert hashes.compare(repository, snapshot, back).differences == ()


def test_a_restic_that_tells_less_than_it_has_to_is_not_believed(tree: tuple[Restic, str, Path], back: Path, tmp_path: Path) -> None:
    repository, snapshot, _ = tree
    quiet = tmp_path / "restic"
    quiet.write_text(f"#!/bin/sh\n{shutil.which('restic')} \"$@\" | grep -v 'unchanged.*/large'\n")
    quiet.chmod(0o755)
    other = copy.copy(repository)
    other.program = copy.copy(repository.program)
    other.program.program = str(quiet)
    with pytest.raises(ProgramFailed, match="did not tell of 1 files"):
        hashes.compare(other, snapshot, back)

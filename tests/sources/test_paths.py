"""Files and folders: what is missing shows, before and after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import Partial
from opsctl.model.snapshots import BackupSummary
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell
from opsctl.sources.interface import LISTED, Captured, Problem
from opsctl.sources.paths import OurEyes, Paths, problems_after, problems_before
from tests.sources.conftest import MakeContext, entry, open_repository, restored

ODD_NAMES = (
    b"new\nline",
    b"not utf-8 \xff\xfe",
    b"x" * 255,
    b"\x1b[31mred\x1b[0m",
    b" ",
    b"\xe0\xa4\x97\xe0\xa4\xb2\xe0\xa5\x80",
    b"-rf",
    b"*[a-z]?\\",
    b"\"'`$(id)",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Seven files with a name each, and everything else that a folder can hold."""
    place = tmp_path / "data"
    (place / "below" / "deep").mkdir(parents=True)
    (place / "empty folder").mkdir()
    (place / "plain").write_bytes(b"hello\n")
    os.link(place / "plain", place / "below" / "hard link")
    os.symlink("plain", place / "link")
    os.symlink("nowhere", place / "dangling link")
    os.mkfifo(place / "pipe")
    (place / "empty").touch()
    with open(place / "sparse", "wb") as file:
        file.truncate(3_000_000)
    with open(os.fsencode(place) + b"/below/deep/" + b"y" * 200, "wb") as file:
        file.write(b"12")
    (place / "below" / "mode 000").write_bytes(b"123")
    (place / "below" / "mode 000").chmod(0)
    return place


def paths_of(*paths: Path | str, **more: Any) -> Paths:
    return Paths("files", paths=tuple(map(str, paths)), shell=LocalShell(), **more)


def messages(problems: tuple[Problem, ...] | list[Problem]) -> list[str]:
    return [problem.message for problem in problems]


def test_promise_1_files_of_every_sort_come_back_as_they_were_counted(
    repository: Restic,
    context: MakeContext,
    tree: Path,
    tmp_path: Path,
) -> None:
    for name in ODD_NAMES:
        with open(os.fsencode(tree) + b"/" + name, "wb") as file:
            file.write(name)
    source = paths_of(tree, tree / "below")
    assert source.check(None) == []
    captured = source.capture(context())
    assert captured.problems == ()
    sizes = 6 + 6 + 0 + 3_000_000 + 2 + 3 + sum(map(len, ODD_NAMES))
    assert (captured.files, captured.bytes) == (6 + len(ODD_NAMES), sizes)
    assert captured.proof == {
        "kind": "files",
        "algorithm": "restic-tree",
        "files": captured.files,
        "bytes": sizes,
    }
    place = restored(repository, captured, tmp_path / "back")
    assert source.restored_files(entry(captured), place) == []
    (found,) = repository.snapshots()
    assert source.look_again(captured, found) == []

    os.truncate(os.fsencode(place) + os.fsencode(tree) + b"/" + ODD_NAMES[0], 1)
    (Path(f"{place}{tree}") / "empty").unlink()
    differences = source.restored_files(entry(captured), place)
    assert [str(each) for each in differences] == [
        f"files: expected {captured.files}, found {captured.files - 1}",
        f"bytes: expected {sizes}, found {sizes - len(ODD_NAMES[0]) + 1}",
    ]


def test_promise_2_a_missing_path_is_named_and_the_rest_is_backed_up(
    context: MakeContext, tree: Path
) -> None:
    source = paths_of(tree, tree / "gone", tree / "plain" / "no folder")
    expected = [f"{tree}/gone does not exist", f"{tree}/plain/no folder does not exist"]
    assert messages(source.check(None)) == expected
    captured = source.capture(context())
    assert messages(captured.problems) == expected
    assert captured.paths == (str(tree),) and captured.files == 6
    assert all(problem.acceptable and problem.code == 3 for problem in captured.problems)


def test_promise_2_nothing_at_all_is_no_backup(
    repository: Restic, context: MakeContext, tmp_path: Path
) -> None:
    with pytest.raises(Partial, match="gone does not exist") as caught:
        paths_of(tmp_path / "gone").capture(context())
    assert caught.value.code == 3 and repository.snapshots() == []
    (tmp_path / "hollow").mkdir()
    (problem, none) = paths_of(tmp_path / "hollow").capture(context()).problems
    assert problem.message.endswith("hollow is empty") and problem.acceptable
    assert none.message == "not a single file was backed up" and not none.acceptable


def test_promise_2_a_path_that_vanishes_before_restic_looks_is_missing(
    repository: Restic,
    context: MakeContext,
    tree: Path,
    password_file: Path,
    tmp_path: Path,
) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    (doomed / "file").touch()
    program = tmp_path / "restic"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" backup "*) rm -rf "{doomed}";; esac\nexec restic "$@"\n'
    )
    program.chmod(0o755)
    racing = open_repository(Path(repository.url), password_file, str(program))
    source = paths_of(tree, doomed)
    captured = source.capture(context(repository=racing))
    (found,) = racing.snapshots()
    problems = [*captured.problems, *source.look_again(captured, found)]
    assert any(problem.paths == (str(doomed),) for problem in problems)
    assert captured.files == 6


def test_an_empty_folder_that_was_accepted_once_is_known(context: MakeContext, tree: Path) -> None:
    source = paths_of(tree, tree / "empty folder")
    captured = source.capture(context())
    assert messages(captured.problems) == [f"{tree}/empty folder is empty"]
    assert source.check(entry(captured)) == []
    shutil.rmtree(tree / "below")
    (tree / "below").mkdir()
    assert messages(paths_of(tree / "below").check(entry(captured))) == [f"{tree}/below is empty"]


def test_a_file_system_that_was_just_made_is_empty(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert messages(paths_of(tmp_path).check(None)) == [f"{tmp_path} is empty"]


def test_what_has_to_be_mounted_and_marked(tree: Path) -> None:
    assert messages(paths_of(tree, mountpoint=True).check(None)) == [f"{tree} is not a mount point"]
    assert messages(paths_of(tree, mountpoint=str(tree)).check(None)) == [f"{tree} is not a mount point"]
    assert paths_of(tree, mountpoint=("/proc",)).check(None) == []
    assert paths_of(tree, marker="plain").check(None) == []
    assert paths_of(tree, marker=str(tree / "plain")).check(None) == []
    assert messages(paths_of(tree, tree / "gone", marker="plain").check(None)) == [
        f"the marker {tree}/gone/plain is missing",
        f"{tree}/gone does not exist",
    ]
    assert messages(paths_of(tree, marker="/nowhere/.here").check(None)) == [
        "the marker /nowhere/.here is missing"
    ]


def test_a_link_is_not_mistaken_for_what_it_points_to(context: MakeContext, tree: Path) -> None:
    (tree.parent / "current").symlink_to(tree)
    (problem,) = paths_of(tree.parent / "current").check(None)
    assert "only the link would be saved" in problem.message and str(tree) in str(problem.hint)
    assert paths_of(f"{tree}/").capture(context()).files == 6


PREVIOUS: Mapping[str, Any] = {"files": 100, "bytes": 1000, "proof": {"kind": "files"}}


@pytest.mark.parametrize(
    ("files", "bytes_", "expected"),
    [
        (100, 1000, []),
        (50, 500, []),
        (49, 1000, ["less than half is left: 49 files where the last set had 100"]),
        (100, 499, ["less than half is left: 499 bytes where the last set had 1,000"]),
        (0, 0, ["not a single file was backed up"]),
    ],
)
def test_a_tree_that_shrank_to_less_than_half(files: int, bytes_: int, expected: list[str]) -> None:
    found = problems_after(summary(files, bytes_), None, PREVIOUS)
    assert messages(found) == expected
    assert problems_after(summary(files, bytes_), None, None) == [
        each for each in found if not each.acceptable
    ]


def test_less_than_expected_at_least() -> None:
    at_least = {"files": 3, "bytes": None}
    assert problems_after(summary(3, 1), at_least, None) == []
    assert messages(problems_after(summary(2, 1), at_least, None)) == ["2 files, and at least 3 are expected"]
    assert messages(problems_after(summary(9, 1), {"bytes": 2}, None)) == [
        "1 bytes, and at least 2 are expected"
    ]


def test_unreadable_files_are_listed_up_to_a_number() -> None:
    unreadable = tuple((f"/data/{number}", "permission denied") for number in range(LISTED + 5))
    (problem,) = problems_after(summary(1, 1, unreadable), None, None)
    assert problem.message == "105 could not be read, first /data/0: permission denied"
    assert (len(problem.paths), problem.more_paths, problem.code) == (LISTED, 5, 3)


def test_a_folder_that_the_repository_cannot_read_is_not_said_to_be_unreadable_at_the_source() -> None:
    torn = BackupSummary("id", 1, 1, 0, 0, 0.0, torn=(("/srv/data", "tree 0a could not be loaded"),))
    (problem,) = problems_after(torn, None, None)
    assert problem.message.startswith("the repository cannot read") and "/srv/data" in problem.message
    assert problem.hint is not None and "may this user" not in problem.hint and "verify" in problem.hint


def test_promise_2_unreadable_files_show_and_the_others_are_kept(
    repository: Restic,
    tree: Path,
    password_file: Path,
    tmp_path: Path,
    context: MakeContext,
) -> None:
    (tree / "closed").mkdir()
    (tree / "closed" / "secret").touch()
    (tree / "closed").chmod(0)
    captured = paths_of(tree).capture(
        context(repository=as_ordinary_user(repository, tree, password_file, tmp_path))
    )
    (problem,) = captured.problems
    assert set(problem.paths) == {f"{tree}/below/mode 000", f"{tree}/closed"} and problem.code == 3
    assert captured.files == 5


def as_ordinary_user(repository: Restic, tree: Path, password_file: Path, tmp_path: Path) -> Restic:
    """Where the tests run as root, nothing is unreadable: restic runs as somebody else then."""
    if os.geteuid():
        return repository
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o711)
    shutil.chown(repository.url, "nobody")
    for path in [*Path(repository.url).rglob("*"), *tree.rglob("*")]:
        if not path.is_symlink():
            shutil.chown(path, "nobody")
    program = tmp_path / "restic"
    program.write_text(
        '#!/bin/sh\nexec setpriv --reuid nobody --regid nogroup --clear-groups -- restic "$@"\n'
    )
    program.chmod(0o755)
    return open_repository(Path(repository.url), password_file, str(program))


def summary(files: int, bytes_: int, unreadable: tuple[tuple[str, str], ...] = ()) -> BackupSummary:
    return BackupSummary("id", files, bytes_, 0, 0, 0.0, unreadable)


def test_looking_at_a_path_that_may_not_be_looked_at_says_why(tmp_path: Path) -> None:
    seen = OurEyes().look(str(tmp_path / ("x" * 300)))
    assert (seen.kind, seen.trouble) == ("missing", "File name too long")
    assert messages(problems_before([seen], None)) == [f"{seen.path} cannot be looked at: File name too long"]


def test_a_snapshot_that_lacks_a_path(context: MakeContext) -> None:
    from opsctl.model.snapshots import Snapshot

    captured = Captured("id", {}, 1, 1, 0, 0, 0.0, ("/a", "/b"))
    snapshot = Snapshot("id", context().now, "tree", ("/a",), "host")
    (problem,) = paths_of("/a", "/b").look_again(captured, snapshot)
    assert (problem.message, problem.paths) == ("not in the snapshot: /b", ("/b",))

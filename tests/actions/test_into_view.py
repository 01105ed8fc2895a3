"""What is brought into view covers nothing, also not what appears at the very last moment."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opsctl.actions import into_view, restore_files, restoring
from tests.machine import Machine, tree


def as_file(place: Path, text: str) -> None:
    place.write_text(text)


def as_folder(place: Path, text: str) -> None:
    place.mkdir()
    (place / "inner").write_text(text)


def as_link(place: Path, text: str) -> None:
    place.symlink_to(text)


def as_nothing(place: Path, text: str) -> None:
    place.mkdir()


def what(place: Path) -> Any:
    return os.readlink(place) if place.is_symlink() else tree(place) if place.is_dir() else place.read_text()


@pytest.fixture(params=["with the flag", "without it"])
def move(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], None]:
    """As it is, and on a file system that does not know the flag."""
    if request.param == "without it":
        monkeypatch.setattr(into_view, "_rename", lambda old, new: errno.EINVAL)
    return into_view.move


@pytest.mark.parametrize("ours", [as_file, as_folder, as_link])
@pytest.mark.parametrize("theirs", [as_file, as_folder, as_link, as_nothing])
def test_nothing_is_covered(
    tmp_path: Path, move: Callable[[Path, Path], None], ours: Callable[[Path, str], None], theirs: Callable[[Path, str], None]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    ours(old, "ours")
    theirs(new, "theirs")
    before = what(old), what(new)
    with pytest.raises(FileExistsError):
        move(old, new)
    assert (what(old), what(new)) == before
    move(old, tmp_path / "free")
    assert what(tmp_path / "free") == before[0] and not os.path.lexists(old)


@pytest.mark.parametrize("theirs", [as_file, as_folder, as_link])
def test_a_folder_gives_way_to_nothing_but_an_empty_one(tmp_path: Path, theirs: Callable[[Path, str], None]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    as_folder(old, "ours")
    theirs(new, "theirs")
    before = what(new)
    with pytest.raises(FileExistsError):
        into_view.move_over_empty(old, new)
    assert what(new) == before
    (tmp_path / "empty").mkdir()
    into_view.move_over_empty(old, tmp_path / "empty")
    assert what(tmp_path / "empty") == {"inner": b"ours"}


@pytest.mark.parametrize("theirs", [as_file, as_folder, as_link])
@pytest.mark.parametrize("word", ["one file", "a folder", "a set", "aside"])
def test_what_appears_at_the_last_moment_stays(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, theirs: Callable[[Path, str], None]
) -> None:
    (machine.data / "below").mkdir()
    (machine.data / "below" / "top.txt").write_text("top\n")
    machine("backup", "run", expect=0)
    into = tmp_path / "into"
    into.mkdir()
    path = machine.data / "below" / ("top.txt" if word in ("one file", "aside") else "")
    target = into / path.name
    words = ["restore", "files", "portal", str(path), "--into", str(into)]
    if word == "a set":
        target = into / "all"
        words = ["restore", "set", "portal", "--into", str(target)]
    appears = target
    if word == "aside":
        target.write_text("mine\n")
        words.append("--replace")

    def at_the_last_moment(name: str) -> None:
        real = getattr(into_view, name)

        def move(old: Path, new: Path) -> None:
            nonlocal appears
            if not os.path.lexists(appears if word != "aside" else new):
                appears = new
                theirs(new, "theirs")
            real(old, new)

        monkeypatch.setattr(restoring, name, move)

    at_the_last_moment("move")
    at_the_last_moment("move_over_empty")
    said = machine.json(*words, expect=23)
    assert "came into being while the restore ran" in said.errors[0]["message"]
    assert what(appears) == {as_file: "theirs", as_folder: {"inner": b"theirs"}, as_link: "theirs"}[theirs]
    if word == "aside":
        assert target.read_text() == "mine\n" and appears != target
    monkeypatch.undo()
    os.rename(appears, tmp_path / "moved")
    machine("resume", str(said.document["run"]), expect=0)
    assert (what(target) == "top\n") if target.is_file() else ("top\n" in str(what(target).values()).replace("\\n", "\n"))


def test_a_file_that_has_two_names_for_a_moment_is_in_view(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without the flag, and a machine that dies between the two steps that stand for it."""
    (machine.data / "top.txt").write_text("top\n")
    machine("backup", "run", expect=0)

    def unlink(path: Any, *words: Any, **more: Any) -> None:
        raise OSError(5, "the machine died here")

    def die(old: Path, new: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(into_view, "_rename", lambda old, new: errno.EINVAL)
            patch.setattr(into_view.os, "unlink", unlink)
            into_view.move(old, new)

    words = ["restore", "files", "portal", f"{machine.data}/top.txt", "--into", str(tmp_path / "into")]
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "move", die)
        run = str(machine.json(*words, expect=20).document["run"])
    machine("resume", run, expect=0)
    assert tree(tmp_path / "into") == {"top.txt": b"top\n"}
    assert restore_files.staging(tmp_path / "into" / "top.txt", run).exists() is False
